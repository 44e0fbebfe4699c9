"""A config cannot ask for much more than the tensors that are stored beside it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from g3pt.models.weights.building import SPARE_PARAMETERS, SPARE_VALUES, building
from g3pt.models.weights.places import WeightsError

STORED = {"a": torch.zeros(1)}


def many_layers() -> None:
    for _ in range(SPARE_PARAMETERS // 2 + 2):
        nn.Linear(1, 1)


def large_layer() -> None:
    nn.Linear(SPARE_VALUES // 2, 3, device="meta")


def wrong_value() -> None:
    raise ValueError("car.depth must be at least 1")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (many_layers, "asks for more than 1002 tensors"),
        (large_layer, "asks for a tensor of 25165824 numbers"),
        (lambda: nn.Linear(-1, 1), "the model cannot be built"),
        (wrong_value, "car.depth must be at least 1"),
    ],
)
def test_what_cannot_be_built_is_refused_by_file(build: Callable[[], None], words: str) -> None:
    with pytest.raises(WeightsError, match=rf"folder/config\.json: .*{words}"):
        with building(STORED, Path("folder")):
            build()


def test_a_refusal_of_weights_goes_on_as_it_is() -> None:
    with pytest.raises(WeightsError, match=r"^mine$"), building(STORED, Path("folder")):
        raise WeightsError("mine")
