"""Compiled transformer blocks: `torch.compile` of the forward pass of every block.

Only blocks are compiled, not the whole model ("regional"): all blocks of a model share one graph,
which takes seconds to compile instead of minutes. It fuses norms, modulation, GELU and gates.
"""

import logging
import os
import shutil
import sysconfig
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any

import torch
from torch import nn

from g3pt.training.recomputation import transformer_blocks

LOGGER = logging.getLogger(__name__)

_BACKEND = "inductor"
_GRAPHS_A_BLOCK = 16
"""Graphs that a block may need: one for each length of the sequence, as the curriculum adds
scales, and for each dropout rate."""


def compile_blocks(module: nn.Module, device: torch.device) -> bool:
    """Compile every transformer block in `module`, if this machine can.

    Names of weights do not change. Without gradients, blocks run as before: evaluations meet many
    sizes, each of which would be compiled. `recompute_blocks` is to be called afterwards.

    Args:
        module: stands on `device`.
        device: where it will run.

    Returns:
        Whether blocks are compiled; if not, a warning says what is missing.
    """
    if missing := missing_compiler(device.type):
        LOGGER.warning("train.compile is on, but blocks run as they are: %s", missing)
        return False
    blocks = list(transformer_blocks(module))
    config = torch._dynamo.config  # pyright: ignore[reportPrivateImportUsage]
    wanted = _GRAPHS_A_BLOCK * len(blocks)
    config.recompile_limit = max(config.recompile_limit, wanted)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, wanted)
    for block in blocks:
        if "forward" not in vars(block):
            # Set on the instance, so that saving and loading the module see no difference.
            vars(block)["forward"] = _CompiledForward(block.forward)
    return True


class _CompiledForward:
    """The forward pass of a block, compiled where gradients are wanted."""

    def __init__(self, plain: Callable[..., Any]) -> None:
        self._plain = plain
        self._compiled = torch.compile(plain, backend=_BACKEND, dynamic=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        forward = self._compiled if torch.is_grad_enabled() else self._plain
        return forward(*args, **kwargs)


def missing_compiler(device_type: str) -> str:
    """What `torch.compile` lacks on this machine for a kind of device; empty if nothing."""
    if device_type not in ("cpu", "cuda"):
        return f"there is no compiler for {device_type}"
    if device_type == "cuda" and util.find_spec("triton") is None:
        return "the package triton is not installed; install a torch that comes with it"
    # On a GPU, too: Triton builds the code that launches its kernels.
    named = os.environ.get("CXX" if device_type == "cpu" else "CC")
    usual = ("g++", "clang++", "c++") if device_type == "cpu" else ("gcc", "clang", "cc")
    if not any(map(shutil.which, [named] if named else usual)):
        return (
            f"no compiler ({named or ', '.join(usual)}) is on the PATH; install one (Debian and "
            "Ubuntu: apt-get install g++), or leave train.compile off"
        )
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        return (
            f"{header} does not exist; install the headers of Python (Debian and Ubuntu: apt-get "
            "install python3-dev), or leave train.compile off"
        )
    return ""
