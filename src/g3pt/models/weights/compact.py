"""Matrices as 8-bit rows for files, at half the bytes of float16.

Every row of a matrix (every output of a layer) is divided by a step of its own and rounded:
symmetric absolute-maximum quantisation, as in LLM.int8 (Dettmers et al. 2022). The rounding error
is less than a hundredth of a row's range. The format is used on disk only; models run in full
precision.

R rows, C columns (all further dimensions together).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int8
from torch import Tensor

STEPS_SUFFIX = ":steps"
"""Suffix that is appended to a tensor's name to name the steps of its rows."""

MIN_VALUES = 4096
"""Tensors with fewer values are stored as they are, since they take little space."""

_LARGEST = 127


def round_rows(matrix_RC: Float[Tensor, "R *C"]) -> tuple[Int8[Tensor, "R *C"], Tensor]:
    """Round every row to 255 even levels; return the rounded rows and their float32 steps (R,)."""
    rows_RC = matrix_RC.detach().float().flatten(1)
    tiny = torch.finfo(torch.float32).tiny
    steps_R = (rows_RC.abs().amax(dim=1) / _LARGEST).clamp_min(tiny)
    rounded_RC = (rows_RC / steps_R[:, None]).round().to(torch.int8)
    return rounded_RC.view(matrix_RC.shape), steps_R


def expand_rows(rounded_RC: Int8[Tensor, "R *C"], steps_R: Float[Tensor, " R"]) -> Tensor:
    """The matrix that `round_rows` rounded, float32."""
    rows_RC = rounded_RC.flatten(1).float() * steps_R[:, None]
    return rows_RC.view(rounded_RC.shape)


def compact(
    tensors: dict[str, Tensor], prefixes: Sequence[str], *, min_values: int = MIN_VALUES
) -> dict[str, Tensor]:
    """Round the matrices of enough values whose names begin with one of the prefixes."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        large = tensor.is_floating_point() and tensor.ndim > 1 and tensor.numel() >= min_values
        if large and name.startswith(tuple(prefixes)):
            stored[name], stored[name + STEPS_SUFFIX] = round_rows(tensor)
        else:
            stored[name] = tensor
    return stored


def expand(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Undo `compact`.

    Raises:
        ValueError: if the steps of a tensor are not one number for each of its rows.
    """
    for name in stored:
        matrix = stored.get(name.removesuffix(STEPS_SUFFIX))
        if name.endswith(STEPS_SUFFIX) and (
            matrix is None
            or matrix.dtype != torch.int8
            or matrix.ndim < 2
            or stored[name].shape != matrix.shape[:1]
            or not stored[name].is_floating_point()
        ):
            raise ValueError(f"{name} are not the steps of the rows of an int8 matrix")
    return {
        name: expand_rows(tensor, stored[name + STEPS_SUFFIX])
        if name + STEPS_SUFFIX in stored
        else tensor
        for name, tensor in stored.items()
        if not name.endswith(STEPS_SUFFIX)
    }
