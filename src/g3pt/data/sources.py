"""Where shapes come from. Every source yields solids in the unit frame that can be queried.

A source is a list of ids; loading one gives a `SourceShape`, which knows its surface, its
inside, its mesh and its words, whatever it is made of. What can go wrong with one shape is a
`ShapeError`: preparation records it and goes on.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, assert_never

import numpy as np
from jaxtyping import Bool, Float

from g3pt.data import procedural
from g3pt.data.procedural.tracing import TracedScene
from g3pt.geometry.boundary import sample_boundary
from g3pt.geometry.mesh import MeshError, TriangleMesh, read_mesh, to_unit, unit_frame_of
from g3pt.geometry.render import Scene
from g3pt.geometry.sampling import SurfaceSamples
from g3pt.geometry.solid import Solid

OPEN_LICENCES = ("CC0-1.0", "MIT-0", "public domain")
"""Licences that ask for nothing, not even a name: what the bundled weights are trained on."""

MESH_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")


MESH_RESOLUTION = 96
"""Cells per axis of the meshes of procedural shapes."""


class ShapeError(ValueError):
    """A shape that cannot be prepared; the message is its reason in the quarantine list."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProceduralSourceConfig:
    """Shapes from the parametric families (`g3pt.data.procedural`)."""

    kind: Literal["procedural"] = "procedural"
    num: int = 1024
    """Number of shapes."""
    first_seed: int = 0
    """Seed of the first shape; the following ones count up."""
    families: Literal["train", "held_out", "all"] = "train"
    """Which families: those of training, those kept away from it, or both."""
    only: tuple[str, ...] = ()
    """Keep only these of them, by name; empty keeps all."""

    def __post_init__(self) -> None:
        if self.num < 1 or self.first_seed < 0:
            raise ValueError(
                f"source.num must be positive and source.first_seed not negative, got {self.num} "
                f"and {self.first_seed}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderSourceConfig:
    """A tree of mesh files, described by its `manifest.jsonl` where it has one."""

    kind: Literal["folder"] = "folder"
    path: str = ""
    """The folder."""
    split: str = ""
    """Keep only manifest rows of this split (`train`, `val`); empty keeps all."""
    licences: tuple[str, ...] = ()
    """Keep only manifest rows under these licences; empty keeps all."""
    limit: int = 0
    """Keep at most this many meshes, in the order of the list; 0 keeps all."""
    solid_resolution: int = 256
    """Wall voxels per axis of the inside/outside test."""


SourceConfig = ProceduralSourceConfig | FolderSourceConfig


class SourceShape(ABC):
    """One solid in the unit frame, whatever it is made of."""

    id: str
    family: str
    licence: str
    captions: tuple[str, ...]
    details: dict[str, Any]
    """JSON values worth keeping: seed, frame, quality."""
    is_quick_to_query: bool
    """Whether `contains` needs no costly preparation."""

    @abstractmethod
    def sample_surface(self, num: int, rng: np.random.Generator) -> SurfaceSamples:
        """Area-weighted points with outward normals."""

    @abstractmethod
    def contains(self, points: Float[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
        """True for points inside the solid."""

    @abstractmethod
    def mesh(self) -> TriangleMesh:
        """A coloured mesh."""

    @abstractmethod
    def scene(self) -> Scene | TracedScene:
        """Ready to be drawn from any camera."""


class Source(ABC):
    """A list of shapes by id."""

    ids: Sequence[str]

    @abstractmethod
    def load(self, index: int) -> SourceShape:
        """Load shape number `index`.

        Raises:
            ShapeError: if it cannot be used.
        """


def open_source(config: SourceConfig) -> Source:
    """Open the source that a config describes."""
    match config:
        case ProceduralSourceConfig():
            return ProceduralSource(config)
        case FolderSourceConfig():
            return FolderSource(config)
        case _:
            assert_never(config)


# --- procedural ----------------------------------------------------------------------------


class ProceduralShape(SourceShape):
    """A shape of the parametric families; its field is exact and its surface needs no mesh."""

    licence = "CC0-1.0"
    is_quick_to_query = True

    def __init__(self, seed: int, family: str, *, num_captions: int = 8) -> None:
        self._shape = procedural.make_shape(seed, family)
        self.id = procedural_id(seed, family)
        self.family = family
        texts = (self._shape.caption(variant) for variant in range(num_captions))
        self.captions = tuple(dict.fromkeys(texts))
        self.details = {"seed": seed}

    def sample_surface(self, num: int, rng: np.random.Generator) -> SurfaceSamples:
        """Points on the primitives, kept where the whole field is zero."""
        return self._shape.sample_surface(num, rng)

    def contains(self, points: Float[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
        """The sign of the exact field."""
        return self._shape.contains(points)

    def mesh(self) -> TriangleMesh:
        """The field's zero set, projected on it, coloured."""
        return self._shape.mesh(MESH_RESOLUTION)

    def scene(self) -> TracedScene:
        """Drawn from the field, several times as fast as from the mesh."""
        return TracedScene(self._shape)


class ProceduralSource(Source):
    """Consecutive seeds, families in turn."""

    def __init__(self, config: ProceduralSourceConfig) -> None:
        self._families = _families(config)
        self._first = config.first_seed
        self.ids = [procedural_id(*self._entry(index)) for index in range(config.num)]

    def _entry(self, index: int) -> tuple[int, str]:
        seed = self._first + index
        return seed, self._families[seed % len(self._families)]

    def load(self, index: int) -> SourceShape:
        """Shape of seed `first_seed + index`."""
        return ProceduralShape(*self._entry(index))


def procedural_id(seed: int, family: str) -> str:
    """The name of a procedural shape in caches and reports."""
    return f"procedural-{family}-{seed}"


def _families(config: ProceduralSourceConfig) -> tuple[str, ...]:
    known = {
        "train": procedural.TRAIN_FAMILIES,
        "held_out": procedural.HELD_OUT_FAMILIES,
        "all": procedural.FAMILIES,
    }[config.families]
    unknown = sorted(set(config.only) - set(known))
    if unknown:
        raise ValueError(
            f"source.only: no {config.families} family is called {', '.join(unknown)}; there are "
            f"{', '.join(known)}"
        )
    return tuple(name for name in known if not config.only or name in config.only)


# --- folder --------------------------------------------------------------------------------


@dataclass(frozen=True)
class FolderEntry:
    """One mesh file and what its manifest says about it."""

    id: str
    path: Path
    captions: tuple[str, ...]
    family: str
    licence: str
    details: dict[str, Any] = field(default_factory=dict)


class MeshShape(SourceShape):
    """A mesh file moved to the unit frame, with solid labels that survive dirty meshes."""

    is_quick_to_query = False

    def __init__(self, entry: FolderEntry, *, solid_resolution: int = 256) -> None:
        self.id, self.family, self.licence = entry.id, entry.family, entry.licence
        self.captions = entry.captions
        self._resolution = solid_resolution
        try:
            source = read_mesh(entry.path)
            frame = unit_frame_of(source)
            self._mesh = to_unit(source, frame)
        except (MeshError, OSError) as error:
            raise ShapeError(str(error)) from error
        frame_json = {"scale": float(frame.scale), "offset": [float(x) for x in frame.offset]}
        self.details = {"frame": frame_json, **entry.details}

    @cached_property
    def solid(self) -> Solid:
        """The inside/outside test; built when first asked."""
        return Solid.from_mesh(self._mesh, resolution=self._resolution)

    def sample_surface(self, num: int, rng: np.random.Generator) -> SurfaceSamples:
        """Area-weighted points on the triangles that bound the solid, normals outward."""
        return sample_boundary(self._mesh, self.solid, num, rng)

    def contains(self, points: Float[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
        """Seal or winding number (see `geometry.solid`)."""
        return self.solid.contains(points.astype(np.float64))

    def mesh(self) -> TriangleMesh:
        """The mesh itself, in the unit frame."""
        return self._mesh

    def scene(self) -> Scene:
        """The mesh itself."""
        return Scene(self._mesh)


class FolderSource(Source):
    """Mesh files under a folder."""

    def __init__(self, config: FolderSourceConfig) -> None:
        root = Path(config.path)
        if not root.is_dir():
            raise FileNotFoundError(f"source.path: expected a folder of meshes at {root}")
        manifest = root / "manifest.jsonl"
        found = _manifest_entries(manifest, config) if manifest.is_file() else _loose_entries(root)
        self.entries = found[: config.limit] if config.limit else found
        if not self.entries:
            raise ValueError(
                f"{root}: no mesh fits split={config.split or 'any'} and "
                f"licences={', '.join(config.licences) or 'any'}"
            )
        self.ids = [entry.id for entry in self.entries]
        self._resolution = config.solid_resolution

    def load(self, index: int) -> SourceShape:
        """Read mesh number `index`."""
        return MeshShape(self.entries[index], solid_resolution=self._resolution)


def _manifest_entries(manifest: Path, config: FolderSourceConfig) -> list[FolderEntry]:
    entries: list[FolderEntry] = []
    for number, line in enumerate(manifest.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        row = json.loads(line)
        if not isinstance(row, dict) or "path" not in row:
            raise ValueError(f"{manifest}:{number}: expected an object with a `path`")
        if config.split and row.get("split") != config.split:
            continue
        if config.licences and row.get("licence") not in config.licences:
            continue
        path = manifest.parent / row["path"]
        caption = str(row.get("caption") or "")
        kept = {key: row[key] for key in ("watertight", "n_components", "n_faces") if key in row}
        entries.append(
            FolderEntry(
                id=str(row.get("id") or path.relative_to(manifest.parent).with_suffix("")),
                path=path,
                captions=(caption,) if caption else (),
                family=str(row.get("category") or row.get("family") or ""),
                licence=str(row.get("licence") or "unknown"),
                details=kept,
            )
        )
    return entries


def _loose_entries(root: Path) -> list[FolderEntry]:
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in MESH_SUFFIXES)
    return [
        FolderEntry(
            id=path.relative_to(root).as_posix(),
            path=path,
            captions=(_words(path.stem),),
            family="",
            licence="unknown",
        )
        for path in files
    ]


def _words(stem: str) -> str:
    """A caption from a file name: `oak_table-02` gives `oak table`."""
    words = [word for word in stem.replace("_", " ").replace("-", " ").split() if word.isalpha()]
    return " ".join(words).lower() or stem
