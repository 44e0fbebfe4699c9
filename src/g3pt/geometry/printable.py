"""One closed solid for a printer: loose parts joined or dropped, cavities filled, walls checked.

A mesh that is one closed solid already keeps its vertices. Otherwise the solid is joined with
more of it (posts between parts, and what is near the middle of thin walls) and meshed again from
its distance. Lengths are millimetres. Legend: K balls, P vertices, M chosen ones.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64

from g3pt.geometry.isosurface import extract_surface
from g3pt.geometry.lod import reduce_faces
from g3pt.geometry.mesh import UnitFrame, to_source, to_unit
from g3pt.geometry.metrics import closest_faces, signed_distance, winding_test
from g3pt.geometry.placement import Move, Placement
from g3pt.geometry.repaint import repainted
from g3pt.geometry.sampling import sample_surface
from g3pt.geometry.solid import Solid
from g3pt.geometry.triangles import (
    UNIT_LONGEST_SIDE,
    MeshError,
    TriangleMesh,
    concatenate,
    face_areas,
    face_components,
    has_manifold_edges,
    is_closed,
    keep_faces,
    largest_components,
    num_components,
    volume,
    without_collapsed_faces,
)
from g3pt.geometry.walls import Discs, Walls, measure_walls, thickening_discs

MARGIN = 1.05
"""Thickness that is made, in wanted ones: some is lost on the grid, some when the object, which has
grown a little, gets its size back."""

CELLS_PER_WALL = 2
"""Grid cells in a wall of the wanted thickness, when a solid is meshed again."""

RESOLUTIONS = (128, 1024)
"""Fewest and most cells per axis, when a solid is meshed again."""

EDGE_SHARE = 0.002
"""Share of thin surface up to which nothing is thickened: right at sharp edges every wall is thin,
and meshing again for that alone multiplies the faces."""

LOST_SHARE = 0.01
"""Share of the volume from which on it is said that meshing again has lost it."""

NUM_SEEDS = 4096
"""Points of a surface from which a new one is tracked."""

MAX_GAP_POINTS = 200_000
"""Most points of a part at which its distance to the solid is measured."""


@dataclass(frozen=True)
class Repair:
    """What had to be done to make one solid."""

    dropped: int
    """Loose parts that were left out."""
    joined: int
    """Loose parts within a wall's thickness of the solid, joined to it by a post."""
    filled: int
    """Closed cavities that were filled, and what lay in them."""
    remeshed: bool
    """True if the surface is a new one; else its vertices are those of the mesh."""


@dataclass(frozen=True, eq=False)
class PrintableMesh:
    """A solid that was checked: closed, one part, faces outward."""

    mesh: TriangleMesh
    """The solid, placed, in millimetres."""
    moves: tuple[Move, ...]
    """What moved it there from the frame that it was made in, in order."""
    note: str | None
    """One sentence if the face budget was not kept, or thin walls were lost; else None."""
    repair: Repair
    """What was done."""
    walls: Walls
    """Walls of the solid that are thinner than wanted."""
    walls_before: Walls | None
    """The same before walls were thickened; None if they were not."""
    manifold: bool
    """True if every edge has exactly two faces."""
    volume_cm3: float
    """Volume in cubic centimetres."""
    area_cm2: float
    """Surface in square centimetres."""


def make_printable(
    mesh: TriangleMesh,
    place: Placement,
    *,
    min_wall_mm: float,
    thicken: bool = False,
    num_faces: int | None = None,
    seed: int = 0,
) -> PrintableMesh:
    """Make one closed solid of a mesh, in its place, and measure it.

    Args:
        mesh: any mesh with a solid inside, +Y up.
        place: with a size.
        min_wall_mm: walls below are reported, and loose parts at most this far away are joined.
        thicken: make thin walls as thick.
        num_faces: face budget, which is kept as far as the solid stays whole; None for no limit.
        seed: seeds the points at which walls are measured.

    Raises:
        ValueError: if the placement has no size, or the wall is not positive or too fine for the
            size where the solid is to be meshed again.
        MeshError: if nothing solid is in the mesh, or the result fails the check.
    """
    if place.size_mm is None:
        raise ValueError("size_mm is needed to make a mesh printable: walls are in millimetres")
    if not 0 < min_wall_mm < place.size_mm:
        raise ValueError(
            f"min_wall_mm must be above 0 and below the size of {place.size_mm:g}, "
            f"got {min_wall_mm:g}"
        )
    upright = replace(place, up="y", origin="center")
    moves = [upright.move_of(mesh)]
    solid = without_collapsed_faces(moves[0].apply(mesh))
    remeshed = not has_manifold_edges(solid)
    if remeshed:
        solid = _closed(solid)
    solid, posts, repair = _one_solid(solid, min_wall_mm)
    notes: list[str] = []
    if len(posts):
        before = volume(solid)
        balls = Discs(posts, np.zeros_like(posts), 0.0)
        solid, remeshed = _joined(solid, balls, min_wall_mm), True
        if volume(solid) < (1 - LOST_SHARE) * before:
            notes.append(
                f"{1 - volume(solid) / before:.0%} of the volume was lost when parts were joined, "
                "in walls thinner than the grid; a smaller --min-wall-mm loses less"
            )
    moves.append(upright.move_of(solid))  # without what was dropped
    solid = moves[-1].apply(solid)
    walls_before = None
    if thicken:
        walls_before = measure_walls(solid, min_wall_mm, seed=seed)
        if walls_before.thin_share > EDGE_SHARE:
            discs = thickening_discs(solid, min_wall_mm, seed=seed)
            solid, remeshed = _joined(solid, discs, min_wall_mm), True
    if num_faces is not None:
        reduction = reduce_faces(solid, num_faces)
        solid = reduction.mesh
        notes += [reduction.note] if reduction.note else []
    moves.append(place.move_of(solid))
    solid = moves[-1].apply(solid)
    _check(solid)
    return PrintableMesh(
        mesh=solid,
        moves=tuple(moves),
        note="; ".join(notes) or None,
        repair=replace(repair, remeshed=remeshed),
        walls=measure_walls(solid, min_wall_mm, seed=seed),
        walls_before=walls_before,
        manifold=has_manifold_edges(solid),
        volume_cm3=volume(solid) / 1000,
        area_cm2=float(face_areas(solid).sum()) / 100,
    )


def _check(solid: TriangleMesh) -> None:
    """Check what was promised, on the mesh that is handed out."""
    found = (is_closed(solid), num_components(solid), volume(solid) > 0)
    if found != (True, 1, True):
        closed, parts, outward = found
        raise MeshError(
            f"the mesh could not be made one closed solid: closed {closed}, {parts} parts, faces "
            f"outward {outward}; try another --resolution or seed"
        )


def _closed(mesh: TriangleMesh) -> TriangleMesh:
    """Mesh the solid of a mesh anew that is open, flipped, or has edges of several faces."""
    frame = _frame_with_room(mesh, 0.0)
    solid = Solid.from_mesh(to_unit(mesh, frame))

    def field(points: Float32[np.ndarray, "N 3"]) -> Float32[np.ndarray, " N"]:
        return solid.signed_distance(points.astype(np.float64)).astype(np.float32)

    found = extract_surface(field, resolution=2 * RESOLUTIONS[0], seeds=_some(solid.mesh.vertices))
    if found.mesh.is_empty:
        raise MeshError("nothing in the mesh is solid: its faces enclose no volume")
    return repainted(to_source(found.mesh, frame), mesh)


def _one_solid(
    mesh: TriangleMesh, reach: float
) -> tuple[TriangleMesh, Float64[np.ndarray, "K 3"], Repair]:
    """Choose the parts of one solid, and balls of the posts that join them.

    Args:
        mesh: closed.
        reach: largest gap that a post bridges.
    """
    if volume(mesh) < 0:  # inside out
        mesh = replace(mesh, faces=mesh.faces[:, ::-1].copy())
    numbers = face_components(mesh)
    parts = [keep_faces(mesh, np.flatnonzero(numbers == n)) for n in np.unique(numbers)]
    volumes = [volume(part) for part in parts]
    main = parts[int(np.argmax(volumes))]
    others = [part for part in parts if part is not main]
    within = winding_test(main)
    inner = [bool(within(part.vertices[:1])[0]) for part in others]
    loose = [
        part for part, inside in zip(others, inner, strict=True) if not inside and volume(part) > 0
    ]
    joined, posts = [main], [np.zeros((0, 3))]
    while True:
        whole = concatenate(joined)
        gaps = [_gap(part, whole, reach) for part in loose]
        near = [gap is not None for gap in gaps]
        if not any(near):
            break
        posts += [_post(*gap, radius=_radius(reach)) for gap in gaps if gap is not None]
        joined += [part for part, is_near in zip(loose, near, strict=True) if is_near]
        loose = [part for part, is_near in zip(loose, near, strict=True) if not is_near]
    repair = Repair(
        dropped=len(loose),
        joined=len(joined) - 1,
        filled=len(others) - len(loose) - (len(joined) - 1),
        remeshed=False,
    )
    return concatenate(joined), np.concatenate(posts), repair


def _gap(
    part: TriangleMesh, whole: TriangleMesh, reach: float
) -> tuple[Float64[np.ndarray, " 3"], Float64[np.ndarray, " 3"]] | None:
    """Ends of the shortest way found from a part to the rest, None if it is longer than reach."""
    lowest, highest = part.bounds()
    others = whole.bounds()
    if (lowest - others[1] > reach).any() or (others[0] - highest > reach).any():
        return None
    spacing = reach / 4
    num = int(min(face_areas(part).sum() / spacing**2, MAX_GAP_POINTS))
    sampled = sample_surface(part, max(num, 1), np.random.default_rng(0)).points
    points = np.concatenate([part.vertices, sampled])
    near = closest_faces(points, whole)
    shortest = float(near.distances.min())
    if shortest > reach:
        return None
    nearly = np.flatnonzero(near.distances <= shortest + spacing / 2)
    away = points[nearly] - points[nearly].mean(axis=0)  # the middle of where the gap is narrow
    first = nearly[(away**2).sum(axis=1).argmin()]
    return points[first], near.points[first]


def _post(
    start: Float64[np.ndarray, " 3"], end: Float64[np.ndarray, " 3"], *, radius: float
) -> Float64[np.ndarray, "K 3"]:
    """Centres of balls in a row from a radius before the start to a radius beyond the end."""
    way = end - start
    length = float(np.linalg.norm(way))
    if length < 1e-9:
        return start[None]
    places = np.linspace(-radius, length + radius, int(np.ceil((length + 2 * radius) / radius)) * 2)
    return start + places[:, None] * way / length


def _radius(min_wall: float) -> float:
    return MARGIN * min_wall / 2


def _joined(solid: TriangleMesh, discs: Discs, min_wall: float) -> TriangleMesh:
    """Mesh the union of a closed solid and what is near discs, and keep its outer surface.

    Args:
        solid: closed, possibly of several parts.
        discs: in the frame of the solid.
        min_wall: the wanted thickness, which sets the radius around discs, and the grid.
    """
    frame = _frame_with_room(solid, min_wall)
    distance = signed_distance(to_unit(solid, frame))
    radius = _radius(min_wall) * frame.scale
    unit_discs = Discs(frame.to_unit(discs.centers), discs.normals, discs.size * frame.scale)
    # Beyond the reach distances are infinite: discs so far away change no surface there.
    to_disc = unit_discs.distance(reach=4 * radius)

    def field(points: Float32[np.ndarray, "N 3"]) -> Float32[np.ndarray, " N"]:
        near = (radius - to_disc(points.astype(np.float64))).astype(np.float32)
        return np.maximum(distance(points), near)

    cell = min_wall * frame.scale / CELLS_PER_WALL
    resolution = max(int(np.ceil(2 / cell)), RESOLUTIONS[0])
    if resolution > RESOLUTIONS[1]:
        finest = 2 * CELLS_PER_WALL / RESOLUTIONS[1] / frame.scale
        raise ValueError(
            f"min_wall_mm of {min_wall:g} is too fine for an object of this size to be meshed "
            f"again: give at least {finest:.2g}, or a smaller size"
        )
    seeds = np.concatenate([_some(frame.to_unit(solid.vertices)), _some(unit_discs.centers)])
    mesh = extract_surface(field, resolution=resolution, seeds=seeds).mesh
    outer = largest_components(mesh)  # the others are closed pockets
    return repainted(to_source(outer, frame), solid)


def _frame_with_room(mesh: TriangleMesh, room: float) -> UnitFrame:
    """A unit frame that stays inside the query cube if the mesh grows by `room` on every side."""
    lowest, highest = mesh.bounds()
    x, y, z = ((lowest + highest) / 2).tolist()
    extent = float((highest - lowest).max()) + 2 * room
    return UnitFrame(scale=UNIT_LONGEST_SIDE / extent, offset=(x, y, z))


def _some(points: Float64[np.ndarray, "P 3"]) -> Float64[np.ndarray, "M 3"]:
    """At most `NUM_SEEDS` of the points, evenly from their order."""
    return points[:: -(-len(points) // NUM_SEEDS)]
