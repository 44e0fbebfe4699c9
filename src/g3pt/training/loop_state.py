"""What a resumed run needs beside its tensors, and the check of what a checkpoint says of it."""

from dataclasses import dataclass, field, fields
from typing import Annotated

from pydantic import Field

from g3pt.config import ConfigError, check_json
from g3pt.training.checkpoint import REMEDY, STATE, Checkpoint, CheckpointError

Count = Annotated[int, Field(ge=0, le=2**53)]
Sums = Annotated[list[float], Field(min_length=2, max_length=2)]
ADDED_LATER = ("best", "stale")
"""Fields that checkpoints of earlier versions lack."""


@dataclass
class LoopState:
    """State that a resumed run needs in addition to the tensors; saved as JSON."""

    step: Count = 0
    """Steps that are done, skipped ones included."""
    elapsed: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Seconds, over all resumptions."""
    lr_scale: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor of the learning rate; each rollback halves it."""
    rollbacks: Count = 0
    skips_in_a_row: Count = 0
    avoided: list[Count] = field(default_factory=list[int])
    """Steps whose batches led to a rollback; they are skipped from then on."""
    window: dict[str, Sums] = field(default_factory=dict[str, list[float]])
    """Sum and count of each metric since it was last logged."""
    last_loss: float | None = None
    best: float | None = None
    """The largest value of `keep_best` so far."""
    stale: Count = 0
    """Evaluations since then."""


@dataclass
class _Saved:
    loop: LoopState


def loop_state(checkpoint: Checkpoint) -> LoopState:
    """The state of the loop in a checkpoint.

    Raises:
        CheckpointError: naming the file and the field, if it is not one that training wrote.
    """
    file = checkpoint.folder / STATE
    try:
        check_json(_Saved, checkpoint.state, origin=str(file))
    except ConfigError as error:
        raise CheckpointError(f"{error}; {REMEDY}") from None
    origin, data = f"{file}: loop", checkpoint.state["loop"]
    known = {one.name for one in fields(LoopState)}
    if missing := known - data.keys() - set(ADDED_LATER):
        raise CheckpointError(f"{origin}.{min(missing)}: is missing; {REMEDY}")
    if unknown := data.keys() - known:
        raise CheckpointError(f"{origin}.{min(unknown)}: unknown field; {REMEDY}")
    state = LoopState(**data)
    if state.step != checkpoint.step:
        raise CheckpointError(
            f"{origin}.step: expected {checkpoint.step}, as the folder says, got {state.step}; "
            f"{REMEDY}"
        )
    if state.window and "loss" not in state.window:
        raise CheckpointError(f"{origin}.window: expected sums of the loss, got none; {REMEDY}")
    for name, (_, count) in state.window.items():
        if not count >= 1:
            raise CheckpointError(
                f"{origin}.window.{name}: expected a count of at least 1, got {count}; {REMEDY}"
            )
    return state
