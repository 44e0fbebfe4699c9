"""Moves a mesh of another system onto the truth: best of 24 rotations, one scale, then ICP.

Systems disagree on axes, size and centre; none of that is what a score should measure. M, N points.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy import spatial

from g3pt.geometry.mesh import TriangleMesh
from g3pt.geometry.sampling import sample_surface

_spatial: Any = spatial

NUM_COARSE, COARSE_STEPS = 1000, 8
NUM_FINE, FINE_STEPS = 4000, 30
NUM_KEPT = 3
"""Rotations that are refined."""


@dataclass(frozen=True, eq=False)
class Similarity:
    """x -> scale * rotation x + shift."""

    rotation: Float64[np.ndarray, "3 3"]
    scale: float
    shift: Float64[np.ndarray, " 3"]

    def apply(self, points: Float64[np.ndarray, "N 3"]) -> Float64[np.ndarray, "N 3"]:
        """Move points."""
        return self.scale * points @ self.rotation.T + self.shift

    def move(self, mesh: TriangleMesh) -> TriangleMesh:
        """Move a mesh; faces keep their orientation."""
        return TriangleMesh(self.apply(mesh.vertices), mesh.faces, mesh.colors)


def align(
    prediction: TriangleMesh, truth: Float64[np.ndarray, "N 3"], rng: np.random.Generator
) -> Similarity:
    """Find the similarity (without mirroring) that brings a surface closest to points of another.

    Args:
        prediction: with area, at any place and scale.
        truth: points drawn by area.
        rng: where samples come from.
    """
    samples = sample_surface(prediction, NUM_FINE, rng).points
    target = truth[rng.permutation(len(truth))[:NUM_FINE]]
    starts = [
        _refine(samples[:NUM_COARSE], target[:NUM_COARSE], start, COARSE_STEPS)
        for start in _starts(samples, target)
    ]
    starts.sort(key=lambda start: _misfit(samples[:NUM_COARSE], target[:NUM_COARSE], start))
    refined = [_refine(samples, target, start, FINE_STEPS) for start in starts[:NUM_KEPT]]
    return min(refined, key=lambda found: _misfit(samples, target, found))


def cube_rotations() -> list[Float64[np.ndarray, "3 3"]]:
    """The 24 rotations that map the axes onto one another."""
    found = []
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = np.eye(3)[list(axes)] * np.array(signs)[:, None]
            if np.linalg.det(matrix) > 0:
                found.append(matrix)
    return found


def _starts(
    samples: Float64[np.ndarray, "M 3"], target: Float64[np.ndarray, "N 3"]
) -> list[Similarity]:
    """Same centroid and spread, in every orientation."""
    middle, target_middle = samples.mean(axis=0), target.mean(axis=0)
    scale = float(np.sqrt(target.var(axis=0).sum() / max(samples.var(axis=0).sum(), 1e-30)))
    return [
        Similarity(rotation, scale, target_middle - scale * rotation @ middle)
        for rotation in cube_rotations()
    ]


def _refine(
    samples: Float64[np.ndarray, "M 3"],
    target: Float64[np.ndarray, "N 3"],
    start: Similarity,
    num_steps: int,
) -> Similarity:
    """Iterated closest points with pairs of both directions, so that the scale cannot collapse."""
    tree = _spatial.cKDTree(target)
    current = start
    for _ in range(num_steps):
        moved = current.apply(samples)
        _, ahead = tree.query(moved)
        _, back = _spatial.cKDTree(moved).query(target)
        current = fit_similarity(
            np.concatenate([samples, samples[back]]), np.concatenate([target[ahead], target])
        )
    return current


def _misfit(
    samples: Float64[np.ndarray, "M 3"], target: Float64[np.ndarray, "N 3"], found: Similarity
) -> float:
    moved = found.apply(samples)
    ahead, _ = _spatial.cKDTree(target).query(moved)
    back, _ = _spatial.cKDTree(moved).query(target)
    return float(ahead.mean() + back.mean())


def fit_similarity(
    source: Float64[np.ndarray, "N 3"], target: Float64[np.ndarray, "N 3"]
) -> Similarity:
    """Least-squares similarity between paired points (Umeyama 1991)."""
    source_middle, target_middle = source.mean(axis=0), target.mean(axis=0)
    centred, target_centred = source - source_middle, target - target_middle
    left, values, right = np.linalg.svd(target_centred.T @ centred / len(source))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])
    rotation = (left * signs) @ right
    spread = max(float(centred.var(axis=0).sum()), 1e-30)
    scale = float((values * signs).sum()) / spread
    return Similarity(rotation, scale, target_middle - scale * rotation @ source_middle)
