"""Whether a mesh resembles a picture: which cameras may have taken it, and how far outlines agree.

Which cameras may have taken a picture follows the views that the bundled generator was trained on
(`stream.cameras.ViewLaw`): one in three from the canonical camera, most others from a quarter turn
around it, few from elsewhere.

Legend: H W picture, S side of a mask.
"""

from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from jaxtyping import Bool, UInt8

from g3pt.generation.pictures import PreparedPicture
from g3pt.geometry.cameras import frame_object
from g3pt.geometry.mesh import TriangleMesh
from g3pt.geometry.render import Scene
from g3pt.geometry.silhouettes import SIDE, Candidate, FoundView, Orbit, find_view, solidity

NEEDED_IOU = (0.45, 0.42)
"""Least agreement of the silhouettes of picture and mesh with which its colours are taken: the
first plus the second times the picture's `solidity`. Nearly any shape fills the silhouette of a
television by .8, but none but a chair that of a chair by .6 (docs/color.md)."""

HOPE = 0.15
"""How much a search that begins at a worse agreement is not expected to gain."""

RARE_HANDICAP = 0.05
"""IoU by which a camera outside the training law's quarter turn must agree better."""

LIKELY_HANDICAP = 0.015
"""The same for a camera inside it that is not the canonical one."""


@dataclass(frozen=True)
class Resemblance:
    """How far a mesh has the outline of the object in a picture."""

    found: FoundView
    """The likely camera that sees it best."""
    needed: float
    """IoU of silhouettes from which on the mesh is taken for what the picture shows."""

    @property
    def agrees(self) -> bool:
        """Whether the mesh is taken for what the picture shows."""
        return self.found.iou >= self.needed


def resemblance_of(
    mesh: TriangleMesh, picture: PreparedPicture, *, thorough: bool = False
) -> Resemblance:
    """Search for the camera of a picture by the silhouette of a mesh.

    Args:
        mesh: in the unit frame, not empty.
        picture: one that `has_outline`.
        thorough: search on although so little agreement was found that `agrees` will be false; then
            the IoU is larger.

    Raises:
        ValueError: if the picture is fully transparent.
    """
    needed = needed_iou(picture.cut_rgba)
    found = find_view(
        mesh,
        Scene(mesh),
        partial(object_mask, picture.cut_rgba),
        picture_cameras(),
        hopeless=0.0 if thorough else needed - HOPE,
    )
    return Resemblance(found, needed)


def needed_iou(picture: UInt8[np.ndarray, "H W 4"]) -> float:
    """IoU of silhouettes that shows that a mesh is what the picture shows.

    Args:
        picture: with an alpha channel that shows the object only.
    """
    least, more = NEEDED_IOU
    return least + more * solidity(object_mask(picture, SIDE))


def object_mask(picture: UInt8[np.ndarray, "H W 4"], side: int) -> Bool[np.ndarray, "S S"]:
    """The silhouette of a picture's object, framed as by `frame_object`; faint ones count too."""
    alpha = frame_object(picture, side)[..., 3]
    return alpha >= alpha.max() / 2


def has_outline(picture: PreparedPicture) -> bool:
    """Whether the object of a picture is known; the edge of a picture is no outline."""
    return picture.cutout.method != "whole"


@lru_cache(maxsize=1)
def picture_cameras() -> tuple[Candidate, ...]:
    """Cameras that the search for that of a picture begins with, the likeliest first."""
    likely = [
        Candidate(Orbit(azimuth, elevation, fov), LIKELY_HANDICAP)
        for fov in (20.0, 45.0)
        for elevation in (-5.0, 10.0, 25.0, 45.0)
        for azimuth in range(-15, 76, 15)
    ]
    rare = [
        Candidate(Orbit(azimuth, elevation), RARE_HANDICAP)
        for elevation in (0.0, 25.0, 50.0)
        for azimuth in range(90, 345, 30)
    ]
    return (Candidate(Orbit(30.0, 20.0)), *likely, *rare)
