"""Training batches from shards, each a pure function of (config, step).

B batch, N surface points, Q query points, T tokens of all scales laid end to end, S picture side.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from g3pt.arguments import MAX_BATCH, MAX_SEED, check_ranges
from g3pt.shapes.batch import CarBatch, TokenizerBatch
from g3pt.shapes.cache.tokens import TokenCache
from g3pt.shapes.datasets.conditioned import (
    ConditionedDataConfig,
    ConditionedShapes,
    check_one_each,
)
from g3pt.shapes.order import MixedOrder
from g3pt.shapes.queries import POSITION_STEPS
from g3pt.shapes.shape_set import TRAINING, Selection
from g3pt.shapes.shards import ShardSet, StoredShape
from g3pt.shapes.stored import MAX_STORED, NORMAL_STEPS


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerDataConfig:
    """Data of tokenizer training."""

    shards: tuple[str, ...] = ()
    """Folders of prepared shapes."""
    selection: Selection = TRAINING
    """Which of their shapes are read."""
    weights: tuple[float, ...] = ()
    """Share of draws of each folder; empty means in proportion to its size."""
    max_damaged: int = 0
    """Damaged samples per folder that are skipped before training stops."""
    batch_size: int = 16
    """Shapes in a global batch."""
    num_points: int = 2048
    """Surface points per shape."""
    num_volume_queries: int = 512
    """Queries uniform in the cube."""
    num_near_queries: int = 512
    """Queries near the surface, shared equally by `near_sigmas`."""
    near_sigmas: tuple[float, ...] = (0.005, 0.05)
    """Which of the stored groups of near queries to use."""
    symmetry: Literal["none", "mirror", "upright", "all"] = "none"
    """Random symmetry of the cube applied to each sample: none, left-right mirror, the 8 that keep
    +Y up (mirrors included), or all 48."""
    resident_points: int = 0
    """Number of surface points of every shape to hold, with the queries at them, in device memory;
    batches are then drawn there. 0 reads shapes from disk for every batch."""
    seed: int = 0
    """Seeds the order and every random choice."""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            "data",
            batch_size=(1, MAX_BATCH),
            num_points=(1, MAX_STORED),
            num_volume_queries=(1, MAX_STORED),
            num_near_queries=(0, MAX_STORED),
            resident_points=(0, MAX_STORED),
            max_damaged=(0, MAX_SEED),
            seed=(0, MAX_SEED),
        )
        if 0 < self.resident_points < self.num_points:
            raise ValueError(
                f"data.resident_points must be 0 or at least num_points {self.num_points}, got "
                f"{self.resident_points}"
            )
        check_sigmas(self.near_sigmas, self.num_near_queries)


@runtime_checkable
class QueriesWanted(Protocol):
    """The part of a config that says which stored queries are read."""

    @property
    def num_volume_queries(self) -> int:
        """Queries uniform in the cube."""
        ...

    @property
    def num_near_queries(self) -> int:
        """Queries near the surface, shared equally by `near_sigmas`."""
        ...

    @property
    def near_sigmas(self) -> tuple[float, ...]:
        """Which of the stored groups of near queries to use."""
        ...


def check_sigmas(near_sigmas: tuple[float, ...], num_near_queries: int) -> None:
    """Check that the near queries divide equally among the sigmas.

    Raises:
        ValueError: naming the field.
    """
    if not near_sigmas or num_near_queries % len(near_sigmas):
        raise ValueError(
            f"data.num_near_queries must be a multiple of the {len(near_sigmas)} "
            f"near_sigmas, got {num_near_queries}"
        )


class TokenizerDataset:
    """Random subsets of the points and queries of random shapes."""

    def __init__(
        self,
        config: TokenizerDataConfig,
        *,
        twice: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Open the shards and check that they hold what the config asks for.

        Args:
            config: the data and sizes.
            twice: whether batches hold a second draw of points, none of them in the first.
            rank: index of this process among `world_size`.
            world_size: number of processes that share a global batch.

        Raises:
            FileNotFoundError, ValueError: if a folder is missing or holds too little.
        """
        self.config = config
        self.parts = [
            ShardSet(path, config.selection, max_damaged=config.max_damaged)
            for path in config.shards
        ]
        self._num_drawn = config.num_points * (2 if twice else 1)
        for part in self.parts:
            check_queries(part, config)
            name = "num_points in two draws" if twice else "num_points"
            _check_enough(part, name, self._num_drawn, part.prepare.num_points)
        sizes = [len(part) for part in self.parts]
        self.order = MixedOrder(sizes, weights=config.weights, seed=config.seed)
        self.num_shapes = sum(sizes)
        self._rank, self._world_size = rank, world_size

    @property
    def order_key(self) -> str:
        """Hash of what the order of samples follows from; the same for all processes of a run."""
        return self.order.key(part.fingerprint for part in self.parts)

    def batch(self, step: int) -> TokenizerBatch:
        """This process's share of global batch number `step`.

        Raises:
            DamagedSampleError: if more samples are damaged than `max_damaged` allows.
        """
        config = self.config
        draws = self.order.batch(
            step, config.batch_size, rank=self._rank, world_size=self._world_size
        )
        size, num_volume = len(draws), config.num_volume_queries
        num_queries = num_volume + config.num_near_queries
        points_BN3 = np.empty((size, self._num_drawn, 3), np.float32)
        normals_BN3 = np.empty_like(points_BN3)
        queries_BQ3 = np.empty((size, num_queries, 3), np.float32)
        occupancy_BQ = np.empty((size, num_queries), np.float32)
        ids: list[str] = []
        for place, (part, row, number) in enumerate(draws):
            shards = self.parts[part]
            row = shards.readable(row)
            rng = np.random.default_rng((config.seed, 2, number))
            points, normals = shards.draw_surface(row, self._num_drawn, rng)
            queries, inside = draw_queries(shards, shards[row], rng, config)
            turn = _random_symmetry(config.symmetry, rng) / POSITION_STEPS
            np.matmul(points, turn, out=points_BN3[place])
            np.matmul(normals, turn * (POSITION_STEPS / NORMAL_STEPS), out=normals_BN3[place])
            np.matmul(queries, turn, out=queries_BQ3[place])
            occupancy_BQ[place] = inside
            ids.append(shards.shapes[row]["id"])
        near_BQ = np.broadcast_to(np.arange(num_queries) >= num_volume, (size, num_queries))
        return TokenizerBatch(
            **two_draws(
                torch.from_numpy(points_BN3), torch.from_numpy(normals_BN3), config.num_points
            ),
            queries_BQ3=torch.from_numpy(queries_BQ3),
            occupancy_BQ=torch.from_numpy(occupancy_BQ),
            near_BQ=torch.from_numpy(near_BQ.copy()),
            ids=tuple(ids),
        )


def two_draws(points_BM3: Tensor, normals_BM3: Tensor, num_points: int) -> dict[str, Tensor]:
    """Points and normals as fields of a `TokenizerBatch`: one draw of so many, or two."""
    fields = {
        "points_BN3": points_BM3[:, :num_points],
        "normals_BN3": normals_BM3[:, :num_points],
    }
    if points_BM3.shape[1] > num_points:
        fields["again_points_BN3"] = points_BM3[:, num_points:]
        fields["again_normals_BN3"] = normals_BM3[:, num_points:]
    return fields


def draw_queries(
    shards: ShardSet, shape: StoredShape, rng: np.random.Generator, wanted: QueriesWanted
) -> tuple[np.ndarray, np.ndarray]:
    """Volume queries, then near queries by sigma; positions as stored integers, labels 0 or 1."""
    stored = shards.prepare
    numbers = rng.choice(stored.num_volume_queries, wanted.num_volume_queries, replace=False)
    drawn = [shape.volume(numbers)]
    share = wanted.num_near_queries // len(wanted.near_sigmas)
    for sigma in wanted.near_sigmas:
        first = stored.near_sigmas.index(sigma) * stored.near_group_size
        numbers = first + rng.choice(stored.near_group_size, share, replace=False)
        drawn.append(shape.near(numbers, sigma))
    return (
        np.concatenate([positions for positions, _ in drawn]),
        np.concatenate([inside for _, inside in drawn]),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class CarDataConfig(ConditionedDataConfig):
    """Data of generator training."""

    tokens: tuple[str, ...] = ()
    """Token caches, one for each folder of shards, in the same order."""

    def __post_init__(self) -> None:
        # Not super(): with slots=True the decorator replaces the class being defined here.
        ConditionedDataConfig.__post_init__(self)
        check_one_each("tokens", "token cache", self.tokens, self.shards)


class CarDataset:
    """Cached tokens with pictures, a caption and a class label of the same shape."""

    def __init__(self, config: CarDataConfig, *, rank: int = 0, world_size: int = 1) -> None:
        """Open shards and tokens and check that they belong together.

        Raises:
            FileNotFoundError: if a folder is missing.
            ValueError: if tokens belong to other shapes, or to different tokenizers.
        """
        self.config = config
        self.shapes = ConditionedShapes(config, rank=rank, world_size=world_size)
        self.tokens = [TokenCache(path) for path in config.tokens]
        for part, tokens in zip(self.shapes.parts, self.tokens, strict=True):
            if tokens.shapes_fingerprint != part.fingerprint:
                raise ValueError(f"{tokens.path}: these tokens are not those of {part.path}")
            if tokens.identity != self.tokens[0].identity:
                raise ValueError(f"{tokens.path}: made by another tokenizer than the first cache")
        self.identity = self.tokens[0].identity

    @property
    def num_shapes(self) -> int:
        """Number of shapes in all folders."""
        return self.shapes.num_shapes

    @property
    def order_key(self) -> str:
        """Hash of what the order of samples follows from; the same for all processes of a run."""
        return self.shapes.order_key

    def batch(self, step: int) -> CarBatch:
        """This process's share of global batch number `step`.

        Raises:
            DamagedSampleError: if more samples are damaged than `max_damaged` allows.
        """
        drawn = self.shapes.draw(step)
        indices = [
            self.tokens[part].indices(row, int(rng.integers(self.tokens[part].resamplings)))
            for part, row, rng in drawn
        ]
        return CarBatch(
            indices_BT=torch.from_numpy(np.stack(indices)), **vars(self.shapes.conditions(drawn))
        )


def check_queries(part: ShardSet, wanted: QueriesWanted) -> None:
    """Check that shards hold as many queries as the config asks for.

    Raises:
        ValueError: naming the field.
    """
    stored = part.prepare
    missing = [sigma for sigma in wanted.near_sigmas if sigma not in stored.near_sigmas]
    if missing:
        raise ValueError(
            f"{part.path}: near_sigmas {stored.near_sigmas} are stored, not {tuple(missing)}"
        )
    share = wanted.num_near_queries // len(wanted.near_sigmas)
    _check_enough(part, "num_volume_queries", wanted.num_volume_queries, stored.num_volume_queries)
    _check_enough(part, "num_near_queries per sigma", share, stored.near_group_size)


def _check_enough(part: ShardSet, name: str, wanted: int, kept: int) -> None:
    if wanted > kept:
        raise ValueError(f"{part.path}: data.{name} is {wanted}, only {kept} are stored")


def _random_symmetry(kind: str, rng: np.random.Generator) -> np.ndarray:
    """A float32 matrix that permutes and flips axes; points and normals turn alike."""
    signs, axes = np.ones(3, np.float32), np.arange(3)
    if kind == "mirror":
        signs[0] = rng.choice((-1.0, 1.0))
    elif kind == "upright":
        signs[[0, 2]] = rng.choice((-1.0, 1.0), 2)
        axes = np.array([(0, 1, 2), (2, 1, 0)][rng.integers(2)])
    elif kind == "all":
        signs, axes = rng.choice((-1.0, 1.0), 3), rng.permutation(3)
    return (np.eye(3, dtype=np.float32) * signs.astype(np.float32))[axes]
