"""From a run to how its row is prepared, kept, measured and described."""

from typing import assert_never

from g3pt.reproduce.car_rows import CarRows
from g3pt.reproduce.rival_rows import RivalRows
from g3pt.reproduce.row_kind import RowKind
from g3pt.reproduce.tokenizer_rows import TokenizerRows
from g3pt.training.kinds.car import CarRun
from g3pt.training.kinds.flow import FlowRun
from g3pt.training.kinds.regressor import RegressorRun
from g3pt.training.kinds.stream import StreamRun
from g3pt.training.kinds.tokenizer import TokenizerRun
from g3pt.training.runs import Run


def kind_of(run: Run) -> RowKind:
    """The kind of a run; another kind of run is one more case here.

    Raises:
        ValueError: if rows are not made of such runs.
    """
    match run:
        case TokenizerRun():
            return TokenizerRows(run)
        case CarRun():
            return CarRows(run)
        case FlowRun() | RegressorRun():
            return RivalRows(run)
        case StreamRun():
            raise ValueError(f"{run.name}: a training on a stream is no row of a table")
        case _:
            assert_never(run)
