"""USDZ files are opened and checked by usd-core's own validators."""

import sys
import time
import zipfile

import numpy as np
import pytest
import trimesh

from g3pt.geometry.mesh import TriangleMesh, write_mesh


def painted_ball() -> TriangleMesh:
    body = trimesh.creation.icosphere(subdivisions=2, radius=0.9)
    colors = np.random.default_rng(0).integers(0, 256, (len(body.vertices), 4))
    return TriangleMesh.from_arrays(body.vertices, body.faces, colors)


@pytest.fixture
def pxr():
    return pytest.importorskip("pxr", reason="usd-core is missing: pip install g3pt[usd]")


def test_usd_finds_metres_y_up_and_the_colours(tmp_path, pxr) -> None:
    from pxr import Usd, UsdGeom

    from g3pt.geometry.formats.textures import display_to_linear

    mesh = painted_ball()
    mesh.save(tmp_path / "a.usdz", size_mm=120)

    stage = Usd.Stage.Open(str(tmp_path / "a.usdz"))
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1
    body = UsdGeom.Mesh(stage.GetPrimAtPath("/shape/mesh"))
    points = np.array(body.GetPointsAttr().Get())
    assert np.ptp(points, axis=0).max() == pytest.approx(0.12, rel=1e-6)
    faces = np.array(body.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3)
    np.testing.assert_array_equal(faces, mesh.faces)
    colors = np.array(body.GetDisplayColorAttr().Get())
    expected = display_to_linear(mesh.colors / 255)[:, :3]
    np.testing.assert_allclose(colors, expected, atol=1e-6)


def test_a_package_that_usd_does_not_write_is_an_error_and_no_file(
    tmp_path, pxr, monkeypatch
) -> None:
    # It says so by its answer alone; nothing that we could hand over makes it fail.
    monkeypatch.setattr("pxr.UsdUtils.CreateNewUsdzPackage", lambda layer, package: False)
    with pytest.raises(RuntimeError, match="could not write the USDZ package"):
        write_mesh(tmp_path / "a.usdz", painted_ball())
    assert list(tmp_path.iterdir()) == []


def test_the_zip_is_stored_and_aligned(tmp_path, pxr) -> None:
    write_mesh(tmp_path / "a.usdz", painted_ball())

    data = (tmp_path / "a.usdz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.usdz") as archive:
        infos = archive.infolist()
    assert infos[0].filename.endswith(".usdc")
    for info in infos:
        assert info.compress_type == zipfile.ZIP_STORED
        header = data[info.header_offset :]
        name, extra = (int.from_bytes(header[k : k + 2], "little") for k in (26, 28))
        assert (info.header_offset + 30 + name + extra) % 64 == 0


def test_equal_meshes_make_equal_packages_whatever_the_clock(tmp_path, pxr) -> None:
    write_mesh(tmp_path / "a.usdz", painted_ball())
    time.sleep(2.1)  # zip holds even seconds
    write_mesh(tmp_path / "b.usdz", painted_ball())

    assert (tmp_path / "a.usdz").read_bytes() == (tmp_path / "b.usdz").read_bytes()


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pxr", None)
    for name in [name for name in sys.modules if name.startswith("pxr.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"g3pt\[usd\]"):
        write_mesh(tmp_path / "a.usdz", painted_ball())
