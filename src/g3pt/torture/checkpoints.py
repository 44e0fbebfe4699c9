"""Hostile checkpoints: damaged files, and whole ones that say something else than they hold.

All are made from one that a short training wrote, and are read by what resumes a training.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn

from g3pt.hashes import file_sha256
from g3pt.torture.damage import (
    FOREIGN,
    Rng,
    damaged_bytes,
    damaged_json_bytes,
    pick,
    replace_by_special,
)
from g3pt.torture.doors import Door, Hostile, Must
from g3pt.torture.signed_folders import damaged_tensors
from g3pt.training.checkpoint import MANIFEST, STATE, CheckpointError, module_tensors
from g3pt.training.config import TrainConfig
from g3pt.training.loop import restore, train
from g3pt.training.optim import MuonConfig
from g3pt.training.task import Part, TaskOutput

STEP = 7
FOLDER = "checkpoints"
TENSORS = ("model.safetensors", "ema.safetensors", "optimizer.safetensors")
CONFIG = TrainConfig(
    steps=STEP,
    device="cpu",
    prefetch=False,
    hang_seconds=0,
    log_every=4,
    eval_every=0,
    checkpoint_every=STEP,
    keep_checkpoints=1,
)
OPTIM = MuonConfig()
"""Its state has all slots that there are: it leaves biases to AdamW."""


class Checkpoints(Door):
    """Checkpoints of training runs."""

    name = "checkpoints"
    promise = "a checkpoint gives what training wrote, all of it, or is refused"
    errors = (CheckpointError,)

    def write(self, folder: Path, rng: Rng) -> Hostile:
        """A run folder with one checkpoint in it."""
        path = folder / FOLDER / f"step-{STEP}"
        path.mkdir(parents=True)
        for name, content in sound_checkpoint().items():
            (path / name).write_bytes(content)
        name = pick(tuple(sound_checkpoint()), rng)
        file = path / name
        # Without a manifest it is none, and the training begins anew.
        must: Must = "either" if name == MANIFEST else "refuse"
        match int(rng.integers(14)):
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
                return Hostile(folder, f"without {name}", must)
            case 3:
                name = pick((MANIFEST, STATE), rng)
                return Hostile(folder, f"{name}: {replace_by_special(path / name, rng)}", "either")
            case 4:
                how, content = damaged_bytes(file.read_bytes(), rng)
                file.write_bytes(content)
                return Hostile(folder, f"{name}: {how}", must)
            case 5:
                manifest = json.loads((path / MANIFEST).read_bytes())
                what, content = damaged_json_bytes(manifest, rng)
                (path / MANIFEST).write_bytes(content)
                return Hostile(folder, f"{MANIFEST}: {what}")
            case 6 | 7 | 8:
                state = json.loads((path / STATE).read_bytes())
                what, content = damaged_json_bytes(state, rng)
                (path / STATE).write_bytes(content)
                sign(path)
                return Hostile(folder, f"{STATE}, signed: {what}")
            case 9:
                (path / "more.safetensors").write_bytes(file.read_bytes())
                return Hostile(folder, "a file that the manifest does not list", "refuse")
            case _:
                name = pick(TENSORS, rng)
                before = (path / name).read_bytes()
                what, content = damaged_tensors(before, rng)
                (path / name).write_bytes(content)
                sign(path)
                # A parameter that never had a gradient has no state.
                lost = load(before).keys() - load(content).keys()
                forgotten = any(key.startswith("momentum_buffer/") for key in lost)
                must = "either" if forgotten else "refuse"
                return Hostile(folder, f"{name}, signed: {what}", must)

    def enter(self, path: Path) -> None:
        """Resume the training that it is of, up to its next step."""
        task = _ShortTask()
        state = restore(task, optim=OPTIM, config=CONFIG, run_dir=path)
        if state.step == 0:  # the manifest is missing
            return
        assert state.step == STEP and 0 < state.lr_scale <= 1
        wanted = load(sound_checkpoint()["model.safetensors"])
        found = module_tensors(task.module)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


class _ShortTask:
    """Learns a fixed function with a network that has parameters for every optimiser."""

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.module = nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16), nn.Linear(16, 2))
        self.module.register_buffer("mean", torch.zeros(16))

    def batch(self, step: int, part: Part) -> Tensor:
        return torch.linspace(-1, 1, 64).view(4, 16) * (1 + step % 3)

    def loss(self, batch: Tensor, *, step: int, progress: float) -> TaskOutput:
        return TaskOutput((self.module(batch) - batch[:, :2]).square().mean())

    def order_key(self, part: Part) -> str:
        return "short"

    def sample_ids(self, batch: Tensor) -> Sequence[str]:
        return ["0", "1", "2", "3"]

    def evaluate(self, step: int, progress: float) -> Mapping[str, float]:
        return {}


@lru_cache(maxsize=1)
def sound_checkpoint() -> dict[str, bytes]:
    """The files of a checkpoint that a short training wrote."""
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        train(_ShortTask(), optim=OPTIM, config=CONFIG, run_dir=Path(folder))
        written = Path(folder) / FOLDER / f"step-{STEP}"
        state: dict[str, Any] = json.loads((written / STATE).read_bytes())
        state["loop"]["elapsed"] = 1.5  # so that a seed gives the same file
        (written / STATE).write_text(json.dumps(state, indent=1))
        sign(written)
        return {path.name: path.read_bytes() for path in sorted(written.iterdir())}


def sign(path: Path) -> None:
    """Write sizes and checksums of the files that are there into the manifest, if it is one."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        for name, entry in manifest["files"].items():
            entry["bytes"] = (path / name).stat().st_size
            entry["sha256"] = file_sha256(path / name)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return
    (path / MANIFEST).write_text(json.dumps(manifest))
