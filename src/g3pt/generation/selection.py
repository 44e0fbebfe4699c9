"""The best of several samples, by what was asked for alone: the true shape is never looked at.

A picture is compared with the candidates' silhouettes, framed as pictures are framed for the
encoder, since neither distance nor size shows in a picture. Without a picture the likeliest
candidate is taken. S picture side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt8

from g3pt.generation.pictures import PreparedPicture
from g3pt.geometry.cameras import Camera, frame_object, orbit_camera, silhouette_box
from g3pt.geometry.mesh import TriangleMesh
from g3pt.geometry.metrics import occupancy_iou
from g3pt.geometry.render import Scene

Criterion = Literal["silhouette", "likelihood"]

SIDE = 96
"""Of the silhouettes that are compared."""

ELEVATIONS = (0.0, 20.0, 45.0)
NUM_AZIMUTHS = 12


@dataclass(frozen=True)
class Choice:
    """Which candidate was taken, and why."""

    index: int
    criterion: Criterion
    scores: tuple[float, ...]
    """Of every candidate, larger is better: IoU of silhouettes, or log-likelihood in nats."""


def likely_cameras() -> tuple[Camera, ...]:
    """Where a picture may have been taken from when nobody says, the canonical camera included."""
    around = [360.0 * number / NUM_AZIMUTHS for number in range(NUM_AZIMUTHS)]
    return tuple(orbit_camera(azimuth, height) for height in ELEVATIONS for azimuth in around)


def choose_candidate(
    meshes: Sequence[TriangleMesh],
    nlls: Sequence[float],
    picture: PreparedPicture | None = None,
    cameras: Sequence[Camera] | None = None,
) -> Choice:
    """Choose among samples for one prompt; the first of equally good ones.

    Args:
        meshes: the candidates, unit frame; an empty one is only taken if all are.
        nlls: their negative log-likelihoods given the prompt, in nats.
        picture: what they were made from, if it was a picture. One whose object could not be
            told from its background has no silhouette, and the likelihood decides.
        cameras: where the picture may have been taken from; None takes `likely_cameras`.

    Raises:
        ValueError: if there is no candidate, or the counts differ.
    """
    if not meshes or len(meshes) != len(nlls):
        raise ValueError(
            f"a choice needs candidates and a likelihood of each, got {len(meshes)} and {len(nlls)}"
        )
    if picture is not None and picture.cutout != "none":
        mask = silhouette(picture.rgba)
        known = likely_cameras() if cameras is None else cameras
        scores = tuple(silhouette_agreement(mesh, mask, known) for mesh in meshes)
        criterion: Criterion = "silhouette"
    else:
        scores = tuple(
            float("-inf") if mesh.is_empty else -nll for mesh, nll in zip(meshes, nlls, strict=True)
        )
        criterion = "likelihood"
    return Choice(int(np.argmax(scores)), criterion, scores)


def silhouette_agreement(
    mesh: TriangleMesh, mask: Bool[np.ndarray, "S S"], cameras: Sequence[Camera]
) -> float:
    """IoU of a mesh's silhouette with a given one, from the camera where they agree best.

    Args:
        mesh: unit frame; an empty one agrees with nothing.
        mask: from `silhouette`.
        cameras: at least one.
    """
    if mesh.is_empty:
        return 0.0
    scene = Scene(mesh)
    drawn = (scene.render(camera, size=2 * SIDE, supersample=1) for camera in cameras)
    return max(occupancy_iou(silhouette(picture).ravel(), mask.ravel()) for picture in drawn)


def silhouette(picture: UInt8[np.ndarray, "H W 4"]) -> Bool[np.ndarray, "S S"]:
    """What a picture shows, cropped, centred and scaled; nothing of a transparent one."""
    if silhouette_box(picture) is None:
        return np.zeros((SIDE, SIDE), dtype=bool)
    return frame_object(picture, SIDE)[..., 3] >= 128
