"""Command lines on machines that are broken."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from served import CUBE
from shared import made_once
from stocks import box

STAGE = Path(__file__).with_name("stage.py")
UNSHARE = ("unshare", "--map-root-user", "--net", "--mount")
"""Gives a process a mount table and a network of its own, which go with it."""
UNEXPECTED = re.compile(r"^g3pt: (.*: )?unexpected \w+[:;] ", re.MULTILINE)
"""What commands say of errors that are faults of g3pt."""


@dataclass
class Ended:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line on stderr: the error, if there was one."""
        return self.err.splitlines()[-1] if self.err else ""


class Machine:
    """Runs command lines with the process of `stage.py`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.without_mounts = why_no_mounts()
        self._stage = subprocess.Popen(
            [*(() if self.without_mounts else UNSHARE), sys.executable, str(STAGE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self._answer() == "ready"

    def ask(self, **request: Any) -> Any:
        """One request, as `stage.py` lists them."""
        assert self._stage.stdin is not None
        print(json.dumps(request), file=self._stage.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self._stage.stdout is not None
        return json.loads(self._stage.stdout.readline())

    def g3pt(self, *argv: object, **broken: Any) -> Ended:
        """Run `g3pt` to its end; `broken` as for a start.

        No machine is so broken that an error comes which nobody foresaw.
        """
        files = [self._folder / name for name in ("out", "err")]
        for file in files:
            file.write_bytes(b"")
        asked = {"folder": str(self._folder), "out": str(files[0]), "err": str(files[1])}
        if argv[0] in SMALL:
            broken["first"] = SMALL[str(argv[0])] + broken.get("first", "")
        started = self.ask(argv=[str(one) for one in argv], **{**asked, **broken})
        code = self.ask(wait=started)
        out, err = (file.read_bytes().decode("utf-8", "backslashreplace") for file in files)
        assert UNEXPECTED.search(err) is None, err
        return Ended(code, out, err)

    @contextmanager
    def disk(self, place: Path, options: str) -> Iterator[Path]:
        """A file system of its own, in memory, which only commands of this machine see."""
        if self.without_mounts:
            pytest.skip(self.without_mounts)
        place.mkdir(exist_ok=True)
        assert not self.ask(run=["mount", "-t", "tmpfs", "-o", options, "none", str(place)])
        try:
            yield place
        finally:
            self.ask(run=["umount", "--lazy", str(place)])

    def close(self) -> None:
        self._stage.communicate()


def why_no_mounts() -> str:
    """Why no file system can be mounted here; empty if one can."""
    if missing := [name for name in ("unshare", "mount") if shutil.which(name) is None]:
        return f"{', '.join(missing)} is not installed"
    tried = subprocess.run(
        [*UNSHARE, "mount", "-t", "tmpfs", "none", "/tmp"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"no right to mount: {tried.stderr}" if tried.returncode else ""


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    one = Machine(folder)
    argv = ["generate", "--text", "mug", "--resolution", "16", "--weights", str(tiny_weights)]
    assert one.ask(warm=[*argv, "-o", str(folder / "mug.glb")]) == 0
    yield one
    one.close()


@pytest.fixture(scope="session")
def given(
    tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path, folder_shards: Any
) -> dict[str, Path]:
    """Inputs by the names that command lines here have for them."""

    def make(folder: Path) -> None:
        from PIL import Image

        (folder / "cube.obj").write_text(CUBE)
        (folder / "rows.csv").write_text("id,text\na,a red mug\nb,a red table\n")
        Image.new("RGB", (64, 64), "white").save(folder / "mug.png")

    def make_meshes(folder: Path) -> None:
        from g3pt.geometry.mesh import write_mesh

        for number, high in enumerate((0.6, 1.0, 1.8)):
            write_mesh(folder / f"box_{number}.ply", box((0.0, 0.0, 0.0), (1.0, high, 0.8)))

    folder = made_once(tmp_path_factory, "given-to-machines", make)
    meshes = made_once(tmp_path_factory, "meshes-of-machines", make_meshes)
    return {"TINY": tiny_weights, "GIVEN": folder, "MESHES": meshes, "SHARDS": folder_shards.path}


@pytest.fixture
def command(given: dict[str, Path]):
    """A command line by name, with the folder of its output."""

    def make(name: str, out: Path, *more: object) -> list[str]:
        words = COMMANDS[name].split()
        for key, value in {**given, "OUT": out}.items():
            words = [word.replace(key, str(value)) for word in words]
        return [*words, *map(str, more)]

    return make


COMMANDS = {
    "generate": "generate --text mug -o OUT/mug.glb --resolution 24 --weights TINY",
    "textured": "generate --text red -o OUT/mug.obj --texture 64 --resolution 16 --weights TINY",
    "many": "generate --manifest GIVEN/rows.csv OUT/many --resolution 16 --weights TINY",
    "tokenize": "tokenize GIVEN/cube.obj -o OUT/cube.g3t --weights TINY",
    "cache": "tokenize --shards SHARDS -o OUT/tokens --num-points 64 --weights TINY",
    "reconstruct": "reconstruct GIVEN/cube.obj -o OUT/cube.glb --resolution 16 --weights TINY",
    "render": "render GIVEN/cube.obj -o OUT/cube.png --size 32",
    "export": "export --tokenizer TINY --car TINY -o OUT/weights",
    "evaluate": "evaluate meshes --prediction GIVEN --truth GIVEN --output OUT/scores",
    "prepare": "prepare GIVEN OUT/shards --points 64 --queries 96 --solid-resolution 32 "
    "--views 1 --view-size 32",
    "stock": "prepare GIVEN OUT/stock.safetensors --stock",
    "vary": "vary GIVEN/cube.obj --keep 1 -o OUT/cube.glb --resolution 16 --weights TINY",
    "mix": "mix GIVEN/cube.obj MESHES/box_2.ply --keep 1 --text red -o OUT/cube.glb "
    "--resolution 16 --weights TINY",
    "complete": "complete GIVEN/cube.obj -o OUT/cube.glb --width 2 --survivors 1 --resolution 16 "
    "--weights TINY",
    "compare": "compare TINY TINY --sampling-b temperature=0.5 --data MESHES --task image "
    "--limit 1 --quick -o OUT/compared",
    "finetune": "finetune MESHES -o OUT/mine --weights TINY --device cpu --threads 1 --warps 2 "
    "--steps 2 --rank 2",
    "gallery": "reproduce figure5 --scale smoke --out OUT/results",
    "reproduce": "reproduce table3b --scale smoke --out OUT/results --runs OUT/runs",
    "torture": "torture --door tokens --trials 2 --workers 1 --keep OUT/kept",
    "train": "train tokenizer-tiny-smoke --run OUT/run --workers 1 --data.shards SHARDS "
    "--train.steps 4 --train.checkpoint-every 2 --train.eval-every 4",
}
"""Command lines of every kind, with capitals for what is put in."""

SMALL = {
    "finetune": "from g3pt.training import finetune_plan as plan\n"
    "plan.MIN_EXAMPLES, plan.PART = 8, 4\n",
    "compare": "from g3pt.evaluation import objects\n"
    "few = objects.EvaluationSettings(resolution=16, num_volume=4000, num_prefix=500,\n"
    "    num_surface=800, num_near=200, truth_resolution=24)\n"
    "objects.quick_settings = lambda seed=0: few\n",
}
"""Statements that make commands small enough for tests, where no flag does."""
