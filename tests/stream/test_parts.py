"""Closed bodies of meshes, their halves, and the test of inside against libigl."""

import igl
import numpy as np
import pytest
import torch

import stocks
from g3pt.geometry.mesh import concatenate
from g3pt.geometry.triangles import TriangleMesh
from g3pt.preparation.stock_builder import quantized
from g3pt.shapes.mesh_stock import MeshStock
from g3pt.shapes.queries import POSITION_STEPS
from g3pt.shapes.stock_meshes import StockSurface
from g3pt.stream.crossings import Crossings
from g3pt.stream.parts import Part, closed_bodies, cut


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> MeshStock:
    return stocks.stock(tmp_path_factory.mktemp("stock"))


def surface_of(mesh: TriangleMesh) -> StockSurface:
    welded, colors_F33 = quantized(mesh)
    num = len(welded.faces)
    return StockSurface(
        vertices_P3=np.round(welded.vertices * POSITION_STEPS).astype(np.int16),
        faces_F3=welded.faces.astype(np.int32),
        colors_F33=colors_F33,
        masks_F=np.full(num, 65535, np.uint16),
        flipped_F=np.zeros(num, np.bool_),
    )


def volume(part: Part) -> float:
    a, b, c = np.moveaxis(part.corners(), 1, 0)
    return float(np.einsum("fx,fx->", a, np.cross(b, c)) / 6)


def gap(part: Part) -> float:
    """The sum of all area vectors, which is zero for a closed surface."""
    a, b, c = np.moveaxis(part.corners(), 1, 0)
    return float(np.abs(np.cross(b - a, c - a).sum(axis=0)).max())


def test_the_bodies_of_a_mesh_are_its_closed_pieces_turned_outwards(stock):
    ids = [one["id"] for one in stock.objects]
    crossing = closed_bodies(stock.surface(ids.index("crossing")))
    assert crossing is not None and len(np.unique(crossing.bodies_F)) == 2
    block = closed_bodies(stock.surface(ids.index("block")))
    flipped = closed_bodies(stock.surface(ids.index("flipped")))
    assert block is not None and flipped is not None
    assert volume(flipped) == pytest.approx(volume(block)) and volume(block) > 0
    assert (block.colors_F33 == (200, 40, 40)).all()


def test_open_pieces_and_sheets_with_two_sides_are_no_bodies():
    box = stocks.box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))
    lid_off = TriangleMesh.from_arrays(box.vertices, box.faces[2:])
    sheet = stocks.box((-0.9, -0.9, 0.8), (0.9, 0.9, 0.801))
    assert closed_bodies(surface_of(lid_off)) is None
    assert closed_bodies(surface_of(sheet)) is None
    far = stocks.box((0.6, 0.6, 0.6), (0.9, 0.9, 0.9))
    kept = closed_bodies(surface_of(concatenate([lid_off, far])))
    assert kept is not None and volume(kept) == pytest.approx(0.027, rel=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_two_halves_are_closed_and_have_the_volume_of_the_whole(stock, axis):
    for row in range(len(stock)):
        whole = closed_bodies(stock.surface(row))
        assert whole is not None
        halves = [cut(whole, axis, 0.13, below=below) for below in (True, False)]
        assert all(half is not None and gap(half) < 1e-12 for half in halves)
        assert sum(volume(half) for half in halves) == pytest.approx(volume(whole), rel=1e-12)
        assert halves[0].box()[1][axis] == pytest.approx(0.13)
        assert halves[1].box()[0][axis] == pytest.approx(0.13)


def test_bodies_on_one_side_of_the_plane_stay_on_it():
    left = stocks.box((-0.9, -0.2, -0.2), (-0.5, 0.2, 0.2))
    right = stocks.box((0.4, -0.3, -0.3), (1, 0.3, 0.3))
    whole = closed_bodies(surface_of(concatenate([left, right])))
    assert whole is not None
    low, high = (cut(whole, 0, 0.0, below=below) for below in (True, False))
    assert low is not None and high is not None
    assert low.box()[1][0] < 0 < high.box()[0][0]
    assert cut(low, 0, 0.5, below=False) is None


def test_a_cut_through_a_vertex_or_along_a_face_is_closed():
    box = closed_bodies(surface_of(stocks.box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))))
    assert box is not None
    face = float(box.vertices_P3[:, 0].max())
    kept = cut(box, 0, face, below=True)
    assert kept is not None and gap(kept) < 1e-9
    assert volume(kept) == pytest.approx(volume(box), rel=1e-6)


def test_a_section_with_a_hole_is_filled_round_it():
    angles = np.arange(24) * np.pi / 12
    rings = [
        np.stack([r * np.cos(angles), np.full(24, y), r * np.sin(angles)], axis=1)
        for r, y in ((0.8, -0.3), (0.8, 0.3), (0.4, 0.3), (0.4, -0.3))
    ]
    faces = []
    for ring in range(4):
        for i in range(24):
            a, b = 24 * ring + i, 24 * ring + (i + 1) % 24
            c, d = 24 * ((ring + 1) % 4) + i, 24 * ((ring + 1) % 4) + (i + 1) % 24
            faces += [(a, c, b), (b, c, d)]
    tube = closed_bodies(surface_of(TriangleMesh.from_arrays(np.concatenate(rings), faces)))
    assert tube is not None
    half = cut(tube, 1, 0.05, below=True)
    assert half is not None and gap(half) < 1e-12
    polygon = 12 * np.sin(np.pi / 12) * (0.64 - 0.16)
    caps = half.corners()[(np.abs(half.corners()[:, :, 1] - 0.05) < 1e-9).all(axis=1)]
    areas = np.linalg.norm(np.cross(caps[:, 1] - caps[:, 0], caps[:, 2] - caps[:, 0]), axis=1) / 2
    assert areas.sum() == pytest.approx(polygon, rel=1e-3)


def test_crossings_tell_what_the_winding_number_tells(stock):
    rng = np.random.default_rng(0)
    for row in range(len(stock)):
        whole = closed_bodies(stock.surface(row))
        assert whole is not None
        half = cut(whole, row % 3, 0.1, below=row % 2 == 0)
        assert half is not None
        parts = [whole, half]
        near = whole.corners().mean(axis=1)[rng.integers(len(whole.faces_F3), size=2000)]
        points = np.concatenate(
            [rng.uniform(-1, 1, (2000, 3)), near + rng.normal(0, 0.01, near.shape)]
        )
        corners = torch.from_numpy(np.concatenate([part.corners() for part in parts]))
        shapes = torch.repeat_interleave(
            torch.arange(2), torch.tensor([len(part.faces_F3) for part in parts])
        )
        found = Crossings(corners, shapes, 2).winding(torch.from_numpy(np.stack([points] * 2)))
        for part, row_found in zip(parts, found, strict=True):
            expected = igl.winding_number(part.vertices_P3, part.faces_F3, points)
            np.testing.assert_array_equal(row_found.numpy(), np.round(expected))


def test_points_are_asked_in_parts_without_a_difference(stock, monkeypatch):
    whole = closed_bodies(stock.surface(0))
    assert whole is not None
    corners = torch.from_numpy(whole.corners())
    points = torch.rand(1, 300, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    crossings = Crossings(corners, torch.zeros(len(corners), dtype=torch.long), 1)
    together = crossings.winding(points)
    monkeypatch.setattr("g3pt.stream.crossings._PAIRS_AT_ONCE", 3)
    assert torch.equal(crossings.winding(points), together) and together.any()


def test_points_below_edges_and_corners_are_counted_once():
    box = stocks.box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))
    corners = torch.from_numpy(box.vertices[box.faces])
    twice = torch.cat([corners, corners])
    # Below the diagonals of both lids, below their edges and corners, and beside all of them.
    line = torch.tensor([-0.75, -0.5, 0.0, 0.25, 0.5])
    points = torch.cartesian_prod(line, torch.tensor([-0.75, 0.1]), line)
    found = [
        Crossings(faces, torch.zeros(len(faces), dtype=torch.long), 1).winding(points[None])[0]
        for faces in (corners, twice)
    ]
    x, y, z = points.unbind(dim=1)
    within = (x >= -0.5) & (x < 0.5) & (z >= -0.5) & (z < 0.5) & (y == 0.1)
    assert torch.equal(found[0], within.long()) and torch.equal(found[1], 2 * within.long())
