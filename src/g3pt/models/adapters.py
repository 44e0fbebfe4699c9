"""Low-rank adapters: small trained changes of a frozen model (LoRA, Hu et al. 2021).

A matrix W becomes W + s B A with a small inner rank, by a parametrization of torch: the code of the
model stays, whether it calls a layer or reads its weight. The last rows of a table of embeddings
can be trained while the others are frozen. `merge` puts the changes into the weights, so that an
adapted model costs nothing when it is used.

R rows, C columns, K rank.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

_PLACE = ".parametrizations.weight.0."
"""Between the name of a layer and that of an adapter's tensor, in a state dict of torch."""


class LowRank(nn.Module):
    """W + s B A for one matrix; B starts at zero, where nothing is changed."""

    def __init__(self, rows: int, columns: int, *, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.down = nn.Parameter(torch.randn(rank, columns) * columns**-0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight_RC: Float[Tensor, "R C"]) -> Float[Tensor, "R C"]:
        """The changed matrix."""
        return weight_RC + self.scale * (self.up @ self.down)


class NewRows(nn.Module):
    """The last rows of a table of embeddings are trained, the others are kept."""

    def __init__(self, rows_KC: Float[Tensor, "K C"]) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows_KC.detach().clone())

    def forward(self, weight_RC: Float[Tensor, "R C"]) -> Float[Tensor, "R C"]:
        """The table with the trained rows in place of its last ones."""
        return torch.cat([weight_RC[: len(weight_RC) - len(self.rows)], self.rows])


def adapt(module: nn.Module, *, rank: int, scale: float, new_rows: Mapping[str, int]) -> None:
    """Freeze a model and add trained adapters to all its linear layers.

    Args:
        module: the model; it is changed in place.
        rank: inner rank of the changes; matrices that have a shorter side take that.
        scale: factor s.
        new_rows: name of a table of embeddings -> number of its last rows that are trained.

    Raises:
        ValueError: if the rank is not positive, or the model is adapted already.
    """
    if rank < 1:
        raise ValueError(f"adapter.rank must be at least 1, got {rank}")
    if is_adapted(module):
        raise ValueError("the model is adapted already: merge the adapter first")
    module.requires_grad_(False)
    for name, child in list(module.named_modules()):
        if isinstance(child, nn.Linear):
            rows, columns = child.weight.shape
            change: nn.Module = LowRank(rows, columns, rank=min(rank, rows, columns), scale=scale)
        elif isinstance(child, nn.Embedding) and new_rows.get(name):
            change = NewRows(child.weight[-new_rows[name] :])
        else:
            continue
        parametrize.register_parametrization(child, "weight", change.to(child.weight.device))


def is_adapted(module: nn.Module) -> bool:
    """Whether any layer has an adapter."""
    return any(parametrize.is_parametrized(child) for child in module.modules())


def adapter_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The trained tensors of an adapted model, as `LAYER.down`, `LAYER.up` or `LAYER.rows`."""
    return {
        name.replace(_PLACE, "."): tensor.detach()
        for name, tensor in module.state_dict().items()
        if _PLACE in name
    }


def load_adapter_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy what `adapter_tensors` gave into a model that is adapted in the same way.

    Raises:
        ValueError: if names or shapes differ.
    """
    own = {
        name.replace(_PLACE, "."): tensor
        for name, tensor in module.state_dict(keep_vars=True).items()
        if _PLACE in name
    }
    if odd := sorted(own.keys() ^ tensors.keys()):
        raise ValueError(f"the adapter is of another model: {odd[0]} is in one of them only")
    with torch.no_grad():
        for name, tensor in own.items():
            if tensor.shape != tensors[name].shape:
                raise ValueError(
                    f"the adapter is of another model: {name} has shape "
                    f"{tuple(tensors[name].shape)}, expected {tuple(tensor.shape)}"
                )
            tensor.copy_(tensors[name])


def merge(module: nn.Module) -> None:
    """Put all changes into the weights; the model is then a plain one of the same outputs."""
    for child in list(module.modules()):
        if parametrize.is_parametrized(child):
            parametrize.remove_parametrizations(child, "weight", leave_parametrized=True)
