"""Cached posteriors of prepared shapes under a KL-VAE, so that the flow trains without its encoder.

    index.json    which shapes, which tokenizer, number and channels of the latents
    moments.npy   float16 (shapes, R, L, 2E): mean and log-variance, R draws of surface points

The tokenizer is passed in as a function, so this module imports no model. L latents, E channels of
the narrow latent.
"""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from g3pt.shapes.cache.arrays import (
    DrawsConfig,
    StoredArray,
    build_draws_cache,
    open_array,
    read_identity,
    read_index,
)
from g3pt.shapes.shards import ShardSet

FORMAT_VERSION = 1

EncodeMoments = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(points_BN3, normals_BN3) -> mean_BLE, log_variance_BLE."""


@dataclass(frozen=True, kw_only=True)
class LatentsIdentity:
    """The tokenizer that made the latents, and their layout."""

    fingerprint: str
    """Hash of the tokenizer's weights."""
    num_latents: int
    latent_dim: int


@dataclass(frozen=True, eq=False)
class LatentStatistics:
    """Statistics of draws from the posteriors, over shapes and latents, per channel."""

    mean_E: Float64[np.ndarray, " E"]
    deviation_E: Float64[np.ndarray, " E"]


class LatentCache:
    """Cached posteriors, opened for reading."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the folder.

        Raises:
            FileNotFoundError: if there is no complete latent cache at `path`.
            ValueError: if it has another format version or is damaged.
        """
        self.path = Path(path)
        index = read_index(self.path, "latent", FORMAT_VERSION)
        self.shapes_fingerprint: str = index["shapes"]
        self.identity = read_identity(self.path, index, "tokenizer", LatentsIdentity)
        row_shape = (self.identity.num_latents, 2 * self.identity.latent_dim)
        layout = StoredArray(name="moments", dtype=np.float16, row_shape=row_shape)
        self._moments = open_array(self.path, layout, leading=2)

    def __len__(self) -> int:
        return self._moments.shape[0]

    def __reduce__(self) -> tuple[type["LatentCache"], tuple[str]]:
        return LatentCache, (str(self.path),)

    @property
    def resamplings(self) -> int:
        """Posteriors per shape."""
        return self._moments.shape[1]

    def moments(
        self, row: int, resampling: int
    ) -> tuple[Float32[np.ndarray, "L E"], Float32[np.ndarray, "L E"]]:
        """Mean and log-variance of one draw.

        Raises:
            ValueError: if one of the numbers is not finite.
        """
        moments = self._moments[row, resampling].astype(np.float32)
        if not np.isfinite(moments).all():
            raise ValueError(
                f"{self.path / 'moments.npy'}: shape {row} has numbers that are not finite; build "
                "the cache again"
            )
        mean_LE, log_variance_LE = np.split(moments, 2, axis=-1)
        return mean_LE, log_variance_LE

    def statistics(self, num_shapes: int = 4096) -> LatentStatistics:
        """Mean and deviation of each channel, from at most `num_shapes` evenly spaced shapes."""
        rows = np.unique(np.linspace(0, len(self) - 1, num_shapes).round().astype(np.int64))
        total = squares = 0.0
        for row in rows:
            mean, log_variance = np.split(self._moments[row].astype(np.float64), 2, axis=-1)
            total = total + mean.mean(axis=(0, 1))
            squares = squares + (mean**2 + np.exp(log_variance)).mean(axis=(0, 1))
        mean_E, square_E = np.asarray(total) / len(rows), np.asarray(squares) / len(rows)
        return LatentStatistics(mean_E, np.sqrt(np.maximum(square_E - mean_E**2, 0.0)))


def build_latent_cache(
    encode: EncodeMoments,
    identity: LatentsIdentity,
    shapes: ShardSet,
    out_dir: str | os.PathLike[str],
    config: DrawsConfig,
    *,
    device: torch.device | str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> LatentCache:
    """Encode every shape; arguments as in `build_token_cache`.

    Raises:
        ValueError: if `out_dir` holds latents of other shapes or another tokenizer, or if the
            tokenizer's output does not fit `identity` or half precision.
    """
    expected = (identity.num_latents, 2 * identity.latent_dim)

    def compute(points_BN3: Tensor, normals_BN3: Tensor) -> np.ndarray:
        moments = torch.cat(encode(points_BN3, normals_BN3), dim=-1)
        stored = moments.half()
        if stored.shape[1:] != expected or not bool(stored.isfinite().all()):
            raise ValueError(
                f"expected latents and log-variances of shape {expected} within half precision, "
                f"got shape {tuple(moments.shape[1:])}, largest number {float(moments.abs().max())}"
            )
        return stored.cpu().numpy()

    array = StoredArray(name="moments", dtype=np.float16, row_shape=expected)
    build_draws_cache(
        compute,
        asdict(identity),
        array,
        shapes,
        out_dir,
        config,
        format_version=FORMAT_VERSION,
        device=device,
        on_progress=on_progress,
    )
    return LatentCache(out_dir)
