"""Checkpoints that are written atomically, and loading of the newest sound one.

A checkpoint is a folder `step-N` of safetensors and JSON, written under a temporary name,
flushed to disk, listed with checksums in `manifest.json` and renamed into place last.

It holds whole tensors, whatever number of processes trained and however they cut the tensors
(docs/decisions/0013-checkpoints-hold-whole-tensors.md). So any number of processes can go on from
it, and what exports or evaluates weights reads one kind of file.
"""

import json
import logging
import os
import shutil
import stat
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from g3pt.files import read_json, write_tensors_whole, write_whole
from g3pt.hashes import file_sha256
from g3pt.training.distributed import own, spread_like, whole

LOGGER = logging.getLogger(__name__)
MANIFEST = "manifest.json"
STATE = "state.json"
REMEDY = "go on from another checkpoint, or start again in a new folder"


class CheckpointError(ValueError):
    """A checkpoint that is incomplete, damaged, or of another model."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: groups of named tensors and a JSON state."""

    step: int
    tensors: Mapping[str, dict[str, Tensor]]
    """Groups of tensors by file stem: `model`, `ema`, `optimizer`."""
    state: Mapping[str, Any]
    folder: Path = Path()
    """The folder that it was read from."""

    def file(self, group: str) -> Path:
        """The file of a group of tensors."""
        return self.folder / f"{group}.safetensors"

    def group(self, name: str) -> dict[str, Tensor]:
        """A group of tensors.

        Raises:
            CheckpointError: if the checkpoint has no such file.
        """
        if name not in self.tensors:
            raise CheckpointError(f"{self.file(name)}: is not part of the checkpoint")
        return self.tensors[name]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write `folder/step-N` and remove all but the newest `keep` checkpoints.

    A checkpoint of the same step is replaced. A call that is killed half way leaves only a
    temporary folder behind, which the next call removes.

    Raises:
        FileNotFoundError: if the run folder, in which `folder` is made, is not there.
        OSError: naming the file, if one cannot be written.
    """
    folder.mkdir(exist_ok=True)
    _remove_leftovers(folder)
    target = folder / f"step-{checkpoint.step}"
    temporary = folder / f".tmp-{target.name}-{os.getpid()}"
    try:
        temporary.mkdir()
        _write(temporary, checkpoint)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)  # it may fill the disk
        raise
    if target.exists():
        target.rename(folder / f".tmp-old-{target.name}-{os.getpid()}")
    temporary.rename(target)
    _flush(folder)
    _remove_leftovers(folder)
    for step in list_checkpoints(folder)[keep:]:
        _discard(folder, step)
    return target


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the files of a checkpoint, the manifest last, and flush them to disk."""
    for stem, tensors in checkpoint.tensors.items():
        contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        write_tensors_whole(folder / f"{stem}.safetensors", contiguous)
    state = {"step": checkpoint.step, **checkpoint.state}
    write_whole(folder / STATE, json.dumps(state, indent=1))
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(folder.iterdir())
    }
    write_whole(folder / MANIFEST, json.dumps({"step": checkpoint.step, "files": files}, indent=1))
    _flush(folder)


class CheckpointWriter:
    """Writes checkpoints in a thread while training goes on, one at a time.

    A process that is killed meanwhile leaves the former checkpoints.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[Path] | None = None

    def save(self, folder: Path, checkpoint: Checkpoint, *, keep: int) -> None:
        """Begin `save_checkpoint` after the one before is done.

        The tensors must not change any more: give copies, as `host_copies` makes.

        Raises:
            OSError: if the one before could not be written.
        """
        self.wait()
        self._pending = self._pool.submit(save_checkpoint, folder, checkpoint, keep=keep)

    def wait(self) -> None:
        """Return when the last checkpoint is written.

        Raises:
            OSError: if it could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Wait, and end the thread."""
        try:
            self.wait()
        finally:
            self._pool.shutdown()


def host_copies(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Copies of whole tensors in the memory of the host.

    All processes must call it with the same names. A sharded tensor is gathered alone, so that no
    more than one is whole on a device.

    Args:
        tensors: tensors by name.
        keep: False gives an empty dictionary, on the processes that write nothing.
    """
    copies: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        full = whole(tensor.detach())
        if keep:
            copies[name] = full.to("cpu", copy=True).contiguous()
    return copies


def is_run_folder(source: str | Path) -> bool:
    """Whether a path is a run folder, as training writes it, and not a weights folder."""
    return (Path(source) / "checkpoints").is_dir()


def list_checkpoints(folder: Path) -> list[int]:
    """Steps with a complete checkpoint folder, newest first (contents are not verified)."""
    if not folder.is_dir():
        return []
    steps = [
        int(path.name.removeprefix("step-"))
        for path in folder.iterdir()
        if path.name.removeprefix("step-").isdigit() and (path / MANIFEST).is_file()
    ]
    return sorted(steps, reverse=True)


def load_checkpoint(folder: Path, step: int) -> Checkpoint:
    """Read and verify one checkpoint.

    Raises:
        CheckpointError: if a file is missing, cut or altered.
    """
    source = folder / f"step-{step}"
    try:
        _verify(source)
        tensors = {path.stem: load_file(path) for path in source.glob("*.safetensors")}
        state = read_json(source / STATE, CheckpointError)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{source}: damaged checkpoint: {error}") from error
    if not isinstance(state, dict) or state.get("step") != step:
        raise CheckpointError(f"{source / STATE}: is not the state of step {step}")
    return Checkpoint(step=step, tensors=tensors, state=state, folder=source)


def _verify(source: Path) -> None:
    """Check that a checkpoint has exactly the files of its manifest, each with its checksum.

    Raises:
        OSError, CheckpointError: if it has not.
    """
    manifest = read_json(source / MANIFEST, CheckpointError)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    present = {path.name for path in source.iterdir()} - {MANIFEST}
    if not isinstance(files, dict) or files.keys() != present or STATE not in present:
        raise CheckpointError(f"{source / MANIFEST}: does not list the files that are there")
    for name, expected in files.items():
        if not isinstance(expected, dict) or not {"bytes", "sha256"} <= expected.keys():
            raise CheckpointError(f"{source / MANIFEST}: files.{name}: expected bytes and sha256")
        if (
            not stat.S_ISREG((status := (source / name).stat()).st_mode)
            or status.st_size != expected["bytes"]  # before all of it is hashed
            or file_sha256(source / name) != expected["sha256"]
        ):
            raise CheckpointError(f"{source / name}: does not match its checksum")


def load_newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the newest sound checkpoint, skipping damaged ones with a warning.

    Returns:
        None if there are no checkpoints at all.

    Raises:
        CheckpointError: if there are some and none is sound.
    """
    steps = list_checkpoints(folder)
    for step in steps:
        try:
            return load_checkpoint(folder, step)
        except CheckpointError as error:
            LOGGER.warning("%s; falling back to the one before", error)
    if steps:
        raise CheckpointError(
            f"{folder}: none of the {len(steps)} checkpoints is sound; start again in a new folder"
        )
    return None


def module_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters (tied ones once) and persistent buffers, by name."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor.detach()
    return tensors


def require_like(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: str | Path
) -> None:
    """Check that a file of a checkpoint holds exactly the wanted tensors, all of them finite.

    Args:
        tensors: what the file holds, whole.
        wanted: tensors of the wanted names, shapes and number formats, whole or sharded.
        file: named in errors.

    Raises:
        CheckpointError: if a name, a shape or a number format differs, or a number is not finite.
    """
    if differing := sorted(wanted.keys() ^ tensors.keys()):
        what = "lacks" if differing[0] in wanted else "holds the unknown"
        raise CheckpointError(
            f"{file}: is of another model: {what} tensor {differing[0]} ({len(differing)} differ); "
            f"{REMEDY}"
        )
    for name, like in wanted.items():
        given = tensors[name]
        if given.shape != like.shape:
            raise CheckpointError(
                f"{file}: is of another model: {name} has shape {tuple(given.shape)}, expected "
                f"{tuple(like.shape)}; {REMEDY}"
            )
        if given.dtype != like.dtype:
            raise CheckpointError(
                f"{file}: {name} holds numbers of {given.dtype}, expected {like.dtype}; {REMEDY}"
            )
        if not bool(given.isfinite().all()):
            raise CheckpointError(f"{file}: {name} holds numbers that are not finite; {REMEDY}")


@torch.no_grad()
def load_module_tensors(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    file: str | Path = "the checkpoint",
    *,
    partly: bool = False,
) -> None:
    """Copy the tensors of a checkpoint into a module with exactly these names and shapes.

    Args:
        module: what they are copied into.
        tensors: whole tensors, as `module_tensors` gives them.
        file: where they come from, named in errors.
        partly: whether tensors of the module may be missing; they stay.

    Raises:
        CheckpointError: if they do not fit (`require_like`); nothing is copied then.
    """
    ours = module_tensors(module)
    if partly:
        ours = {name: tensor for name, tensor in ours.items() if name in tensors}
    require_like(tensors, ours, file)
    for name, tensor in ours.items():
        own(tensor).copy_(own(spread_like(tensors[name], tensor)))


def discard_after(folder: Path, step: int) -> None:
    """Remove checkpoints newer than `step` (damaged, or written before a rollback)."""
    for newer in list_checkpoints(folder):
        if newer > step:
            _discard(folder, newer)


def _discard(folder: Path, step: int) -> None:
    # Renamed first: a deletion that is cut short must not leave half a checkpoint behind.
    doomed = folder / f".tmp-old-step-{step}-{os.getpid()}"
    (folder / f"step-{step}").rename(doomed)
    shutil.rmtree(doomed)


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob(".tmp-*"):
        shutil.rmtree(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
