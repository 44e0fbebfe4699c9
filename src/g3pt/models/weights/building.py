"""Building the models that a weights folder describes, within what its tensors can fill.

A config of a few bytes can ask for a model that no machine can hold. Every tensor that is made
while a model is built is therefore compared with the tensors that are there to fill it.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from g3pt.models.weights.places import CONFIG_FILE, WeightsError

SPARE_VALUES = 2**24
"""Numbers in tensors that are computed and not stored, such as masks, beside the stored ones."""
SPARE_PARAMETERS = 1000
_RANGES = (torch.arange, torch.linspace)
_FACTORIES = frozenset(
    (torch.empty, torch.zeros, torch.ones, torch.randn, torch.rand, torch.full, torch.eye, *_RANGES)
)
"""Functions that make tensors of a given size."""


@contextmanager
def building(tensors: Mapping[str, Tensor], folder: Path) -> Iterator[None]:
    """Build models in the block: torch's random state stays, and size is limited by `tensors`.

    Args:
        tensors: what the models will be filled with.
        folder: the weights folder, for messages.

    Raises:
        WeightsError: if the config asks for more, or for what cannot be built.
    """
    most_values = 2 * sum(tensor.numel() for tensor in tensors.values()) + SPARE_VALUES
    most_parameters = 2 * len(tensors) + SPARE_PARAMETERS
    thread, count = threading.get_ident(), 0

    def number(module: nn.Module, name: str, parameter: object) -> None:
        nonlocal count
        if threading.get_ident() == thread:
            count += 1
            if count > most_parameters:
                raise _TooLargeError(f"asks for more than {most_parameters} tensors")

    hook = register_module_parameter_registration_hook(number)
    try:
        # Building draws initial values, which must not advance the caller's random state.
        with torch.random.fork_rng(devices=[]), _Limited(most_values):
            yield
    except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError) as error:
        raise WeightsError(
            f"{folder / CONFIG_FILE}: the model cannot be built, or does not fit the stored "
            f"tensors ({str(error)[:200]})"
        ) from error
    except WeightsError:
        raise
    except ValueError as error:
        raise WeightsError(f"{folder / CONFIG_FILE}: {error}") from error
    finally:
        hook.remove()


class _TooLargeError(RuntimeError):
    """A model is larger than its stored tensors."""


class _Limited(TorchFunctionMode):
    """Refuses to make tensors of more numbers than a limit."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _FACTORIES and (values := _num_values(func, args)) > self.most:
            raise _TooLargeError(f"asks for a tensor of {values} numbers")
        return func(*args, **(kwargs or {}))


def _num_values(func: Any, args: tuple[Any, ...]) -> int:
    """Numbers in the result of a factory, as its arguments tell."""
    sizes = args[0] if args and isinstance(args[0], list | tuple) else args
    whole = [abs(size) for size in sizes if isinstance(size, int)]
    if func in _RANGES:
        return max(whole, default=0)
    if func is torch.eye and len(whole) == 1:
        return whole[0] ** 2
    return prod(whole)
