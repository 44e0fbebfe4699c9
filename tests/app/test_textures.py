"""Textures of served shapes, of the job and of downloads."""

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from served import CUBE, TINY, Running

RED = {**TINY, "text": "a red mug"}


@pytest.fixture(scope="module")
def made(server: Running) -> str:
    pytest.importorskip("xatlas", reason="needs the extra `export`")
    job = server.submit(RED, faces=400, texture=64)
    assert server.wait(job)["status"] == "done"
    return job


def gltf(data: bytes) -> dict[str, Any]:
    (size,) = struct.unpack("<I", data[12:16])
    return json.loads(data[20 : 20 + size])


def get(server: Running, job: str, rest: str):
    return server.ask("GET", f"/v1/jobs/{job}/{rest}")


def test_a_job_writes_its_texture_into_its_glb(server, made: str) -> None:
    (output,) = server.state(made)["outputs"]
    told = gltf(get(server, made, "result.glb").data)

    assert output["texture"] == 64
    assert len(told["images"]) == 1
    assert set(told["meshes"][0]["primitives"][0]["attributes"]) >= {"POSITION", "TEXCOORD_0"}


def test_downloads_have_the_texture_of_the_job_or_another(server, made: str) -> None:
    small = gltf(get(server, made, "result.glb?size_mm=80").data)
    large = get(server, made, "result.glb?texture=256")
    assert len(small["images"]) == 1 and len(gltf(large.data)["images"]) == 1
    assert len(large.data) > len(get(server, made, "result.glb").data)
    assert get(server, made, "result.stl").status == 200
    plain = server.submit(RED)
    server.wait(plain)
    assert "images" not in gltf(get(server, plain, "result.glb").data)
    assert len(gltf(get(server, plain, "result.glb?texture=64&faces=400").data)["images"]) == 1


def test_a_zip_holds_an_obj_with_its_texture(server, made: str, tmp_path: Path) -> None:
    import trimesh

    answer = get(server, made, "result.zip?size_mm=80")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.namelist() == ["g3pt-texture.png", "g3pt.mtl", "g3pt.obj"]
        archive.extractall(tmp_path)
    mesh = trimesh.load(tmp_path / "g3pt.obj", force="mesh")
    assert mesh.extents.max() == pytest.approx(80, rel=1e-4)
    assert mesh.visual.kind == "texture"
    assert np.asarray(mesh.visual.material.image).shape[:2] == (64, 64)
    again = get(server, made, "result.zip?size_mm=80")
    assert again.data == answer.data


def test_variations_have_textures_at_the_place_of_their_source(server, made: str) -> None:
    import base64

    away = CUBE.replace("v 0", "v 10").replace("v 1 ", "v 11 ")
    source = {"data": base64.b64encode(away.encode()).decode(), "format": "obj"}
    told = {"source": source, "keep": 1, "text": "a red mug", "resolution": 16, "faces": 400}
    answer = server.ask("POST", "/v1/3d/variations", {**told, "texture": 64, "previews": False})
    assert answer.status == 202, answer.data
    job = answer.json["id"]
    assert server.wait(job)["status"] == "done"

    # The download is made from what was kept: the texture is that of the job.
    images = []
    for path in ("result.glb", "result.glb?texture=64"):
        data = get(server, job, path).data
        told = gltf(data)
        view = told["bufferViews"][told["images"][0]["bufferView"]]
        (size,) = struct.unpack("<I", data[12:16])
        start = 28 + size + view.get("byteOffset", 0)
        images.append(data[start : start + view["byteLength"]])
    assert images[0] == images[1] and images[0][:4] == b"\x89PNG"


@pytest.mark.parametrize("rest", ["result.obj?texture=64", "result.ply?texture=64"])
def test_files_that_carry_no_texture_are_refused(server, made: str, rest: str) -> None:
    answer = get(server, made, rest)

    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "texture")


def test_a_shape_without_colours_gets_no_texture_and_it_is_said(server) -> None:
    pytest.importorskip("xatlas", reason="needs the extra `export`")
    plain = server.submit()
    server.wait(plain)
    answer = get(server, plain, "result.glb?texture=64")

    assert (answer.status, "this shape has none" in answer.json["detail"]) == (422, True)
    with zipfile.ZipFile(io.BytesIO(get(server, plain, "result.zip").data)) as archive:
        assert archive.namelist() == ["g3pt.obj"]


def test_a_kept_shape_is_textured_as_the_shape_was(tmp_path: Path) -> None:
    pytest.importorskip("xatlas", reason="needs the extra `export`")
    from g3pt.app.kept import KeptShape
    from g3pt.geometry.baking import bake
    from g3pt.geometry.coloring import color_from_picture
    from g3pt.geometry.mesh import UnitFrame, to_source
    from g3pt.geometry.silhouettes import Orbit, PictureView
    from stocks import ball

    mesh = ball()
    picture = np.zeros((64, 64, 4), np.uint8)
    picture[8:56, 8:56] = (200, 30, 30, 255)
    picture[8:56, 30:56, :3] = (20, 40, 200)
    view = PictureView(Orbit(30.0, 20.0), scale=(1.6, 1.6), centre=(0.5, 0.5))
    painted = color_from_picture(mesh, picture, view)
    assert painted is not None
    frame = UnitFrame(scale=0.25, offset=(3.0, -2.0, 1.0))
    placed = to_source(painted.mesh, frame)
    KeptShape(placed, frame, painted.paint).save(tmp_path / "shape.npz")
    kept = KeptShape.load(tmp_path / "shape.npz")

    textured = kept.textured(64, kept.mesh).texture
    expected = bake(painted.mesh, painted.mesh, painted.paint, 64).texture
    np.testing.assert_allclose(textured.uvs_U2, expected.uvs_U2, atol=1e-6)
    # Moving there and back rounds positions, which moves a colour by a step here and there.
    assert np.abs(textured.image.astype(int) - expected.image).mean() < 1.0
    plain = bake(painted.mesh, painted.mesh, None, 64).texture
    assert np.abs(plain.image.astype(int) - expected.image).mean() > 1.0
