"""The state of the loop in a checkpoint is what training wrote, or is refused by file and field."""

from dataclasses import asdict
from pathlib import Path

import pytest

OF_FIRST_VERSION = {
    "step": 8,
    "elapsed": 1.5,
    "lr_scale": 0.5,
    "rollbacks": 1,
    "skips_in_a_row": 2,
    "avoided": [3, 4],
    "window": {"loss": [2.5, 2.0], "largest": [float("nan"), 2.0]},
    "last_loss": None,
}
"""Fields `best` and `stale` came later; only the loss and the gradient are always finite."""


def read(loop, step=8):
    from g3pt.training.checkpoint import Checkpoint
    from g3pt.training.loop_state import loop_state

    folder = Path("run/checkpoints/step-8")
    return loop_state(Checkpoint(step=step, tensors={}, state={"loop": loop}, folder=folder))


def test_states_of_all_versions_are_read():
    from g3pt.training.loop_state import LoopState

    assert read(OF_FIRST_VERSION) == LoopState(**OF_FIRST_VERSION)
    now = LoopState(step=8, best=0.5, stale=2, last_loss=1.0)
    assert read(asdict(now)) == now


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("step", 3),
        ("step", "8"),
        ("elapsed", float("inf")),
        ("elapsed", -1.0),
        ("lr_scale", float("nan")),
        ("lr_scale", -5),
        ("lr_scale", 0),
        ("lr_scale", None),
        ("rollbacks", "x"),
        ("skips_in_a_row", 0.5),
        ("avoided", [-1]),
        ("window", {"loss": [1.0]}),
        ("window", {"loss": [1.0, 0.0]}),
        ("window", {"largest": [1.0, 1.0]}),
        ("last_loss", "x"),
        ("best", []),
        ("stale", True),
    ],
)
def test_a_field_that_training_cannot_have_written_is_named(field, value):
    from g3pt.training.checkpoint import CheckpointError

    said = rf"step-8/state\.json: loop\.{field}[.:].*; go on from another"
    with pytest.raises(CheckpointError, match=said):
        read({**OF_FIRST_VERSION, field: value})


def test_missing_and_unknown_fields_are_named():
    less = {name: value for name, value in OF_FIRST_VERSION.items() if name != "lr_scale"}
    with pytest.raises(ValueError, match=r"state\.json: loop\.lr_scale: is missing"):
        read(less)
    with pytest.raises(ValueError, match=r"state\.json: loop\.odd: unknown field"):
        read({**OF_FIRST_VERSION, "odd": 1})
    for loop in (None, [], "x"):
        with pytest.raises(ValueError, match=r"state\.json: loop: "):
            read(loop)
