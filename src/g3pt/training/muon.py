"""Muon: momentum whose every update is replaced by the nearest matrix with orthonormal rows.

The method of Jordan et al. (2024, "Muon: an optimizer for hidden layers in neural networks"), as in
`torch.optim.Muon`, which the tests compare with. That one always iterates in bfloat16, which is
several hundred times slower than float32 on a CPU without bfloat16 instructions. This one chooses
the format by the device.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from g3pt.training.distributed import is_sharded, own

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

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

    found_inf: Tensor | None = None
    """1 if gradients are not finite, on their device: a step then changes nothing. 0 or None: it
    does. Torch's own optimisers have the same attribute."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Update every parameter that has a gradient."""
        assert closure is None, "Muon takes no closure"
        for group in self.param_groups:
            updated = [p for p in group["params"] if p.grad is not None]
            directions = [self._direction(p, group["momentum"]) for p in updated]
            if updated and is_sharded(updated[0]):
                heights = [p.shape[0] for p in updated]
                updates = orthogonalized_shards(directions, heights, updated[0].device_mesh)
            else:
                updates = orthogonalized_all(directions)
            for parameter, update in zip(updated, updates, strict=True):
                held = own(parameter)
                moved = held if self.found_inf is None else held.clone()
                moved.mul_(1 - group["lr"] * group["weight_decay"])
                rate = group["lr"] * 0.2 * max(parameter.shape[0], update.shape[1]) ** 0.5
                moved.add_(update.to(held.dtype).view_as(held), alpha=-rate)
                self._keep(held, moved)

    def _direction(self, parameter: Tensor, momentum: float) -> Float[Tensor, "M N"]:
        """The rows of the matrix to be orthogonalised that this process holds."""
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        gradient, average = own(gradient), own(state["momentum_buffer"])
        moved = average if self.found_inf is None else average.clone()
        moved.lerp_(gradient, 1 - momentum)
        self._keep(average, moved)
        return gradient.lerp(average, momentum).flatten(1)

    def _keep(self, held: Tensor, moved: Tensor) -> None:
        """Let a tensor become what it was moved to, unless gradients are not finite."""
        if self.found_inf is not None:
            held.copy_(torch.where(self.found_inf > 0, held, moved))


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
    for alike in places.values():
        stack = torch.stack([matrices[place] for place in alike])
        together = orthogonalized(stack, dtype=iteration_dtype(stack.device.type))
        results |= dict(zip(alike, together.unbind(), strict=True))
    return [results[place] for place in range(len(matrices))]


def orthogonalized_shards(
    shards: Sequence[Float[Tensor, "_ _"]], heights: Sequence[int], mesh: "DeviceMesh"
) -> list[Float[Tensor, "_ _"]]:
    """The rows that this process holds of every orthogonalised matrix, from those of the matrix.

    The iteration needs whole matrices. Each is sent to one process and its result is sent back, so
    that every process computes its share of the matrices. A step sends every shard out and back
    once: two numbers a parameter, cut by the number of processes.

    Args:
        shards: consecutive rows of each matrix, cut as `torch.chunk` cuts; possibly none.
        heights: rows of each whole matrix.
        mesh: the processes, in the order of their shards.
    """
    size, rank = mesh.size(), mesh.get_local_rank()
    widths = [shard.shape[1] for shard in shards]
    rows = [_chunk_sizes(height, size) for height in heights]
    owned = [range(owner, len(shards), size) for owner in range(size)]
    sent = [sum(shards[i].numel() for i in one) for one in owned]
    received = [sum(rows[i][source] * widths[i] for i in owned[rank]) for source in range(size)]
    out = torch.cat([shards[i].flatten() for one in owned for i in one])
    back = _exchanged(out, sent, received, mesh)
    pieces: dict[int, list[Tensor]] = {i: [] for i in owned[rank]}
    for source, part in enumerate(back.split(received)):
        own_sizes = [rows[i][source] * widths[i] for i in owned[rank]]
        for i, piece in zip(owned[rank], part.split(own_sizes), strict=True):
            pieces[i].append(piece.view(-1, widths[i]))
    matrices = [torch.cat(pieces[i]) for i in owned[rank]]
    results = [each.to(out.dtype) for each in orthogonalized_all(matrices)]
    cut = [each.split(rows[i]) for i, each in zip(owned[rank], results, strict=True)]
    out = torch.cat([out.new_zeros(0), *(c[to].flatten() for to in range(size) for c in cut)])
    back = _exchanged(out, received, sent, mesh)
    order = [i for one in owned for i in one]
    parts = back.split([shards[i].numel() for i in order])
    found = {i: part.view_as(shards[i]) for i, part in zip(order, parts, strict=True)}
    return [found[i] for i in range(len(shards))]


def _exchanged(
    sent: Tensor, sizes: list[int], received: list[int], mesh: "DeviceMesh"
) -> Float[Tensor, " _"]:
    result = sent.new_empty(sum(received))
    torch.distributed.all_to_all_single(result, sent, received, sizes, group=mesh.get_group())
    return result


def _chunk_sizes(height: int, count: int) -> list[int]:
    """Rows of each of `count` shards."""
    step = -(-height // count)
    return [max(0, min(step, height - step * index)) for index in range(count)]
