"""Makes a stock from mesh files: decimation, solids, exposed parts, labels, quality.

Legend: F faces, C corners of faces, P vertices, N points. Unit frame.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import igl  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8, UInt16
from numpy import ndarray
from PIL import Image

from g3pt.geometry.boundary import SIDE_STEP
from g3pt.geometry.lod import decimate_quickly
from g3pt.geometry.mesh import (
    NEUTRAL_GREY,
    MeshError,
    TriangleMesh,
    area_vectors,
    merge_vertices,
    to_unit,
    unit_frame_of,
)
from g3pt.geometry.metrics import distance_to_mesh
from g3pt.geometry.quality import points_beside
from g3pt.geometry.sampling import SurfaceSamples, sample_surface
from g3pt.geometry.solid import Solid
from g3pt.preparation.inputs import MeshRef
from g3pt.processes import worker_pool
from g3pt.shapes.mesh_stock import write_stock
from g3pt.shapes.queries import POSITION_STEPS
from g3pt.shapes.shape_set import QualityLimits
from g3pt.shapes.stock_meshes import (
    StockConfig,
    StockMesh,
    StockSurface,
    exposed_points,
    near_positions,
    stock_key,
    volume_positions,
)
from g3pt.shapes.stock_streams import MAX_COLORS
from g3pt.shapes.sub_triangles import CENTRE_WEIGHTS, NUM_PARTS

_igl: Any = igl  # without type stubs

SMALL_FACE, MEDIUM_FACE = 0.1, 0.3
"""Faces with no longer edge are tested for exposure as a whole, or by quarters, instead of by
parts."""

LABEL_REACH = 1 / 64
"""Distance from the surface at which labels are checked: two wall voxels of a full preparation."""

NUM_COMPARED = 1024
MAX_DISTANCE = 0.005
"""Largest mean distance from the original surface to the decimated mesh; beyond it a mesh is
refused."""

NUM_CHECKED = 4096
"""Surface points near which labels are checked."""

PALETTE_COLORS = 64
"""Colours left of meshes that have more than fit a palette, such as scans."""

COARSE_CELLS = 12
"""Cells per axis of the grid on a mesh's box that locates the solid's boundary."""

logger = logging.getLogger(__name__)
OnProgress = Callable[[int, int, int], None]
"""Called with the numbers of meshes done, in total, and refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StockReport:
    """Outcome for the meshes of a source."""

    meshes: int
    flagged: int
    """Meshes in the stock whose quality exceeds a limit."""
    decimated: int
    faces: int
    noted: int
    """Meshes in the stock that were read without a file that they refer to, such as a texture."""
    first_note: str
    """Message about the first of these; empty if there is none."""
    refused: dict[str, int]
    """Number of refused meshes by reason."""
    examples: dict[str, str]
    """First mesh and message for each reason."""
    bytes: int
    seconds: float


@dataclass(frozen=True)
class _Refusal:
    """Reason why a mesh was refused."""

    code: str
    message: str


@dataclass
class _Count:
    """Running counts."""

    refused: Counter[str] = field(default_factory=Counter[str])
    examples: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[str] = field(default_factory=list[str])
    decimated: int = 0
    flagged: int = 0
    faces: int = 0
    meshes: int = 0

    def add(self, tried: StockMesh | _Refusal) -> None:
        """Count the outcome of a mesh."""
        if isinstance(tried, _Refusal):
            self.refused[tried.code] += 1
            self.examples.setdefault(tried.code, tried.message)
            logger.info("refused: %s", tried.message)
            return
        self.meshes += 1
        self.flagged += bool(tried.object["flagged"])
        self.decimated += "decimated_from" in tried.object
        self.faces += len(tried.surface.faces_F3)
        self.notes += [f"{tried.object['id']}: {note}" for note in tried.object.get("notes", ())]


def build_stock(
    refs: Sequence[MeshRef],
    path: Path,
    config: StockConfig,
    *,
    limits: QualityLimits | None = None,
    workers: int = 1,
    on_progress: OnProgress | None = None,
) -> StockReport:
    """Make a stock; meshes that cannot be used are counted and left out.

    Args:
        refs: references of the meshes.
        path: the file to write.
        config: how meshes are reduced and labelled.
        limits: quality limits beyond which a mesh is flagged.
        workers: number of processes; it does not change the file.
        on_progress: called after every mesh.

    Raises:
        ValueError: if no mesh could be used.
    """
    began, count = time.monotonic(), _Count()
    limits = limits or QualityLimits()

    attempt = partial(_attempt, config, limits)

    def meshes(tried: Iterable[StockMesh | _Refusal]) -> Iterator[StockMesh]:
        for done, one in enumerate(tried, start=1):
            count.add(one)
            if isinstance(one, StockMesh):
                yield one
            if on_progress is not None:
                on_progress(done, len(refs), count.refused.total())

    if workers > 1:
        with worker_pool(workers) as pool:
            size = write_stock(path, meshes(pool.map(attempt, refs, chunksize=8)), config)
    else:
        size = write_stock(path, meshes(map(attempt, refs)), config)
    return StockReport(
        meshes=count.meshes,
        flagged=count.flagged,
        decimated=count.decimated,
        faces=count.faces,
        noted=len(count.notes),
        first_note=count.notes[0] if count.notes else "",
        refused=dict(count.refused),
        examples=count.examples,
        bytes=size,
        seconds=time.monotonic() - began,
    )


def _attempt(config: StockConfig, limits: QualityLimits, ref: MeshRef) -> "StockMesh | _Refusal":
    try:
        return stock_mesh(ref, config, limits)
    except ImportError:
        raise  # not caused by the mesh
    except Exception as error:  # an error of one mesh must not stop the others
        code = error.code if isinstance(error, MeshError) else type(error).__name__
        return _Refusal(code, f"{ref.id}: {error}")


def stock_mesh(ref: MeshRef, config: StockConfig, limits: QualityLimits) -> StockMesh:
    """Read, decimate, label and measure one mesh.

    Raises:
        MeshError: if it cannot be read, or has no surface or almost no interior.
    """
    notes: list[str] = []
    source = ref.read(notes.append)
    reduced = to_unit(source, unit_frame_of(source))
    if len(reduced.faces) > config.max_faces:
        reduced = decimated(reduced, config.max_faces)
        reduced = to_unit(reduced, unit_frame_of(reduced))
    plain, colors_F33 = quantized(reduced)
    solid = Solid.from_mesh(plain, resolution=config.solid_resolution)
    masks_F, flipped_F = exposure(plain, solid)
    surface = StockSurface(
        vertices_P3=np.rint(plain.vertices * POSITION_STEPS).astype(np.int16),
        faces_F3=plain.faces.astype(np.int32),
        colors_F33=colors_F33,
        masks_F=masks_F,
        flipped_F=flipped_F,
    )
    if not masks_F.any():
        raise MeshError("nearly all of the surface is buried inside the solid", "buried")
    key = stock_key(ref.id)
    near_N3 = near_positions(surface, key, config.num_near, config.near_sigmas) / POSITION_STEPS
    volume_V3 = volume_positions(surface, key, config.num_volume) / POSITION_STEPS
    near_N = solid.contains(near_N3)
    share = float(near_N[:: len(config.near_sigmas)].mean())
    if share < config.min_near_inside:
        message = f"no interior: {share:.1%} of the points at the surface are inside"
        raise MeshError(message, "no_interior")
    quality = _quality(plain, surface, solid, key)
    details: dict[str, Any] = {
        "id": ref.id,
        "family": ref.category,
        "captions": list(ref.captions),
        "licence": ref.licence,
        "split": ref.split,
        "flagged": limits.flags({"quality": quality}),
        "quality": quality,
        **{name: ref.details[name] for name in ("source", "attribution") if name in ref.details},
    }
    if notes:
        details["notes"] = [note.removeprefix(f"{ref.name}: ") for note in notes]
    if len(plain.faces) < len(source.faces) > config.max_faces:
        details["decimated_from"] = len(source.faces)
    return StockMesh(details, surface, solid.contains(volume_V3), near_N)


# --- faces and colours ---------------------------------------------------------------------


def decimated(mesh: TriangleMesh, num_faces: int) -> TriangleMesh:
    """Decimate by quadric errors; corners take the colour of the closest point of the source.

    Raises:
        MeshError: if more than twice the wanted faces remain, or the surface moved too far.
    """
    fewer = decimate_quickly(merge_vertices(mesh), num_faces, aggressiveness=3)
    if fewer.is_empty or len(fewer.faces) > 2 * num_faces:
        message = f"{len(mesh.faces)} faces became {len(fewer.faces)}, expected about {num_faces}"
        raise MeshError(message, "too_many_faces")
    own = sample_surface(mesh, NUM_COMPARED, np.random.default_rng(num_faces)).points
    distance = float(distance_to_mesh(own, fewer).mean())
    if distance > MAX_DISTANCE:
        raise MeshError(f"decimation moved the surface by {distance:.3f}", "decimation")
    if mesh.colors is None:
        return fewer
    # At a colour border, a corner takes the colour of its face's side.
    corners_F33 = fewer.triangles
    middles_F13 = corners_F33.mean(axis=1, keepdims=True)
    asked_C3 = (corners_F33 + 0.25 * (middles_F13 - corners_F33)).reshape(-1, 3)
    _, faces_C, closest_C3 = _igl.point_mesh_squared_distance(asked_C3, mesh.vertices, mesh.faces)
    return TriangleMesh(
        corners_F33.reshape(-1, 3),
        np.arange(len(asked_C3)).reshape(-1, 3),
        mesh.colors_at(np.asarray(faces_C, np.int64), closest_C3),
    )


def quantized(mesh: TriangleMesh) -> tuple[TriangleMesh, UInt8[ndarray, "F 3 3"]]:
    """Merge vertices on the stored grid; colours stay with the corners.

    Collapsed faces are left out.

    Raises:
        MeshError: if no face remains.
    """
    nodes_P3 = np.rint(mesh.vertices * POSITION_STEPS).astype(np.int64)
    names_P = (nodes_P3 + 32768) @ np.array([1 << 32, 1 << 16, 1])
    _, first, inverse = np.unique(names_P, return_index=True, return_inverse=True)
    faces_F3 = inverse.reshape(-1)[mesh.faces]
    kept_F = (faces_F3 != np.roll(faces_F3, 1, axis=1)).all(axis=1)
    used_P, faces_F3 = np.unique(faces_F3[kept_F], return_inverse=True)
    welded = TriangleMesh.from_arrays(
        nodes_P3[first[used_P]] / POSITION_STEPS, faces_F3.reshape(-1, 3)
    )
    if welded.is_empty or not (area_vectors(welded) != 0).any():
        raise MeshError("no face is left on the stored grid", "no_triangles")
    grey_P3 = np.tile(np.array(NEUTRAL_GREY[:3], np.uint8), (len(mesh.vertices), 1))
    colors_P3 = grey_P3 if mesh.colors is None else mesh.colors[:, :3]
    return welded, _few_colors(colors_P3[mesh.faces[kept_F]])


def _few_colors(colors_F33: UInt8[ndarray, "F 3 3"]) -> UInt8[ndarray, "F 3 3"]:
    """The colours if they fit a palette, else their nearest ones of a smaller palette."""
    if len(np.unique(colors_F33.reshape(-1, 3), axis=0)) <= MAX_COLORS:
        return colors_F33
    picture = Image.fromarray(colors_F33.reshape(1, -1, 3))
    few = picture.quantize(
        PALETTE_COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
    )
    return np.asarray(few.convert("RGB")).reshape(colors_F33.shape)


# --- what bounds the solid -----------------------------------------------------------------


def exposure(mesh: TriangleMesh, solid: Solid) -> tuple[UInt16[ndarray, " F"], Bool[ndarray, " F"]]:
    """Which parts of every face bound the solid, and which faces point into it.

    The rule is that of `geometry.boundary.sample_boundary`, applied to the centre of a small face,
    of the quarters of a medium one, and of the 16 parts of a large one. Faces without area bound
    nothing.

    Returns:
        Masks (see `StockSurface.masks_F`), and True where the solid lies in front.
    """
    vectors_F3 = area_vectors(mesh)
    lengths_F = np.linalg.norm(vectors_F3, axis=1)
    corners_F33 = mesh.triangles
    edges_F = np.linalg.norm(corners_F33 - np.roll(corners_F33, 1, axis=1), axis=2).max(axis=1)
    sizes_F = np.where(lengths_F > 0, np.digitize(edges_F, [SMALL_FACE, MEDIUM_FACE]), -1)
    normals_F3 = vectors_F3 / np.maximum(lengths_F, 1e-300)[:, None]
    masks_F = np.zeros(len(lengths_F), dtype=np.uint16)
    votes_F = np.zeros(len(lengths_F))
    for size, groups_G16 in enumerate(_GROUPS):
        faces = np.flatnonzero(sizes_F == size)
        centres_G3 = groups_G16 @ CENTRE_WEIGHTS / groups_G16.sum(axis=1, keepdims=True)
        places_N3 = np.einsum("gc,fcx->fgx", centres_G3, corners_F33[faces]).reshape(-1, 3)
        steps_N3 = SIDE_STEP * np.repeat(normals_F3[faces], len(groups_G16), axis=0)
        front_N = solid.contains(places_N3 + steps_N3)
        # A face whose front is outside is exposed, whatever is behind it.
        buried_N = np.zeros(len(front_N), dtype=np.bool_)
        asked = np.flatnonzero(front_N)
        buried_N[asked] = solid.contains(places_N3[asked] - steps_N3[asked])
        exposed_FG = ~buried_N.reshape(-1, len(groups_G16))
        looks_in_FG = front_N.reshape(exposed_FG.shape) & exposed_FG
        bits_G = (groups_G16 << np.arange(NUM_PARTS)).sum(axis=1)
        masks_F[faces] = (exposed_FG * bits_G).sum(axis=1).astype(np.uint16)
        votes_F[faces] = 2 * looks_in_FG.sum(axis=1) - exposed_FG.sum(axis=1)
    return masks_F, votes_F > 0


def _part_groups() -> tuple[Int64[ndarray, "G 16"], ...]:
    """Groups of parts tested together: all, by quarters of the triangle, or each alone."""
    by_quarter = np.where(CENTRE_WEIGHTS.max(axis=1) > 0.5, CENTRE_WEIGHTS.argmax(axis=1), 3)
    return (
        np.ones((1, NUM_PARTS), dtype=np.int64),
        (np.arange(4)[:, None] == by_quarter).astype(np.int64),
        np.eye(NUM_PARTS, dtype=np.int64),
    )


_GROUPS = _part_groups()


# --- quality -------------------------------------------------------------------------------


def _quality(mesh: TriangleMesh, surface: StockSurface, solid: Solid, key: int) -> dict[str, float]:
    """The quality numbers of preparation, estimated from fewer points."""
    rng = np.random.default_rng(key)
    exposed = exposed_points(surface, key, NUM_CHECKED)
    vectors_F3 = area_vectors(mesh)
    normals_F3 = vectors_F3 / np.maximum(np.linalg.norm(vectors_F3, axis=1), 1e-300)[:, None]
    normals_F3[surface.flipped_F] *= -1
    boundary = SurfaceSamples(
        exposed.points_N3 / POSITION_STEPS, normals_F3[exposed.faces_N], exposed.faces_N
    )
    points, inside = points_beside(boundary, solid, LABEL_REACH, rng)
    differs = solid.contains(points) != inside
    return {
        "label_error": round(float(differs.mean()) if len(points) else 1.0, 4),
        "solid_to_source": round(_distance_of_boundary(solid), 4),
    }


def _distance_of_boundary(solid: Solid) -> float:
    """Mean distance from the solid's boundary to the mesh, on a coarse grid; 0 without a boundary.

    Boundary points lie between neighbours of the grid with different labels and are found by
    bisection.
    """
    low_3, high_3 = solid.mesh.bounds()
    steps_3 = np.maximum(high_3 - low_3, 1e-3) / COARSE_CELLS
    lines_3K = low_3[:, None] + steps_3[:, None] * (np.arange(-1, COARSE_CELLS + 1) + 0.5)
    nodes_XYZ3 = np.stack(np.meshgrid(*lines_3K, indexing="ij"), axis=-1)
    inside_XYZ = solid.contains(nodes_XYZ3.reshape(-1, 3)).reshape(nodes_XYZ3.shape[:3])
    inner: list[Float64[ndarray, "N 3"]] = []
    outer: list[Float64[ndarray, "N 3"]] = []
    areas: list[Float64[ndarray, " N"]] = []
    for axis in range(3):
        first, second = (np.moveaxis(inside_XYZ, axis, 0)[part] for part in np.s_[:-1, 1:])
        low, high = (np.moveaxis(nodes_XYZ3, axis, 0)[part] for part in np.s_[:-1, 1:])
        differ = first != second
        from_inside = first[differ][:, None]
        inner.append(np.where(from_inside, low[differ], high[differ]))
        outer.append(np.where(from_inside, high[differ], low[differ]))
        areas.append(np.full(len(from_inside), steps_3.prod() / steps_3[axis]))
    inner_N3, outer_N3 = np.concatenate(inner), np.concatenate(outer)
    if not len(inner_N3):
        return 0.0
    for _ in range(3):
        middle_N3 = (inner_N3 + outer_N3) / 2
        is_inside = solid.contains(middle_N3)[:, None]
        inner_N3 = np.where(is_inside, middle_N3, inner_N3)
        outer_N3 = np.where(is_inside, outer_N3, middle_N3)
    return float(
        np.average(solid.distance((inner_N3 + outer_N3) / 2), weights=np.concatenate(areas))
    )
