"""Files with a texture, read back by programs that are not ours."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from colored import textured_box
from g3pt.geometry.formats.gltf import glb_chunks
from g3pt.geometry.mesh import (
    WRITE_SUFFIXES,
    MeshError,
    TriangleMesh,
    is_closed,
    read_mesh,
    write_mesh,
)
from g3pt.geometry.texture import TEXTURE_SUFFIXES, check_texture

TEXTURED = textured_box()
BOX, SIDE = TEXTURED.mesh, len(TEXTURED.texture.image)


def expected(points: np.ndarray) -> np.ndarray:
    """Red and green of the nearest corner of the box's own texture, at points of the middles."""
    texture = TEXTURED.texture
    places = texture.uvs_U2[texture.corners_F3].mean(axis=1) * SIDE
    shown = texture.image[(SIDE - places[:, 1]).astype(int), places[:, 0].astype(int)]
    middles = BOX.triangles.mean(axis=1)
    nearest = np.linalg.norm(points[:, None] - middles, axis=2).argmin(axis=1)
    return shown[nearest].astype(int)


def shown_by(body: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the faces, and the colours that trimesh finds there."""
    assert body.visual.kind == "texture"
    material = body.visual.material
    image = getattr(material, "baseColorTexture", None) or material.image
    places = body.visual.uv[body.faces].mean(axis=1) * image.size[0]
    pixels = np.asarray(image.convert("RGB")).astype(int)
    column, row = places[:, 0].astype(int), (len(pixels) - places[:, 1]).astype(int)
    return body.triangles_center, pixels[row, column]


def written(path: Path, **told) -> trimesh.Trimesh:
    TEXTURED.save(path, **told)
    (body,) = trimesh.load_scene(path, process=False).geometry.values()
    return body


@pytest.mark.parametrize("suffix", [".glb", ".gltf", ".obj"])
def test_trimesh_finds_the_same_colours_at_the_same_points(tmp_path: Path, suffix) -> None:
    middles, colors = shown_by(written(tmp_path / f"a b{suffix}"))
    assert len(middles) == len(BOX.faces)
    np.testing.assert_allclose(colors, expected(middles), atol=2)


def test_we_read_what_we_write(tmp_path: Path) -> None:
    for suffix in (".glb", ".obj"):
        TEXTURED.save(tmp_path / f"a{suffix}")
        back = read_mesh(tmp_path / f"a{suffix}")
        assert is_closed(back) and back.colors is not None
        assert (np.ptp(back.colors[:, :2], axis=0) > 100).all()


def test_draco_keeps_the_texture(tmp_path: Path) -> None:
    draco = pytest.importorskip("DracoPy")
    TEXTURED.save(tmp_path / "a.glb", compress="draco")
    text, binary = glb_chunks((tmp_path / "a.glb").read_bytes())
    document = json.loads(text)
    view, picture = document["bufferViews"]
    decoded = draco.decode(binary[: view["byteLength"]])
    body = trimesh.Trimesh(
        decoded.points,
        decoded.faces,
        process=False,
        visual=trimesh.visual.TextureVisuals(
            uv=decoded.tex_coord * [1, -1] + [0, 1],  # glTF counts from the top
            image=Image.fromarray(TEXTURED.texture.image),
        ),
    )
    middles, colors = shown_by(body)
    np.testing.assert_allclose(colors, expected(middles), atol=3)
    start = picture["byteOffset"]
    assert binary[start : start + picture["byteLength"]] == TEXTURED.texture.png()
    assert is_closed(read_mesh(tmp_path / "a.glb"))


def test_an_obj_keeps_its_vertices_and_brings_its_picture(tmp_path: Path) -> None:
    user = tmp_path / "chair.png"
    user.write_bytes(b"the picture that it was made from")
    TEXTURED.save(tmp_path / "chair.obj", size_mm=120)
    assert {path.name for path in tmp_path.iterdir()} == {
        "chair.png",
        "chair.obj",
        "chair.mtl",
        "chair-texture.png",
    }
    assert user.read_bytes() == b"the picture that it was made from"
    with Image.open(tmp_path / "chair-texture.png") as image:
        assert image.size == (SIDE, SIDE)
    lines = (tmp_path / "chair.obj").read_text().splitlines()
    assert sum(line.startswith("v ") for line in lines) == len(BOX.vertices)
    assert np.ptp(read_mesh(tmp_path / "chair.obj").vertices, axis=0).max() == pytest.approx(120)


def test_a_glb_is_placed_and_holds_its_picture(tmp_path: Path) -> None:
    body = written(tmp_path / "a.glb", size_mm=120, origin="base")
    assert body.extents.max() == pytest.approx(0.12)
    assert body.bounds[0, 1] == pytest.approx(0, abs=1e-7)
    normals = np.asarray(body.vertex_normals)
    assert (np.einsum("ij,ij->i", normals, body.vertices - [0, body.bounds[1, 1] / 2, 0]) > 0).all()
    assert [path.name for path in tmp_path.iterdir()] == ["a.glb"]


def test_usd_finds_the_texture_in_the_package(tmp_path: Path) -> None:
    pytest.importorskip("pxr", reason="usd-core is missing: pip install g3pt[usd]")
    import zipfile

    from pxr import Usd, UsdGeom, UsdShade

    TEXTURED.save(tmp_path / "a.usdz")
    with zipfile.ZipFile(tmp_path / "a.usdz") as archive:
        assert archive.read("texture.png") == TEXTURED.texture.png()
    stage = Usd.Stage.Open(str(tmp_path / "a.usdz"))
    body = stage.GetPrimAtPath("/shape/mesh")
    places = UsdGeom.PrimvarsAPI(body).GetPrimvar("st")
    assert places.GetInterpolation() == "faceVarying"
    np.testing.assert_allclose(
        np.array(places.ComputeFlattened()).reshape(-1, 3, 2),
        TEXTURED.texture.uvs_U2[TEXTURED.texture.corners_F3],
        atol=1e-6,
    )
    material, _ = UsdShade.MaterialBindingAPI(body).ComputeBoundMaterial()
    surface = UsdShade.Shader(material.ComputeSurfaceSource()[0].GetPrim())
    picture = surface.GetInput("diffuseColor").GetConnectedSource()[0]
    assert picture.GetInput("sourceColorSpace").Get() == "sRGB"
    assert picture.GetInput("file").Get().path.endswith("texture.png")


@pytest.mark.parametrize("suffix", sorted(set(WRITE_SUFFIXES) - set(TEXTURE_SUFFIXES)))
def test_formats_without_textures_refuse_them(tmp_path: Path, suffix) -> None:
    with pytest.raises(ValueError, match=rf"texture is asked for, which {suffix} files do not get"):
        TEXTURED.save(tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("side", [0, 63, 8193])
def test_a_side_out_of_range_is_refused(side: int) -> None:
    with pytest.raises(ValueError, match=f"64 to 8192 pixels, got {side}"):
        check_texture(".glb", side)
    check_texture(".stl", None)


def test_nothing_is_written_for_an_empty_mesh(tmp_path: Path) -> None:
    nothing = TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    with pytest.raises(MeshError, match="no faces"):
        write_mesh(tmp_path / "a.obj", nothing, texture=TEXTURED.texture)
    assert not list(tmp_path.iterdir())


def test_equal_textures_make_equal_files(tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b"):
        TEXTURED.save(tmp_path / f"{name}.glb")
        digests.add(hashlib.sha256((tmp_path / f"{name}.glb").read_bytes()).hexdigest())
    assert len(digests) == 1
