"""From a run to a training: prepare what is missing, build the task, begin."""

from pathlib import Path

from g3pt.config import save_json, to_json
from g3pt.models.tokenizer import Tokenizer
from g3pt.training.environment import describe_environment
from g3pt.training.kinds.contract import SyntheticTask
from g3pt.training.loop import TrainResult, train
from g3pt.training.runs import CONFIG_FILE, Run, kind_of


def start(run: Run, folder: Path, *, resume: bool = False, workers: int = 1) -> TrainResult:
    """Prepare what is missing, write the resolved config, and train.

    Args:
        run: what to train.
        folder: the run folder; made when it is not there.
        resume: go on from its newest checkpoint, or begin if there is none.
        workers: processes that prepare shapes.

    Raises:
        FileExistsError: if there is a run in `folder` and `resume` is False.
    """
    folder = Path(folder)
    if (folder / CONFIG_FILE).exists() and not resume:
        raise FileExistsError(f"{folder} holds a run already: pass --resume, or another --run")
    folder.mkdir(parents=True, exist_ok=True)
    run, tokenizer = complete(run, workers=workers)
    save_json(folder / CONFIG_FILE, run)
    task = open_task(run, tokenizer)
    description = {"run": to_json(run), "environment": describe_environment()}
    return train(
        task,
        optim=run.optim,
        config=run.train,
        run_dir=folder,
        resume=resume,
        description=description,
    )


def complete(run: Run, *, workers: int = 1) -> tuple[Run, Tokenizer | None]:
    """Prepare the data that `run` names; see `RunKind.complete`."""
    return kind_of(run).complete(run, workers=workers)


def open_task(run: Run, tokenizer: Tokenizer | None = None) -> SyntheticTask:
    """Build the model and the task around it; see `RunKind.open`."""
    return kind_of(run).open(run, tokenizer)
