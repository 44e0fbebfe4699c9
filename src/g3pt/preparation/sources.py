"""Sources of shapes: every source yields solids in the unit frame that can be sampled and queried.

A source config stands for a list of references, small enough to be sent to any worker. Loading one
gives a `SourceShape` with its surface, inside test, mesh and captions, whatever it is made of.
Errors of one shape are a `ShapeError` or a `MeshError`: preparation records them and continues.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, assert_never

import numpy as np
from jaxtyping import Bool, Float, UInt8

from g3pt import procedural
from g3pt.config import from_json
from g3pt.geometry.boundary import SolidMesh
from g3pt.geometry.mesh import OnNote, TriangleMesh, to_unit, unit_frame_of
from g3pt.geometry.quality import SolidQuality, measure_quality
from g3pt.geometry.render import Scene
from g3pt.geometry.sampling import SurfaceSamples
from g3pt.geometry.solid import Solid
from g3pt.preparation.inputs import (
    ArchiveSourceConfig,
    FolderSourceConfig,
    ManifestSourceConfig,
    MeshRef,
    MeshSourceConfig,
    ObjaverseSourceConfig,
    TrellisSourceConfig,
    as_once_meant,
    list_meshes,
)
from g3pt.procedural.tracing import TracedScene
from g3pt.shapes.shards import ShardSet

__all__ = [
    "OPEN_LICENCES",
    "ArchiveSourceConfig",
    "FolderSourceConfig",
    "ManifestSourceConfig",
    "MeshRef",
    "MeshShape",
    "ObjaverseSourceConfig",
    "ProceduralRef",
    "ProceduralShape",
    "ProceduralSourceConfig",
    "ShapeError",
    "ShapeRef",
    "SourceConfig",
    "SourceShape",
    "TrellisSourceConfig",
    "as_once_meant",
    "list_shapes",
    "load_shape",
    "stored_source",
]

OPEN_LICENCES = ("CC0-1.0", "MIT-0", "public domain")
"""Licences without any conditions, not even attribution."""

MESH_RESOLUTION = 96
"""Cells per axis of the meshes of procedural shapes."""

NUM_CAPTIONS = 8
"""Captions generated for each procedural shape."""


class ShapeError(ValueError):
    """A shape that cannot be prepared; the message is the reason in the quarantine list."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return _shape_error, (str(self), self.code)


def _shape_error(message: str, code: str) -> ShapeError:
    return ShapeError(message, code=code)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProceduralSourceConfig:
    """Shapes of the parametric families or of the grammar of assemblies (`g3pt.procedural`)."""

    kind: Literal["procedural"] = "procedural"
    num: int = 1024
    """Number of shapes."""
    first_seed: int = 0
    """Seed of the first shape; the following ones count up."""
    families: Literal["train", "held_out", "all", "grammar", "cut-grammar"] = "train"
    """Families of training, held-out families, or both; or assemblies of the grammar, or of the
    grammar with bevels and intersections."""
    only: tuple[str, ...] = ()
    """Keep only families with these names; empty keeps all."""

    def __post_init__(self) -> None:
        if self.num < 1 or self.first_seed < 0:
            raise ValueError(
                f"source.num must be positive and source.first_seed not negative, got {self.num} "
                f"and {self.first_seed}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ProceduralRef:
    """One shape of the parametric families or of the grammar (`procedural.AssemblyFamily`)."""

    seed: int
    family: str
    split: str = ""
    """Its split; if empty it follows from the hash of its id."""

    @property
    def id(self) -> str:
        """Its id in prepared sets and reports."""
        return f"procedural-{self.family}-{self.seed}"


SourceConfig = ProceduralSourceConfig | MeshSourceConfig
ShapeRef = ProceduralRef | MeshRef


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stored:
    source: SourceConfig


def stored_source(shards: ShardSet) -> SourceConfig:
    """Source config of a prepared set.

    Raises:
        ConfigError: if its index names an unknown source.
    """
    stored = as_once_meant({"source": shards.source})
    return from_json(_Stored, stored, origin=str(shards.path)).source


def list_shapes(config: SourceConfig) -> list[ShapeRef]:
    """The references of all shapes of a source.

    Raises:
        FileNotFoundError, ValueError: if the source is missing, or no shape passes its filters.
    """
    if isinstance(config, ProceduralSourceConfig):
        return list(_procedural_refs(config))
    return list(list_meshes(config))


def load_shape(
    ref: ShapeRef, *, solid_resolution: int = 256, on_note: OnNote | None = None
) -> "SourceShape":
    """Load one shape.

    Args:
        ref: reference of the shape.
        solid_resolution: wall voxels per axis of the inside/outside test of meshes.
        on_note: called with one line for each thing missing from a mesh; None logs a warning.

    Raises:
        MeshError: if it cannot be read or has no extent.
    """
    match ref:
        case ProceduralRef():
            return ProceduralShape(ref.seed, ref.family)
        case MeshRef():
            return MeshShape(ref, solid_resolution=solid_resolution, on_note=on_note)
        case _:
            assert_never(ref)


class SourceShape(ABC):
    """One solid in the unit frame, whatever it is made of."""

    id: str
    family: str
    licence: str
    captions: tuple[str, ...]
    details: dict[str, Any]
    """JSON values to keep: seed, frame, number of faces."""

    @abstractmethod
    def make_queryable(self) -> None:
        """Do the costly preparation of `contains`, if any."""

    @abstractmethod
    def sample_surface(self, num: int, rng: np.random.Generator) -> SurfaceSamples:
        """Area-weighted points with outward normals."""

    @abstractmethod
    def surface_colors(self, samples: SurfaceSamples) -> UInt8[np.ndarray, "N 3"] | None:
        """Colours at surface samples, sRGB; None without colours."""

    @abstractmethod
    def contains(self, points: Float[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
        """True for points inside the solid."""

    @abstractmethod
    def measure_quality(
        self, samples: SurfaceSamples, rng: np.random.Generator
    ) -> SolidQuality | None:
        """Reliability of the labels; None where the field is exact."""

    @abstractmethod
    def mesh(self) -> TriangleMesh:
        """The shape as a coloured mesh."""

    def true_mesh(self, resolution: int) -> TriangleMesh:
        """The mesh that distances to the shape are measured to.

        Args:
            resolution: cells per axis, for shapes that are no mesh themselves.
        """
        return self.mesh()

    @abstractmethod
    def scene(self) -> Scene | TracedScene:
        """A scene to draw from any camera."""


# --- procedural ----------------------------------------------------------------------------


class ProceduralShape(SourceShape):
    """A shape of the families or the grammar, with an exact field and sampled without a mesh."""

    licence = "CC0-1.0"

    def __init__(self, seed: int, family: str) -> None:
        self._shape = procedural.make_shape(seed, family)
        self.id = ProceduralRef(seed=seed, family=family).id
        self.family = family
        texts = (self._shape.caption(variant) for variant in range(NUM_CAPTIONS))
        self.captions = tuple(dict.fromkeys(texts))
        self.details = {"seed": seed}

    def make_queryable(self) -> None:
        """Do nothing: the field needs no preparation."""

    def sample_surface(self, num: int, rng: np.random.Generator) -> SurfaceSamples:
        """Points on the primitives that lie on the surface of the whole shape."""
        return self._shape.sample_surface(num, rng)

    def surface_colors(self, samples: SurfaceSamples) -> UInt8[np.ndarray, "N 3"]:
        """The colour of the primitive that each sample lies on."""
        return self._shape.arrays.colors[samples.faces]

    def contains(self, points: Float[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
        """The sign of the exact field."""
        return self._shape.contains(points)

    def measure_quality(self, samples: SurfaceSamples, rng: np.random.Generator) -> None:
        """None: labels are exact."""

    def mesh(self) -> TriangleMesh:
        """The field's zero set as a coloured mesh."""
        return self.true_mesh(MESH_RESOLUTION)

    def true_mesh(self, resolution: int) -> TriangleMesh:
        """The field's zero set, on so many cells per axis and moved onto the exact surface."""
        return self._shape.mesh(resolution)

    def scene(self) -> TracedScene:
        """A scene traced from the field, several times as fast as from a mesh."""
        return TracedScene(self._shape)


def _procedural_refs(config: ProceduralSourceConfig) -> Iterable[ProceduralRef]:
    """References with consecutive seeds that cycle through the families."""
    families = _families(config)
    for seed in range(config.first_seed, config.first_seed + config.num):
        held_out = seed in procedural.HELD_OUT_SEEDS
        yield ProceduralRef(
            seed=seed,
            family=families[seed % len(families)],
            split="val" if held_out else "train",
        )


def _families(config: ProceduralSourceConfig) -> tuple[str, ...]:
    known = {
        "train": procedural.TRAIN_FAMILIES,
        "held_out": procedural.HELD_OUT_FAMILIES,
        "all": procedural.FAMILIES,
        "grammar": (procedural.ASSEMBLY,),
        "cut-grammar": (procedural.CUT_ASSEMBLY,),
    }[config.families]
    unknown = sorted(set(config.only) - set(known))
    if unknown:
        raise ValueError(
            f"source.only: no {config.families} family is called {', '.join(unknown)}; there are "
            f"{', '.join(known)}"
        )
    return tuple(name for name in known if not config.only or name in config.only)


# --- meshes --------------------------------------------------------------------------------


class MeshShape(SourceShape):
    """A mesh file moved to the unit frame, with labels that are robust to defective meshes."""

    def __init__(
        self, ref: MeshRef, *, solid_resolution: int = 256, on_note: OnNote | None = None
    ) -> None:
        self.id, self.family, self.licence = ref.id, ref.category, ref.licence
        self.captions = ref.captions
        source = ref.read(on_note)
        frame = unit_frame_of(source)
        self._bounded = SolidMesh(to_unit(source, frame), resolution=solid_resolution)
        self.details = {
            "frame": {"scale": float(frame.scale), "offset": [float(x) for x in frame.offset]},
            "num_faces": len(source.faces),
            "num_vertices": len(source.vertices),
            "extents": [float(x) for x in np.ptp(source.bounds(), axis=0)],
            **ref.details,
        }

    @property
    def solid(self) -> Solid:
        """The inside/outside test, built on first use."""
        return self._bounded.solid

    def make_queryable(self) -> None:
        """Build the solid."""
        _ = self.solid

    def sample_surface(self, num: int, rng: np.random.Generator) -> SurfaceSamples:
        """Area-weighted points on the triangles that bound the solid, normals outward."""
        return self._bounded.sample_surface(num, rng)

    def surface_colors(self, samples: SurfaceSamples) -> UInt8[np.ndarray, "N 3"] | None:
        """Colours interpolated from the corners of the faces."""
        mesh = self._bounded.mesh
        return None if mesh.colors is None else mesh.colors_at(samples.faces, samples.points)[:, :3]

    def contains(self, points: Float[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
        """True for points inside by seal or winding number (see `geometry.solid`)."""
        return self._bounded.contains(points)

    def measure_quality(self, samples: SurfaceSamples, rng: np.random.Generator) -> SolidQuality:
        """Compare the solid with the mesh it was made from."""
        return measure_quality(self._bounded.mesh, self.solid, samples, rng)

    def mesh(self) -> TriangleMesh:
        """The mesh in the unit frame."""
        return self._bounded.mesh

    def scene(self) -> Scene:
        """A scene of the mesh."""
        return Scene(self._bounded.mesh)
