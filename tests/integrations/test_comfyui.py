"""The ComfyUI nodes: their work on both ways, the example workflow, and all of it in ComfyUI."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from loaded_files import load_file
from served import Running

ROOT = Path(__file__).parents[2]
PACK = ROOT / "integrations" / "comfyui"
WORKFLOWS = sorted((PACK / "example_workflows").glob("*.json"))
pytestmark = pytest.mark.skipif(not PACK.is_dir(), reason="an installed package has no nodes")


@pytest.fixture(scope="module")
def work() -> ModuleType:
    return load_file(PACK / "work.py", "g3pt_comfyui_work")


@pytest.fixture
def both(work: ModuleType, server: Running, tiny_weights: Path) -> tuple[Any, Any]:
    """The two ways of working, with the same weights."""
    return work.Local(str(tiny_weights), "cpu"), work.Remote(f"http://127.0.0.1:{server.port}")


def hear(scale: int, scales: int) -> None:
    """Listen to nothing."""


def assert_same(work: ModuleType, one: Any, other: Any) -> None:
    """Two ways gave the same shapes; files of meshes have single precision."""
    assert one.tokens == other.tokens
    for left, right in zip(one.meshes, other.meshes, strict=True):
        np.testing.assert_array_equal(left.faces, right.faces)
        np.testing.assert_allclose(left.vertices, right.vertices, atol=1e-5)


def test_a_server_gives_what_this_process_gives(work, both, picture: bytes) -> None:
    from g3pt import TriangleMesh

    made = [
        way.generate(hear, image=[picture], text=["a mug"], seed=3, num=2, resolution=16)
        for way in both
    ]
    assert_same(work, *made)
    first, second = made[0].tokens
    told = {"seed": 1, "resolution": 16}
    assert_same(work, *[way.vary(hear, source=first, keep=1, num=2, **told) for way in both])
    for method in ("resample", "tokens"):
        request = {"coarse": first, "fine": second, "keep": 1, "method": method, **told}
        assert_same(work, *[way.mix(hear, **request) for way in both])
    whole = made[0].meshes[0]  # nodes hand over single precision
    part = TriangleMesh.from_arrays(whole.vertices.astype(np.float32), whole.faces)
    request = {"part": part, "width": 4, "survivors": 2, "num": 2, **told}
    assert_same(work, *[way.complete(hear, **request) for way in both])


def test_meshes_go_through_tokens_on_both_ways(work, both) -> None:
    from g3pt import TriangleMesh

    corners = [[x, y, z] for x in (4.0, 6.0) for y in (0.0, 2.0) for z in (-1.0, 1.0)]
    front = [[0, 1, 3], [0, 3, 2], [0, 4, 5], [0, 5, 1], [0, 2, 6], [0, 6, 4]]
    back = [[7 - a, 7 - c, 7 - b] for a, b, c in front]  # seen from the opposite corner
    cube = TriangleMesh.from_arrays(corners, [*front, *back])
    tokens = [way.tokenize(hear, mesh=cube, seed=0) for way in both]
    assert tokens[0] == tokens[1]
    for scales in (None, 1):
        one, other = [
            way.detokenize(hear, tokens=tokens[0], num_scales=scales, resolution=16) for way in both
        ]
        np.testing.assert_array_equal(one.faces, other.faces)
        np.testing.assert_allclose(one.vertices, other.vertices, atol=1e-5)
        assert abs(one.bounds()[:, 0].mean() - 5) < 1.5


def test_progress_is_told_and_an_interruption_cancels_the_job(both, server: Running) -> None:
    for way in both:
        seen: list[tuple[int, int]] = []
        way.generate(
            lambda *told, seen=seen: seen.append(told), text=["a mug"], seed=0, resolution=16
        )
        assert seen[-1] == (3, 3) and (1, 3) in seen

    def interrupt(scale: int, scales: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        both[1].generate(interrupt, text=["a mug"], seed=0, num=16, resolution=256)
    newest = server.jobs.store.listed()[0]
    assert server.wait(newest.id)["status"] == "cancelled"


def test_meshes_of_different_sizes_make_a_batch_and_leave_it(work) -> None:
    from g3pt import TriangleMesh

    small = TriangleMesh.from_arrays(np.eye(3), [[0, 1, 2]], [[255, 0, 128]] * 3)
    large = TriangleMesh.from_arrays(np.eye(4)[:, :3], [[0, 1, 2], [1, 2, 3]], [[9, 9, 9]] * 4)
    arrays = work.padded([small, large])

    assert arrays["vertices"].shape == (2, 4, 3) and arrays["faces"].shape == (2, 2, 3)
    assert arrays["vertex_counts"].tolist() == [3, 4]
    # 128 of 255 in sRGB is 0.2158 in linear light (IEC 61966-2-1).
    np.testing.assert_allclose(arrays["vertex_colors"][0, 0], [1, 0, 0.2158, 1], atol=1e-4)
    colors = arrays.pop("vertex_colors")
    assert (colors[0, 3] == 0).all()
    for one, back in zip((small, large), work.unpadded(**arrays), strict=True):
        np.testing.assert_array_equal(one.vertices, back.vertices)
        np.testing.assert_array_equal(one.faces, back.faces)
    empty = TriangleMesh.from_arrays(np.zeros((0, 3)), np.zeros((0, 3)))
    with pytest.raises(ValueError, match="the shape is empty"):
        work.padded([small, empty])


def test_the_mask_of_the_loader_becomes_transparency(work) -> None:
    from io import BytesIO

    from PIL import Image

    mask = np.zeros((2, 4))
    mask[:, 2:] = 1
    picture = Image.open(BytesIO(work.as_png(np.full((2, 4, 3), 0.5), mask)))
    assert picture.mode == "RGBA"
    assert np.asarray(picture)[0].tolist() == [[128] * 3 + [255]] * 2 + [[128] * 3 + [0]] * 2
    plain = Image.open(BytesIO(work.as_png(np.ones((2, 4, 3)), np.zeros((64, 64)))))
    assert plain.mode == "RGB"


# --- the example workflow --------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_is_whole(path: Path) -> None:
    workflow = json.loads(path.read_text())
    nodes = {node["id"]: node for node in workflow["nodes"]}
    ours = set(re.findall(r'node_id="(\w+)"', (PACK / "nodes.py").read_text()))

    assert len(ours) == 6
    assert {node["type"] for node in nodes.values()} <= ours | {"LoadImage", "SaveGLB"}
    assert workflow["last_node_id"] == max(nodes)
    links = {link[0]: link for link in workflow["links"]}
    assert workflow["last_link_id"] == max(links)
    for number, source, output, target, entry, kind in links.values():
        told = nodes[source]["outputs"][output]
        assert told["type"] == kind and number in told["links"]
        taken = nodes[target]["inputs"][entry]
        assert (taken["type"], taken["link"]) == (kind, number)
    for node in nodes.values():
        for told in node["outputs"]:
            assert set(told["links"]) <= set(links)


# --- in ComfyUI ------------------------------------------------------------------------------


def test_the_nodes_work_in_comfyui(
    server: Running, tiny_weights: Path, picture: bytes, tmp_path: Path
) -> None:
    checkout = os.environ.get("COMFYUI_PATH")
    if checkout is None:
        pytest.skip("COMFYUI_PATH names no checkout of ComfyUI")
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    for name in ("custom_nodes", "input", "output"):
        (tmp_path / name).mkdir()
    (tmp_path / "custom_nodes" / "g3pt").symlink_to(PACK)
    (tmp_path / "input" / "chair.png").write_bytes(picture)
    script = Path(__file__).with_name("in_comfyui.py")
    command = [python, str(script), checkout, str(tmp_path), str(WORKFLOWS[0])]
    command += [f"http://127.0.0.1:{server.port}", str(tiny_weights)]
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "all well" in done.stdout
    assert len(list((tmp_path / "output" / "3d").glob("g3pt*.glb"))) >= 3
