"""Training batches out of shape caches, each a pure function of (config, step).

B batch, N surface points, Q query points, T tokens of all scales laid end to end, S picture side.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from g3pt.data.batch import CarBatch, TokenizerBatch
from g3pt.data.cache import ShapeCache
from g3pt.data.prepare import NORMAL_STEPS, POSITION_STEPS, labels_at
from g3pt.data.sampler import MixedOrder
from g3pt.data.tokens_cache import TokenCache
from g3pt.data.views import VIEW_SIZE, Views


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerDataConfig:
    """What tokenizer training reads."""

    caches: tuple[str, ...] = ()
    """Folders of prepared shapes."""
    weights: tuple[float, ...] = ()
    """Share of draws of each cache; empty means in proportion to its size."""
    batch_size: int = 16
    """Shapes in a global batch."""
    num_points: int = 2048
    """Surface points a shape."""
    num_volume_queries: int = 512
    """Queries uniform in the cube."""
    num_near_queries: int = 512
    """Queries near the surface, shared equally by `near_sigmas`."""
    near_sigmas: tuple[float, ...] = (0.005, 0.05)
    """Which of the stored groups of near queries to use."""
    symmetry: Literal["none", "mirror", "upright", "all"] = "none"
    """Random exact symmetry of the cube a sample: none, left-right mirror, the 8 that keep +Y up
    (mirrors included), or all 48."""
    seed: int = 0
    """Seeds the order and every random choice."""

    def __post_init__(self) -> None:
        if not self.near_sigmas or self.num_near_queries % len(self.near_sigmas):
            raise ValueError(
                f"data.num_near_queries must be a multiple of the {len(self.near_sigmas)} "
                f"near_sigmas, got {self.num_near_queries}"
            )


class TokenizerDataset:
    """Random subsets of the stored points and queries of random shapes."""

    def __init__(self, config: TokenizerDataConfig, *, rank: int = 0, world_size: int = 1) -> None:
        """Open the caches and check that they hold what the config asks for.

        Raises:
            FileNotFoundError, ValueError: if a cache is missing or holds too little.
        """
        self.config = config
        self.caches = [ShapeCache(path) for path in config.caches]
        for cache in self.caches:
            _check_stored(cache, config)
        sizes = [len(cache) for cache in self.caches]
        self.order = MixedOrder(sizes, weights=config.weights, seed=config.seed)
        self.num_shapes = sum(sizes)
        self._rank, self._world_size = rank, world_size

    def batch(self, step: int) -> TokenizerBatch:
        """This process's share of global batch number `step`."""
        config = self.config
        draws = self.order.batch(
            step, config.batch_size, rank=self._rank, world_size=self._world_size
        )
        size, num_volume = len(draws), config.num_volume_queries
        num_queries = num_volume + config.num_near_queries
        points_BN3 = np.empty((size, config.num_points, 3), np.float32)
        normals_BN3 = np.empty_like(points_BN3)
        queries_BQ3 = np.empty((size, num_queries, 3), np.float32)
        occupancy_BQ = np.empty((size, num_queries), np.float32)
        for place, (part, row, number) in enumerate(draws):
            cache = self.caches[part]
            slot = cache.slots[row]
            rng = np.random.default_rng((config.seed, 2, number))
            points, normals = cache.draw_surface(row, config.num_points, rng)
            chosen = rng.choice(cache.prepare.num_volume_queries, num_volume, replace=False)
            near = self._near_places(cache, rng)
            queries = np.concatenate([cache.volume[slot][chosen], cache.near[slot][near]])
            turn = _random_symmetry(config.symmetry, rng) / POSITION_STEPS
            np.matmul(points, turn, out=points_BN3[place])
            np.matmul(normals, turn * (POSITION_STEPS / NORMAL_STEPS), out=normals_BN3[place])
            np.matmul(queries, turn, out=queries_BQ3[place])
            occupancy_BQ[place, :num_volume] = labels_at(cache.volume_inside[slot], chosen)
            occupancy_BQ[place, num_volume:] = labels_at(cache.near_inside[slot], near)
        near_BQ = np.broadcast_to(np.arange(num_queries) >= num_volume, (size, num_queries))
        return TokenizerBatch(
            points_BN3=torch.from_numpy(points_BN3),
            normals_BN3=torch.from_numpy(normals_BN3),
            queries_BQ3=torch.from_numpy(queries_BQ3),
            occupancy_BQ=torch.from_numpy(occupancy_BQ),
            near_BQ=torch.from_numpy(near_BQ.copy()),
            ids=tuple(self.caches[part].shapes[row]["id"] for part, row, _ in draws),
        )

    def _near_places(self, cache: ShapeCache, rng: np.random.Generator) -> np.ndarray:
        stored = cache.prepare
        group_size = stored.num_near_queries // len(stored.near_sigmas)
        share = self.config.num_near_queries // len(self.config.near_sigmas)
        return np.concatenate(
            [
                stored.near_sigmas.index(sigma) * group_size
                + rng.choice(group_size, share, replace=False)
                for sigma in self.config.near_sigmas
            ]
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class CarDataConfig:
    """What generator training reads."""

    caches: tuple[str, ...] = ()
    """Folders of prepared shapes, for pictures and words."""
    tokens: tuple[str, ...] = ()
    """The token cache of each of them, in the same order."""
    weights: tuple[float, ...] = ()
    """Share of draws of each cache; empty means in proportion to its size."""
    batch_size: int = 32
    """Shapes in a global batch."""
    image_size: int = VIEW_SIZE
    """Side of the pictures handed out."""
    canonical_share: float = 0.5
    """How often the canonical view is taken where others exist as well; 1 takes no other."""
    only_with_images: bool = False
    """Leave out shapes that have no picture."""
    classes: tuple[str, ...] = ()
    """Family names that class labels count in."""
    seed: int = 0
    """Seeds the order and every random choice."""

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.caches):
            raise ValueError(
                f"data.tokens must name one token cache a shape cache, got {len(self.tokens)} "
                f"for {len(self.caches)}"
            )


class CarDataset:
    """Cached tokens with a picture, a sentence and a class label of the same shape."""

    def __init__(self, config: CarDataConfig, *, rank: int = 0, world_size: int = 1) -> None:
        """Open the caches and check that they belong together.

        Raises:
            FileNotFoundError: if a cache is missing.
            ValueError: if tokens belong to other shapes, or to different tokenizers.
        """
        self.config = config
        self.caches = [ShapeCache(path) for path in config.caches]
        self.tokens = [TokenCache(path) for path in config.tokens]
        self.views = [Views(cache) for cache in self.caches]
        for cache, tokens in zip(self.caches, self.tokens, strict=True):
            if tokens.shapes_fingerprint != cache.fingerprint:
                raise ValueError(f"{tokens.path}: these tokens are not those of {cache.path}")
            if tokens.identity != self.tokens[0].identity:
                raise ValueError(f"{tokens.path}: made by another tokenizer than the first cache")
        self.identity = self.tokens[0].identity
        self._rows = [self._usable_rows(part) for part in range(len(self.caches))]
        sizes = [len(rows) for rows in self._rows]
        self.order = MixedOrder(sizes, weights=config.weights, seed=config.seed)
        self.num_shapes = sum(sizes)
        self._classes = {name: label for label, name in enumerate(config.classes)}
        self._rank, self._world_size = rank, world_size

    def _usable_rows(self, part: int) -> np.ndarray:
        if not self.config.only_with_images:
            return np.arange(len(self.caches[part]))
        return np.flatnonzero(self.views[part].available.any(axis=1))

    def batch(self, step: int) -> CarBatch:
        """This process's share of global batch number `step`."""
        config = self.config
        draws = self.order.batch(
            step, config.batch_size, rank=self._rank, world_size=self._world_size
        )
        indices, pictures, views, captions, shapes = [], [], [], [], []
        for part, position, number in draws:
            row = int(self._rows[part][position])
            shape = self.caches[part].shapes[row]
            rng = np.random.default_rng((config.seed, 4, number))
            tokens = self.tokens[part]
            indices.append(tokens.indices(row, int(rng.integers(tokens.resamplings))))
            sentences = shape["captions"]
            captions.append(sentences[rng.integers(len(sentences))] if sentences else "")
            view = self._choose_view(self.views[part].available[row], rng)
            pictures.append(self.views[part].rgba(row, view) if view >= 0 else _NO_PICTURE)
            views.append(view)
            shapes.append(shape)
        view_B = torch.tensor(views)
        labels = [self._classes.get(shape["family"], -1) for shape in shapes]
        return CarBatch(
            indices_BT=torch.from_numpy(np.stack(indices)),
            images_B3SS=_over_white(np.stack(pictures), config.image_size),
            has_image_B=view_B >= 0,
            view_B=view_B,
            captions=tuple(captions),
            labels_B=torch.tensor(labels),
            ids=tuple(shape["id"] for shape in shapes),
        )

    def _choose_view(self, available: np.ndarray, rng: np.random.Generator) -> int:
        """A view that exists, -1 if none does. Always uses the generator alike."""
        canonical, pick = rng.random() < self.config.canonical_share, rng.random()
        there = np.flatnonzero(available)
        if len(there) == 0:
            return -1
        others = there[there > 0]
        if there[0] == 0 and (canonical or len(others) == 0):
            return 0
        return int(others[int(pick * len(others))])


_NO_PICTURE = np.zeros((VIEW_SIZE, VIEW_SIZE, 4), np.uint8)


def _over_white(rgba: np.ndarray, size: int) -> torch.Tensor:
    """Straight-alpha RGBA bytes (B, S, S, 4) over white, as floats (B, 3, size, size)."""
    floats = torch.from_numpy(rgba).permute(0, 3, 1, 2).float().mul_(1.0 / 255.0)
    color, alpha = floats[:, :3], floats[:, 3:]
    images = torch.addcmul(1.0 - alpha, color, alpha)
    if size == images.shape[-1]:
        return images.contiguous()
    resized = torch.nn.functional.interpolate(
        images, (size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return resized.clamp_(0.0, 1.0)


def _check_stored(cache: ShapeCache, config: TokenizerDataConfig) -> None:
    stored = cache.prepare
    missing = [sigma for sigma in config.near_sigmas if sigma not in stored.near_sigmas]
    if missing:
        raise ValueError(
            f"{cache.path}: near_sigmas {stored.near_sigmas} are stored, not {tuple(missing)}"
        )
    group = stored.num_near_queries // len(stored.near_sigmas)
    share = config.num_near_queries // len(config.near_sigmas)
    for name, wanted, kept in (
        ("num_points", config.num_points, stored.num_points),
        ("num_volume_queries", config.num_volume_queries, stored.num_volume_queries),
        ("num_near_queries per sigma", share, group),
    ):
        if wanted > kept:
            raise ValueError(f"{cache.path}: data.{name} is {wanted}, only {kept} are stored")


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
