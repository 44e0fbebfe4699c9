"""Conditioning pictures of a shape: cameras, drawing, and the PNG files that samples hold.

View 0 is the canonical three-quarter camera of the evaluation. The others follow the camera law
of TRELLIS: Hammersley directions under a random shift, random field of view, distance to fit.
What is stored is the drawing itself with its camera. What is fed to a model is framed by the
silhouette (`geometry.cameras`), as users' pictures are: those do not show how far away their
camera stood, so no picture of training may do so either. S picture side.
"""

import io
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from g3pt.config import from_json
from g3pt.geometry.cameras import Camera, canonical_camera, random_cameras
from g3pt.preparation.sources import SourceShape
from g3pt.shapes.stored import ViewsConfig, shape_seed

PNG_EFFORT = 3
"""zlib's level: 6 saves a twentieth of the bytes for twice the time."""


def cameras_of(shape_id: str, config: ViewsConfig) -> list[Camera]:
    """The canonical camera, then the others of one shape."""
    rng = np.random.default_rng([*shape_seed(shape_id, config.seed), 5])
    return [
        canonical_camera(),
        *random_cameras(config.num_views, rng, elevations=config.elevations),
    ]


def draw_views(shape: SourceShape, config: ViewsConfig) -> tuple[list[bytes], list[dict[str, Any]]]:
    """Draw a shape.

    Returns:
        PNG files (RGBA, straight alpha, transparent background) and their cameras as JSON values.
    """
    scene = shape.scene()
    cameras = cameras_of(shape.id, config)
    files = [
        _png(scene.render(camera, size=config.size, supersample=config.supersample))
        for camera in cameras
    ]
    return files, [_camera_json(camera) for camera in cameras]


def camera_from_json(data: dict[str, Any]) -> Camera:
    """A stored camera."""
    return from_json(Camera, data, origin="camera")


def _camera_json(camera: Camera) -> dict[str, Any]:
    return {
        name: [round(x, 6) for x in value] if isinstance(value, tuple) else round(value, 6)
        for name, value in asdict(camera).items()
    }


def _png(picture: UInt8[np.ndarray, "S S 4"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=PNG_EFFORT)
    return buffer.getvalue()
