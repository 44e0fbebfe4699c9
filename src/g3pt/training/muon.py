"""Muon: momentum whose every update is replaced by the nearest matrix with orthonormal rows.

The method of Jordan et al. (2024, "Muon: an optimizer for hidden layers in neural networks"), as in
`torch.optim.Muon`, which the tests compare with. That one always iterates in bfloat16, which is
several hundred times slower than float32 on a CPU without bfloat16 instructions. This one chooses
the format by the device.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration. It is steep at zero, so that few steps suffice, but it
converges only to near one."""


@lru_cache(maxsize=8)
def iteration_dtype(device_type: str) -> torch.dtype:
    """bfloat16 where the device computes in it, float32 elsewhere."""
    if device_type == "cuda":
        return torch.bfloat16
    if device_type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return torch.float32


def orthogonalized(
    matrix_MN: Float[Tensor, "*B M N"], *, num_steps: int = 5, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "*B M N"]:
    """Push all singular values of a matrix towards one by Newton-Schulz iterations.

    Args:
        matrix_MN: any matrix but zero, or a stack of them.
        num_steps: number of iterations; five bring singular values of at least a hundredth of the
            largest to between 0.7 and 1.2.
        dtype: number format of the iteration and of the result.
    """
    a, b, c = _COEFFICIENTS
    tall = matrix_MN.shape[-2] > matrix_MN.shape[-1]
    x = (matrix_MN.mT if tall else matrix_MN).to(dtype)
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    multiply_add = torch.addmm if x.ndim == 2 else torch.baddbmm
    for _ in range(num_steps):
        gram = x @ x.mT
        x = multiply_add(x, multiply_add(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for matrices.

    The kernel of a convolution is treated as a matrix from the inputs at all its places to the
    outputs.

    An update has the root mean square of a typical AdamW update (0.2 of the learning rate), so
    that a learning rate found for AdamW can be used.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Update every parameter that has a gradient."""
        assert closure is None, "Muon takes no closure"
        for group in self.param_groups:
            updated = [p for p in group["params"] if p.grad is not None]
            directions = [self._direction(p, group["momentum"]) for p in updated]
            for parameter, update in zip(updated, orthogonalized_all(directions), strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                rate = group["lr"] * 0.2 * max(update.shape) ** 0.5
                parameter.add_(update.to(parameter.dtype).view_as(parameter), alpha=-rate)

    def _direction(self, parameter: Tensor, momentum: float) -> Float[Tensor, "M N"]:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        average = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(average, momentum).flatten(1)


def orthogonalized_all(matrices: Sequence[Float[Tensor, "_ _"]]) -> list[Float[Tensor, "_ _"]]:
    """`orthogonalized` of each matrix.

    On a GPU, matrices of the same shape are stacked, since a single matrix is too small to fill it.
    """
    if not matrices or matrices[0].device.type == "cpu":
        return [orthogonalized(m, dtype=iteration_dtype(m.device.type)) for m in matrices]
    return orthogonalized_together(matrices)


def orthogonalized_together(
    matrices: Sequence[Float[Tensor, "_ _"]],
) -> list[Float[Tensor, "_ _"]]:
    """`orthogonalized` of each matrix, with matrices of the same shape in one stack."""
    places: dict[torch.Size, list[int]] = {}
    for place, matrix in enumerate(matrices):
        places.setdefault(matrix.shape, []).append(place)
    results: dict[int, Tensor] = {}
    for own in places.values():
        stack = torch.stack([matrices[place] for place in own])
        together = orthogonalized(stack, dtype=iteration_dtype(stack.device.type))
        results |= dict(zip(own, together.unbind(), strict=True))
    return [results[place] for place in range(len(matrices))]
