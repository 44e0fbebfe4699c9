"""Files that the command line is tried on, good and bad."""

import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

CUBE = """
v 0 0 0\nv 0 0 1\nv 0 1 0\nv 0 1 1\nv 1 0 0\nv 1 0 1\nv 1 1 0\nv 1 1 1
f 1 2 4 3\nf 5 7 8 6\nf 1 5 6 2\nf 3 4 8 7\nf 1 3 7 5\nf 2 6 8 4
"""


@pytest.fixture
def cube(tmp_path: Path) -> Path:
    path = tmp_path / "cube.obj"
    path.write_text(CUBE)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    from PIL import Image

    path = tmp_path / "mug.png"
    image = Image.new("RGB", (80, 80), "white")
    image.paste((200, 30, 30), (20, 30, 60, 70))
    image.save(path)
    return path


@pytest.fixture
def bad(tmp_path: Path, cube: Path) -> Callable[[str], Path]:
    """Make a file that is wrong in the named way."""

    def make(name: str) -> Path:
        path = tmp_path / name
        match name:
            case "missing.obj" | "missing.png" | "missing.g3t":
                pass
            case "empty.obj" | "empty.g3t":
                path.write_bytes(b"")
            case "points-only.obj":
                path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
            case "nan.obj":
                path.write_text(cube.read_text().replace("v 1 1 1", "v 1 nan 1"))
            case "truncated.glb":
                from g3pt.geometry.mesh import read_mesh, write_mesh

                write_mesh(path, read_mesh(cube))
                path.write_bytes(path.read_bytes()[:-40])
            case "one-pixel.png":
                from PIL import Image

                Image.new("RGB", (1, 1)).save(path)
            case "huge.png":
                path.write_bytes(png_header(20_000, 20_000))
            case "words.png" | "words.g3t" | "words.glb":
                path.write_text("these are words")
            case "notes.txt":
                path.write_text("not a mesh format")
            case _:
                raise AssertionError(name)
        return path

    return make


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    data = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", len(data)) + b"IDAT" + data


@pytest.fixture
def g3pt(tiny_weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Run a command in this process with the untrained weights: exit code, stdout, stderr.

    Scores of single meshes come from few samples: between surfaces as far apart as those of
    untrained weights, neighbours are slow to find.
    """
    from g3pt.geometry import metrics

    few = partial(metrics.compare_meshes, num_volume=20_000, num_surface=4_000)
    monkeypatch.setattr(metrics, "compare_meshes", few)

    def run(*arguments: object, weights: object = tiny_weights) -> tuple[int, str, str]:
        from g3pt.cli.main import main

        given = [str(argument) for argument in arguments]
        if weights is not None:
            given += ["--weights", str(weights), "--device", "cpu"]
        code = main(given)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
