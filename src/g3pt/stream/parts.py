"""Parts of meshes that can be joined with others: their closed bodies, whole or cut by a plane.

A body is a connected set of faces in which every edge belongs to two faces that run along it in
opposite directions. It bounds a solid whatever else the mesh has. Bodies are turned outwards, so a
cavity is full, as it is for `geometry.solid`. Where faces are only some of a mesh's, nothing says
what they bound: they are left out.

Legend: P vertices, F faces, K vertices of one face at a time, S segments of a section.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from numpy import ndarray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from g3pt.shapes.queries import POSITION_STEPS
from g3pt.shapes.stock_meshes import StockSurface

THINNEST = 0.004
"""Smallest mean thickness of a body, twice its volume by its area, in unit-frame lengths."""


@dataclass(frozen=True, eq=False)
class Part:
    """Closed bodies with outward faces."""

    vertices_P3: Float64[ndarray, "P 3"]
    faces_F3: Int64[ndarray, "F 3"]
    colors_F33: UInt8[ndarray, "F 3 3"]
    """SRGB at the corners of every face."""
    bodies_F: Int64[ndarray, " F"]
    """Number of the body of every face."""

    def corners(self) -> Float64[ndarray, "F 3 3"]:
        """Positions of the corners of every face."""
        return self.vertices_P3[self.faces_F3]

    def box(self) -> tuple[Float64[ndarray, " 3"], Float64[ndarray, " 3"]]:
        """Lowest and highest corner of the bounding box."""
        return self.vertices_P3.min(axis=0), self.vertices_P3.max(axis=0)

    def only(self, kept_F: Bool[ndarray, " F"]) -> "Part":
        """Some of the faces, with the vertices that they use."""
        used, faces = np.unique(self.faces_F3[kept_F], return_inverse=True)
        return Part(
            vertices_P3=self.vertices_P3[used],
            faces_F3=faces.reshape(-1, 3),
            colors_F33=self.colors_F33[kept_F],
            bodies_F=self.bodies_F[kept_F],
        )


def closed_bodies(surface: StockSurface) -> Part | None:
    """The closed bodies of a mesh of a stock, in the unit frame; None if it has none.

    Bodies thinner than `THINNEST`, such as sheets with two sides, are left out.
    """
    faces_F3 = surface.faces_F3.astype(np.int64)
    num = len(surface.vertices_P3)
    starts, ends = faces_F3.T.reshape(-1), np.roll(faces_F3, -1, axis=1).T.reshape(-1)
    links = coo_array((np.ones(len(starts), np.int8), (starts, ends)), shape=(num, num))
    bodies_F = connected_components(links, directed=False)[1][faces_F3[:, 0]].astype(np.int64)
    there, back = starts * num + ends, ends * num + starts
    known, counts = np.unique(there, return_counts=True)
    single = known[counts == 1]
    paired_F = (np.isin(there, single) & np.isin(back, single)).reshape(3, -1).all(axis=0)
    is_open = np.zeros(num, np.bool_)
    is_open[bodies_F[~paired_F]] = True
    kept_F = ~is_open[bodies_F]
    if not kept_F.any():
        return None
    whole = Part(
        vertices_P3=surface.vertices_P3.astype(np.float64) / POSITION_STEPS,
        faces_F3=faces_F3,
        colors_F33=surface.colors_F33,
        bodies_F=bodies_F,
    )
    closed = whole.only(kept_F)
    a_F3, b_F3, c_F3 = np.moveaxis(closed.corners(), 1, 0)
    volumes = np.bincount(closed.bodies_F, np.einsum("fx,fx->f", a_F3, np.cross(b_F3, c_F3))) / 6
    areas_F = np.linalg.norm(np.cross(b_F3 - a_F3, c_F3 - a_F3), axis=1) / 2
    thick = 2 * np.abs(volumes) >= THINNEST * np.bincount(closed.bodies_F, areas_F)
    thick_F = thick[closed.bodies_F]
    return _outward(closed, volumes).only(thick_F) if thick_F.any() else None


def _outward(part: Part, volumes: Float64[ndarray, " N"]) -> Part:
    """Turn bodies of negative volume over."""
    over_F = volumes[part.bodies_F] < 0
    faces_F3, colors_F33 = part.faces_F3.copy(), part.colors_F33.copy()
    faces_F3[over_F] = faces_F3[over_F][:, ::-1]
    colors_F33[over_F] = colors_F33[over_F][:, ::-1]
    return replace(part, faces_F3=faces_F3, colors_F33=colors_F33)


def cut(part: Part, axis: int, at: float, *, below: bool) -> Part | None:
    """The half of a part on one side of the plane where a coordinate has a value, closed by caps.

    Caps meet the sides along edges, not always at vertices. They have the mean colour of the faces
    that are cut.

    Returns:
        The half; None if nothing lies there.
    """
    sign = 1.0 if below else -1.0
    heights_P = sign * (part.vertices_P3[:, axis] - at)
    heights_P = np.where(np.abs(heights_P) < 1e-9, 1e-9, heights_P)  # no vertex on the plane
    in_F3 = heights_P[part.faces_F3] < 0
    num_in_F = in_F3.sum(axis=1)
    whole_F, split_F = num_in_F == 3, (num_in_F == 1) | (num_in_F == 2)
    if not split_F.any():
        return part.only(whole_F) if whole_F.any() else None
    # Turned so that the corner that is alone on its side comes first.
    alone_F = np.where(num_in_F == 1, in_F3.argmax(axis=1), (~in_F3).argmax(axis=1))[split_F]
    turn_F3 = (alone_F[:, None] + np.arange(3)) % 3
    faces_F3 = np.take_along_axis(part.faces_F3[split_F], turn_F3, axis=1)
    colors_F33 = np.take_along_axis(part.colors_F33[split_F], turn_F3[:, :, None], axis=1)
    bodies_F, one_in_F = part.bodies_F[split_F], num_in_F[split_F] == 1
    # The two edges from that corner are cut; both faces of an edge get the same new vertex.
    ends_E2 = np.concatenate([faces_F3[:, [0, 1]], faces_F3[:, [0, 2]]])
    ends_E2 = np.sort(ends_E2, axis=1)
    _, first, number_E = np.unique(
        ends_E2 @ [len(part.vertices_P3), 1], return_index=True, return_inverse=True
    )
    low, high = ends_E2[first].T
    share = (heights_P[low] / (heights_P[low] - heights_P[high]))[:, None]
    new = part.vertices_P3[low] * (1 - share) + part.vertices_P3[high] * share
    new[:, axis] = at
    near_F, far_F = (number_E + len(part.vertices_P3)).reshape(2, -1)
    a_F, b_F, c_F = faces_F3.T
    shade_F3 = colors_F33.astype(np.float64).mean(axis=1).round().astype(np.uint8)
    tips = np.stack([a_F, near_F, far_F], axis=1)[one_in_F]
    two = ~one_in_F
    sides = np.stack([b_F, c_F, far_F], axis=1)[two], np.stack([b_F, far_F, near_F], axis=1)[two]
    flat_F33 = np.repeat(shade_F3[:, None], 3, axis=1)
    # Caps run against the sides along the section.
    first_F, second_F = np.where(one_in_F, far_F, near_F), np.where(one_in_F, near_F, far_F)
    vertices_P3 = np.concatenate([part.vertices_P3, new])
    caps = [
        _cap(vertices_P3, first_F[own], second_F[own], axis, sign, int(number))
        for number in np.unique(bodies_F)
        for own in [bodies_F == number]
    ]
    cap_corners = np.concatenate([corners for corners, _ in caps])
    cap_bodies = np.concatenate([numbers for _, numbers in caps])
    cap_faces = np.arange(3 * len(cap_corners)).reshape(-1, 3) + len(vertices_P3)
    cap_color = shade_F3.astype(np.float64).mean(axis=0).round().astype(np.uint8)
    half = Part(
        vertices_P3=np.concatenate([vertices_P3, cap_corners.reshape(-1, 3)]),
        faces_F3=np.concatenate([part.faces_F3[whole_F], tips, *sides, cap_faces]),
        colors_F33=np.concatenate(
            [
                part.colors_F33[whole_F],
                flat_F33[one_in_F],
                flat_F33[two],
                flat_F33[two],
                np.broadcast_to(cap_color, (len(cap_faces), 3, 3)),
            ]
        ),
        bodies_F=np.concatenate(
            [part.bodies_F[whole_F], bodies_F[one_in_F], bodies_F[two], bodies_F[two], cap_bodies]
        ),
    )
    return half.only(np.ones(len(half.faces_F3), np.bool_))


def _cap(
    vertices_P3: ndarray, first_S: ndarray, second_S: ndarray, axis: int, sign: float, body: int
) -> tuple[Float64[ndarray, "F 3 3"], Int64[ndarray, " F"]]:
    """Triangles that fill the section of one body, whose border runs along the segments.

    The plane is cut into strips at all ends of segments. In a strip no segment begins, so what lies
    between two neighbouring ones is a trapezoid, filled as often as the border winds round it.
    """
    across, up = ((axis + 1) % 3, (axis + 2) % 3)
    if sign < 0:
        across, up = up, across
    starts_S2 = vertices_P3[first_S][:, [across, up]]
    ends_S2 = vertices_P3[second_S][:, [across, up]]
    levels = np.unique(np.concatenate([starts_S2[:, 0], ends_S2[:, 0]]))
    left, right = levels[:-1], levels[1:]
    low_S, high_S = np.sort(np.stack([starts_S2[:, 0], ends_S2[:, 0]]), axis=0)
    strips, segments = np.nonzero((low_S <= left[:, None]) & (high_S >= right[:, None]))
    run = ends_S2 - starts_S2
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = run[:, 1] / run[:, 0]  # those straight up cross no strip
    at_left = starts_S2[segments, 1] + slope[segments] * (left[strips] - starts_S2[segments, 0])
    at_right = starts_S2[segments, 1] + slope[segments] * (right[strips] - starts_S2[segments, 0])
    order = np.lexsort((at_left + at_right, strips))
    strips, at_left, at_right = strips[order], at_left[order], at_right[order]
    # Above a segment that runs to the right lies the inside of a border that turns left.
    turns = np.cumsum(np.sign(run[segments, 0])[order]).astype(np.int64)
    times = np.where(strips[:-1] == strips[1:], turns[:-1], 0)
    below = np.flatnonzero(times)
    below = np.repeat(below, np.abs(times[below]))
    above, strip = below + 1, strips[below]
    corners = np.stack(
        [
            np.stack([left[strip], at_left[below]], axis=1),
            np.stack([right[strip], at_right[below]], axis=1),
            np.stack([right[strip], at_right[above]], axis=1),
            np.stack([left[strip], at_left[above]], axis=1),
        ],
        axis=1,
    )
    over = times[below] < 0
    corners[over] = corners[over][:, ::-1]
    flat = np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]])
    triangles = np.full((len(flat), 3, 3), vertices_P3[first_S[0], axis])
    triangles[:, :, across], triangles[:, :, up] = flat[..., 0], flat[..., 1]
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    has_area = (np.cross(first, second) != 0).any(axis=1)
    return triangles[has_area], np.full(int(has_area.sum()), body, np.int64)
