"""Protocol g3pt-eval-v1: its settings, its objects, the true shapes, and hashes.

Ground truth is the solid in the unit frame. Predictions are meshed from their tokens and nothing is
filtered. Chamfer and F-scores use exact point-to-triangle distances. IoU asks uniform points of the
query cube, in the prediction by the winding number of its mesh. A prediction without faces scores
IoU 0, F 0 and the cube's diagonal, and is counted. N points; everything in the unit frame.
"""

import hashlib
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64

from g3pt import procedural
from g3pt.evaluation.remembered import load_remembered
from g3pt.geometry.mesh import GltfColors, TriangleMesh
from g3pt.geometry.metrics import Contains
from g3pt.geometry.sampling import SurfaceSamples, sample_near_surface
from g3pt.hashes import file_sha256
from g3pt.preparation.inputs import list_meshes
from g3pt.preparation.sources import (
    FolderSourceConfig,
    MeshRef,
    ProceduralSourceConfig,
    ShapeRef,
    SourceShape,
    list_shapes,
    load_shape,
    stored_source,
)
from g3pt.shapes.shape_set import Selection, SelectionError, nothing_fits
from g3pt.shapes.shards import ShardSet, is_complete
from g3pt.shapes.stored import shape_seed

PROTOCOL = "g3pt-eval-v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSettings:
    """How finely to measure; the defaults are the protocol."""

    resolution: int = 256
    """Grid cells per axis of predicted meshes."""

    num_volume: int = 200_000
    """Uniform points for IoU."""

    num_prefix: int = 50_000
    """Uniform points for the IoU of every prefix of scales, asked of the field itself."""

    num_surface: int = 100_000
    """Samples of each surface, by area."""

    num_near: int = 50_000
    """Labels near the surface, in equal parts for each sigma."""

    near_sigmas: tuple[float, ...] = (0.005, 0.05)
    """Their distance from the surface, as in the paper (4.2)."""

    truth_resolution: int = 192
    """Cells per axis of a procedural shape's mesh, before it is moved onto the exact surface."""

    seed: int = 0
    """Of all samples, together with the object's id."""

    def __post_init__(self) -> None:
        if self.num_near % len(self.near_sigmas):
            raise ValueError(
                f"num_near {self.num_near} is not a multiple of the {len(self.near_sigmas)} sigmas"
            )

    @property
    def protocol(self) -> str:
        """Name under which numbers may be compared: the sizes of the protocol, or smaller ones."""
        if replace(self, seed=0) == EvaluationSettings():
            return PROTOCOL
        if replace(self, seed=0) == quick_settings():
            return f"{PROTOCOL}-quick"
        return f"{PROTOCOL}-custom"


def quick_settings(seed: int = 0) -> EvaluationSettings:
    """Sizes for work in progress: a tenth of the cost, about three times the sampling noise."""
    return EvaluationSettings(
        resolution=128,
        num_volume=50_000,
        num_prefix=16_384,
        num_surface=20_000,
        num_near=10_000,
        truth_resolution=128,
        seed=seed,
    )


# --- objects -------------------------------------------------------------------------------

PROCEDURAL = "procedural"
HELD_OUT = "procedural-held-out-families"
EVERY_SPLIT = "all"
"""In place of the name of a split: objects of every one."""
DEFAULT_NUM = 200
"""Procedural objects when no limit is given."""


@dataclass(frozen=True, kw_only=True)
class ObjectList:
    """Which shapes are evaluated."""

    name: str
    refs: tuple[ShapeRef, ...]
    remembered: bool = False
    """Whether this process keeps what the shapes answer, for the next time that they are asked."""

    @property
    def slots(self) -> range:
        """Their numbers here."""
        return range(len(self.refs))

    def load(self, slot: int) -> SourceShape:
        """Load one of them.

        Raises:
            MeshError: if its file cannot be read.
        """
        ref = self.refs[slot]
        return load_remembered(ref) if self.remembered else load_shape(ref)


def list_objects(
    data: str,
    *,
    limit: int | None = None,
    split: str = "val",
    gltf_colors: GltfColors = "linear",
) -> ObjectList:
    """Find the objects that a word, a folder of shards or a folder of meshes stands for.

    Args:
        data: `procedural` (held-out seeds of the training families), or
            `procedural-held-out-families`, or a folder of shards, whose source must still be at
            hand, or a folder of meshes.
        limit: take only so many: the first, or spread evenly over a folder; at most 200
            procedural ones without.
        split: shapes of the shards, or rows of the folder's manifest, to take; `all` takes every
            one. A manifest that names no split is taken whole.
        gltf_colors: what COLOR_0 holds in the GLB and glTF files of a folder of meshes; shards
            know that of theirs.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if the limit is not positive.
        SelectionError: if nothing is left; the message says which splits there are.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    if data in (PROCEDURAL, HELD_OUT):
        source = ProceduralSourceConfig(
            num=limit or DEFAULT_NUM,
            first_seed=procedural.HELD_OUT_SEEDS.start,
            families="train" if data == PROCEDURAL else "held_out",
        )
        return ObjectList(name=data, refs=tuple(list_shapes(source)))
    path = Path(data)
    if not path.is_dir():
        raise FileNotFoundError(
            f"{data}: expected {PROCEDURAL}, {HELD_OUT}, a folder of shards or a folder of meshes"
        )
    found = _listed(path, "" if split == EVERY_SPLIT else split, gltf_colors)
    # Neighbours in a list are often of one pack or one kind.
    spread = np.linspace(0, len(found) - 1, min(limit or len(found), len(found))).round()
    return ObjectList(name=path.name, refs=tuple(found[int(place)] for place in spread))


def _listed(path: Path, split: str, gltf_colors: GltfColors) -> list[ShapeRef]:
    if is_complete(path):
        shards = ShardSet(path, Selection(split=split))
        wanted = {shape["id"] for shape in shards.shapes}
        return [ref for ref in list_shapes(stored_source(shards)) if ref.id in wanted]
    found = list_meshes(FolderSourceConfig(path=str(path), gltf_colors=gltf_colors))
    if not any(ref.split for ref in found):
        return list(found)
    rows = [{"split": ref.split, "licence": ref.licence} for ref in found]
    chosen = Selection(split=split)
    kept = [ref for ref in found if not split or ref.split == split]
    if not kept:
        raise SelectionError(nothing_fits(path, rows, chosen))
    return list(kept)


@dataclass(frozen=True, eq=False)
class Truth:
    """The true shape of one object."""

    id: str
    family: str
    caption: str
    """The first sentence about it; may be empty."""
    mesh: TriangleMesh
    """For distances to the surface."""
    samples: SurfaceSamples
    """Points on the surface that bounds the solid."""
    contains: Contains


def load_truth(shape: SourceShape, settings: EvaluationSettings) -> Truth:
    """Prepare the ground truth of a shape; depends on its id and the settings alone.

    Occupancy of a procedural shape is the sign of its exact field, and its mesh is projected onto
    it. A mesh of a folder is its own surface; samples keep to the part that bounds the solid.
    """
    return Truth(
        id=shape.id,
        family=shape.family,
        caption=shape.captions[0] if shape.captions else "",
        mesh=shape.true_mesh(settings.truth_resolution),
        samples=shape.sample_surface(settings.num_surface, object_rng(shape.id, settings, 1)),
        contains=shape.contains,
    )


def object_rng(shape_id: str, settings: EvaluationSettings, stream: int) -> np.random.Generator:
    """Random numbers that depend on the object, the seed and the stream alone."""
    return np.random.default_rng([*shape_seed(shape_id, settings.seed), stream])


@dataclass(frozen=True, eq=False)
class LabelledPoints:
    """Points and whether they are inside."""

    points: Float64[np.ndarray, "N 3"]
    inside: Bool[np.ndarray, " N"]


def near_surface_labels(truth: Truth, settings: EvaluationSettings) -> LabelledPoints:
    """Labels near the surface, fixed per object."""
    rng = object_rng(truth.id, settings, 2)
    chosen = rng.choice(len(truth.samples.points), settings.num_near)
    points = sample_near_surface(truth.samples.points[chosen], rng, settings.near_sigmas)
    points = np.clip(points, -1.0, 1.0)
    return LabelledPoints(points, truth.contains(points))


def uniform_labels(truth: Truth, num: int, settings: EvaluationSettings) -> LabelledPoints:
    """Labels everywhere in the query cube, fixed per object."""
    points = object_rng(truth.id, settings, 3).uniform(-1.0, 1.0, (num, 3))
    return LabelledPoints(points, truth.contains(points))


# --- hashes --------------------------------------------------------------------------------


def data_hash(objects: ObjectList) -> str:
    """SHA-256 of what the objects are made of: bytes of mesh files, primitives of shapes.

    Display values in COLOR_0 count as the plain bytes, as they did before linear light was read.
    """
    digest = hashlib.sha256()
    for ref in objects.refs:
        digest.update(f"{ref.id} {_content_hash(ref)}\n".encode())
    return digest.hexdigest()


def _content_hash(ref: ShapeRef) -> str:
    if isinstance(ref, MeshRef):
        is_gltf = Path(ref.member or ref.location).suffix.lower() in (".glb", ".gltf")
        reading = " linear" if is_gltf and ref.gltf_colors == "linear" else ""
        return file_hash(Path(ref.location)) + reading
    arrays = procedural.make_shape(ref.seed, ref.family).arrays
    digest = hashlib.sha256()
    for field in fields(arrays):
        digest.update(np.ascontiguousarray(getattr(arrays, field.name)).tobytes())
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file, or of nothing if it is missing."""
    if not path.is_file():
        return "missing"
    return file_sha256(path)
