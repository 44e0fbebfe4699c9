"""Every kind of file that is written, read by programs that are not ours.

The Khronos validator reads GLB and glTF, trimesh the formats of triangles, lib3mf 3MF, and usd-core
USDZ. Files that a package is missing for are not made, and that is said.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import trimesh

from colored import textured_box
from foreign_readers import assert_valid_usdz, read_by_lib3mf
from g3pt.geometry.baking import bake
from g3pt.geometry.lod import encode_levels, make_levels, reduce_faces
from g3pt.geometry.mesh import WRITE_SUFFIXES, TriangleMesh
from g3pt.geometry.texture import TEXTURE_SUFFIXES, TexturedMesh
from node_tools import assert_valid_gltf


def ball(*, painted: bool) -> TriangleMesh:
    body = trimesh.creation.icosphere(subdivisions=3, radius=0.9)
    colors = np.rint(127 * (body.vertices / 0.9 + 1))
    return TriangleMesh.from_arrays(body.vertices, body.faces, colors if painted else None)


def simplified() -> TriangleMesh:
    return reduce_faces(ball(painted=True), 300).mesh


def baked() -> TexturedMesh:
    if find_spec("xatlas") is None:
        pytest.skip("xatlas is missing: pip install g3pt[export]")
    return bake(simplified(), ball(painted=True), None, 64)


KINDS: dict[str, Callable[[], TriangleMesh | TexturedMesh]] = {
    "bare": lambda: ball(painted=False),
    "painted": lambda: ball(painted=True),
    "simplified": simplified,
    "textured": textured_box,
    "simplified and textured": baked,
}

UNTEXTURED = [kind for kind in KINDS if "textured" not in kind]

PLACES = {"": {}, " sized": {"size_mm": 120.0, "origin": "base"}}


def written(folder: Path, kind: str, suffix: str) -> list[Path]:
    """Files of one kind in one format: as it is, of known size, and compressed."""
    made = KINDS[kind]()
    if suffix == ".usdz":
        pytest.importorskip("pxr", reason="usd-core is missing: pip install g3pt[usd]")
    paths: list[Path] = []
    for name, place in PLACES.items():
        paths.append(folder / f"{kind}{name}{suffix}")
        made.save(paths[-1], **place)
        if suffix == ".glb" and find_spec("DracoPy") is not None:
            paths.append(folder / f"{kind}{name} packed{suffix}")
            made.save(paths[-1], compress="draco", **place)
    return paths


def num_faces(kind: str) -> int:
    made = KINDS[kind]()
    return len((made.mesh if isinstance(made, TexturedMesh) else made).faces)


def test_every_format_is_judged_here() -> None:
    judged = {".glb", ".gltf", *TRIANGLES, ".3mf", ".usdz"}
    assert judged == set(WRITE_SUFFIXES)


@pytest.mark.parametrize("kind", KINDS)
def test_the_khronos_validator_finds_nothing(tmp_path: Path, kind: str) -> None:
    paths = [*written(tmp_path, kind, ".glb"), *written(tmp_path, kind, ".gltf")]
    assert_valid_gltf(*paths)


@pytest.mark.parametrize("painted", [False, True])
def test_it_finds_nothing_in_levels_of_detail(tmp_path: Path, painted: bool) -> None:
    """A scene of several meshes."""
    levels = make_levels([ball(painted=painted)] * 3, [1280, 300, 80])
    (tmp_path / "levels.glb").write_bytes(encode_levels(levels))
    assert_valid_gltf(tmp_path / "levels.glb")


TRIANGLES = (".obj", ".ply", ".stl", ".off")
COLORS_READ = (".obj", ".ply", ".glb")
"""Formats whose colours trimesh reads."""


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        (kind, suffix)
        for kind in KINDS
        for suffix in (*TRIANGLES, ".3mf", ".glb")
        if kind in UNTEXTURED or suffix in TEXTURE_SUFFIXES
    ],
)
def test_trimesh_finds_the_solid(tmp_path: Path, kind: str, suffix: str) -> None:
    for path in written(tmp_path, kind, suffix):
        if path.stem.endswith("packed"):
            continue  # trimesh reads no Draco; test_gltf_write has Google's reader
        (body,) = trimesh.load_scene(path).geometry.values()
        assert len(body.faces) == num_faces(kind)
        if kind not in UNTEXTURED:
            assert body.visual.kind == "texture"
            body = trimesh.Trimesh(body.vertices, body.faces)
            body.merge_vertices()  # seams
        elif suffix in COLORS_READ:
            assert (body.visual.kind == "vertex") == (kind in ("painted", "simplified"))
        assert body.is_volume
        if "sized" in path.stem:
            side = 0.12 if suffix == ".glb" else 120
            assert body.extents.max() == pytest.approx(side, rel=1e-5)


@pytest.mark.parametrize("kind", UNTEXTURED)
def test_lib3mf_finds_one_manifold_without_a_warning(tmp_path: Path, kind: str) -> None:
    for path in written(tmp_path, kind, ".3mf"):
        lib3mf, model = read_by_lib3mf(path)
        assert model.GetUnit() == lib3mf.ModelUnit.MilliMeter
        bodies = model.GetMeshObjects()
        assert bodies.MoveNext()
        assert bodies.GetCurrentMeshObject().IsManifoldAndOriented()
        assert bodies.GetCurrentMeshObject().GetTriangleCount() == num_faces(kind)
        assert not bodies.MoveNext()


@pytest.mark.parametrize("kind", KINDS)
def test_no_validator_of_usd_finds_anything(tmp_path: Path, kind: str) -> None:
    for path in written(tmp_path, kind, ".usdz"):
        assert_valid_usdz(path)
