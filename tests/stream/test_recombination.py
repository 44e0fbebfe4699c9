"""Recombined shapes: labels, surface points and rays against slow twins."""

from dataclasses import replace

import igl
import numpy as np
import pytest
import torch

import stocks
from g3pt.procedural.grammar.clusters import part as primitive
from g3pt.procedural.primitives import Kind, signed_distance
from g3pt.shapes.mesh_stock import MeshStock
from g3pt.stream.fields import QueryCounts
from g3pt.stream.maker import ExampleMaker, MakerConfig
from g3pt.stream.parts import Part
from g3pt.stream.recombination import RecombinationConfig, Recombined, Recombiner
from g3pt.stream.recombined import RecombinedBatch
from g3pt.stream.warps import WarpConfig

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> MeshStock:
    return stocks.stock(tmp_path_factory.mktemp("stock"))


@pytest.fixture(scope="module")
def shapes(stock: MeshStock) -> list[Recombined]:
    config = RecombinationConfig(grammar_share=0.6)
    recombiner = Recombiner(config, stock, WarpConfig(), assembly="cut-assembly")
    return [recombiner.make(np.random.default_rng(seed)) for seed in range(16)]


@pytest.fixture(scope="module")
def batch(shapes: list[Recombined]) -> RecombinedBatch:
    return RecombinedBatch(shapes, CPU, cast_by="torch", backend="torch")


def inside_slowly(shape: Recombined, points: np.ndarray) -> np.ndarray:
    """Every body by libigl's exact winding number, and the assembly by its field."""
    inside = np.zeros(len(points), np.bool_)
    for number in np.unique(shape.mesh.bodies_F):
        body = shape.mesh.only(shape.mesh.bodies_F == number)
        inside |= igl.winding_number(body.vertices_P3, body.faces_F3, points) > 0.5
    if shape.assembly is not None:
        inside |= signed_distance(shape.assembly, points) < 0
    return inside


def boxes(*pairs: tuple[tuple[float, float, float], tuple[float, float, float]]) -> Part:
    """Boxes as the bodies of one part."""
    meshes = [stocks.box(*pair) for pair in pairs]
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]
    return Part(
        vertices_P3=np.concatenate([mesh.vertices for mesh in meshes]),
        faces_F3=np.concatenate(faces).astype(np.int64),
        colors_F33=np.full((12 * len(meshes), 3, 3), 200, np.uint8),
        bodies_F=np.repeat(np.arange(len(meshes)), 12),
    )


def test_recombined_shapes_fill_the_unit_frame_and_name_what_they_are_made_of(shapes, stock):
    ids = {one["id"] for one in stock.objects}
    for shape in shapes:
        assert max(shape.extents) == pytest.approx(1.9)
        assert 2 <= len(shape.origins) <= 3
        of_grammar = [one for one in shape.origins if one.startswith("procedural-cut-assembly-")]
        assert len(of_grammar) == (shape.assembly is not None)
        assert set(shape.origins) - set(of_grammar) <= ids
        low, high = shape.mesh.box()
        assert np.all(high - low <= np.array(shape.extents) + 1e-9)
    assert 0 < sum(shape.assembly is not None for shape in shapes) < len(shapes)


def test_labels_are_those_of_the_union_of_the_parts(shapes, batch):
    rng = np.random.default_rng(0)
    surface, _ = batch.surface(500, torch.Generator().manual_seed(0))
    near = surface.numpy() + rng.normal(0, 0.02, surface.shape)
    points = np.concatenate([rng.uniform(-1, 1, (len(shapes), 500, 3)), near], axis=1)
    found = batch.contains(torch.from_numpy(points)).numpy()
    expected = np.stack([inside_slowly(*pair) for pair in zip(shapes, points, strict=True)])
    # Fields of assemblies are in float32: a point within rounding of the surface may go either way.
    assert np.mean(found != expected) < 1e-4
    assert 0.05 < expected.mean() < 0.9


def test_surface_points_have_the_union_behind_them_and_nothing_before(shapes, batch):
    points, normals = (values.numpy() for values in batch.surface(600, torch.Generator()))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    for shape, own, out in zip(shapes, points, normals, strict=True):
        assert np.all(np.abs(own) <= np.array(shape.extents) / 2 + 0.02)
        assert np.mean(inside_slowly(shape, own - 1.1e-3 * out)) > 0.99
        assert np.mean(inside_slowly(shape, own + 1.1e-3 * out)) < 0.01


@pytest.mark.parametrize("second", ["a mesh", "an assembly"])
def test_points_are_spread_by_area_over_what_is_exposed(second):
    # The second box sticks out of the first by three quarters of its length.
    first, pair = ((-0.9, -0.4, -0.4), (0.3, 0.4, 0.4)), ((0.1, -0.2, -0.2), (0.9, 0.2, 0.2))
    arrays = primitive(Kind.BOX, (0.4, 0.2, 0.2, 0.0), (1, 2, 3), (0.5, 0.0, 0.0))
    whole = second == "a mesh"
    shape = Recombined(
        mesh=boxes(first, pair) if whole else boxes(first),
        assembly=None if whole else arrays,
        # What an assembly shows of itself knows nothing of the mesh that buries a part of it.
        assembly_area=0.0 if whole else 2 * (2 * 0.8 * 0.4 + 0.16),
        extents=(1.8, 0.8, 0.8),
        origins=("first", "second"),
    )
    batch = RecombinedBatch([shape], CPU, cast_by="torch", backend="torch")
    points, normals = (values[0].numpy() for values in batch.surface(20_000, torch.Generator()))
    on_second = points[:, 0] > 0.3 + 1e-6
    exposed = 4 * 0.6 * 0.4 + 0.16
    of_first = 4 * 1.2 * 0.8 + 2 * 0.64 - 0.16
    share = exposed / (exposed + of_first)
    # Three standard errors of 20,000 draws.
    assert on_second.mean() == pytest.approx(share, abs=3 * (share / 20_000) ** 0.5)
    end = np.isclose(points[:, 0], 0.3, atol=1e-5)
    assert not (end & (np.abs(points[:, 1:]) < 0.2 - 2e-3).all(axis=1)).any()
    np.testing.assert_allclose(normals[end], np.tile([1, 0, 0], (end.sum(), 1)), atol=1e-4)


def test_rays_end_where_they_first_enter_the_union(shapes, batch):
    num = len(shapes)
    generator = torch.Generator().manual_seed(1)
    origins = torch.nn.functional.normalize(torch.randn(num, 3, generator=generator)) * 4
    line = torch.linspace(-0.9, 0.9, 16)
    sheet = torch.cartesian_prod(line, line)
    rows = torch.nn.functional.normalize(torch.linalg.cross(origins, origins.roll(1, 1)))
    columns = torch.linalg.cross(rows, torch.nn.functional.normalize(origins))
    targets = sheet[:, :1] * rows[:, None] + sheet[:, 1:] * columns[:, None]
    rays = torch.nn.functional.normalize(targets - origins[:, None], dim=-1)
    hits = batch.cast(torch.arange(num), origins, rays)
    ends = torch.where(hits.hit_VR, hits.lengths_VR, torch.tensor(6.0))
    # Thin edges may lie between two of the places that are looked at, but no solid.
    lengths = 2 + (ends[..., None] - 2.003) * torch.linspace(0, 1, 150)
    before = origins[:, None, None] + rays[:, :, None] * lengths[..., None]
    wrong = batch.contains(before.flatten(1, 2).clamp(-1, 1)).unflatten(1, (-1, 150))
    inside_cube = (before.abs() < 1).all(dim=-1)
    assert (wrong & inside_cube).any(dim=-1).float().mean() < 0.01
    behind = batch.contains(origins[:, None] + rays * (ends + 3e-3)[..., None])
    assert (behind | ~hits.hit_VR).float().mean() > 0.98
    assert 0.1 < hits.hit_VR.float().mean() < 0.9
    assert (hits.normals_VR3 * rays).sum(-1)[hits.hit_VR].max() < 0.2


def test_a_shape_follows_from_its_seed(stock, shapes):
    config = RecombinationConfig(grammar_share=0.6)
    recombiner = Recombiner(config, stock, WarpConfig(), assembly="cut-assembly")
    again = recombiner.make(np.random.default_rng(5))
    assert again.origins == shapes[5].origins
    np.testing.assert_array_equal(again.mesh.vertices_P3, shapes[5].mesh.vertices_P3)


def test_a_stock_without_closed_bodies_is_refused(stock):
    opened = MeshStock(**{**vars(stock), "faces_F3": np.zeros_like(stock.faces_F3)})
    for fused in (0.0, 1.0):
        recombiner = Recombiner(RecombinationConfig(fused_share=fused), opened, WarpConfig())
        with pytest.raises(ValueError, match=r"no closed bodies to .* set data.recombined to 0"):
            recombiner.make(np.random.default_rng(0))


def test_shares_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"recombination.half_share must lie in 0..1, got 2"):
        RecombinationConfig(half_share=2)
    with pytest.raises(ValueError, match=r"recombination.smallest must lie in .05..1, got 0"):
        RecombinationConfig(smallest=0)


def test_a_maker_adds_recombined_examples_and_leaves_the_others_as_they_were(tmp_path):
    path = tmp_path / "meshes.safetensors"
    stocks.write_stock(path, stocks.prepared(tmp_path), stocks.CONFIG)
    config = MakerConfig(
        num_points=64, image_size=32, num_views=1, queries=QueryCounts(num_volume=16, num_near=12)
    )

    def first_coordinates(points, normals):
        del normals
        return (points[:, :5, 0] * 1000).long()

    def made(config, num):
        maker = ExampleMaker(config, CPU, first_coordinates, None, stock=str(path))
        return maker.make(None, 2, 3, num)

    plain = made(config, 0)
    more = made(replace(config, recombination=RecombinationConfig()), 3)
    assert len(plain) == 2 and len(more) == 5
    assert torch.equal(more.indices_BT[:2], plain.indices_BT)
    assert torch.equal(more.pictures_BVSS4[:2], plain.pictures_BVSS4)
    assert torch.equal(more.queries_BQ3[:2], plain.queries_BQ3)
    assert all("+" in origin for origin in more.origins[2:]) and more.captions[2:] == ("",) * 3
    assert more.shown_BV[2:].all() and more.inside_BQ[2:].any(dim=1).all()
