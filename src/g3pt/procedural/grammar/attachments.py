"""Attaching a cluster to what is there, once or in a symmetric arrangement."""

from __future__ import annotations

import numpy as np

from g3pt.procedural.builder import turned
from g3pt.procedural.grammar.chance import Chance
from g3pt.procedural.grammar.clusters import mirrored, moved, rotated
from g3pt.procedural.grammar.contact import Touch, is_inside, place, touch
from g3pt.procedural.grammar.solids import facing
from g3pt.procedural.primitives import ShapeArrays, signed_distance

_SLACK = 2e-3
"""How far a copy's foot may be off the surface that it is to stand on; it is sunk in by more."""


def attach(
    base: ShapeArrays,
    row: int,
    child: ShapeArrays,
    chance: Chance,
    *,
    up: bool = False,
    copies: bool = False,
) -> list[ShapeArrays]:
    """Put a child, whose first primitive is to touch, on one primitive of the base.

    Args:
        base: what is there.
        row: the primitive to attach to.
        child: what comes, in its own frame.
        chance: draws.
        up: only on surfaces that look up, and standing upright.
        copies: several of them, mirrored, around or in a row, where the base has a place for them.

    Returns:
        The placed children; none if no place was found.
    """
    spot = touch(base, row, chance)
    for _ in range(3 if up else 0):
        if spot is not None and spot.normal[1] > 0.6:
            break
        spot = touch(base, row, chance)
    if spot is None or (up and spot.normal[1] < 0.3):
        return []
    foot = spot.point - 0.01 * spot.normal
    if base.carves.any() and signed_distance(base, foot[None])[0] > 0:
        return []
    if up:
        spot = Touch(spot.row, spot.point, np.array([0.0, 1.0, 0.0]))
    elif chance.flag(0.65):
        child = rotated(child, facing(spot.normal))
    depth = chance.real(0.04, 0.3) if chance.flag(0.8) else chance.real(0.3, 1.0)
    child = moved(child, place(child, 0, spot, depth))
    if not copies:
        return [child]
    return [child, *_copies(base, spot, child, chance)]


def _copies(
    base: ShapeArrays, spot: Touch, child: ShapeArrays, chance: Chance
) -> list[ShapeArrays]:
    """Further children like the first, as far as their feet stand on the same primitive."""
    rotation, centre = base.rotations[spot.row], base.translations[spot.row]
    foot = spot.point - 0.01 * spot.normal
    found: list[tuple[ShapeArrays, np.ndarray]] = []
    style = chance.weighted({"mirror": 0.4, "radial": 0.3, "row": 0.3})
    if style == "radial":
        num = chance.pick((3, 4, 5, 6, 8))
        for i in range(1, num):
            turn = rotation @ turned(y=360.0 * i / num) @ rotation.T
            found.append((rotated(child, turn, centre), turn @ (foot - centre) + centre))
    elif style == "row":
        num = chance.whole(2, 6)
        local = rotation.T @ (foot - centre)
        free = np.abs(rotation.T @ spot.normal) < 0.5
        if not free.any():
            return []
        axis = int(np.argmax(np.where(free, np.abs(local) + 1e-3, 0)))
        step = rotation[:, axis] * (-2 * local[axis] / num)
        for i in range(1, num + 1):
            found.append((moved(child, step * i), foot + step * i))
    else:
        # Planes of the world through the primitive's centre.
        across = [0] if chance.flag(0.7) else [0, 2]
        for axis in across:
            flip = np.ones(3)
            flip[axis] = -1
            for one, at in [(child, foot), *found]:
                other = mirrored(one, axis, float(centre[axis]))
                found.append((other, (at - centre) * flip + centre))
    if not found:
        return []
    feet = np.array([at for _, at in found])
    keep = is_inside(base, spot.row, feet, _SLACK)
    # A copy where the first one is would only be a burden.
    keep &= np.abs(feet - foot).max(axis=1) > 0.1 * float(child.parameters[0, :3].max())
    if base.carves.any():
        keep &= signed_distance(base, feet) < _SLACK
    return [one for (one, _), kept in zip(found, keep, strict=True) if kept]
