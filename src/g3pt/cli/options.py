"""Shared by all commands: common flags, paths of outputs, printing, and errors of the work."""

import errno
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro

from g3pt.arguments import MAX_SEED, PromptError
from g3pt.files import BusyError

if TYPE_CHECKING:
    from g3pt.generation.pipeline import G3PT
    from g3pt.models.weights.precision import DtypeName

MESH_FORMATS = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off", ".3mf", ".usdz")

Adapter = Annotated[
    Path | None,
    tyro.conf.arg(help="Folder of an adapter for these weights, as `g3pt finetune` writes it."),
]
"""The flag `--adapter` of commands that generate."""
Inputs = Annotated[tuple[Path, ...], tyro.conf.Positional]
"""File names without a flag."""
Output = Annotated[Path, tyro.conf.arg(aliases=["-o"])]

STOPPED = 75
"""Exit code of a command that was asked to stop, kept what it had done, and goes on if it is
started again. This is `EX_TEMPFAIL`; launch files of clusters put the job back into the queue."""


class WorkError(RuntimeError):
    """The inputs were right, but the work failed: exit code 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CommonOptions:
    """Flags that every command takes."""

    weights: str = "g3pt-small"
    """Name of bundled weights, a weights folder, the folder of a training run, or OWNER/NAME on the
    Hugging Face hub."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device that the models run on."""

    seed: int = 0
    """Seed of everything random; sample k has seed + k."""

    json: bool = False
    """Print one JSON object on stdout and nothing else."""


OptionsT = TypeVar("OptionsT", bound=CommonOptions)


def parse(cls: type[OptionsT], command: str, arguments: Sequence[str]) -> OptionsT:
    """Read the flags of a command; exit with code 2 and a usage line if they are wrong.

    Raises:
        ValueError: if a common flag is out of range.
    """
    options = tyro.cli(
        cls,
        prog=f"g3pt {command}",
        args=list(arguments),
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
    )
    if given := getattr(options, "text", None):
        said = readable(given) if isinstance(given, str) else tuple(map(readable, given))
        options = replace(options, **{"text": said})
    if not 0 <= options.seed <= MAX_SEED:
        raise ValueError(f"--seed must lie in 0..{MAX_SEED}, got {options.seed}")
    return options


def open_pipeline(
    options: CommonOptions, *, dtype: "DtypeName" = "auto", adapter: Path | None = None
) -> "G3PT":
    """Load the weights or the run that --weights names.

    Raises:
        FileNotFoundError, ValueError: as `load_models` does, or if there are no discrete tokens.
    """
    from g3pt.generation.pipeline import G3PT
    from g3pt.training.usable import load_models

    return G3PT(load_models(options.weights, options.device, dtype=dtype, adapter=adapter))


FORESEEN = (ValueError, OSError, RuntimeError, ImportError, MemoryError, KeyboardInterrupt)
"""Kinds of errors that are raised on purpose, with a sentence for whoever reads it."""
FAULTS = (NotImplementedError, RecursionError)
"""Errors of these kinds that are not."""


def is_unexpected(error: BaseException) -> bool:
    """Whether an error is none that is raised on purpose, so that it is a fault of g3pt."""
    return isinstance(error, FAULTS) or not isinstance(error, FORESEEN)


def sentence(error: BaseException) -> str:
    """The message of an error as one line of letters that a terminal can show."""
    if isinstance(error, MemoryError):
        told = " ".join(str(error).split())
        text = f"not enough memory: {told}" if told else "not enough memory"
    elif isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{os.fsdecode(error.filename)}: {error.strerror}"
    elif is_unexpected(error):
        told = " ".join(("", *str(error).split()))
        kind = f"{type(error).__name__}:" if told else type(error).__name__
        text = f"unexpected {kind}{told}; G3PT_TRACEBACK=1 shows where"
    else:
        text = " ".join(str(error).split()) or type(error).__name__
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def readable(argument: str) -> str:
    """A sentence from the command line as text, also where the locale knows no UTF-8.

    Raises:
        ValueError: if it is no text in UTF-8.
    """
    try:
        return argument.encode("utf-8", "surrogateescape").decode()
    except UnicodeError:
        raise ValueError(f"--text {argument}: expected text in UTF-8") from None


@contextmanager
def working(what: str) -> Iterator[None]:
    """Turn errors of the block into `WorkError`: inputs were checked before, so the work failed.

    Raises:
        WorkError: in place of any error except the user's interrupt, and `PromptError` and
            `BusyError`: requests that cannot be carried out as they are.
    """
    try:
        yield
    except (WorkError, PromptError, BusyError, KeyboardInterrupt):
        raise
    except Exception as error:
        named = isinstance(error, OSError | MemoryError) or is_unexpected(error)
        kind = "" if named else f"{type(error).__name__}: "
        raise WorkError(f"{what}: {kind}{sentence(error)}") from error


@contextmanager
def naming_splits() -> Iterator[None]:
    """Name the flag where --split leaves nothing of a set."""
    from g3pt.evaluation.objects import EVERY_SPLIT
    from g3pt.shapes.shape_set import SelectionError

    try:
        yield
    except SelectionError as error:
        raise ValueError(
            f"{error}; choose with --split NAME, or take all with --split {EVERY_SPLIT}"
        ) from None


def say(text: str) -> None:
    """Print progress and notes on stderr."""
    print(text, file=sys.stderr, flush=True)


def report(options: CommonOptions, result: dict[str, Any], lines: Sequence[str]) -> None:
    """Print the result: one JSON object, or readable lines."""
    print(json.dumps(result, allow_nan=False) if options.json else "\n".join(lines), flush=True)


def require_files(paths: Sequence[Path], what: str) -> None:
    """Check that all inputs exist before any work begins.

    Raises:
        ValueError: if there is no input at all.
        FileNotFoundError: if one is missing; the message names the first.
    """
    if not paths:
        raise ValueError(f"no {what} given: name at least one file")
    for path in paths:
        if path.is_dir():
            raise ValueError(f"{path}: is a folder; name the {what} in it")
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such {what}")


def plan_outputs(
    output: Path, stems: Sequence[str], formats: Sequence[str], *, folder_suffix: str
) -> list[Path]:
    """The path of each result: the named file, or a file of the result's stem in a folder.

    Nothing is created yet. Stems that occur more than once are numbered.

    Args:
        output: a file of one of the formats, or a folder.
        stems: one per result.
        formats: suffixes that can be written.
        folder_suffix: format of files in a folder.

    Raises:
        ValueError: if several results would be written to one file, or the suffix is unknown.
        OSError: if nothing can be written there.
    """
    require_writable(output)
    if output.suffix.lower() in formats and not output.is_dir():
        if len(stems) > 1:
            raise ValueError(
                f"{output}: {len(stems)} results do not fit one file; name a folder instead"
            )
        return [output]
    if output.suffix and not output.is_dir():
        raise ValueError(
            f"{output}: {output.suffix} cannot be written; choose {', '.join(formats)} or a folder"
        )
    if output.is_file():
        raise ValueError(f"{output}: is a file, a folder is needed")
    counts: dict[str, int] = {}
    paths: list[Path] = []
    for stem in stems:
        counts[stem] = counts.get(stem, 0) + 1
        number = f"-{counts[stem]}" if counts[stem] > 1 else ""
        paths.append(output / f"{stem}{number}{folder_suffix}")
    return paths


def require_writable(path: Path) -> None:
    """Check before the work that a file or folder can be made, as far as that can be known.

    Raises:
        OSError: naming the path, if its name is too long, or its folder cannot be written to.
    """
    there = path
    while True:
        try:
            os.stat(there)
            break
        except FileNotFoundError:
            if there == there.parent:  # the working folder has been removed
                raise
            there = there.parent
    folder = there if there.is_dir() else there.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
        number = errno.EROFS if read_only else errno.EACCES
        raise OSError(number, os.strerror(number), os.fspath(path))


def require_folder(path: Path) -> None:
    """Check before the work that files can be written to a folder, which may be a new one.

    Raises:
        ValueError: if it is a file, a pipe or a device.
        OSError: as `require_writable`.
    """
    require_writable(path)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path}: is a file, a folder is needed")


def require_suffix(path: Path, suffixes: Sequence[str], flag: str) -> None:
    """Check the format of one output file.

    Raises:
        ValueError: if the suffix is not one of `suffixes`; the message lists them.
    """
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{flag} {path}: write to a file named {' or '.join(suffixes)}")


def make_folder_for(path: Path) -> None:
    """Create the folder that a result goes into."""
    path.parent.mkdir(parents=True, exist_ok=True)


def names_of(text: str) -> tuple[str, ...]:
    """Split names that are separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def words_to_stem(text: str) -> str:
    """A file name from a sentence."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return "-".join(words)[:48].strip("-") or "text"
