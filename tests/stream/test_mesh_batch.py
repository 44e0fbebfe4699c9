"""Batches of warped meshes: their surface, labels and shading against slow twins."""

import math

import numpy as np
import pytest
import torch

import stocks
from g3pt.geometry.mesh import TriangleMesh
from g3pt.geometry.shading import crease_normals
from g3pt.geometry.solid import Solid
from g3pt.shapes.mesh_stock import MeshStock
from g3pt.stream.mesh_batch import MeshBatch, ResidentMeshes
from g3pt.stream.warps import WarpConfig, draw_warps

AFFINE = WarpConfig(
    shear_share=1.0, taper_share=0.0, bend_share=0.0, twist_share=0.0, any_turn_share=0.3
)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> MeshStock:
    return stocks.stock(tmp_path_factory.mktemp("stock"))


@pytest.fixture(scope="module")
def resident(stock: MeshStock) -> ResidentMeshes:
    return ResidentMeshes(stock, "cpu")


def _batch(resident: ResidentMeshes, config: WarpConfig, repeats: int = 3) -> MeshBatch:
    rows = torch.arange(len(resident)).repeat(repeats)
    generator = torch.Generator().manual_seed(4)
    warps = draw_warps(config, len(rows), generator, resident.longest_edges(rows))
    return resident.batch(rows, warps)


def _meshes(batch: MeshBatch) -> list[TriangleMesh]:
    """The shapes of a batch one by one, wound as they should be where they are mirrored."""
    found: list[TriangleMesh] = []
    for shape in range(batch.num_shapes):
        corners = batch.triangles.corners_F33[batch.shapes_F == shape]
        if batch.triangles.orientation_B[shape] < 0:
            corners = corners.flip(1)
        faces = np.arange(3 * len(corners)).reshape(-1, 3)
        found.append(TriangleMesh.from_arrays(corners.reshape(-1, 3).numpy(), faces))
    return found


def test_without_a_warp_shapes_are_what_is_stored(
    stock: MeshStock, resident: ResidentMeshes
) -> None:
    rows = torch.tensor([2, 0, 2])
    batch = resident.batch(rows, stocks.no_warps(3))
    for shape, row in enumerate(rows.tolist()):
        found = batch.triangles.corners_F33[batch.shapes_F == shape].numpy()
        # The box on the stored grid is 1.9 long within a step.
        assert np.abs(found - stock.surface(row).mesh().triangles).max() < 1e-4


@pytest.mark.parametrize("config", [AFFINE, WarpConfig(taper_share=1.0, bend_share=1.0)])
def test_shapes_fill_the_unit_frame(resident: ResidentMeshes, config: WarpConfig) -> None:
    batch = _batch(resident, config)
    for mesh, half in zip(_meshes(batch), batch.half_B3.numpy(), strict=True):
        low, high = mesh.bounds()
        np.testing.assert_allclose(high - low, 2 * half, atol=1e-5)
        np.testing.assert_allclose((high - low).max(), 1.9, atol=1e-5)
        np.testing.assert_allclose(high + low, 0, atol=1e-5)


def test_moved_labels_agree_with_the_solid_of_the_moved_mesh(resident: ResidentMeshes) -> None:
    batch = _batch(resident, AFFINE)
    queries = batch.queries(torch.Generator().manual_seed(1))
    near = queries.near_BQ[0].numpy()
    assert queries.points_BQ3.abs().max() <= 1
    for shape, mesh in enumerate(_meshes(batch)):
        points = queries.points_BQ3[shape].double().numpy()
        solid = Solid.from_mesh(mesh, resolution=96)
        expected, found = solid.contains(points), queries.inside_BQ[shape].numpy()
        away = solid.distance(points) > 0.01
        assert (expected == found)[away].mean() > 0.99
        assert (expected == found)[near].mean() > 0.98
        assert 0.25 < found[near].mean() < 0.6


def test_volume_queries_are_uniform_in_the_cube(resident: ResidentMeshes) -> None:
    rows = torch.zeros(40, dtype=torch.long)  # a box: its volume is known
    batch = resident.batch(rows, stocks.no_warps(40))
    queries = batch.queries(torch.Generator().manual_seed(3))
    volume = queries.inside_BQ[:, : stocks.CONFIG.num_volume]
    assert abs(volume.float().mean() - float(batch.half_B3[0].prod())) < 0.015
    points = queries.points_BQ3[:, : stocks.CONFIG.num_volume]
    assert abs((points[..., 1].abs() < 0.5).float().mean() - 0.5) < 0.02


@pytest.mark.parametrize("config", [AFFINE, WarpConfig(taper_share=1.0, bend_share=1.0)])
def test_surface_points_lie_on_the_surface_and_normals_point_out(
    resident: ResidentMeshes, config: WarpConfig
) -> None:
    batch = _batch(resident, config)
    assert (batch.triangles.orientation_B < 0).any()  # some are mirrored
    points, normals = batch.surface(500, torch.Generator().manual_seed(2))
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(normals.shape[:2]))
    for shape, mesh in enumerate(_meshes(batch)):
        solid = Solid.from_mesh(mesh, resolution=96)
        places, outward = points[shape].double().numpy(), normals[shape].double().numpy()
        assert solid.distance(places).max() < 1e-5
        assert solid.contains(places - 0.01 * outward).mean() > 0.97
        # Parts at the border of what is buried count as a whole.
        assert solid.contains(places + 0.01 * outward).mean() < 0.1


def test_surface_normals_are_orthogonal_to_the_warped_triangles(resident: ResidentMeshes) -> None:
    batch = _batch(resident, WarpConfig(taper_share=1.0))
    corners, normals = batch.triangles.corners_F33, batch.face_normals()
    for first, second in ((0, 1), (1, 2)):
        edges = corners[:, second] - corners[:, first]
        assert (edges * normals).sum(dim=1).abs().max() < 1e-6


def test_surface_points_spread_by_area(resident: ResidentMeshes) -> None:
    batch = resident.batch(torch.tensor([3, 0]), stocks.no_warps(2))
    points, _ = batch.surface(40_000, torch.Generator().manual_seed(6))
    half = batch.half_B3[1]
    on_top = (points[1, :, 1] > half[1] - 1e-4).float().mean()
    areas = torch.stack([half[1] * half[2], half[0] * half[2], half[0] * half[1]])
    assert abs(on_top - areas[1] / (2 * areas.sum())) < 0.01


def test_buried_faces_get_no_points(resident: ResidentMeshes) -> None:
    batch = resident.batch(torch.tensor([2]), stocks.no_warps(1))
    points, _ = batch.surface(4000, torch.Generator().manual_seed(6))
    # The middle of the cross; its border is blurred by the size of a part of a face.
    assert not (points.abs() < 0.2).all(dim=-1).any()


def test_crease_normals_are_those_of_the_renderer(
    stock: MeshStock, resident: ResidentMeshes
) -> None:
    batch = resident.batch(torch.arange(len(stock)), stocks.no_warps(len(stock)))
    for row in range(len(stock)):
        expected = crease_normals(stock.surface(row).mesh()).reshape(-1, 3, 3)
        found = batch.triangles.normals_F33[batch.shapes_F == row]
        # They are kept in 16 bits.
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-3)


def test_shading_normals_turn_with_the_warp(resident: ResidentMeshes) -> None:
    """On a ball they are the normals of the ellipsoid it becomes."""
    batch = _batch(resident, AFFINE, repeats=6)
    for shape in range(1, batch.num_shapes, len(resident)):
        mine = batch.shapes_F == shape
        corners, normals = batch.triangles.corners_F33[mine], batch.triangles.normals_F33[mine]
        inverse = torch.linalg.inv(batch.warps.linear_B33[shape]) @ batch.warps.turn_B33[shape].mT
        expected = torch.nn.functional.normalize(corners @ (inverse.mT @ inverse), dim=-1)
        cosines = (normals * expected).sum(dim=-1)
        assert math.degrees(math.acos(float(cosines.min()))) < 6  # facets of about 8 degrees
