"""Start the training of a run: check its inputs, prepare missing data, build the task, train."""

import logging
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from g3pt.config import save_json, to_json
from g3pt.files import alone_in
from g3pt.models.devices import resolve_device
from g3pt.models.tokenizer import Tokenizer
from g3pt.training.distributed import World
from g3pt.training.environment import describe_environment
from g3pt.training.input_checks import InputChecks
from g3pt.training.kinds.contract import SyntheticTask
from g3pt.training.loop import TrainResult, train
from g3pt.training.runs import CONFIG_FILE, Run, kind_of

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inventory:
    """A run whose paths and names were all checked."""

    run: Run
    """The run without optional inputs that do not exist."""
    left_out: tuple[str, ...]
    """The optional inputs that were left out, one line each."""
    made: tuple[str, ...]
    """Data to be made before the first step, one line each."""


def take_stock(run: Run, *, promised: Collection[str] = ()) -> Inventory:
    """Check every path and name of a run, without reading whole files or making anything.

    Args:
        run: the run to be trained.
        promised: folders of runs and files that will exist when training begins.

    Raises:
        FileNotFoundError: if something does not exist; the message lists all such fields.
        ValueError: if something exists but cannot be used; the message lists all such fields.
    """
    checks = InputChecks(promised)
    found = kind_of(run).check_inputs(run, checks)
    checks.raise_problems(run.name)
    return Inventory(found, tuple(checks.left_out), tuple(checks.made))


def start(run: Run, folder: Path, *, resume: bool = False, workers: int = 1) -> TrainResult:
    """Check every path and name, prepare what is missing, write the resolved config, and train.

    Args:
        run: what to train.
        folder: the run folder; created if it does not exist.
        resume: continue from its newest checkpoint, or begin if there is none.
        workers: processes that prepare shapes.

    Raises:
        FileExistsError: if there is a run in `folder` and `resume` is False.
        FileNotFoundError, ValueError: before anything is made, if a path or name is wrong.
    """
    folder = Path(folder)
    if not resume:
        require_unused(folder)
    resolve_device(run.train.device)  # before anything is made for it
    world = World.current()
    run, tokenizer = world.lead(lambda: complete(run, workers=workers))
    with _held(folder, world):
        if world.speaks:
            if not resume:
                require_unused(folder)  # another process may have begun meanwhile
            save_json(folder / CONFIG_FILE, run)
        world.meet()
        _require_shared(folder / CONFIG_FILE, world)
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


def _held(folder: Path, world: World) -> AbstractContextManager[None]:
    """Make the run folder and hold it for a process that trains alone.

    Several processes are kept apart by their launcher; a lock of a host that was lost might last.

    Raises:
        ValueError: if another process trains in it.
    """
    if world.speaks:
        folder.mkdir(parents=True, exist_ok=True)
    return alone_in(folder) if world.size == 1 else nullcontext()


def _require_shared(file: Path, world: World) -> None:
    """Check that all processes read the file that rank 0 wrote.

    Raises:
        ValueError: naming the ranks that do not.
    """
    text = file.read_text(encoding="utf-8") if file.is_file() else "there is no such file"
    world.require_same(str(file), text)


def require_unused(folder: Path) -> None:
    """Check that a new run can begin in a folder.

    Raises:
        FileExistsError: if there is a run in it.
    """
    if (folder / CONFIG_FILE).exists():
        raise FileExistsError(f"{folder} holds a run already: pass --resume, or another --run")


def complete(run: Run, *, workers: int = 1) -> tuple[Run, Tokenizer | None]:
    """Prepare the data that `run` names; see `RunKind.complete`.

    Optional inputs that do not exist are left out and logged.

    Raises:
        FileNotFoundError, ValueError: before anything is made, if a path or name is wrong.
    """
    stock = take_stock(run)
    for line in stock.left_out:
        LOGGER.warning("%s", line)
    return kind_of(stock.run).complete(stock.run, workers=workers)


def open_task(run: Run, tokenizer: Tokenizer | None = None) -> SyntheticTask:
    """Build the model and the task around it; see `RunKind.open`."""
    return kind_of(run).open(run, tokenizer)
