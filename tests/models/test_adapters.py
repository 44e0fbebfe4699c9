"""Low-rank adapters of a model."""

import pytest
import torch
from torch import nn

from g3pt.models.adapters import adapt, adapter_tensors, is_adapted, load_adapter_tensors, merge


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 8)
        self.expand = nn.Linear(8, 12)
        self.read = nn.Linear(12, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        # One layer is called, of the other the weight is read: both must be adapted.
        return self.expand(self.words(ids)) @ self.read.weight.T


def small() -> Small:
    torch.manual_seed(0)
    model = Small()
    adapt(model, rank=2, scale=2.0, new_rows={"words": 2})
    return model


def disturb(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)


def test_an_untrained_adapter_changes_nothing() -> None:
    torch.manual_seed(0)
    ids = torch.arange(5)
    assert torch.equal(small()(ids), plain()(ids))


def plain() -> Small:
    torch.manual_seed(0)
    return Small()


def test_only_adapters_and_new_rows_are_trained() -> None:
    model = small()
    model(torch.arange(5)).square().sum().backward()
    trained = {name for name, each in model.named_parameters() if each.grad is not None}
    assert trained == {
        name for name in dict(model.named_parameters()) if ".parametrizations.weight.0." in name
    }
    disturb(model)
    assert torch.equal(model.words.weight[:3], plain().words.weight[:3])
    assert not torch.equal(model.words.weight[3:], plain().words.weight[3:])


def test_merged_weights_answer_as_the_adapted_model() -> None:
    model, ids = small(), torch.arange(5)
    disturb(model)
    adapted = model(ids)
    merge(model)
    assert not is_adapted(model)
    assert set(model.state_dict()) == set(Small().state_dict())
    torch.testing.assert_close(model(ids), adapted)


def test_tensors_of_an_adapter_restore_it() -> None:
    model, other = small(), small()
    disturb(model)
    load_adapter_tensors(other, adapter_tensors(model))
    assert torch.equal(other(torch.arange(5)), model(torch.arange(5)))
    assert {name.rpartition(".")[2] for name in adapter_tensors(model)} == {"up", "down", "rows"}


def test_an_adapter_of_another_model_is_refused() -> None:
    tensors = adapter_tensors(small())
    with pytest.raises(ValueError, match=r"read\.up has shape \(4, 2\), expected \(3, 2\)"):
        load_adapter_tensors(small(), tensors | {"read.up": torch.zeros(4, 2)})
    del tensors["read.up"]
    with pytest.raises(ValueError, match=r"read\.up is in one of them only"):
        load_adapter_tensors(small(), tensors)


def test_a_model_is_adapted_once_and_with_a_rank() -> None:
    with pytest.raises(ValueError, match="adapted already"):
        adapt(small(), rank=2, scale=1.0, new_rows={})
    with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
        adapt(Small(), rank=0, scale=1.0, new_rows={})
