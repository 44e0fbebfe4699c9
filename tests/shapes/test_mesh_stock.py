"""A stock gives back the meshes it was made of, and says which parts bound their solids."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import stocks
from g3pt.geometry.mesh import to_unit, unit_frame_of, write_mesh
from g3pt.geometry.solid import Solid
from g3pt.preparation.inputs import MeshRef
from g3pt.preparation.stock_builder import build_stock
from g3pt.shapes.mesh_stock import (
    MeshStock,
    StockConfig,
    exposed_points,
    stock_key,
    write_stock,
)
from g3pt.shapes.queries import POSITION_STEPS
from g3pt.shapes.sub_triangles import QUARTER_WEIGHTS, chosen_parts, num_chosen


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> MeshStock:
    return stocks.stock(tmp_path_factory.mktemp("stock"))


def test_a_stock_gives_back_what_was_written(tmp_path: Path) -> None:
    made = stocks.prepared(tmp_path)
    write_stock(tmp_path / "all.safetensors", made, stocks.CONFIG)
    read = MeshStock.read(tmp_path / "all.safetensors")
    assert read.config == stocks.CONFIG
    for row, mesh in enumerate(made):
        surface = read.surface(row)
        assert read.objects[row] == mesh.object
        # Vertices are numbered anew, so corners are compared; they are integers.
        np.testing.assert_array_equal(
            surface.vertices_P3[surface.faces_F3],
            mesh.surface.vertices_P3[mesh.surface.faces_F3],
        )
        np.testing.assert_array_equal(surface.colors_F33, mesh.surface.colors_F33)
        np.testing.assert_array_equal(surface.masks_F, mesh.surface.masks_F)
        np.testing.assert_array_equal(surface.flipped_F, mesh.surface.flipped_F)
        np.testing.assert_array_equal(
            read.labels_MQ[row], np.concatenate([mesh.volume_V, mesh.near_N])
        )


def test_positions_are_right_within_half_a_step(stock: MeshStock) -> None:
    for row, (name, source) in enumerate(stocks.meshes().items()):
        unit = to_unit(source, unit_frame_of(source))
        found = stock.surface(row).mesh().triangles
        # A PLY file holds 32-bit numbers, whose steps are far smaller than half of ours.
        assert np.abs(found - unit.triangles).max() <= 0.501 / POSITION_STEPS, name


def test_colours_stay_with_their_faces(stock: MeshStock) -> None:
    colors = stock.surface(list(stocks.meshes()).index("crossing")).colors_F33
    assert (colors[:12] == (30, 160, 60)).all()
    assert (colors[12:] == (40, 60, 200)).all()


def test_buried_parts_get_no_points(stock: MeshStock) -> None:
    row = list(stocks.meshes()).index("crossing")
    surface = stock.surface(row)
    points = exposed_points(surface, 5, 4000).points_N3 / POSITION_STEPS
    inner = np.abs(points) < 0.3 * 0.95 - 0.02  # within the cross in all directions
    # Parts are 16ths of faces: those at the border of what is buried are exposed as a whole.
    border = 0.95 * 0.3 / 4
    deep = (np.abs(points) < 0.3 * 0.95 - border).sum(axis=1) >= 2
    assert not (deep & inner.any(axis=1) & (np.abs(points).max(axis=1) < 0.2)).any()
    share = num_chosen()[surface.masks_F].sum() / (16 * len(surface.masks_F))
    assert 0.5 < share < 1


def test_faces_that_look_inward_are_flipped(stock: MeshStock) -> None:
    names = list(stocks.meshes())
    assert stock.surface(names.index("flipped")).flipped_F.all()
    assert not stock.surface(names.index("block")).flipped_F.any()


def test_labels_belong_to_the_positions_that_follow_from_the_key(stock: MeshStock) -> None:
    for row in range(len(stock)):
        positions = stock.query_positions(row) / POSITION_STEPS
        solid = Solid.from_mesh(stock.surface(row).mesh(), resolution=96)
        agree = solid.contains(positions) == stock.labels_MQ[row]
        assert agree.all()
        near = solid.distance(positions[stocks.CONFIG.num_volume :])
        # Sigmas are .005, .02, .05 per axis: the mean distance to a plane is .8 of their mean.
        assert 0.015 < near.mean() < 0.03


def test_exposed_points_spread_by_area(stock: MeshStock) -> None:
    surface = stock.surface(0)  # a box of 2 x 1 x 1.4
    faces = exposed_points(surface, stock_key("any"), 20_000).faces_N
    corners = surface.vertices_P3[surface.faces_F3].astype(float)
    areas = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    shares = np.bincount(faces, minlength=len(areas)) / len(faces)
    np.testing.assert_allclose(shares, areas / areas.sum(), atol=0.012)  # 4 sigma


def test_a_part_of_a_stock_is_a_stock(stock: MeshStock) -> None:
    part = stock.select([2, 0])
    assert [each["id"] for each in part.objects] == ["crossing", "block"]
    for row, source in enumerate((2, 0)):
        np.testing.assert_array_equal(
            part.surface(row).mesh().triangles, stock.surface(source).mesh().triangles
        )
        np.testing.assert_array_equal(part.query_positions(row), stock.query_positions(source))


def test_what_cannot_be_used_is_counted_and_the_rest_is_kept(tmp_path: Path) -> None:
    write_mesh(tmp_path / "good.ply", stocks.box((0, 0, 0), (1, 2, 1)))
    (tmp_path / "bad.ply").write_bytes(b"ply\n")
    sheet = stocks.box((0, 0, 0), (1, 1, 1))
    write_mesh(tmp_path / "sheet.ply", replace(sheet, faces=sheet.faces[:2]))
    refs = [
        MeshRef(id=name, location=str(tmp_path / f"{name}.ply"))
        for name in ("bad", "good", "sheet")
    ]
    seen: list[tuple[int, int, int]] = []
    made = build_stock(
        refs,
        tmp_path / "out.safetensors",
        StockConfig(),
        on_progress=lambda *state: seen.append(state),
    )
    assert made.meshes == 1
    assert sum(made.refused.values()) == 2
    assert made.refused["no_interior"] == 1
    assert seen[-1] == (3, 3, 2)
    assert [each["id"] for each in MeshStock.read(tmp_path / "out.safetensors").objects] == ["good"]


def test_meshes_with_too_many_faces_are_decimated(tmp_path: Path) -> None:
    write_mesh(tmp_path / "ball.ply", stocks.painted(stocks.ball(4), (10, 200, 90)))
    refs = [MeshRef(id="ball", location=str(tmp_path / "ball.ply"))]
    made = build_stock(refs, tmp_path / "out.safetensors", StockConfig(max_faces=800))
    surface = MeshStock.read(tmp_path / "out.safetensors").surface(0)
    assert made.decimated == 1
    assert 500 < len(surface.faces_F3) <= 900
    assert (surface.colors_F33 == (10, 200, 90)).all()


def test_another_file_is_no_stock(tmp_path: Path) -> None:
    (tmp_path / "other.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"other\.safetensors"):
        MeshStock.read(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError):
        MeshStock.read(tmp_path / "missing.safetensors")


def test_sub_triangles_fill_their_triangle() -> None:
    corners = QUARTER_WEIGHTS[:, :, 1:].astype(float) / 4  # in the triangle (0,0) (1,0) (0,1)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    np.testing.assert_allclose(areas, 1 / 16)  # all of one size, none turned over
    assert len({tuple(middle) for middle in corners.mean(axis=1).round(6)}) == 16


def test_chosen_parts_are_the_set_bits_in_order() -> None:
    for mask in (0, 1, 0b1010_0000_0000_0110, 0xFFFF):
        bits = [bit for bit in range(16) if mask >> bit & 1]
        assert chosen_parts()[mask, : len(bits)].tolist() == bits
        assert num_chosen()[mask] == len(bits)
