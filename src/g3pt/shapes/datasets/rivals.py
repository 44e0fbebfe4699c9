"""Datasets of the rivals in Table 1: the shapes, pictures and captions that CAR trains on.

B batch, Q query points, L latents, E channels of the narrow latent.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from g3pt.arguments import check_ranges
from g3pt.shapes.batch import ConditionedBatch
from g3pt.shapes.cache.latents import LatentCache, LatentStatistics
from g3pt.shapes.datasets.tokenizer import (
    ConditionedDataConfig,
    ConditionedShapes,
    check_one_each,
    check_queries,
    check_sigmas,
    draw_queries,
)
from g3pt.shapes.packs import require_shards
from g3pt.shapes.stored import MAX_STORED, positions


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowDataConfig(ConditionedDataConfig):
    """Data of flow training."""

    latents: tuple[str, ...] = ()
    """Latent caches, one for each folder of shards, in the same order."""

    def __post_init__(self) -> None:
        # Not super(): with slots=True the decorator replaces the class being defined here.
        ConditionedDataConfig.__post_init__(self)
        check_one_each("latents", "latent cache", self.latents, self.shards)


@dataclass(frozen=True, kw_only=True)
class FlowBatch(ConditionedBatch):
    """Posteriors of shapes and their conditions."""

    mean_BLE: Float[Tensor, "B L E"]
    log_variance_BLE: Float[Tensor, "B L E"]


class FlowDataset:
    """Cached posteriors with pictures, a caption and a class label of the same shape."""

    def __init__(self, config: FlowDataConfig, *, rank: int = 0, world_size: int = 1) -> None:
        """Open shards and latents and check that they belong together.

        Raises:
            FileNotFoundError: if a folder is missing.
            ValueError: if latents belong to other shapes, or to different tokenizers.
        """
        self.config = config
        self.shapes = ConditionedShapes(config, rank=rank, world_size=world_size)
        self.latents = [LatentCache(path) for path in config.latents]
        for part, latents in zip(self.shapes.parts, self.latents, strict=True):
            if latents.shapes_fingerprint != part.fingerprint:
                raise ValueError(f"{latents.path}: these latents are not those of {part.path}")
            if latents.identity != self.latents[0].identity:
                raise ValueError(f"{latents.path}: made by another tokenizer than the first cache")
        self.identity = self.latents[0].identity

    @property
    def num_shapes(self) -> int:
        """How many shapes are drawn from."""
        return self.shapes.num_shapes

    def statistics(self) -> LatentStatistics:
        """Statistics over all folders, weighted by their numbers of shapes."""
        sizes = np.array([len(latents) for latents in self.latents], np.float64)
        parts = [latents.statistics() for latents in self.latents]
        mean_E = np.average([part.mean_E for part in parts], axis=0, weights=sizes)
        squares = [part.deviation_E**2 + part.mean_E**2 for part in parts]
        square_E = np.average(squares, axis=0, weights=sizes)
        return LatentStatistics(mean_E, np.sqrt(np.maximum(square_E - mean_E**2, 0.0)))

    @property
    def order_key(self) -> str:
        """Hash of what the order of samples follows from; the same for all processes of a run."""
        return self.shapes.order_key

    def batch(self, step: int) -> FlowBatch:
        """This process's share of global batch number `step`.

        Raises:
            DamagedSampleError: if more samples are damaged than `max_damaged` allows.
        """
        drawn = self.shapes.draw(step)
        moments = [
            self.latents[part].moments(row, int(rng.integers(self.latents[part].resamplings)))
            for part, row, rng in drawn
        ]
        return FlowBatch(
            mean_BLE=torch.from_numpy(np.stack([mean for mean, _ in moments])),
            log_variance_BLE=torch.from_numpy(np.stack([spread for _, spread in moments])),
            **vars(self.shapes.conditions(drawn)),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressorDataConfig(ConditionedDataConfig):
    """Data of regressor training."""

    num_volume_queries: int = 512
    """Queries uniform in the cube."""
    num_near_queries: int = 512
    """Queries near the surface, shared equally by `near_sigmas`."""
    near_sigmas: tuple[float, ...] = (0.005, 0.05)
    """Which of the stored groups of near queries to use."""

    def __post_init__(self) -> None:
        ConditionedDataConfig.__post_init__(self)
        queries = (0, MAX_STORED)
        check_ranges(self, "data", num_volume_queries=queries, num_near_queries=queries)
        check_sigmas(self.near_sigmas, self.num_near_queries)


@dataclass(frozen=True, kw_only=True)
class RegressorBatch(ConditionedBatch):
    """Labelled query points in the unit frame, and the conditions they are predicted from."""

    queries_BQ3: Float[Tensor, "B Q 3"]
    """Query points in [-1, 1]^3: volume queries first, then near-surface ones."""
    inside_BQ: Bool[Tensor, "B Q"]
    near_BQ: Bool[Tensor, "B Q"]
    """True for near-surface queries."""


class RegressorDataset:
    """Random subsets of the queries of random shapes, with their conditions."""

    def __init__(self, config: RegressorDataConfig, *, rank: int = 0, world_size: int = 1) -> None:
        """Open the shards and check that they hold what the config asks for.

        Raises:
            FileNotFoundError, ValueError: if a folder is missing or holds too little.
        """
        self.config = config
        self.shapes = ConditionedShapes(config, rank=rank, world_size=world_size)
        self.parts = [require_shards(part) for part in self.shapes.parts]
        for part in self.parts:
            check_queries(part, config)

    @property
    def num_shapes(self) -> int:
        """How many shapes are drawn from."""
        return self.shapes.num_shapes

    @property
    def order_key(self) -> str:
        """Hash of what the order of samples follows from; the same for all processes of a run."""
        return self.shapes.order_key

    def batch(self, step: int) -> RegressorBatch:
        """This process's share of global batch number `step`.

        Raises:
            DamagedSampleError: if more samples are damaged than `max_damaged` allows.
        """
        drawn, config = self.shapes.draw(step), self.config
        queries, inside = [], []
        for part, row, rng in drawn:
            shards = self.parts[part]
            places, labels = draw_queries(shards, shards[row], rng, config)
            queries.append(positions(places))
            inside.append(labels != 0)
        num_queries = config.num_volume_queries + config.num_near_queries
        near_Q = torch.arange(num_queries) >= config.num_volume_queries
        return RegressorBatch(
            queries_BQ3=torch.from_numpy(np.stack(queries)),
            inside_BQ=torch.from_numpy(np.stack(inside)),
            near_BQ=near_Q.repeat(len(drawn), 1),
            **vars(self.shapes.conditions(drawn)),
        )
