"""Choosing the best of several samples by the prompt alone; the true shape is never used.

A picture is compared with the candidates' silhouettes. If its camera is known, both are framed as
pictures are framed for the encoder, because a picture shows neither distance nor size; otherwise
the camera is searched for (`resemblance`). Without a picture the likeliest candidate is taken.

Legend: S picture side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt8

from g3pt.generation.pictures import PreparedPicture
from g3pt.generation.resemblance import has_outline, resemblance_of
from g3pt.geometry.cameras import Camera, frame_object, silhouette_box
from g3pt.geometry.mesh import TriangleMesh
from g3pt.geometry.metrics import occupancy_iou
from g3pt.geometry.render import Scene

Criterion = Literal["silhouette", "likelihood"]

SIDE = 96
"""Side of the silhouettes that a known camera sees, in pixels."""


@dataclass(frozen=True)
class Choice:
    """Which candidate was taken, and why."""

    index: int
    criterion: Criterion
    scores: tuple[float, ...]
    """Score of every candidate, larger is better: IoU of silhouettes, or log-likelihood in nats."""


@dataclass(frozen=True)
class Selection:
    """Which of several candidates was taken, and why."""

    choice: Choice
    seeds: tuple[int, ...]
    """Seed of every candidate; it is enough to make the candidate again."""


def choose_candidate(
    meshes: Sequence[TriangleMesh],
    nlls: Sequence[float],
    picture: PreparedPicture | None = None,
    camera: Camera | None = None,
) -> Choice:
    """Choose the best sample of one prompt; the first of equally good ones.

    Args:
        meshes: the candidates in the unit frame; an empty one is only taken if all are empty.
        nlls: their negative log-likelihoods given the prompt, in nats.
        picture: the picture that they were made from, if there was one. If the whole picture is
            the object, it has no silhouette, and the likelihood decides.
        camera: the camera that took the picture; None searches for it.

    Raises:
        ValueError: if there is no candidate, or the numbers of meshes and likelihoods differ.
    """
    if not meshes or len(meshes) != len(nlls):
        raise ValueError(
            f"a choice needs candidates and a likelihood of each, got {len(meshes)} and {len(nlls)}"
        )
    if picture is not None and has_outline(picture):
        scores = tuple(_agreement(mesh, picture, camera) for mesh in meshes)
        criterion: Criterion = "silhouette"
    else:
        scores = tuple(
            float("-inf") if mesh.is_empty else -nll for mesh, nll in zip(meshes, nlls, strict=True)
        )
        criterion = "likelihood"
    return Choice(int(np.argmax(scores)), criterion, scores)


def _agreement(mesh: TriangleMesh, picture: PreparedPicture, camera: Camera | None) -> float:
    if mesh.is_empty:
        return 0.0
    if camera is None:
        return resemblance_of(mesh, picture, thorough=True).found.iou
    return silhouette_agreement(mesh, silhouette(picture.rgba), camera)


def silhouette_agreement(
    mesh: TriangleMesh, mask: Bool[np.ndarray, "S S"], camera: Camera
) -> float:
    """IoU of a mesh's silhouette with a given one.

    Args:
        mesh: in the unit frame, not empty.
        mask: from `silhouette`.
        camera: what sees the mesh.
    """
    drawn = Scene(mesh).render(camera, size=2 * SIDE, supersample=1)
    return occupancy_iou(silhouette(drawn).ravel(), mask.ravel())


def silhouette(picture: UInt8[np.ndarray, "H W 4"]) -> Bool[np.ndarray, "S S"]:
    """Mask of a picture's object, cropped, centred and scaled; empty if all is transparent."""
    if silhouette_box(picture) is None:
        return np.zeros((SIDE, SIDE), dtype=bool)
    return frame_object(picture, SIDE)[..., 3] >= 128
