import base64
from dataclasses import replace

import igl
import numpy as np
import pytest

from g3pt import procedural
from g3pt.geometry.mesh import TriangleMesh, write_mesh
from g3pt.preparation import leakage
from g3pt.preparation.leakage import CELLS, Leak, describe_shape, distances_of, fill_of, find_leaks
from g3pt.preparation.prepare import prepare_shape
from g3pt.preparation.sources import MeshRef, ProceduralShape, SourceShape, load_shape
from g3pt.shapes.stored import PrepareConfig

CONFIG = PrepareConfig(num_points=16_384, num_volume_queries=32_768, num_near_queries=384)
FAMILIES = ("chair", "mug", "car", "house")


class TurnedShape(ProceduralShape):
    """A shape of a family, moved by a matrix that permutes and flips axes."""

    def __init__(self, seed, family, matrix):
        super().__init__(seed, family)
        self.id += "-turned"
        self._matrix = np.asarray(matrix)

    def sample_surface(self, num, rng):
        samples = super().sample_surface(num, rng)
        turn = self._matrix.T
        return replace(samples, points=samples.points @ turn, normals=samples.normals @ turn)

    def contains(self, points):
        return super().contains(points @ self._matrix.astype(points.dtype))


def describe(shape: SourceShape, config: PrepareConfig = CONFIG) -> str:
    return describe_shape(prepare_shape(shape, config), config)


def row(name: str, descriptor: str) -> dict:
    return {"id": name, "descriptor": descriptor}


def make(family: str, seed: int = 0) -> SourceShape:
    return ProceduralShape(seed, family)


@pytest.fixture(scope="module")
def train_rows():
    """One shape of each of some families, and others of the same ones."""
    return [
        row(f"{family}-{seed}", describe(make(family, seed)))
        for family in FAMILIES
        for seed in (0, 1, 2)
    ]


def twins(leaks: list[Leak]) -> dict[str, str]:
    return {leak.val_id: leak.train_id for leak in leaks}


def test_shapes_sampled_again_are_found_one_unit_of_noise_apart(train_rows):
    again = replace(CONFIG, seed=1)
    val_rows = [row(family, describe(make(family), again)) for family in FAMILIES]

    leaks = find_leaks(train_rows, val_rows)

    assert twins(leaks) == {family: f"{family}-0" for family in FAMILIES}
    # The standard error of the distance is below 0.2 (see MAX_DISTANCE).
    assert all(0.5 < leak.distance < 1.4 for leak in leaks)
    assert [leak.distance for leak in leaks] == sorted(leak.distance for leak in leaks)


@pytest.mark.parametrize(
    "matrix",
    [
        [[0, 0, 1], [0, 1, 0], [-1, 0, 0]],
        [[-1, 0, 0], [0, 1, 0], [0, 0, -1]],
        [[0, 0, -1], [0, 1, 0], [1, 0, 0]],
        [[-1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0, 0, 1], [0, 1, 0], [1, 0, 0]],
    ],
    ids=["90", "180", "270", "mirrored", "mirrored and turned"],
)
def test_shapes_turned_about_the_vertical_or_mirrored_are_found(train_rows, matrix):
    val_rows = [row(f, describe(TurnedShape(0, f, matrix))) for f in FAMILIES]

    assert twins(find_leaks(train_rows, val_rows)) == {f: f"{f}-0" for f in FAMILIES}


def test_a_shape_lying_on_its_side_is_another_shape(train_rows):
    fallen = TurnedShape(0, "chair", [[1, 0, 0], [0, 0, -1], [0, 1, 0]])

    assert find_leaks(train_rows, [row("fallen", describe(fallen))]) == []


def test_a_decimated_mesh_of_the_shape_is_found(train_rows, tmp_path):
    mesh = procedural.make_shape(0, "mug").mesh(40)
    vertices, faces, *_ = igl.decimate(mesh.vertices, mesh.faces, len(mesh.faces) // 2)
    write_mesh(tmp_path / "mug.glb", TriangleMesh(vertices, faces.astype(np.int64), None))
    shape = load_shape(MeshRef(id="fewer", location=str(tmp_path / "mug.glb")), solid_resolution=64)

    assert twins(find_leaks(train_rows, [row("fewer", describe(shape))])) == {"fewer": "mug-0"}


def test_most_shapes_of_one_family_are_no_twins():
    rows = [row(f"chair-{seed}", describe(make("chair", seed))) for seed in range(10)]

    assert len(find_leaks(rows[:5], rows[5:])) <= 1


def random_rows(num: int, seed: int) -> list[dict]:
    """Descriptors of nothing: noise, some of them repeated."""
    rng = np.random.default_rng(seed)
    kinds = np.random.default_rng(0).integers(0, 50, (7, CELLS**3 + 32))
    values = kinds[rng.integers(7, size=num)] + rng.integers(0, 3, (num, CELLS**3 + 32))
    texts = [base64.b85encode(v.astype(np.uint8).tobytes()).decode() for v in values]
    return [row(f"{seed}-{number}", text) for number, text in enumerate(texts)]


def obvious_distance(a: str, b: str, queries_per_cell: float) -> float:
    first, second = fill_of(a), fill_of(b)
    distances = []
    for mirrored in (second, second[:, :, ::-1]):
        for turns in range(4):
            other = np.rot90(mirrored, turns, axes=(0, 2))
            middle = (first + other) / 2
            noise = 2 * (middle * (1 - middle)).sum() / queries_per_cell
            noise += 2 * CELLS**3 * leakage.ROUNDING
            distances.append(np.sqrt(((first - other) ** 2).sum() / noise))
    return min(distances)


def test_the_matrix_product_agrees_with_the_obvious_loop(monkeypatch):
    train_rows, val_rows = random_rows(23, 1), random_rows(5, 2)
    monkeypatch.setattr(leakage, "MAX_PRODUCTS", 300)  # several chunks

    leaks = find_leaks(train_rows, val_rows, max_distance=100.0)

    by_id = {r["id"]: r["descriptor"] for r in [*train_rows, *val_rows]}
    assert len(leaks) == 5
    for leak in leaks:
        near = {
            name: obvious_distance(text, by_id[leak.val_id], 32_768 / CELLS**3)
            for name, text in by_id.items()
            if name.startswith("1-")
            and np.linalg.norm(distances_of(text) - distances_of(by_id[leak.val_id])) <= 0.04
        }
        # float32 sums of 216 products, of which most cancel
        assert leak.distance == pytest.approx(min(near.values()), abs=0.01)
        assert near[leak.train_id] == pytest.approx(min(near.values()), abs=0.01)


def test_a_split_that_is_empty_leaks_nothing(train_rows):
    assert find_leaks([], train_rows) == find_leaks(train_rows, []) == []


def test_a_descriptor_knows_where_a_box_is_full(mesh_folder):
    cube = MeshRef(id="cube", location=str(mesh_folder / "cube.glb"))

    descriptor = describe(load_shape(cube, solid_resolution=48))
    fill, lengths = fill_of(descriptor), distances_of(descriptor)

    assert fill[1:5, 1:5, 1:5].min() == 1.0
    # The unit frame leaves 0.05 of the 1/3 of a border cell empty, on one side or more.
    assert fill[0, 2, 2] == pytest.approx(0.85, abs=0.1)  # 4 standard errors
    assert lengths.sum() == pytest.approx(1.0, abs=0.02)  # 32 roundings of 1/1020
    mean = (lengths * (np.arange(32) + 0.5)).sum() * (2 * 0.95 * 3**0.5) / 32
    # Of two points on a unit cube: 0.926 apart on different faces, 0.521 on one.
    assert mean == pytest.approx((5 * 0.9264 + 0.5214) / 6 * 1.9, rel=0.02)


def test_a_turn_does_not_change_the_distances():
    turned = TurnedShape(0, "car", [[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    before, after = describe(make("car")), describe(turned)

    difference = np.linalg.norm(distances_of(before) - distances_of(after))
    assert difference < leakage.MAX_D2_DISTANCE
    assert not np.allclose(fill_of(before), fill_of(after), atol=0.1)
