"""The Blender extension: its zip, its jobs without Blender, and all of it in a headless Blender."""

import importlib
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from loaded_files import load_file

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "build_blender.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="an installed package has no scripts")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_file(SCRIPT)


@pytest.fixture(scope="module")
def extension(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("blender") / "g3pt.zip"
    script.build(path)
    return path


# --- the zip ---------------------------------------------------------------------------------


def test_the_zip_has_what_blender_needs_and_nothing_else(extension: Path) -> None:
    with zipfile.ZipFile(extension) as archive:
        names = archive.namelist()
        client = archive.read("client.py")

    assert names == ["blender_manifest.toml", "__init__.py", "jobs.py", "meshes.py", "client.py"]
    assert client == (ROOT / "src" / "g3pt" / "app" / "client.py").read_bytes()


def test_the_same_files_give_the_same_zip(script, extension: Path, tmp_path: Path) -> None:
    script.build(tmp_path / "again.zip")

    assert (tmp_path / "again.zip").read_bytes() == extension.read_bytes()


@pytest.mark.parametrize(
    ("line", "instead", "message"),
    [
        (r'tagline = ".*"', 'tagline = ""', "tagline is missing"),
        (r'tagline = ".*"', 'tagline = "Meshes."', "without punctuation"),
        (r'network = ".*"', f'network = "{"a" * 65}"', "network: at most 64"),
        (r"\[permissions\]", 'wheels = ["./x.whl"]\n[permissions]', "wheels"),
        (r'"jobs.py"', '"job.py"', r"there is no job\.py"),
    ],
)
def test_a_manifest_that_blender_would_refuse_is_refused(
    script, tmp_path: Path, monkeypatch, line, instead, message
) -> None:
    for path in script.FOLDER.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    manifest = tmp_path / "blender_manifest.toml"
    changed = re.sub(line, instead, manifest.read_text(), count=1)
    assert changed != manifest.read_text()
    manifest.write_text(changed)
    monkeypatch.setattr(script, "FOLDER", tmp_path)

    with pytest.raises(ValueError, match=message):
        script.build(tmp_path / "x.zip")


def test_it_imports_bpy_and_the_standard_library_alone(extension: Path) -> None:
    with zipfile.ZipFile(extension) as archive:
        code = "\n".join(
            archive.read(name).decode()
            for name in archive.namelist()
            if name.endswith(".py") and name != "client.py"
        )
    found = set(re.findall(r"^\s*(?:import|from) ([a-zA-Z_]\w*)", code, flags=re.MULTILINE))

    assert found <= {*sys.stdlib_module_names, "bpy", "mathutils"}


# --- jobs without Blender --------------------------------------------------------------------


@pytest.fixture(scope="module")
def jobs(extension: Path) -> ModuleType:
    """`jobs.py` as it is in the zip, without the modules that need Blender."""
    folder = extension.parent / "unpacked_g3pt"
    folder.mkdir()
    with zipfile.ZipFile(extension) as archive:
        for name in ("jobs.py", "client.py"):
            archive.extract(name, folder)
    (folder / "__init__.py").touch()
    sys.path.insert(0, str(extension.parent))
    try:
        return importlib.import_module("unpacked_g3pt.jobs")
    finally:
        sys.path.remove(str(extension.parent))


@pytest.fixture
def follow(jobs: ModuleType, server):
    def start(kind: str = "generation", *, every_scale: bool = False, **request: Any) -> Any:
        client = jobs.Client(f"http://127.0.0.1:{server.port}")
        follower = jobs.Follower(client, kind, request, every_scale=every_scale)
        follower.start()
        return follower

    return start


def messages(follower: Any, seconds: float = 60.0) -> list[Any]:
    """All messages of a job until it has ended."""
    found: list[Any] = []
    end = time.monotonic() + seconds
    while not found or type(found[-1]).__name__ != "Ended":
        assert time.monotonic() < end, found
        found.append(follower.messages.get(timeout=seconds))
    follower.join(10)
    assert not follower.alive
    return found


def test_the_shape_sharpens_until_its_mesh_comes(jobs, follow) -> None:
    found = messages(follow(text="a mug", resolution=16))

    arrived = [one for one in found if isinstance(one, jobs.Arrived)]
    assert [one.passing for one in arrived] == [True] * (len(arrived) - 1) + [False]
    assert len(arrived) >= 2 and all(one.glb[:4] == b"glTF" for one in arrived)
    shares = [one.share for one in found if isinstance(one, jobs.Progress)]
    assert shares == sorted(shares) and shares[-1] <= 1
    assert found[-1] == jobs.Ended()


def test_every_scale_of_every_shape_is_handed_over(jobs, follow) -> None:
    found = messages(follow(text="a mug", resolution=16, num=2, every_scale=True, previews=False))

    labels = [one.label for one in found if isinstance(one, jobs.Arrived)]
    assert labels == ["1 scale 1", "1 scale 2", "1", "2 scale 1", "2 scale 2", "2"]


def test_cancelling_is_heard_and_nothing_comes_afterwards(jobs, follow, server) -> None:
    follower = follow(text="a mug", resolution=256, num=16, previews=False)
    follower.cancel()  # perhaps before the server has given the job a name
    follower.cancel()
    found = messages(follower)

    assert found[-1] == jobs.Ended(cancelled=True)
    assert server.state(follower.job)["status"] == "cancelled"


def test_errors_are_said_in_words(jobs, follow) -> None:
    refused = messages(follow(text="a mug", gidance=3))[-1]
    assert "gidance" in refused.error and not refused.cancelled
    gone = jobs.Follower(jobs.Client("http://127.0.0.1:9"), "generation", {"text": "a mug"})
    gone.start()
    assert "no answer" in messages(gone)[-1].error
    with pytest.raises(ValueError, match=r"no picture 'none\.png'"):
        jobs.picture("none.png")


# --- in Blender ------------------------------------------------------------------------------


def python_with_bpy() -> str:
    """A Python with `bpy`: that of BPY_PYTHON, or this one."""
    told = os.environ.get("BPY_PYTHON")
    if told is None:
        if importlib.util.find_spec("bpy") is None:
            pytest.skip("bpy is not installed here; BPY_PYTHON may name a Python that has it")
        return sys.executable
    return told


def test_the_extension_works_in_blender(
    extension: Path, server, picture: bytes, tmp_path: Path
) -> None:
    (tmp_path / "mug.png").write_bytes(picture)
    command = [python_with_bpy(), str(Path(__file__).with_name("in_blender.py")), str(extension)]
    command += [f"http://127.0.0.1:{server.port}", str(tmp_path / "mug.png")]
    # Settings and extensions of the user stay as they are.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["BLENDER_USER_RESOURCES"] = str(tmp_path / "resources")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "all well" in done.stdout
