"""One solid in, its training record out: surface points and labelled queries, quantised.

Positions are stored as 16-bit integers, x = q / 32767. A label is evaluated at the position
that is stored, after rounding, so every label is exact for the point it belongs to.

N surface points, V volume queries, M near-surface queries; all in the unit frame.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int8, Int16, UInt8

from g3pt.data.sources import ShapeError, SourceShape

POSITION_STEPS = 32767
NORMAL_STEPS = 127


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareConfig:
    """How many points of which kind are kept of each shape."""

    num_points: int = 8192
    """Surface points with normals."""
    num_volume_queries: int = 8192
    """Labelled points uniform in [-1, 1]^3."""
    num_near_queries: int = 12288
    """Labelled points near the surface, in equal groups, one a sigma."""
    near_sigmas: tuple[float, ...] = (0.005, 0.02, 0.05)
    """Standard deviation of each group's Gaussian offset (per axis)."""
    share_bases: bool = True
    """Start near-surface queries from the stored points, not from samples of their own: half the
    cost, and training draws other subsets of both anyway."""
    min_near_inside: float = 0.02
    """Refuse shapes with a smaller share of the first group inside: they have no interior."""
    seed: int = 0
    """Seeds all sampling, together with the shape's id."""

    def __post_init__(self) -> None:
        groups = len(self.near_sigmas)
        if not groups or self.num_near_queries % groups:
            raise ValueError(
                f"prepare.num_near_queries must be a multiple of the {groups} near_sigmas, got "
                f"{self.num_near_queries}"
            )
        if self.num_volume_queries % 8 or (self.num_near_queries // groups) % 8:
            raise ValueError("prepare: query counts must be multiples of 8 (labels are packed)")


@dataclass(frozen=True)
class ShapeRecord:
    """What is stored of one shape."""

    points: Int16[np.ndarray, "N 3"]
    normals: Int8[np.ndarray, "N 3"]
    volume: Int16[np.ndarray, "V 3"]
    volume_inside: UInt8[np.ndarray, " V_8"]
    near: Int16[np.ndarray, "M 3"]
    """Near-surface queries, group by group in the order of `near_sigmas`."""
    near_inside: UInt8[np.ndarray, " M_8"]
    description: dict[str, Any]
    """id, family, licence, captions and measured shares, as JSON values."""


def prepare_shape(shape: SourceShape, config: PrepareConfig) -> ShapeRecord:
    """Sample and label one shape. The result depends on its id and the config alone.

    Raises:
        ShapeError: if it has no surface or no interior to speak of.
    """
    rng = np.random.default_rng(shape_seed(shape.id, config.seed))
    extra = 0 if config.share_bases else config.num_near_queries
    samples = shape.sample_surface(config.num_points + extra, rng)
    if not (np.isfinite(samples.points).all() and np.isfinite(samples.normals).all()):
        raise ShapeError("surface samples are not finite")
    order = rng.permutation(len(samples.points))
    own = order[: config.num_points]
    bases = order[-extra:] if extra else np.resize(order, config.num_near_queries)
    volume = quantize_positions(rng.uniform(-1.0, 1.0, (config.num_volume_queries, 3)))
    near = quantize_positions(_near_points(samples.points[bases], config.near_sigmas, rng))
    inside = shape.contains(positions(np.concatenate([volume, near])))
    volume_inside, near_inside = np.split(inside, [len(volume)])
    shares = near_inside.reshape(len(config.near_sigmas), -1).mean(axis=1)
    if shares[0] < config.min_near_inside:
        raise ShapeError(f"no interior: {shares[0]:.1%} of the points at the surface are inside")
    return ShapeRecord(
        points=quantize_positions(samples.points[own]),
        normals=quantize_normals(samples.normals[own]),
        volume=volume,
        volume_inside=pack_labels(volume_inside),
        near=near,
        near_inside=pack_labels(near_inside),
        description={
            "id": shape.id,
            "family": shape.family,
            "licence": shape.licence,
            "captions": list(shape.captions),
            "volume_share": round(float(volume_inside.mean()), 6),
            "near_shares": [round(float(share), 6) for share in shares],
            **shape.details,
        },
    )


def _near_points(
    bases: Float[np.ndarray, "M 3"], sigmas: tuple[float, ...], rng: np.random.Generator
) -> Float[np.ndarray, "M 3"]:
    """Gaussian offsets, one sigma a group; what leaves the cube is reflected back into it."""
    scales = np.repeat(np.asarray(sigmas), len(bases) // len(sigmas))[:, None]
    moved = bases + scales * rng.standard_normal(bases.shape)
    return np.clip(2.0 * np.clip(moved, -1.0, 1.0) - moved, -1.0, 1.0)


def shape_seed(shape_id: str, seed: int) -> list[int]:
    """Entropy for a generator that belongs to one shape, the same on every machine."""
    digest = hashlib.sha256(shape_id.encode()).digest()
    return [seed, int.from_bytes(digest[:8], "little")]


def quantize_positions(points: Float[np.ndarray, "*N 3"]) -> Int16[np.ndarray, "*N 3"]:
    """Round positions in [-1, 1] to the stored grid (spacing 3.1e-5)."""
    return np.rint(np.clip(points, -1.0, 1.0) * POSITION_STEPS).astype(np.int16)


def positions(quantized: Int16[np.ndarray, "*N 3"]) -> Float32[np.ndarray, "*N 3"]:
    """Stored positions as float32."""
    return quantized * np.float32(1.0 / POSITION_STEPS)


def quantize_normals(normals: Float[np.ndarray, "*N 3"]) -> Int8[np.ndarray, "*N 3"]:
    """Round unit vectors to 8 bits a component."""
    return np.rint(np.clip(normals, -1.0, 1.0) * NORMAL_STEPS).astype(np.int8)


def normals(quantized: Int8[np.ndarray, "*N 3"]) -> Float32[np.ndarray, "*N 3"]:
    """Stored normals as float32, unit length up to rounding."""
    return quantized * np.float32(1.0 / NORMAL_STEPS)


def pack_labels(inside: Bool[np.ndarray, " Q"]) -> UInt8[np.ndarray, " Q_8"]:
    """Eight labels a byte, least significant bit first."""
    return np.packbits(inside, bitorder="little")


def labels_at(packed: UInt8[np.ndarray, " Q_8"], places: np.ndarray) -> UInt8[np.ndarray, " K"]:
    """Labels (0 or 1) at some places of a packed row."""
    return (packed[places >> 3] >> (places & 7).astype(np.uint8)) & np.uint8(1)
