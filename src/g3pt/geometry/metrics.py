"""Scores of a mesh against the true one: IoU, Chamfer, F-score (Sec. 4.3), normals, topology.

Frame: the unit frame; all distances are Euclidean, unsquared, in its lengths. N, M points.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import igl  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from scipy import spatial  # pyright: ignore[reportMissingTypeStubs]

from g3pt.geometry.mesh import (
    MeshError,
    TriangleMesh,
    area_vectors,
    face_normals,
    is_closed,
    keep_faces,
    num_components,
)
from g3pt.geometry.sampling import SurfaceSamples, sample_surface, sample_volume
from g3pt.geometry.solid import Solid
from g3pt.geometry.sparse_grid import FieldFunction

_igl: Any = igl  # without type stubs
_spatial: Any = spatial

FSCORE_THRESHOLDS = (0.005, 0.01, 0.02, 0.05)
"""Distances below which a sample counts as matched; 0.01 is reported first."""

EMPTY_CHAMFER = 2.0 * 3.0**0.5
"""Chamfer distance of a prediction without faces: the query cube's diagonal."""

Contains = Callable[[Float64[np.ndarray, "N 3"]], Bool[np.ndarray, " N"]]
"""Tells which points are inside."""


@dataclass(frozen=True)
class FScore:
    """Matched shares at one threshold, each in [0, 1]."""

    fscore: float
    """Harmonic mean of the two below."""
    precision: float
    """Share of the prediction's samples near the truth."""
    recall: float
    """Share of the truth's samples near the prediction."""


@dataclass(frozen=True, kw_only=True)
class MeshScores:
    """A prediction against its truth by protocol g3pt-eval-v1."""

    iou: float
    """Intersection over union of the solids, from uniform points of the query cube."""
    chamfer_mean: float
    """Mean of the two directions' mean exact distances; the value reported as Chamfer distance."""
    chamfer_sum: float
    """Sum of the two directions' mean exact distances."""
    chamfer_nearest_sample: float
    """As `chamfer_mean`, but to the nearest sample instead of the surface, as in older papers."""
    fscores: dict[float, FScore]
    """F-scores by threshold."""
    normal_consistency: float
    """Mean absolute cosine between a sample's normal and that of the closest face, both ways."""
    components: int
    """Connected parts of the prediction."""
    closed: bool
    """True if the prediction's faces bound a volume."""

    @property
    def fscore_001(self) -> float:
        """F-score at threshold 0.01, the one reported first."""
        return self.fscores[0.01].fscore

    def to_row(self) -> dict[str, float | int | bool]:
        """Flatten for tables: `fscore_0005`, `precision_001` ... name the threshold's digits."""
        row: dict[str, float | int | bool] = {
            "iou": self.iou,
            "chamfer_mean": self.chamfer_mean,
            "chamfer_sum": self.chamfer_sum,
            "chamfer_nearest_sample": self.chamfer_nearest_sample,
        }
        for threshold, score in self.fscores.items():
            digits = str(threshold).replace(".", "")
            row[f"fscore_{digits}"] = score.fscore
            row[f"precision_{digits}"] = score.precision
            row[f"recall_{digits}"] = score.recall
        row["normal_consistency"] = self.normal_consistency
        row["components"] = self.components
        row["closed"] = self.closed
        return row


@dataclass(frozen=True, eq=False)
class ClosestFaces:
    """Closest face and point of a mesh for each query point."""

    distances: Float64[np.ndarray, " N"]
    faces: Int64[np.ndarray, " N"]
    """Index of the closest face of the mesh asked about."""
    points: Float64[np.ndarray, "N 3"]
    """The closest point on it."""


def closest_faces(points: Float64[np.ndarray, "N 3"], mesh: TriangleMesh) -> ClosestFaces:
    """Find the closest triangle to each point and the exact distance to it.

    Raises:
        MeshError: if no face has area.
    """
    kept = np.flatnonzero((area_vectors(mesh) != 0).any(axis=1))
    if len(kept) == 0:
        raise MeshError("there is no distance to a mesh without area")
    solid_faces = keep_faces(mesh, kept)
    tree = _igl.AABB()
    tree.init(solid_faces.vertices, solid_faces.faces)
    if len(points) == 0:
        return ClosestFaces(np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros((0, 3)))
    squared, faces, closest = tree.squared_distance(
        solid_faces.vertices, solid_faces.faces, np.ascontiguousarray(points)
    )
    return ClosestFaces(np.sqrt(squared), kept[faces], closest)


def distance_to_mesh(
    points: Float64[np.ndarray, "N 3"], mesh: TriangleMesh
) -> Float64[np.ndarray, " N"]:
    """Exact unsigned distance from each point to the closest triangle."""
    return closest_faces(points, mesh).distances


def occupancy_iou(first: Bool[np.ndarray, " N"], second: Bool[np.ndarray, " N"]) -> float:
    """Intersection over union of two labellings of the same points; 1 if both are empty."""
    union = int((first | second).sum())
    return 1.0 if union == 0 else int((first & second).sum()) / union


def label_accuracy(predicted: Bool[np.ndarray, " N"], truth: Bool[np.ndarray, " N"]) -> float:
    """Share of equal labels (the paper's accuracy, at near-surface points)."""
    return float((predicted == truth).mean())


def chamfer(to_truth: Float64[np.ndarray, " N"], to_prediction: Float64[np.ndarray, " M"]) -> float:
    """Chamfer distance: mean of the two directions' mean distances."""
    return float(to_truth.mean() + to_prediction.mean()) / 2


def fscore(
    to_truth: Float64[np.ndarray, " N"],
    to_prediction: Float64[np.ndarray, " M"],
    threshold: float = 0.01,
) -> FScore:
    """Precision, recall and F-score from both directions' distances."""
    precision = float((to_truth < threshold).mean())
    recall = float((to_prediction < threshold).mean())
    both = precision + recall
    return FScore(2 * precision * recall / both if both > 0 else 0.0, precision, recall)


def compare_meshes(
    prediction: TriangleMesh | None,
    truth: TriangleMesh,
    truth_contains: Contains,
    *,
    rng: np.random.Generator,
    num_volume: int = 200_000,
    num_surface: int = 100_000,
    prediction_contains: Contains | None = None,
    truth_samples: SurfaceSamples | None = None,
) -> MeshScores:
    """Score a predicted mesh against the true one, both in the unit frame.

    Args:
        prediction: the mesh to score; None or a mesh without area counts as empty (IoU 0, F-score
            0, Chamfer distance the cube's diagonal).
        truth: the true surface, sampled by area, inner walls included.
        truth_contains: inside test of the true solid.
        rng: source of all samples.
        num_volume: points for IoU, uniform in the query cube.
        num_surface: samples of each surface.
        prediction_contains: inside test of the prediction; its `Solid` when not given.
        truth_samples: points drawn by area on the true surface, where it is known better than by
            its mesh; by default `num_surface` points of the mesh.

    Raises:
        MeshError: if the truth has no area.
    """
    volume_points = sample_volume(num_volume, rng)
    true_samples = truth_samples or sample_surface(truth, num_surface, rng)
    if prediction is None or not area_vectors(prediction).any():
        return _empty_scores()
    contains = prediction_contains or solid_test(prediction)
    samples = sample_surface(prediction, num_surface, rng)
    ahead = closest_faces(samples.points, truth)
    back = closest_faces(true_samples.points, prediction)
    mean = chamfer(ahead.distances, back.distances)
    agreement = _normal_agreement(samples, ahead, truth)
    return MeshScores(
        iou=occupancy_iou(contains(volume_points), truth_contains(volume_points)),
        chamfer_mean=mean,
        chamfer_sum=2 * mean,
        chamfer_nearest_sample=chamfer(*_nearest_samples(samples.points, true_samples.points)),
        fscores={
            threshold: fscore(ahead.distances, back.distances, threshold)
            for threshold in FSCORE_THRESHOLDS
        },
        normal_consistency=(agreement + _normal_agreement(true_samples, back, prediction)) / 2,
        components=num_components(prediction),
        closed=is_closed(prediction),
    )


def solid_test(mesh: TriangleMesh, resolution: int = 256) -> Contains:
    """Inside test of a mesh that may leave the query cube, as a foreign prediction can.

    Raises:
        MeshError: if the mesh bounds nothing.
    """
    shrink = 1.0 / max(1.0, float(np.abs(mesh.bounds()).max()))
    small = TriangleMesh(mesh.vertices * shrink, mesh.faces)
    solid = Solid.from_mesh(small, resolution)
    return lambda points: solid.contains(points * shrink)


def winding_test(mesh: TriangleMesh) -> Contains:
    """Inside test of a closed mesh with outward faces, such as an extracted one: winding > 1/2.

    Exact for closed meshes, cavities included, and ten times faster to build than a `Solid`.
    """
    tree = _igl.FastWindingNumberBVH()
    tree.init(mesh.vertices, mesh.faces)
    return lambda points: tree.winding_number(np.ascontiguousarray(points, np.float64)) > 0.5


def signed_distance(mesh: TriangleMesh) -> FieldFunction:
    """Exact distance to a closed mesh with outward faces, positive inside: winding > 1/2."""
    contains = winding_test(mesh)
    tree = _igl.AABB()
    tree.init(mesh.vertices, mesh.faces)

    def field(points: Float32[np.ndarray, "N 3"]) -> Float32[np.ndarray, " N"]:
        wide = np.ascontiguousarray(points, np.float64)
        squared, _, _ = tree.squared_distance(mesh.vertices, mesh.faces, wide)
        return (np.where(contains(wide), 1.0, -1.0) * np.sqrt(squared)).astype(np.float32)

    return field


def _empty_scores() -> MeshScores:
    return MeshScores(
        iou=0.0,
        chamfer_mean=EMPTY_CHAMFER,
        chamfer_sum=2 * EMPTY_CHAMFER,
        chamfer_nearest_sample=EMPTY_CHAMFER,
        fscores={threshold: FScore(0.0, 0.0, 0.0) for threshold in FSCORE_THRESHOLDS},
        normal_consistency=0.0,
        components=0,
        closed=False,
    )


def _normal_agreement(samples: SurfaceSamples, closest: ClosestFaces, mesh: TriangleMesh) -> float:
    there = face_normals(mesh)[closest.faces]
    return float(np.abs(np.einsum("ni,ni->n", samples.normals, there)).mean())


def _nearest_samples(
    first: Float64[np.ndarray, "N 3"], second: Float64[np.ndarray, "M 3"]
) -> tuple[Float64[np.ndarray, " N"], Float64[np.ndarray, " M"]]:
    """Distance from each sample to the closest one of the other set, both ways."""
    ahead: Float64[np.ndarray, " N"] = _spatial.cKDTree(second).query(first)[0]
    back: Float64[np.ndarray, " M"] = _spatial.cKDTree(first).query(second)[0]
    return ahead, back
