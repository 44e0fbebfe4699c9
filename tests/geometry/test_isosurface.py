import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from skimage.measure import marching_cubes

from g3pt.geometry.isosurface import extract_surface
from g3pt.geometry.mesh import TriangleMesh


def sphere(radius, center=(0.0, 0.0, 0.0)):
    return lambda points: radius - np.linalg.norm(points - np.float32(center), axis=1)


def box(center, half):
    def field(points):
        excess = np.abs(points - np.float32(center)) - np.float32(half)
        return -np.linalg.norm(np.maximum(excess, 0), axis=1) - np.minimum(excess.max(1), 0)

    return field


def union(*fields):
    return lambda points: np.max([field(points) for field in fields], axis=0)


def table(points):
    legs = [box((0.88 * x, -0.2, 0.52 * z), (0.02, 0.78, 0.02)) for x in (-1, 1) for z in (-1, 1)]
    return union(box((0, 0.6, 0), (0.95, 0.04, 0.6)), *legs)(points)


def waves(points):
    """Rough, with many tunnels and ambiguous cells, cut by the cube on all sides."""
    x, y, z = (9.7 * points + [0.3, 0.9, 0.1]).T
    return (np.sin(x) * np.cos(y) + np.sin(y) * np.cos(z) + np.sin(z) * np.cos(x)).astype("f4")


def noise(points):
    """A random number per point: about every cell is cut, most of them ambiguously."""
    return (np.sin((points * 1e3) @ np.float32([12.9, 78.2, 37.7])) * 43758.5 % 2 - 1).astype("f4")


def signs(points):
    """As `noise`, with all values of one size: every ambiguous face is a tie."""
    return np.sign(noise(points))


def directed_edges(mesh: TriangleMesh):
    return np.concatenate([mesh.faces[:, [i, (i + 1) % 3]] for i in range(3)])


def volume(mesh: TriangleMesh) -> float:
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


@pytest.mark.parametrize("field", [sphere(0.9), table, waves, noise, signs])
def test_surface_is_closed_and_every_edge_is_walked_once_each_way(field):
    mesh = extract_surface(field, resolution=24, base_resolution=12).mesh
    edges = directed_edges(mesh)
    assert len(np.unique(edges, axis=0)) == len(edges)
    assert {tuple(edge) for edge in edges} == {tuple(edge[::-1]) for edge in edges}


@pytest.mark.parametrize("field", [table, waves, noise, signs])
def test_faces_around_every_vertex_form_one_fan(field):
    mesh = extract_surface(field, resolution=24, base_resolution=12).mesh
    corners = np.arange(mesh.faces.size).reshape(-1, 3)
    starts = mesh.faces.astype(np.int64)
    ends = np.roll(starts, -1, axis=1)
    edge = (np.minimum(starts, ends) * len(mesh.vertices) + np.maximum(starts, ends)).reshape(-1)
    order = np.argsort(edge, kind="stable").reshape(-1, 2)  # both faces of each edge
    start_corner, end_corner = corners.reshape(-1), np.roll(corners, -1, axis=1).reshape(-1)
    one, two = order.T  # they walk the edge in opposite directions
    links = np.concatenate(
        [
            np.stack([start_corner[one], end_corner[two]]),
            np.stack([end_corner[one], start_corner[two]]),
        ],
        axis=1,
    )
    graph = sparse.coo_array((np.ones(links.shape[1]), links), (mesh.faces.size,) * 2)
    num_fans, _ = sparse.csgraph.connected_components(graph, directed=False)
    assert num_fans == len(mesh.vertices)


@pytest.mark.parametrize("field", [sphere(0.9), table, waves])
def test_tracked_surface_equals_the_dense_one(field):
    tracked = extract_surface(field, resolution=50, base_resolution=30)
    dense = extract_surface(field, resolution=50, dense=True)
    np.testing.assert_array_equal(tracked.mesh.vertices, dense.mesh.vertices)
    np.testing.assert_array_equal(tracked.mesh.faces, dense.mesh.faces)
    assert tracked.queries <= dense.queries == dense.queries_dense == 51**3


@pytest.mark.parametrize("field", [sphere(0.83), table])
def test_dense_surface_is_the_one_of_plain_marching_cubes(field):
    mesh = extract_surface(field, resolution=40, dense=True).mesh
    line = np.linspace(-1, 1, 41)
    grid = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(field(grid.reshape(-1, 3)).reshape(41, 41, 41), 0.0)
    ours = np.unique(mesh.vertices[mesh.faces].mean(axis=1).round(4), axis=0)
    theirs = np.unique((vertices / 20 - 1)[faces].mean(axis=1).round(4), axis=0)
    assert len(mesh.vertices) == len(vertices)
    assert len(mesh.faces) == len(faces)
    # Vertices keep 1e-3 of a cell (5e-5) from corners, and rounding doubles what is on a border.
    assert np.abs(ours.mean(axis=0) - theirs.mean(axis=0)).max() < 1e-4


def test_sphere_has_its_volume_and_faces_look_outward():
    mesh = extract_surface(sphere(0.8), resolution=64, base_resolution=16).mesh
    # Chords of cells of 1/32 cut off about (h / r)^2 / 8 of the radius.
    assert volume(mesh) == pytest.approx(4 / 3 * np.pi * 0.8**3, rel=2e-3)


def test_solid_that_fills_the_cube_is_cut_at_its_faces():
    mesh = extract_surface(lambda points: np.ones(len(points), "f4"), resolution=8).mesh
    assert volume(mesh) == pytest.approx(8.0, abs=1e-2)
    assert np.abs(mesh.vertices).max() == 1.0


def test_empty_field_gives_an_empty_mesh():
    mesh = extract_surface(lambda points: -np.ones(len(points), "f4"), resolution=16).mesh
    assert mesh.vertices.shape == (0, 3)
    assert mesh.faces.shape == (0, 3)


def test_values_exactly_at_the_level_leave_no_degenerate_face():
    mesh = extract_surface(box((0, 0, 0), (0.5, 0.5, 0.5)), resolution=32, base_resolution=8).mesh
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).min() > 0
    # The last inside corners lie one cell (1/16) before the faces; edges are bevelled by a cell.
    assert volume(mesh) == pytest.approx(1.0, rel=3e-2)


def test_level_moves_the_surface():
    mesh = extract_surface(sphere(0.8), resolution=64, base_resolution=16, level=0.3).mesh
    assert np.linalg.norm(mesh.vertices, axis=1) == pytest.approx(0.5, abs=2e-3)


def test_no_point_is_asked_twice_and_none_outside_the_cube():
    asked = []

    def field(points):
        asked.append(points)
        return waves(points)

    extraction = extract_surface(field, resolution=33, base_resolution=10, chunk=500, band=0.2)
    points = np.concatenate(asked)
    assert max(map(len, asked)) <= 500
    assert len(np.unique(points, axis=0)) == len(points) == extraction.queries
    assert np.abs(points).max() <= 1


def test_seeds_and_band_find_a_speck_between_base_corners():
    speck = (0.131, 0.118, 0.124)
    field = union(sphere(0.02, speck), sphere(0.2, (-0.5, 0, 0)))
    settings = {"resolution": 128, "base_resolution": 8}
    missed = extract_surface(field, **settings)
    with_seeds = extract_surface(field, **settings, seeds=np.array([speck]))
    with_band = extract_surface(field, **settings, band=0.22)
    dense = extract_surface(field, resolution=128, dense=True)
    assert len(missed.mesh.faces) < len(dense.mesh.faces)
    np.testing.assert_array_equal(with_seeds.mesh.faces, dense.mesh.faces)
    np.testing.assert_array_equal(with_band.mesh.vertices, dense.mesh.vertices)
    assert with_seeds.queries - missed.queries < 1500
    assert with_band.queries < dense.queries / 4


def test_halved_base_grid_finds_all_that_the_full_one_finds():
    specks = np.random.default_rng(2).uniform(-0.9, 0.9, (12, 3))
    field = union(*(sphere(0.035, speck) for speck in specks))  # wider than base cells of 1/32
    halved = extract_surface(field, resolution=128, base_resolution=64)
    dense = extract_surface(field, resolution=128, dense=True)
    np.testing.assert_array_equal(halved.mesh.vertices, dense.mesh.vertices)
    np.testing.assert_array_equal(halved.mesh.faces, dense.mesh.faces)
    assert halved.queries < 65**3


def test_memory_grows_with_the_surface_and_not_with_the_grid():
    def peak(resolution):
        tracemalloc.start()
        extract_surface(sphere(0.3), resolution=resolution, base_resolution=32)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(256) < 6 * peak(128)  # the surface grows by 4, the grid by 8


def test_queries_at_256_are_twenty_times_fewer_than_dense():
    for field in (sphere(0.95), table):
        extraction = extract_surface(field, resolution=256)
        assert extraction.queries * 20 <= extraction.queries_dense == 257**3


def test_field_that_answers_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        extract_surface(lambda points: np.full(len(points), np.nan, "f4"), resolution=8)


# What we rely on in scikit-image's marching cubes: a canary for its next versions.

CELLS = np.stack(np.unravel_index(np.arange(8), (2, 2, 2)), axis=-1)
"""First corners of the eight cells around the middle corner, in the order of their memory."""


def faces_of(mask: np.ndarray) -> np.ndarray:
    """Corners of the faces around a solid middle corner, in cells that a mask allows."""
    volume = np.full((3, 3, 3), -1.0, dtype=np.float32)
    volume[1, 1, 1] = 1.0
    vertices, faces, _, _ = marching_cubes(volume, 0.0, mask=mask, gradient_direction="ascent")
    return vertices[faces]


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_the_mask_names_a_cell_by_its_last_corner(cell: np.ndarray) -> None:
    """scikit-image#8202 asks for the first corner: then `_vertex_names` masks `origins_A3`."""
    mask = np.zeros((3, 3, 3), dtype=np.bool_)
    mask[tuple(cell + 1)] = True

    (face,) = faces_of(mask)

    assert (np.floor(face.mean(axis=0)) == cell).all()


def test_faces_come_cell_by_cell_in_the_order_of_memory() -> None:
    middles = faces_of(np.ones((3, 3, 3), dtype=np.bool_)).mean(axis=1)

    np.testing.assert_array_equal(np.floor(middles), CELLS)


@pytest.mark.parametrize("dense", [False, True])
def test_every_block_is_told_with_the_queries_so_far(dense):
    told = []
    listened = extract_surface(
        sphere(0.7), resolution=64, dense=dense, chunk=1000, on_block=told.append
    )
    assert told == sorted(told) and told[-1] == listened.queries
    assert len(set(told)) >= listened.queries / 1000
    plain = extract_surface(sphere(0.7), resolution=64, dense=dense)
    np.testing.assert_array_equal(listened.mesh.vertices, plain.mesh.vertices)
    np.testing.assert_array_equal(listened.mesh.faces, plain.mesh.faces)


def test_whoever_hears_of_a_block_can_end_the_extraction():
    asked = []

    def field(points):
        asked.append(len(points))
        return sphere(0.7)(points)

    def stop(queries):
        if queries > 2500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_surface(field, resolution=64, chunk=1000, on_block=stop)
    assert sum(asked) <= 3500
