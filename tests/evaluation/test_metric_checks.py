"""Every number of protocol g3pt-eval-v1's reconstruction part, checked twice.

| numbers                          | analytic value                    | another library        |
|----------------------------------|-----------------------------------|------------------------|
| columns of `MeshScores.to_row()` | BALL_IN_BOX, BALL_IN_BALL, BODIES | LIBRARY, BODIES        |
| near accuracy, prefix IoU,       | OTHER_CHECKS, first of the pair   | OTHER_CHECKS, second   |
| tokens, intervals                |                                   |                        |

Analytic: a ball that touches its box from within, with half side `HALF`; two balls about one
centre; solids made to have so many parts. Library: trimesh and SciPy on the very same points, which
are drawn again from the same seed. The last tests hold the tables against what is measured.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import pytest
import scipy.spatial
import scipy.special
import scipy.stats
import trimesh

from g3pt.evaluation.bootstrap import bootstrap
from g3pt.evaluation.objects import (
    EvaluationSettings,
    LabelledPoints,
    Truth,
    near_surface_labels,
    uniform_labels,
)
from g3pt.evaluation.protocols.reconstruction import token_report
from g3pt.geometry.mesh import TriangleMesh, concatenate
from g3pt.geometry.metrics import (
    FSCORE_THRESHOLDS,
    compare_meshes,
    label_accuracy,
    occupancy_iou,
    winding_test,
)
from g3pt.geometry.sampling import SurfaceSamples, sample_surface, sample_volume
from g3pt.models.token_statistics import ScaleStatistics

# --- solids -----------------------------------------------------------------------------------


def of(body: trimesh.Trimesh) -> TriangleMesh:
    return TriangleMesh.from_arrays(body.vertices, body.faces)


def as_trimesh(mesh: TriangleMesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def box(half: float = 0.3, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> TriangleMesh:
    return of(trimesh.creation.box(extents=[2 * half] * 3).apply_translation(centre))


def ball(
    radius: float, centre: tuple[float, float, float] = (0.0, 0.0, 0.0), subdivisions: int = 2
) -> TriangleMesh:
    body = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return of(body.apply_translation(centre))


def turned(mesh: TriangleMesh) -> TriangleMesh:
    """The same faces seen from behind."""
    return TriangleMesh(mesh.vertices, mesh.faces[:, ::-1].copy())


# --- analytic values of the columns -----------------------------------------------------------

HALF = 0.95  # as in the unit frame
NUM_SURFACE, NUM_VOLUME = 40_000, 200_000
SAG = 7e-5  # facets of an icosphere of radius 0.95 and six subdivisions lie so far within

# Means over all directions of the largest component of a unit vector; over a face of the cube of
# half side 1 of the distance to the centre, and of its inverse. Closed forms of the integrals.
MEAN_LARGEST = 6 / math.pi * math.atan(math.sqrt(0.5)) / math.sqrt(2)
MEAN_DISTANCE = (math.sqrt(3) / 4 + math.log(2 + math.sqrt(3)) / 2 - math.pi / 24) * 4 / 3
MEAN_INVERSE = math.log(2 + math.sqrt(3)) - math.pi / 6


def share(value: float, num: int) -> float:
    """Four standard deviations of the share of `num` samples that have a property."""
    return 4 * math.sqrt(value * (1 - value) / num)


def ball_in_box_columns() -> dict[str, object]:
    """Values of the ball as the prediction and the box as the truth."""
    # Distances have a standard deviation of 0.10 in one direction and 0.15 in the other, thus the
    # mean of the means of 40,000 one of 0.00045: four of these, and SAG.
    chamfer = HALF * (1 - MEAN_LARGEST + MEAN_DISTANCE - 1) / 2
    columns: dict[str, object] = {
        # The union is the box, HALF**3 of all volume points.
        "iou": pytest.approx(math.pi / 6, abs=share(math.pi / 6, int(NUM_VOLUME * HALF**3))),
        "chamfer_mean": pytest.approx(chamfer, abs=0.0019),
        "chamfer_sum": pytest.approx(2 * chamfer, abs=0.0038),
        # The same for cosines, with 0.10 both ways.
        "normal_consistency": pytest.approx((MEAN_LARGEST + MEAN_INVERSE) / 2, abs=0.0015),
        "components": 1,
        "closed": True,
    }
    for threshold in FSCORE_THRESHOLDS:
        # The ball's part near the box are six caps of that height; the box's part near the ball six
        # discs, within HALF + threshold of the centre.
        precision = 3 * threshold / HALF
        recall = math.pi * ((HALF + threshold) ** 2 - HALF**2) / (2 * HALF) ** 2
        # The facets move the edges of caps and discs by SAG: a share of 3 to 4 times that.
        precision_error = share(precision, NUM_SURFACE) + 4 * SAG
        recall_error = share(recall, NUM_SURFACE) + 4 * SAG
        digits = str(threshold).replace(".", "")
        columns[f"precision_{digits}"] = pytest.approx(precision, abs=precision_error)
        columns[f"recall_{digits}"] = pytest.approx(recall, abs=recall_error)
        # The harmonic mean's derivatives carry both errors over to it.
        both = precision + recall
        error = 2 * (recall**2 * precision_error + precision**2 * recall_error) / both**2
        columns[f"fscore_{digits}"] = pytest.approx(2 * precision * recall / both, abs=error)
    return columns


BALL_IN_BOX = ball_in_box_columns()


@pytest.fixture(scope="module")
def ball_in_box() -> dict[str, float | int | bool]:
    prediction = ball(HALF, subdivisions=6)
    return compare_meshes(
        prediction,
        turned(box(HALF)),  # normals count the same whichever way they point
        lambda points: (np.abs(points) < HALF).all(axis=1),
        rng=np.random.default_rng(0),
        num_volume=NUM_VOLUME,
        num_surface=NUM_SURFACE,
        prediction_contains=winding_test(prediction),
    ).to_row()


@pytest.mark.parametrize("column", BALL_IN_BOX)
def test_a_ball_in_its_box_has_the_analytic(column, ball_in_box):
    assert ball_in_box[column] == BALL_IN_BOX[column]


OUTER, INNER, NUM_SAMPLES = 0.8, 0.79, 10_000


def expected_nearest_sample() -> float:
    """Mean distance to the nearest of n random points of another sphere about the same centre.

    The squared distance to one of them is gap**2 + 4 R r u with u uniform, hence to the nearest one
    with u of mean 1 / n and nearly exponential: the mean of its root is a Gaussian integral.
    """
    gap, density = OUTER - INNER, math.sqrt(NUM_SAMPLES / (4 * OUTER * INNER))
    floor = math.sqrt(math.pi) / 2 / density
    return gap + floor * float(scipy.special.erfcx(gap * density))


BALL_IN_BALL = {
    # Single distances spread by a third of their mean: 1 % are four standard deviations of the mean
    # of 10,000, and as much again is for samples that share their nearest one.
    "chamfer_nearest_sample": pytest.approx(expected_nearest_sample(), rel=0.02)
}


@pytest.mark.parametrize("column", BALL_IN_BALL)
def test_a_ball_in_a_larger_ball_has_the_analytic(column):
    row = compare_meshes(
        ball(OUTER, subdivisions=6),
        ball(INNER, subdivisions=6),
        lambda points: np.linalg.norm(points, axis=1) < INNER,
        rng=np.random.default_rng(1),
        num_volume=10,
        num_surface=NUM_SAMPLES,
        prediction_contains=lambda points: np.linalg.norm(points, axis=1) < OUTER,
    ).to_row()
    assert row[column] == BALL_IN_BALL[column]


def loose(mesh: TriangleMesh) -> TriangleMesh:
    """The same triangles without shared vertices."""
    corners = mesh.triangles.reshape(-1, 3)
    return TriangleMesh(corners, np.arange(len(corners)).reshape(-1, 3))


def one_face_turned() -> TriangleMesh:
    faces = box().faces.copy()
    faces[0] = faces[0, ::-1]
    return TriangleMesh(box().vertices, faces)


BODIES = {
    # name: solid, parts, closed
    "box": (box(), 1, True),
    "box of loose triangles": (loose(box()), 1, True),
    "box without a triangle": (TriangleMesh(box().vertices, box().faces[1:]), 1, False),
    "box with a turned triangle": (one_face_turned(), 1, False),
    "shell": (concatenate([box(0.5), turned(ball(0.2))]), 2, True),
    "box and ball apart": (concatenate([box(), ball(0.1, (0.6, 0, 0))]), 2, True),
    "two balls and a sheet": (
        concatenate(
            [
                ball(0.1, (0.6, 0, 0)),
                ball(0.1, (-0.6, 0, 0)),
                TriangleMesh(np.eye(3), np.array([[0, 1, 2]])),
            ]
        ),
        3,
        False,
    ),
}


def nowhere(points: np.ndarray) -> np.ndarray:
    return np.zeros(len(points), dtype=bool)


def topology(mesh: TriangleMesh) -> tuple[object, object]:
    """The two columns about the prediction alone."""
    row = compare_meshes(
        mesh,
        box(),
        nowhere,
        rng=np.random.default_rng(0),
        num_volume=10,
        num_surface=10,
        prediction_contains=nowhere,
    ).to_row()
    return row["components"], row["closed"]


@pytest.mark.parametrize("name", BODIES)
def test_parts_and_closedness_are_those_of_the_construction(name):
    body, parts, closed = BODIES[name]
    assert topology(body) == (parts, closed)


@pytest.mark.parametrize("name", BODIES)
def test_trimesh_finds_the_same_parts_and_closedness(name):
    body, _, _ = BODIES[name]
    merged = trimesh.Trimesh(body.vertices, body.faces, process=True)
    closed = bool(merged.is_watertight and merged.is_winding_consistent)
    assert topology(body) == (merged.body_count, closed)


# --- what other libraries say about the same points -------------------------------------------


@dataclass(frozen=True, eq=False)
class Pair:
    """Two meshes that differ a little, the points between them, and our numbers."""

    prediction: TriangleMesh
    truth: TriangleMesh
    volume_points: np.ndarray
    true_samples: SurfaceSamples
    samples: SurfaceSamples
    ahead: np.ndarray
    """Distances of the prediction's samples from the truth, by trimesh."""
    back: np.ndarray
    row: dict[str, float | int | bool]


def trimesh_distances(points: np.ndarray, mesh: TriangleMesh) -> np.ndarray:
    return trimesh.proximity.closest_point_naive(as_trimesh(mesh), points)[1]


@pytest.fixture(scope="module")
def pair() -> Pair:
    """A box askew; its prediction is squeezed and has a stray ball outside."""
    rotation = trimesh.transformations.rotation_matrix(0.7, [1, 2, 3])[:3, :3]
    parts = [box(0.4), box(0.4)]
    squeezed = (parts[1].vertices * (1.003, 0.98, 0.9) + (0.004, 0, 0.01)) @ rotation.T
    truth = TriangleMesh(parts[0].vertices @ rotation.T, parts[0].faces)
    prediction = concatenate(
        [TriangleMesh(squeezed, parts[1].faces), ball(0.15, (0.8, 0.6, 0.0), subdivisions=1)]
    )
    seed, num_volume, num_surface = 5, 20_000, 1000
    row = compare_meshes(
        prediction,
        truth,
        winding_test(truth),
        rng=np.random.default_rng(seed),
        num_volume=num_volume,
        num_surface=num_surface,
        prediction_contains=winding_test(prediction),
    ).to_row()
    rng = np.random.default_rng(seed)  # the same points, drawn in the order of compare_meshes
    volume_points = sample_volume(num_volume, rng)
    true_samples = sample_surface(truth, num_surface, rng)
    samples = sample_surface(prediction, num_surface, rng)
    return Pair(
        prediction=prediction,
        truth=truth,
        volume_points=volume_points,
        true_samples=true_samples,
        samples=samples,
        ahead=trimesh_distances(samples.points, truth),
        back=trimesh_distances(true_samples.points, prediction),
        row=row,
    )


def in_convex_parts(points: np.ndarray, mesh: TriangleMesh) -> np.ndarray:
    """SciPy's inside test of solids whose parts are convex: a Delaunay simplex holds the point."""
    parts = as_trimesh(mesh).split()
    found = [scipy.spatial.Delaunay(part.vertices).find_simplex(points) >= 0 for part in parts]
    return np.any(found, axis=0)


def library_iou(first: np.ndarray, second: np.ndarray) -> float:
    return 1 - float(scipy.spatial.distance.jaccard(first, second))


def pair_iou(pair: Pair) -> float:
    first = in_convex_parts(pair.volume_points, pair.prediction)
    return library_iou(first, in_convex_parts(pair.volume_points, pair.truth))


def pair_nearest_sample(pair: Pair) -> float:
    all_distances = scipy.spatial.distance.cdist(pair.samples.points, pair.true_samples.points)
    return float(all_distances.min(axis=1).mean() + all_distances.min(axis=0).mean()) / 2


def pair_precision(pair: Pair, threshold: float) -> float:
    return float(scipy.stats.percentileofscore(pair.ahead, threshold, kind="strict")) / 100


def pair_recall(pair: Pair, threshold: float) -> float:
    return float(scipy.stats.percentileofscore(pair.back, threshold, kind="strict")) / 100


def agreement_bounds(samples: SurfaceSamples, mesh: TriangleMesh) -> np.ndarray:
    """Least and largest mean agreement of normals.

    Beyond an edge two faces or more are equally near, and either may be the closest one.
    """
    body = as_trimesh(mesh)
    bounds = []
    for point, normal in zip(samples.points, samples.normals, strict=True):
        closest = trimesh.triangles.closest_point(
            body.triangles, np.tile(point, (len(mesh.faces), 1))
        )
        distances = np.linalg.norm(closest - point, axis=1)
        # Equal but for rounding, far below the differences of faces that are not.
        tied = distances <= distances.min() + 1e-9
        cosines = np.abs(body.face_normals[tied] @ normal)
        bounds.append((cosines.min(), cosines.max()))
    return np.mean(bounds, axis=0)


def pair_normals(pair: Pair) -> tuple[float, float]:
    ahead = agreement_bounds(pair.samples, pair.truth)
    back = agreement_bounds(pair.true_samples, pair.prediction)
    low, high = ((ahead + back) / 2).tolist()
    return low, high


def pair_closed(pair: Pair) -> float:
    body = as_trimesh(pair.prediction)
    return bool(body.is_watertight and body.is_winding_consistent)


LIBRARY: dict[str, Callable[[Pair], float | tuple[float, float]]] = {
    "iou": pair_iou,
    "chamfer_mean": lambda pair: float(pair.ahead.mean() + pair.back.mean()) / 2,
    "chamfer_sum": lambda pair: float(pair.ahead.mean() + pair.back.mean()),
    "chamfer_nearest_sample": pair_nearest_sample,
    "normal_consistency": pair_normals,
    "components": lambda pair: as_trimesh(pair.prediction).body_count,
    "closed": pair_closed,
}
for _threshold in FSCORE_THRESHOLDS:
    _digits = str(_threshold).replace(".", "")
    LIBRARY[f"precision_{_digits}"] = lambda pair, t=_threshold: pair_precision(pair, t)
    LIBRARY[f"recall_{_digits}"] = lambda pair, t=_threshold: pair_recall(pair, t)
    LIBRARY[f"fscore_{_digits}"] = lambda pair, t=_threshold: float(
        scipy.stats.hmean([pair_precision(pair, t), pair_recall(pair, t)])
    )


@pytest.mark.parametrize("column", LIBRARY)
def test_another_library_finds_the_same(column, pair):
    figure = LIBRARY[column](pair)
    low, high = figure if isinstance(figure, tuple) else (figure, figure)
    # The same points and exact distances on both sides: only rounding is left.
    assert low - 1e-9 <= pair.row[column] <= high + 1e-9


def test_the_pair_is_not_so_simple_that_a_fault_could_hide(pair):
    for threshold in FSCORE_THRESHOLDS:
        precision, recall = pair_precision(pair, threshold), pair_recall(pair, threshold)
        assert 0 < precision < 1 and 0 < recall <= 1
        assert abs(precision - recall) > 0.01
    low, high = pair_normals(pair)
    assert high - low < 0.1 and high < 0.97
    assert pair.ahead.mean() > 1.5 * pair.back.mean()


def test_point_cloud_utils_agrees_as_a_third_opinion(pair):
    reason = "point-cloud-utils is in the extra 'bench'"
    utils = pytest.importorskip("point_cloud_utils", reason=reason)
    # It measures in single precision.
    near = 1e-5
    ahead, _, _ = utils.closest_points_on_mesh(
        pair.samples.points, pair.truth.vertices, pair.truth.faces
    )
    back, _, _ = utils.closest_points_on_mesh(
        pair.true_samples.points, pair.prediction.vertices, pair.prediction.faces
    )
    assert pair.row["chamfer_mean"] == pytest.approx((ahead.mean() + back.mean()) / 2, abs=near)
    both = utils.chamfer_distance(pair.samples.points, pair.true_samples.points)
    assert pair.row["chamfer_nearest_sample"] == pytest.approx(both / 2, abs=near)
    insides = [
        utils.signed_distance_to_mesh(pair.volume_points, mesh.vertices, mesh.faces)[0] < 0
        for mesh in (pair.prediction, pair.truth)
    ]
    # A single point on the wrong side would change it by 1 / 1000: there are that many in a solid.
    assert pair.row["iou"] == pytest.approx(library_iou(*insides), abs=near)


# --- what is asked of the field ---------------------------------------------------------------

RADIUS = 0.6


def ball_truth(num_samples: int = 50_000) -> Truth:
    """A ball, with samples of the exact sphere."""
    directions = np.random.default_rng(2).standard_normal((num_samples, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    faces = np.zeros(num_samples, dtype=np.int64)
    return Truth(
        id="ball",
        family="ball",
        caption="",
        mesh=ball(RADIUS),
        samples=SurfaceSamples(RADIUS * directions, directions, faces),
        contains=lambda points: np.linalg.norm(points, axis=1) < RADIUS,
    )


@pytest.mark.parametrize("excess", [-0.02, 0.004, 0.05])
def test_near_accuracy_of_a_larger_ball_is_the_noise_between_the_two_spheres(excess):
    settings = EvaluationSettings()
    near = near_surface_labels(ball_truth(), settings)
    predicted = np.linalg.norm(near.points, axis=1) < RADIUS + excess
    # A point of the sphere with Gaussian noise: its distance from the centre over sigma has the
    # non-central chi distribution.
    between = [
        abs(
            float(
                np.diff(
                    scipy.stats.ncx2.cdf(
                        (np.array([RADIUS, RADIUS + excess]) / sigma) ** 2, 3, (RADIUS / sigma) ** 2
                    )
                )[0]
            )
        )
        for sigma in settings.near_sigmas
    ]
    expected = 1 - float(np.mean(between))
    found = label_accuracy(predicted, near.inside)
    assert found == pytest.approx(expected, abs=share(expected, settings.num_near))


def test_near_accuracy_is_one_less_scipys_hamming_distance(pair):
    settings = EvaluationSettings(num_surface=1000, num_near=1000)
    truth = Truth(
        id="box",
        family="box",
        caption="",
        mesh=pair.truth,
        samples=pair.true_samples,
        contains=winding_test(pair.truth),
    )
    near = near_surface_labels(truth, settings)
    found = label_accuracy(winding_test(pair.prediction)(near.points), near.inside)
    first = in_convex_parts(near.points, pair.prediction)
    second = in_convex_parts(near.points, pair.truth)
    # The same labels of the same points: only rounding is left.
    assert found == pytest.approx(1 - scipy.spatial.distance.hamming(first, second), abs=1e-12)
    assert 0.5 < found < 0.98


PREFIX_RADII = (0.3, 0.5, 0.63)
"""Balls in the place of the fields of three prefixes of scales."""


@pytest.fixture(scope="module")
def uniform() -> LabelledPoints:
    """Points and labels that the fields of prefixes are compared on."""
    settings = EvaluationSettings()
    return uniform_labels(ball_truth(10), settings.num_prefix, settings)


@pytest.mark.parametrize("radius", PREFIX_RADII)
def test_prefix_iou_of_balls_in_balls_is_the_ratio_of_volumes(radius, uniform):
    found = occupancy_iou(np.linalg.norm(uniform.points, axis=1) < radius, uniform.inside)
    small, large = sorted([radius, RADIUS])
    expected = (small / large) ** 3
    # So many points of the cube of side 2 lie in the larger ball.
    num = int(len(uniform.points) * 4 / 3 * math.pi * large**3 / 8)
    assert found == pytest.approx(expected, abs=share(expected, num))


@pytest.mark.parametrize("radius", PREFIX_RADII)
def test_prefix_iou_is_one_less_scipys_jaccard_distance(radius, uniform):
    predicted = np.linalg.norm(uniform.points - (0.1, 0, 0), axis=1) < radius
    truth = np.linalg.norm(uniform.points, axis=1) < RADIUS
    # Integers over integers: only the last digit of the division is left.
    found = occupancy_iou(predicted, uniform.inside)
    assert found == pytest.approx(library_iou(predicted, truth), abs=1e-12)


# --- tokens -----------------------------------------------------------------------------------


def test_independent_bits_of_known_bias_have_the_analytic_usage_and_entropies():
    # 64 shapes with all combinations of three bits that are set in one of four; a fourth never is.
    one_in_four = np.array([0, 0, 0, 1])
    bits = np.stack(np.meshgrid(*[one_in_four] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    tokens = (bits @ [1, 2, 4])[:, None].astype(np.int64)
    report = token_report(np.concatenate([tokens, tokens + 8], axis=1), (1, 1), num_bits=4)

    entropy = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    for scale in report["scales"]:
        assert scale["usage"] == 0.5
        # Proportions are exact: only rounding is left, here and below.
        assert scale["perplexity"] == pytest.approx(2 ** (3 * entropy), abs=1e-9)
        assert scale["bit_entropy"] == pytest.approx(3 / 4 * entropy, abs=1e-9)
    # In all, the place sets the fourth bit: twice the entries, but it tells no shapes apart.
    assert report["all"]["usage"] == 1
    assert report["all"]["perplexity"] == pytest.approx(2 ** (1 + 3 * entropy), abs=1e-9)
    assert report["all"]["bit_entropy"] == pytest.approx(3 / 4 * entropy, abs=1e-9)


def test_scipy_and_numpy_find_the_same_usage_and_entropies():
    lengths, num_bits = (1, 4, 16), 5
    tokens = np.random.default_rng(3).binomial(31, 0.4, (40, 21)).astype(np.int64)
    report = token_report(tokens, lengths, num_bits)
    parts = [tokens[:, :1], tokens[:, 1:5], tokens[:, 5:]]
    for found, part in zip([*report["scales"], report["all"]], [*parts, tokens], strict=True):
        counts = np.bincount(part.ravel(), minlength=32)
        octets = part.astype(np.uint8)[..., None]
        set_share = np.unpackbits(octets, axis=-1, bitorder="little")[..., :5].mean(axis=0)
        bit_entropies = scipy.stats.entropy([set_share, 1 - set_share], base=2)
        assert found["usage"] == np.count_nonzero(counts) / 32
        # Double precision on both sides.
        perplexity = math.exp(scipy.stats.entropy(counts))
        assert found["perplexity"] == pytest.approx(perplexity, abs=1e-9)
        assert found["bit_entropy"] == pytest.approx(float(bit_entropies.mean()), abs=1e-9)


# --- intervals --------------------------------------------------------------------------------


def test_the_interval_of_a_share_of_many_objects_is_that_of_the_normal_theory():
    num, closed = 2000, 0.8
    values = (np.arange(num) < closed * num).astype(np.float64)
    interval = bootstrap({"closed": values})["closed"]
    half = 1.96 * math.sqrt(closed * (1 - closed) / num)
    assert interval.mean == pytest.approx(closed, abs=1e-12)
    # An edge from 4,000 resamples has a standard deviation of 0.02 half widths; and the share of
    # 2,000 objects moves in steps of 0.03 half widths.
    assert interval.low == pytest.approx(closed - half, abs=0.1 * half)
    assert interval.high == pytest.approx(closed + half, abs=0.1 * half)


def test_95_of_100_intervals_hold_the_true_mean():
    draws = np.random.default_rng(4).uniform(size=(400, 100))
    intervals = bootstrap({str(k): row for k, row in enumerate(draws)}, num_resamples=1000)
    held = np.mean([interval.low <= 0.5 <= interval.high for interval in intervals.values()])
    # Percentile intervals of 100 objects hold it in about 94.5 of 100 draws. Three standard
    # deviations of 400 draws are 0.033.
    assert held == pytest.approx(0.945, abs=0.033)


def test_scipys_percentile_bootstrap_gives_the_same_interval():
    values = np.random.default_rng(6).exponential(size=60)  # skewed: the edges are not symmetric
    num_resamples = 40_000
    ours = bootstrap({"x": values}, num_resamples=num_resamples)["x"]
    theirs = scipy.stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=num_resamples,
        method="percentile",
        rng=np.random.default_rng(7),
    ).confidence_interval
    # An edge from 40,000 resamples has a standard deviation of 0.014 standard errors: four for the
    # difference of two.
    near = 4 * math.sqrt(2) * 0.014 * values.std() / math.sqrt(len(values))
    assert ours.mean == pytest.approx(values.mean(), abs=1e-12)
    assert ours.low == pytest.approx(theirs.low, abs=near)
    assert ours.high == pytest.approx(theirs.high, abs=near)


# --- no number without its two checks ---------------------------------------------------------

_TOKENS = (
    test_independent_bits_of_known_bias_have_the_analytic_usage_and_entropies,
    test_scipy_and_numpy_find_the_same_usage_and_entropies,
)
OTHER_CHECKS = {
    # number of the report: analytic check, library check
    "near_accuracy": (
        test_near_accuracy_of_a_larger_ball_is_the_noise_between_the_two_spheres,
        test_near_accuracy_is_one_less_scipys_hamming_distance,
    ),
    "prefix_iou": (
        test_prefix_iou_of_balls_in_balls_is_the_ratio_of_volumes,
        test_prefix_iou_is_one_less_scipys_jaccard_distance,
    ),
    "usage": _TOKENS,
    "perplexity": _TOKENS,
    "bit_entropy": _TOKENS,
    "interval": (
        test_the_interval_of_a_share_of_many_objects_is_that_of_the_normal_theory,
        test_scipys_percentile_bootstrap_gives_the_same_interval,
    ),
}


def test_every_column_of_mesh_scores_has_an_analytic_and_a_library_check(pair):
    columns = set(pair.row)
    assert columns == {*BALL_IN_BOX, *BALL_IN_BALL}
    assert columns == set(LIBRARY)


def test_every_token_statistic_has_two_checks():
    assert {field.name for field in fields(ScaleStatistics)} <= set(OTHER_CHECKS)
