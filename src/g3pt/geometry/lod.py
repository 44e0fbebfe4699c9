"""Fewer faces: two decimators, levels of detail with their errors, and a GLB file of levels.

Both decimators minimise quadric errors: `decimate_in_order` needs a manifold mesh,
`decimate_quickly` takes any mesh. A level's error is its distance to the finest level. The GLB file
is glTF 2.0 with MSFT_lod and MSFT_screencoverage: the scene shows the finest level, whose node
names the others, finest first. A reader without the extension sees the finest level alone.

Unit frame (longest side 1.9). Legend: P vertices, F faces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import igl  # pyright: ignore[reportMissingTypeStubs]
import numpy as np

from g3pt.geometry.formats.gltf_write import INDICES, VERTICES, GlbBuffer, linear_colors
from g3pt.geometry.mesh import (
    UNIT_LONGEST_SIDE,
    TriangleMesh,
    face_components,
    has_manifold_edges,
    is_closed,
    keep_faces,
    merge_vertices,
    vertex_normals,
    volume,
)
from g3pt.geometry.metrics import distance_to_mesh
from g3pt.geometry.repaint import repainted
from g3pt.geometry.sampling import sample_surface

_igl: Any = igl  # without type stubs


def fast_simplification() -> Any:
    """Import the module of `decimate_quickly`.

    Raises:
        ImportError: naming the extra, if it is not installed.
    """
    try:
        return import_module("fast_simplification")
    except ImportError:
        raise ImportError(
            "decimation needs fast-simplification: pip install g3pt[export]"
        ) from None


def decimate_quickly(
    mesh: TriangleMesh, num_faces: int, *, aggressiveness: float = 7.0
) -> TriangleMesh:
    """Decimate any mesh by quadric errors without a queue; may stop at more faces than wanted.

    Args:
        mesh: with merged vertices.
        num_faces: how many are wanted.
        aggressiveness: how fast the accepted error grows; a low value (3) avoids losing whole parts
            and stops earlier.
    """
    vertices, faces = fast_simplification().simplify(
        mesh.vertices,
        mesh.faces.astype(np.int32),
        target_count=num_faces,
        agg=aggressiveness,
    )
    return TriangleMesh.from_arrays(vertices, faces)


def decimate_in_order(mesh: TriangleMesh, num_faces: int) -> TriangleMesh:
    """Decimate by quadric errors, cheapest edge first; empty result for non-manifold meshes."""
    vertices, faces, *_ = _igl.qslim(mesh.vertices, mesh.faces.astype(np.int32), num_faces)
    return TriangleMesh.from_arrays(vertices, faces)


NUM_SAMPLES = 10_000
"""Points drawn on each surface to measure the distance of a level to the finest."""

REDUCTION = 4
"""Ratio of the face counts of consecutive levels if no budgets are given."""

MIN_FACES = 64
"""Smallest face budget that `face_budgets` gives."""

SCREEN_HEIGHT = 1080
"""Height in pixels of the screen that coverages are computed for."""


@dataclass(frozen=True, eq=False)
class Level:
    """One level of detail."""

    mesh: TriangleMesh
    error_mean: float
    """Mean distance to the finest level, over points of both surfaces; 0 for the finest."""
    error_max: float
    """Largest of these distances in either direction (Hausdorff distance of the samples)."""
    coverage: float
    """Share of the screen above which this level is shown: there the mean error of the next level
    reaches one pixel. 0 for the last level."""


def face_budgets(num_faces: int, num_levels: int) -> list[int]:
    """Face budgets of levels: all faces, then a quarter each time, at least `MIN_FACES`."""
    return [max(num_faces // REDUCTION**level, MIN_FACES) for level in range(num_levels)]


def make_levels(
    meshes: Sequence[TriangleMesh], budgets: Sequence[int], *, seed: int = 0
) -> tuple[Level, ...]:
    """Decimate meshes of one object to their face budgets and measure the errors.

    Args:
        meshes: finest first, one per level; the same mesh may be given for several. Empty ones are
            left out.
        budgets: largest face count of each; meshes with fewer faces stay as they are.
        seed: seeds the points that errors are measured at.

    Raises:
        ValueError: if the finest mesh is empty or the numbers do not fit.
        ImportError: if a mesh is not manifold and the extra for such meshes is missing.
    """
    if len(budgets) != len(meshes) or not meshes or meshes[0].is_empty:
        raise ValueError(
            f"levels need a finest mesh with faces and a budget each, got {len(meshes)} meshes "
            f"and {len(budgets)} budgets"
        )
    pairs = zip(meshes, budgets, strict=True)
    reduced = [decimate(mesh, budget) for mesh, budget in pairs if not mesh.is_empty]
    errors = [(0.0, 0.0), *(_errors(mesh, reduced[0], seed) for mesh in reduced[1:])]
    means = np.maximum.accumulate([mean for mean, _ in errors]).tolist()
    coverages = [coverage_of(error) for error in means[1:]] + [0.0]
    return tuple(
        Level(mesh, mean, largest, coverage)
        for mesh, (mean, largest), coverage in zip(reduced, errors, coverages, strict=True)
    )


def decimate(mesh: TriangleMesh, num_faces: int) -> TriangleMesh:
    """Reduce a mesh to about `num_faces` faces; a mesh with no more stays as it is.

    Colours are those of the nearest vertices of the mesh.

    Raises:
        ImportError: if the mesh is not manifold and the extra for such meshes is missing.
    """
    if len(mesh.faces) <= num_faces:
        return mesh
    found = decimate_in_order(mesh, num_faces)
    fewer = decimate_quickly(mesh, num_faces) if found.is_empty else found
    return repainted(fewer, mesh)


@dataclass(frozen=True, eq=False)
class Reduction:
    """A mesh within a face budget, or as near to it as its surface stays whole."""

    mesh: TriangleMesh
    note: str | None
    """One sentence if the budget was not kept, and why; else None."""


def reduce_faces(mesh: TriangleMesh, num_faces: int) -> Reduction:
    """Reduce a mesh to a face budget without opening it or losing parts; colours follow.

    Edges are collapsed cheapest first. If that opens the mesh, tears or flattens a part or turns it
    inside out, the quick decimator is tried, then the same with less haste, which may stop early.

    Args:
        mesh: any mesh.
        num_faces: the budget.

    Raises:
        ValueError: if the budget is below 4, the faces of a tetrahedron.
        ImportError: if the quick decimator is needed and the extra `export` is missing.
    """
    if num_faces < 4:
        raise ValueError(f"faces must be at least 4, got {num_faces}")
    if len(mesh.faces) <= num_faces:
        return Reduction(mesh, None)
    whole = _Wholeness.of(mesh)
    best = mesh
    for attempt in (
        lambda: decimate_in_order(mesh, num_faces),
        lambda: decimate_quickly(merge_vertices(mesh), num_faces),
        lambda: decimate_quickly(merge_vertices(mesh), num_faces, aggressiveness=3.0),
    ):
        found = attempt()
        if found.is_empty or _Wholeness.of(found) != whole or len(found.faces) >= len(best.faces):
            continue
        best = found
        if len(best.faces) <= num_faces:
            return Reduction(repainted(best, mesh), None)
    note = (
        f"{len(best.faces)} faces instead of at most {num_faces}: fewer would open the surface or "
        "lose parts of it"
    )
    return Reduction(best if best is mesh else repainted(best, mesh), note)


@dataclass(frozen=True)
class _Wholeness:
    """What decimation must not change."""

    closed: bool
    manifold: bool
    num_outward: int
    """Parts that enclose a volume, faces outward."""
    num_inward: int
    """The same with faces inward: cavities."""
    num_flat: int
    """Parts that enclose nothing, as two triangles back to back do."""

    @classmethod
    def of(cls, mesh: TriangleMesh) -> "_Wholeness":
        numbers = face_components(mesh)
        parts = [keep_faces(mesh, np.flatnonzero(numbers == n)) for n in np.unique(numbers)]
        lowest, highest = mesh.bounds()
        least = 1e-9 * float((highest - lowest).max()) ** 3
        volumes = np.array([volume(part) for part in parts])
        num_outward, num_inward = int((volumes > least).sum()), int((volumes < -least).sum())
        num_flat = len(parts) - num_outward - num_inward
        flags = is_closed(mesh), has_manifold_edges(mesh)
        return cls(*flags, num_outward, num_inward, num_flat)


def coverage_of(error: float) -> float:
    """Share of the screen that an object covers when `error` is one pixel; at most 1."""
    if error == 0:
        return 1.0
    return min((UNIT_LONGEST_SIDE / error / SCREEN_HEIGHT) ** 2, 1.0)


def _errors(mesh: TriangleMesh, finest: TriangleMesh, seed: int) -> tuple[float, float]:
    """Mean and largest distance between two surfaces, both ways."""
    rng = np.random.default_rng(seed)
    ours, theirs = (sample_surface(one, NUM_SAMPLES, rng).points for one in (mesh, finest))
    there, back = distance_to_mesh(ours, finest), distance_to_mesh(theirs, mesh)
    return float(there.mean() + back.mean()) / 2, float(max(there.max(), back.max()))


def encode_levels(levels: Sequence[Level]) -> bytes:
    """Encode levels, finest first, as a GLB file; errors are in the extras of each node."""
    buffer = GlbBuffer()
    meshes: list[dict[str, Any]] = []
    for level in levels:
        attributes = {
            "POSITION": buffer.add_rows(level.mesh.vertices.astype("<f4"), VERTICES, "VEC3"),
            "NORMAL": buffer.add_rows(vertex_normals(level.mesh).astype("<f4"), VERTICES, "VEC3"),
        }
        if level.mesh.colors is not None:
            colors = linear_colors(level.mesh.colors)
            attributes["COLOR_0"] = buffer.add_rows(colors, VERTICES, "VEC4")
        indices = buffer.add_rows(level.mesh.faces.astype("<u4"), INDICES, "SCALAR")
        meshes.append({"primitives": [{"attributes": attributes, "indices": indices}]})
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "g3pt"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": _nodes(levels),
        "meshes": meshes,
    }
    if len(levels) > 1:
        document["extensionsUsed"] = ["MSFT_lod"]
    return buffer.packed(document)


def _nodes(levels: Sequence[Level]) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = [
        {
            "name": f"level{number}",
            "mesh": number,
            "extras": {
                "error_mean": level.error_mean,
                "error_max": level.error_max,
                "faces": len(level.mesh.faces),
            },
        }
        for number, level in enumerate(levels)
    ]
    if len(levels) > 1:
        nodes[0]["extensions"] = {"MSFT_lod": {"ids": list(range(1, len(levels)))}}
        nodes[0]["extras"]["MSFT_screencoverage"] = [level.coverage for level in levels]
    return nodes
