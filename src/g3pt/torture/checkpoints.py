"""Hostile checkpoints: damaged files, and whole ones that say something else than they hold."""

import json
import tempfile
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import save

from g3pt.hashes import file_sha256
from g3pt.torture.damage import (
    FOREIGN,
    Rng,
    damaged_bytes,
    damaged_json_bytes,
    pick,
    replace_by_special,
)
from g3pt.torture.doors import Door, Hostile
from g3pt.training.checkpoint import (
    MANIFEST,
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    load_module_tensors,
    save_checkpoint,
)

STEP = 7
STATE = "state.json"


class Checkpoints(Door):
    """Checkpoints of training runs."""

    name = "checkpoints"
    promise = "a checkpoint gives what training wrote, all of it, or is refused"
    errors = (CheckpointError,)

    def write(self, folder: Path, rng: Rng) -> Hostile:
        """A folder of checkpoints with one in it."""
        path = folder / f"step-{STEP}"
        path.mkdir()
        for name, content in sound_checkpoint().items():
            (path / name).write_bytes(content)
        name = pick(tuple(sound_checkpoint()), rng)
        file = path / name
        match int(rng.integers(10)):
            case 0:
                return Hostile(folder, "sound", "open")
            case 1:
                what = pick(tuple(FOREIGN), rng)
                file.write_bytes(FOREIGN[what])
                if rng.random() < 0.5:
                    sign(path)
                return Hostile(folder, f"{name}: {what}", "refuse")
            case 2:
                file.unlink()
                return Hostile(folder, f"without {name}", "refuse")
            case 3:
                what = replace_by_special(path / pick((MANIFEST, STATE), rng), rng)
                return Hostile(folder, what, "refuse")
            case 4:
                how, content = damaged_bytes(file.read_bytes(), rng)
                file.write_bytes(content)
                return Hostile(folder, f"{name}: {how}", "either" if name == MANIFEST else "refuse")
            case 5 | 6:
                manifest = json.loads((path / MANIFEST).read_bytes())
                what, content = damaged_json_bytes(manifest, rng)
                (path / MANIFEST).write_bytes(content)
                return Hostile(folder, f"{MANIFEST}: {what}")
            case 7:
                state = json.loads((path / STATE).read_bytes())
                what, content = damaged_json_bytes(state, rng)
                (path / STATE).write_bytes(content)
                sign(path)
                return Hostile(folder, f"{STATE}, signed: {what}")
            case 8:
                extra = save({"weight": torch.ones(3)})
                (path / "more.safetensors").write_bytes(extra)
                return Hostile(folder, "tensors that the manifest does not list", "refuse")
            case _:
                shape = pick(((3,), (4, 2), (2, 4, 1)), rng)
                content = save({"weight": torch.ones(*shape), "bias": torch.ones(2)})
                (path / "model.safetensors").write_bytes(content)
                sign(path)
                return Hostile(folder, f"signed weight of shape {shape}", "refuse")

    def enter(self, path: Path) -> None:
        """Load it into the module that it is of."""
        loaded = load_checkpoint(path, STEP)
        assert loaded.step == STEP and loaded.state["step"] == STEP
        assert loaded.tensors.keys() == {"model"}
        try:
            load_module_tensors(torch.nn.Linear(4, 2), loaded.tensors["model"])
        except CheckpointError as error:  # says which tensor; who calls it names the run
            raise CheckpointError(f"{path}: {error}") from None


@lru_cache(maxsize=1)
def sound_checkpoint() -> dict[str, bytes]:
    """The files of a small checkpoint."""
    tensors = {"weight": torch.arange(8.0).view(2, 4), "bias": torch.zeros(2)}
    state = {"elapsed": 1.5, "metrics": {"loss": [1.0, 0.5]}, "rng": [1, 2, 3]}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Checkpoint(step=STEP, tensors={"model": tensors}, state=state)
        written = save_checkpoint(Path(folder), checkpoint, keep=1)
        return {path.name: path.read_bytes() for path in sorted(written.iterdir())}


def sign(path: Path) -> None:
    """Write the checksums of the files that are there into the manifest, if it can be read."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        for name, entry in manifest["files"].items():
            entry["sha256"] = file_sha256(path / name)
    except (ValueError, TypeError, KeyError, RecursionError):
        return
    (path / MANIFEST).write_text(json.dumps(manifest))
