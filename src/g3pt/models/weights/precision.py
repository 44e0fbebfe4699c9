"""Number formats at inference: the generator in bfloat16, everything else in float32.

The tokenizer always stays in float32. Its CQT decides signs of residuals, which must not differ
from those of the training set's tokens.
"""

from typing import Literal

import torch
from torch import nn

DtypeName = Literal["auto", "float32", "bfloat16"]

_EXPONENTS = "log_temperature"
"""Parameters that stay in float32: rounding them to bfloat16 would change their exponential, which
scales attention, by a percent."""


def resolve_dtype(dtype: DtypeName | torch.dtype, device: torch.device) -> torch.dtype:
    """Give the dtype of a name; `auto` is bfloat16 on a CUDA device that has it, else float32.

    CPUs get float32 even if they have bfloat16 instructions, so that a seed gives the same shape on
    all of them.

    Raises:
        ValueError: if the number format is not supported.
    """
    if dtype == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    for name, value in known.items():
        if dtype in (name, value):
            return value
    raise ValueError(f"dtype {dtype}: expected auto, {' or '.join(known)}")


def cast_weights(module: nn.Module, dtype: torch.dtype) -> None:
    """Cast the weights of a model to a dtype, except learned temperatures."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point() and not name.endswith(_EXPONENTS):
            tensor.data = tensor.data.to(dtype)
