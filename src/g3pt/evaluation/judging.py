"""Scores everything that is predicted of one object in the same way.

G = side**3 / 8 bytes of packed occupancy; unit frame.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from g3pt.evaluation.alignment import align
from g3pt.evaluation.objects import EvaluationSettings, Truth, object_rng
from g3pt.evaluation.results import Row
from g3pt.evaluation.sets.distribution import TRUTH, Sketch, num_cloud
from g3pt.evaluation.sets.families import FamilyReferences, occupancy_grid
from g3pt.geometry.mesh import TriangleMesh
from g3pt.geometry.metrics import Contains, MeshScores, compare_meshes, solid_test, winding_test
from g3pt.geometry.sampling import sample_surface


class Judge:
    """Rows of one object, and the sketches that comparing whole sets asks for."""

    def __init__(
        self,
        truth: Truth,
        settings: EvaluationSettings,
        families: FamilyReferences | None = None,
        *,
        aligned: bool = False,
    ) -> None:
        """Take an object.

        Args:
            truth: the true shape.
            settings: how finely to measure.
            families: shapes whose family is known; None leaves the family out.
            aligned: also score after the best similarity, in columns `aligned_*`.
        """
        self.truth, self._settings = truth, settings
        self._families, self._aligned = families, aligned
        points = truth.samples.points[: num_cloud(settings)].astype(np.float32)
        self.sketches = {TRUTH: Sketch(points, occupancy_grid(truth.contains))}
        """By method; of several samples, the first."""

    def judge_truth(self) -> Row:
        """Classify the true shape itself, which says how reliable the classifier is."""
        return self._named("true_shape", self.sketches[TRUTH].grid)

    def judge(
        self,
        method: str,
        mesh: TriangleMesh,
        contains: Contains | None = None,
        *,
        shown: bool = True,
    ) -> Row:
        """Score a mesh.

        Args:
            method: how it was made.
            mesh: unit frame; an empty one scores as such.
            contains: its inside test; by default the mesh is taken to be closed, as extracted
                ones are, and its winding number decides.
            shown: False leaves out the costly columns, for samples that get no row of their own.
        """
        inside_of = winding_test if contains is None else solid_test
        if contains is None and not mesh.is_empty:
            contains = winding_test(mesh)
        sketch = self._sketch(mesh, contains)
        self.sketches.setdefault(method, sketch)
        row = self._named(method, sketch.grid)
        row |= score(mesh, self.truth, self._settings, contains).to_row()
        if self._aligned and shown:
            row |= aligned_scores(mesh, self.truth, self._settings, inside_of)
        return {**row, "empty": mesh.is_empty}

    def _sketch(self, mesh: TriangleMesh, contains: Contains | None) -> Sketch:
        if mesh.is_empty or contains is None:
            nothing = np.zeros_like(self.sketches[TRUTH].grid)
            return Sketch(np.zeros((0, 3), dtype=np.float32), nothing)
        rng = object_rng(self.truth.id, self._settings, 7)
        points = sample_surface(mesh, num_cloud(self._settings), rng).points
        return Sketch(points.astype(np.float32), occupancy_grid(contains))

    def _named(self, method: str, grid: UInt8[np.ndarray, " G"]) -> Row:
        row: Row = {"id": self.truth.id, "family": self.truth.family, "method": method}
        if self._families is None:
            return row
        found = self._families.classify_grid(grid)
        return {**row, "predicted_family": found, "family_accuracy": found == self.truth.family}


def score(
    mesh: TriangleMesh | None,
    truth: Truth,
    settings: EvaluationSettings,
    contains: Contains | None = None,
) -> MeshScores:
    """Score a predicted mesh; `contains` defaults to the winding number of a closed mesh."""
    if mesh is None or mesh.is_empty:
        mesh, contains = None, None
    return compare_meshes(
        mesh,
        truth.mesh,
        truth.contains,
        rng=object_rng(truth.id, settings, 0),
        num_volume=settings.num_volume,
        num_surface=settings.num_surface,
        prediction_contains=contains or (None if mesh is None else winding_test(mesh)),
        truth_samples=truth.samples,
    )


def aligned_scores(
    mesh: TriangleMesh | None,
    truth: Truth,
    settings: EvaluationSettings,
    inside_of: Callable[[TriangleMesh], Contains] = solid_test,
) -> Row:
    """Scores after the best of 24 rotations, a scale and iterated closest points: `aligned_*`."""
    contains = None
    if mesh is not None and not mesh.is_empty:
        mesh = align(mesh, truth.samples.points, object_rng(truth.id, settings, 5)).move(mesh)
        contains = inside_of(mesh)
    scores = score(mesh, truth, settings, contains).to_row()
    return {f"aligned_{name}": value for name, value in scores.items()}
