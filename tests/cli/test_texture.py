import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from g3pt.cli.finish import FinishFlags
from g3pt.cli.shapes import describe
from g3pt.generation.writing import write_finished
from g3pt.geometry.baking import bake
from g3pt.geometry.finishing import finish_of
from g3pt.geometry.mesh import TriangleMesh, is_closed, read_mesh, write_mesh
from node_tools import assert_valid_gltf

FAST = ("--resolution", 16, "--json")


@pytest.fixture
def xatlas():
    return pytest.importorskip("xatlas", reason="xatlas is missing: pip install g3pt[export]")


def entry_of(done) -> dict:
    code, stdout, stderr = done
    assert code == 0, stderr
    return json.loads(stdout)["outputs"][0]


def shown(path: Path) -> trimesh.Trimesh:
    (body,) = trimesh.load_scene(path).geometry.values()
    assert body.visual.kind == "texture"
    return body


def test_a_sentence_gives_a_texture(g3pt, xatlas, tmp_path: Path) -> None:
    out = tmp_path / "mug.glb"
    flags = ("--text", "a red mug", "--texture", 128, "--size-mm", 90, "--faces", 400)
    entry = entry_of(g3pt("generate", *flags, "-o", out, *FAST))
    assert entry["texture"] == 128 and entry["color"]["words"] == "red"
    body = shown(out)
    image = body.visual.material.baseColorTexture
    assert image.size == (128, 128)
    assert np.abs(np.asarray(image)[..., :3].astype(int) - [200, 40, 36]).max() <= 1
    assert body.extents.max() == pytest.approx(0.09, rel=1e-5)
    assert len(body.faces) == entry["faces"]
    assert ", texture of 128 x 128" in describe(entry)


def test_a_picture_gives_a_texture_or_it_is_said(g3pt, xatlas, picture, tmp_path: Path) -> None:
    out = tmp_path / "mug.obj"
    entry = entry_of(g3pt("generate", "--image", picture, "--texture", 64, "-o", out, *FAST))
    found = entry["color"]["method"] == "picture"
    assert entry["texture"] == (64 if found else None)
    assert (tmp_path / "mug-texture.png").exists() == found


def test_without_colours_there_is_no_texture_and_it_is_said(g3pt, tmp_path: Path) -> None:
    out = tmp_path / "mug.glb"
    entry = entry_of(g3pt("generate", "--text", "a mug", "--texture", 64, "-o", out, *FAST))
    assert entry["texture"] is None and entry["color"]["method"] == "none"
    assert "no texture, as there are no colours" in describe(entry)
    assert read_mesh(out).colors is None


def test_a_variation_in_its_own_place_has_a_texture(g3pt, xatlas, cube, tmp_path: Path) -> None:
    out = tmp_path / "a.glb"
    flags = ("--keep", 2, "--text", "a blue box", "--texture", 64, "-o", out)
    entry = entry_of(g3pt("vary", cube, *flags, *FAST))
    assert entry["texture"] == 64 and entry["unit"] == "source"
    colors = np.asarray(shown(out).visual.material.baseColorTexture)[..., :3].reshape(-1, 3)
    assert len(np.unique(colors, axis=0)) == 1 and colors[0, 2] > colors[0, 0]


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("a.stl", (), "--texture is asked for, which .stl files do not get: write .glb"),
        ("a.3mf", (), "--texture is asked for, which .3mf files do not get"),
        ("a.ply", (), "--texture is asked for, which .ply files do not get"),
        ("a.glb", ("--lod",), "--lod writes several: leave one out"),
        ("a.glb", ("--every-scale",), "--every-scale writes several: leave one out"),
        ("a.glb", ("--color", "none"), "--texture shows the colours of --image or --text"),
    ],
)
def test_what_cannot_have_a_texture_is_wrong_input(
    g3pt, tmp_path: Path, name, flags, message
) -> None:
    asked = ("--text", "a red mug", "--texture", 1024, *flags, "-o", tmp_path / name)
    code, _, stderr = g3pt("generate", *asked, *FAST)
    assert code == 2
    assert message in stderr
    assert not list(tmp_path.iterdir())


def test_a_side_out_of_range_names_its_flag(g3pt, tmp_path: Path) -> None:
    asked = ("--text", "a red mug", "--texture", 9, "-o", tmp_path / "a.glb")
    code, _, stderr = g3pt("generate", *asked, *FAST)
    assert code == 2 and "--texture must be a side of 64 to 8192 pixels, got 9" in stderr


@pytest.mark.parametrize("command", ["reconstruct", "complete", "vary"])
def test_shapes_without_colours_are_refused(g3pt, cube: Path, tmp_path: Path, command) -> None:
    keep = ("--keep", 2) if command == "vary" else ()
    asked = (cube, *keep, "--texture", 64, "-o", tmp_path / "a.glb")
    code, _, stderr = g3pt(command, *asked, *FAST)
    assert code == 2 and "these meshes get none" in stderr
    assert not (tmp_path / "a.glb").exists()


def striped() -> TriangleMesh:
    """A beam and a crumb that is dropped from a solid; red grows along x, green along y."""
    parts = [
        trimesh.creation.box(extents=(1.6, 0.8, 0.5)).subdivide_to_size(0.2),
        trimesh.creation.box(extents=(0.02, 0.02, 0.02)).apply_translation((0.94, 0, 0)),
    ]
    body = trimesh.util.concatenate(parts)
    colors = np.zeros((len(body.vertices), 3))
    colors[:, :2] = np.rint(255 * (body.vertices[:, :2] / [1.9, 1.0] + 0.5))
    return TriangleMesh.from_arrays(body.vertices, body.faces, colors)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("plain.glb", {}),
        ("sized.glb", {"size_mm": 80, "origin": "base"}),
        ("packed.glb", {"compress": "draco", "size_mm": 80}),
        ("solid.glb", {"printable": True, "size_mm": 80, "min_wall_mm": 0.5}),
        ("solid.obj", {"printable": True, "size_mm": 80, "up": "z", "faces": 200}),
    ],
)
def test_however_a_mesh_is_finished_its_texture_stays_in_place(
    xatlas, tmp_path: Path, name, flags
) -> None:
    mesh, path, wishes = striped(), tmp_path / name, FinishFlags(texture=256, **flags)
    if wishes.compress:
        pytest.importorskip("DracoPy")
    wishes.check_files([path], colored=True)
    finish = finish_of([mesh], path, wishes, bake=lambda one: bake(one, mesh, None, 256))
    entry = write_finished(mesh, path, finish)
    assert entry["texture"] == 256

    texture, placed = finish.texture, finish.mesh
    assert texture is not None and placed.colors is None
    middles = placed.triangles.mean(axis=1)
    places = (texture.uvs_U2[texture.corners_F3].mean(axis=1) * 256).astype(int)
    colors = texture.image[255 - places[:, 1], places[:, 0]].astype(float)
    longest = middles[:, 0] - placed.bounds().mean(axis=0)[0]
    upright = middles[:, 2 if flags.get("up") == "z" else 1]
    red, green = np.corrcoef(longest, colors[:, 0])[0, 1], np.corrcoef(upright, colors[:, 1])[0, 1]
    assert min(red, green) > 0.995
    if name.startswith("solid"):  # the beam alone, as long as before the crumb was dropped
        assert entry["printable"]["dropped"] == 1
        end = np.abs(longest) > 0.45 * np.ptp(placed.vertices[:, 0])
        near = np.sign(longest[end]) * 0.8 / 1.9 + 0.5
        np.testing.assert_allclose(colors[end, 0] / 255, near, atol=0.08)
    if path.suffix == ".glb":
        assert_valid_gltf(path)
    else:
        assert is_closed(read_mesh(path))
        write_mesh(tmp_path / "again.glb", placed, texture=texture)
        assert_valid_gltf(tmp_path / "again.glb")
