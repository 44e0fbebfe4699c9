"""One solid in, its training record out: surface points, labelled queries, measured quality.

Positions are stored as 16-bit integers (`shapes/stored.py`). Queries are not stored at all:
`shapes/queries.py` works them out. A label is evaluated at the position that is stored or worked
out, after rounding, so every label is exact for the point it belongs to.

N surface points, V volume queries, M near-surface queries; all in the unit frame.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int16

from g3pt.geometry.quality import SolidQuality
from g3pt.preparation.sources import ShapeError, SourceShape
from g3pt.preparation.stopwatch import Stopwatch
from g3pt.shapes.queries import near_queries, volume_queries
from g3pt.shapes.stored import (
    PrepareConfig,
    ShapeRecord,
    pack_labels,
    positions,
    quantize_normals,
    quantize_positions,
    query_key,
    shape_seed,
)

CHUNK = 65_536
"""Queries labelled at a time."""


def prepare_shape(
    shape: SourceShape, config: PrepareConfig, watch: Stopwatch | None = None
) -> ShapeRecord:
    """Sample and label one shape. The result depends on its id and the config alone.

    Args:
        shape: the solid.
        config: what is kept of it.
        watch: told which stage the work is in.

    Raises:
        ShapeError, MeshError: if it has no surface or no interior to speak of.
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
