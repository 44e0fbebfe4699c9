"""Number formats at inference: the generator in bfloat16, everything else in float32.

The tokenizer stays in float32 whatever the generator does: its CQT decides signs of residuals,
and does so as it did when the tokens of the training set were made.
"""

from typing import Literal

import torch
from torch import nn

DtypeName = Literal["auto", "float32", "bfloat16"]

_EXPONENTS = "log_temperature"
"""Rounded to eight bits, what is multiplied with their exponential would be off by a percent."""


def resolve_dtype(dtype: DtypeName | torch.dtype, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on a CUDA device that has it, else float32.

    Processors get float32 even if they have bfloat16 instructions, so that a seed gives the same
    shape on all of them.

    Raises:
        ValueError: if it is another number format.
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
    """Bring the weights of a model to a number format, learned temperatures excepted."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point() and not name.endswith(_EXPONENTS):
            tensor.data = tensor.data.to(dtype)
