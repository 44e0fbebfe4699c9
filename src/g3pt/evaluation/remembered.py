"""Shapes that remember what they were asked, for rows that are measured on the same objects.

Whatever an evaluation asks of a true shape depends on the object and the settings alone: every row
of a table asks the same. The answers of a dirty mesh come from its solid, which takes seconds to
build, longer than the rest of what is measured on it. N, M points; everything in the unit frame.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, UInt8

from g3pt.geometry.mesh import TriangleMesh
from g3pt.geometry.quality import SolidQuality
from g3pt.geometry.render import Scene
from g3pt.geometry.sampling import SurfaceSamples
from g3pt.hashes import arrays_sha256
from g3pt.preparation.sources import MeshShape, ShapeRef, SourceShape, load_shape
from g3pt.procedural.tracing import TracedScene

NUM_SHAPES = 1024
"""Shapes whose answers a process keeps, those that it loaded last. At 10,000 samples of a surface
one takes about a megabyte, at the 100,000 of the protocol about ten."""

Key = TypeVar("Key")
Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Drawn:
    """Samples, and the state in which they leave the generator."""

    samples: SurfaceSamples
    state: str


@dataclass(frozen=True, slots=True)
class Answers:
    """What one shape was asked, and what it said."""

    samples: dict[tuple[int, str], Drawn] = field(default_factory=dict[tuple[int, str], Drawn])
    """By number and state of the generator."""
    inside: dict[str, UInt8[np.ndarray, " B"]] = field(
        default_factory=dict[str, UInt8[np.ndarray, " B"]]
    )
    """A bit a point, by the SHA-256 of the points."""
    meshes: dict[int, TriangleMesh] = field(default_factory=dict[int, TriangleMesh])
    """By resolution."""


def load_remembered(ref: ShapeRef) -> SourceShape:
    """Load a shape that takes what it was asked before in this process from memory.

    Raises:
        MeshError: if its file cannot be read.
    """
    shape = load_shape(ref)
    content = ""
    if isinstance(shape, MeshShape):  # whose file may have changed since
        mesh = shape.mesh()
        content = arrays_sha256({"vertices": mesh.vertices, "faces": mesh.faces}, {})
    return RememberedShape(shape, _answers_of(shape.id, content))


@lru_cache(maxsize=NUM_SHAPES)
def _answers_of(_id: str, _content: str) -> Answers:
    return Answers()


class RememberedShape(SourceShape):
    """Gives the answers of another shape, each of them computed once."""

    def __init__(self, shape: SourceShape, answers: Answers) -> None:
        self._shape, self._answers = shape, answers
        self.id, self.family, self.licence = shape.id, shape.family, shape.licence
        self.captions, self.details = shape.captions, shape.details

    def make_queryable(self) -> None:
        """Do nothing: what is remembered needs no preparation."""

    def sample_surface(self, num: int, rng: np.random.Generator) -> SurfaceSamples:
        """The samples that the shape draws from this state of the generator, which moves on."""

        def draw() -> Drawn:
            samples = self._shape.sample_surface(num, rng)
            return Drawn(samples, json.dumps(rng.bit_generator.state))

        state = json.dumps(rng.bit_generator.state)
        drawn = _once(self._answers.samples, (num, state), draw)
        rng.bit_generator.state = json.loads(drawn.state)
        return drawn.samples

    def surface_colors(self, samples: SurfaceSamples) -> UInt8[np.ndarray, "N 3"] | None:
        """Those of the shape."""
        return self._shape.surface_colors(samples)

    def contains(self, points: Float[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
        """What the shape says of these points."""
        digest = hashlib.sha256(points.dtype.str.encode())
        digest.update(np.ascontiguousarray(points).data)
        packed = _once(
            self._answers.inside,
            digest.hexdigest(),
            lambda: np.packbits(self._shape.contains(points)),
        )
        return np.unpackbits(packed, count=len(points)).astype(np.bool_)

    def measure_quality(
        self, samples: SurfaceSamples, rng: np.random.Generator
    ) -> SolidQuality | None:
        """That of the shape, measured anew: evaluations do not ask for it."""
        return self._shape.measure_quality(samples, rng)

    def mesh(self) -> TriangleMesh:
        """That of the shape, made anew: evaluations ask for `true_mesh`."""
        return self._shape.mesh()

    def true_mesh(self, resolution: int) -> TriangleMesh:
        """That of the shape."""
        return _once(self._answers.meshes, resolution, lambda: self._shape.true_mesh(resolution))

    def scene(self) -> Scene | TracedScene:
        """That of the shape."""
        return self._shape.scene()


def _once(answers: dict[Key, Kept], question: Key, compute: Callable[[], Kept]) -> Kept:
    if question not in answers:
        answers[question] = compute()
    return answers[question]
