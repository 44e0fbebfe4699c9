"""From one solid to its training record: surface points, labelled queries, quality, pictures.

Positions are stored as 16-bit integers (`shapes.stored`). Queries are not stored: `shapes.queries`
computes them. Labels are evaluated at the rounded positions, so every label is exact for its point.

View 0 is the canonical three-quarter camera of the evaluation. The others are distributed as in
TRELLIS: Hammersley directions under a random shift, random field of view, distance to fit. Pictures
are stored as drawn, with their cameras. Models get them framed by the silhouette
(`geometry.cameras`), like users' pictures, which do not reveal the distance of their camera.

N surface points, V volume queries, M near-surface queries; all in the unit frame. S picture side.
"""

import io
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Bool, Int16, UInt8
from PIL import Image

from g3pt.geometry.cameras import Camera, canonical_camera, random_cameras
from g3pt.geometry.quality import SolidQuality
from g3pt.preparation.sources import ShapeError, SourceShape
from g3pt.shapes.queries import near_queries, volume_queries
from g3pt.shapes.stored import (
    PrepareConfig,
    ShapeRecord,
    ViewsConfig,
    pack_labels,
    positions,
    quantize_normals,
    quantize_positions,
    query_key,
    shape_seed,
)
from g3pt.work.tasks import Stopwatch

PNG_EFFORT = 3
"""Compression level of zlib; 6 would save a twentieth of the bytes in twice the time."""


def cameras_of(shape_id: str, config: ViewsConfig) -> list[Camera]:
    """The cameras of one shape, the canonical one first."""
    rng = np.random.default_rng([*shape_seed(shape_id, config.seed), 5])
    return [
        canonical_camera(),
        *random_cameras(config.num_views, rng, elevations=config.elevations),
    ]


def draw_views(shape: SourceShape, config: ViewsConfig) -> tuple[list[bytes], list[dict[str, Any]]]:
    """Draw the pictures of a shape.

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


def _camera_json(camera: Camera) -> dict[str, Any]:
    return {
        name: [round(x, 6) for x in value] if isinstance(value, tuple) else round(value, 6)
        for name, value in asdict(camera).items()
    }


def _png(picture: UInt8[np.ndarray, "S S 4"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=PNG_EFFORT)
    return buffer.getvalue()


CHUNK = 65_536
"""Queries labelled at a time."""


def prepare_shape(
    shape: SourceShape, config: PrepareConfig, watch: Stopwatch | None = None
) -> ShapeRecord:
    """Sample and label one shape. The result depends only on its id and the config.

    Args:
        shape: the solid.
        config: numbers of points and queries.
        watch: measures the stages.

    Raises:
        ShapeError, MeshError: if it has no surface or almost no interior.
    """
    watch = watch or Stopwatch()
    rng = np.random.default_rng(shape_seed(shape.id, config.seed))
    with watch.stage("solid"):
        shape.make_queryable()
    with watch.stage("sample"):
        samples = shape.sample_surface(config.num_points, rng)
        if not (np.isfinite(samples.points).all() and np.isfinite(samples.normals).all()):
            raise ShapeError("surface samples are not finite", code="not_finite")
        points = quantize_positions(samples.points)
        colors = shape.surface_colors(samples)
    key = query_key(shape.id, config.seed)
    with watch.stage("label"):
        volume_inside = _labels(
            shape, (volume_queries(key, part) for part in _parts(0, config.num_volume_queries))
        )
        near_inside = _labels(shape, _near_positions(key, points, config))
    shares = near_inside.reshape(len(config.near_sigmas), -1).mean(axis=1)
    if shares[0] < config.min_near_inside:
        raise ShapeError(
            f"no interior: {shares[0]:.1%} of the points at the surface are inside",
            code="no_interior",
        )
    with watch.stage("quality"):
        quality = shape.measure_quality(samples, rng)
    return ShapeRecord(
        points=points,
        normals=quantize_normals(samples.normals),
        colors=colors,
        volume_inside=pack_labels(volume_inside),
        near_inside=pack_labels(near_inside),
        description={
            "id": shape.id,
            "family": shape.family,
            "licence": shape.licence,
            "captions": list(shape.captions),
            "query_key": key,
            "volume_share": round(float(volume_inside.mean()), 6),
            "near_shares": [round(float(share), 6) for share in shares],
            "quality": _quality_json(quality),
            **shape.details,
        },
    )


def _quality_json(quality: SolidQuality | None) -> dict[str, float]:
    if quality is None:  # an exact field
        return {}
    return {
        "disagreement": round(quality.disagreement, 5),
        "label_error": round(quality.label_error, 5),
        "source_to_solid": round(quality.source_to_solid, 5),
        "solid_to_source": round(quality.solid_to_source, 5),
        "chamfer": round(quality.chamfer, 5),
        "volume_ratio": round(quality.volume_ratio, 4),
        "num_components": quality.num_components,
    }


def _parts(first: int, count: int) -> Iterator[np.ndarray]:
    for start in range(first, first + count, CHUNK):
        yield np.arange(start, min(start + CHUNK, first + count))


def _near_positions(
    key: int, points: Int16[np.ndarray, "N 3"], config: PrepareConfig
) -> Iterator[Int16[np.ndarray, "K 3"]]:
    size = config.near_group_size
    for group, sigma in enumerate(config.near_sigmas):
        for part in _parts(group * size, size):
            yield near_queries(key, part, points, sigma)


def _labels(
    shape: SourceShape, parts: Iterator[Int16[np.ndarray, "K 3"]]
) -> Bool[np.ndarray, " Q"]:
    return np.concatenate([shape.contains(positions(part)) for part in parts])
