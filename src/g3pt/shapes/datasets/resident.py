"""Tokenizer batches drawn on the training device, from shapes held in its memory.

A fast GPU consumes shapes faster than the host's processors can draw points and compute queries.
Here points and labels of all shapes are tensors on the device, and a batch is a few gathers: the
queries follow from their keys by the integer arithmetic of `shapes.queries`.
`TokenizerDataset` is the twin that reads from disk and draws anew for every shape.

B batch, S shapes of a part, N surface points kept of each, K queries, M near queries kept.
"""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from g3pt.shapes.batch import TokenizerBatch
from g3pt.shapes.datasets.tokenizer import TokenizerDataConfig, two_draws
from g3pt.shapes.order import MixedOrder
from g3pt.shapes.packs import (
    PackedShapes,
    ThinnedShapes,
    kept_near_numbers,
    open_shapes,
    require_shards,
    thin_out,
)
from g3pt.shapes.queries import FRACTION_BITS, POSITION_STEPS, gaussian_table
from g3pt.shapes.shape_set import ShapeSet
from g3pt.shapes.stored import NORMAL_STEPS, PrepareConfig

_GOLDEN = 0x9E3779B97F4A7C15
_VOLUME, _NEAR = 1, 2
_POSITION_SCALE = 1.0 / POSITION_STEPS


class ResidentTokenizerDataset:
    """Random subsets of the points and queries of random shapes, drawn on the device."""

    def __init__(
        self,
        config: TokenizerDataConfig,
        device: torch.device,
        *,
        twice: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Move all shapes to the device; arguments as of `TokenizerDataset`.

        Raises:
            FileNotFoundError, ValueError: if a folder is missing or holds too little.
        """
        self.config = config
        self._num_drawn = config.num_points * (2 if twice else 1)
        self.parts = [_ResidentPart(path, config, device) for path in config.shards]
        sizes = [len(part.ids) for part in self.parts]
        self.order = MixedOrder(sizes, weights=config.weights, seed=config.seed)
        self.num_shapes = sum(sizes)
        self._device, self._rank, self._world_size = device, rank, world_size

    @property
    def order_key(self) -> str:
        """Hash of what the order of samples follows from; the same for all processes of a run."""
        return self.order.key(each for part in self.parts for each in part.ids)

    def batch(self, step: int) -> TokenizerBatch:
        """This process's share of global batch number `step`, part by part.

        All shapes of a part get the same selection of point and query numbers. Points are stored in
        random order and queries differ by shape, so the points themselves differ.
        """
        config, device = self.config, self._device
        draws = self.order.batch(
            step, config.batch_size, rank=self._rank, world_size=self._world_size
        )
        generator = torch.Generator(device)
        generator.manual_seed((config.seed * 1_000_003 + step) * 4096 + self._rank)
        columns: list[tuple[Tensor, ...]] = []
        ids: list[str] = []
        for number, part in enumerate(self.parts):
            rows = draws.rows[draws.parts == number]
            if len(rows):
                rows_B = torch.from_numpy(rows).to(device, non_blocking=True)
                columns.append(part.draw(rows_B, config, self._num_drawn, generator))
                ids += [part.ids[row] for row in rows.tolist()]
        points, normals, queries, inside = (torch.cat(c) for c in zip(*columns, strict=True))
        turns_B33 = random_symmetries(config.symmetry, len(ids), generator)
        near_Q = torch.arange(queries.shape[1], device=device) >= config.num_volume_queries
        return TokenizerBatch(
            **two_draws(
                (points.float() * _POSITION_SCALE) @ turns_B33,
                (normals.float() * (1.0 / NORMAL_STEPS)) @ turns_B33,
                config.num_points,
            ),
            queries_BQ3=(queries.float() * _POSITION_SCALE) @ turns_B33,
            occupancy_BQ=inside.float(),
            near_BQ=near_Q.expand(len(ids), -1),
            ids=tuple(ids),
        )


class _ResidentPart:
    """One set of shapes on the device."""

    def __init__(self, path: str, config: TokenizerDataConfig, device: torch.device) -> None:
        shapes = open_shapes(path, config.selection, max_damaged=config.max_damaged)
        self.prepare = shapes.prepare
        self.ids = [row["id"] for row in shapes.shapes]
        thinned = _thinned(shapes, config)
        self.num_points = thinned.points_SN3.shape[1]
        self.num_volume = thinned.volume_SV.shape[1] * 8
        self.points_SN3 = torch.from_numpy(thinned.points_SN3).to(device)
        self.normals_SN3 = torch.from_numpy(thinned.normals_SN3).to(device)
        self.volume_SV = torch.from_numpy(thinned.volume_SV).to(device)
        self.near_SM = torch.from_numpy(thinned.near_SM).to(device)
        self.keys_S = torch.from_numpy(thinned.keys_S).to(device)
        numbers_M = kept_near_numbers(self.prepare, self.num_points)
        self.near_numbers_M = torch.from_numpy(numbers_M).to(device)
        self.near_places = {
            sigma: torch.from_numpy(_places(numbers_M, self.prepare, sigma)).to(device)
            for sigma in config.near_sigmas
        }

    def draw(
        self,
        rows_B: Tensor,
        config: TokenizerDataConfig,
        num_drawn: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Points, normals and queries as stored integers, and labels, of some shapes."""
        chosen_N = _some(self.num_points, num_drawn, generator)
        points_BN3 = self.points_SN3[rows_B]
        keys_B = self.keys_S[rows_B]
        numbers_K = _some(self.num_volume, config.num_volume_queries, generator)
        queries = [volume_positions(keys_B, numbers_K)]
        labels = [_labels(self.volume_SV[rows_B], numbers_K)]
        share = config.num_near_queries // len(config.near_sigmas)
        near_BM = self.near_SM[rows_B]
        for sigma, places_M in self.near_places.items():
            places_K = places_M[_some(len(places_M), share, generator)]
            numbers_K = self.near_numbers_M[places_K]
            bases_BK3 = points_BN3[:, numbers_K % self.prepare.num_points]
            queries.append(near_positions(keys_B, numbers_K, bases_BK3, sigma))
            labels.append(_labels(near_BM, places_K))
        return (
            points_BN3[:, chosen_N],
            self.normals_SN3[rows_B][:, chosen_N],
            torch.cat(queries, dim=1),
            torch.cat(labels, dim=1),
        )


def _thinned(shapes: ShapeSet, config: TokenizerDataConfig) -> ThinnedShapes:
    if isinstance(shapes, PackedShapes):
        return shapes.thinned
    kept = min(config.resident_points, shapes.prepare.num_points)
    return thin_out(require_shards(shapes), kept, shapes.prepare.num_volume_queries)


def _places(numbers_M: np.ndarray, prepare: PrepareConfig, sigma: float) -> np.ndarray:
    """Indices, among the kept near queries, of those with one sigma."""
    group = prepare.near_sigmas.index(sigma)
    return np.flatnonzero(numbers_M // prepare.near_group_size == group)


def _some(count: int, wanted: int, generator: torch.Generator) -> Int[Tensor, " K"]:
    """Distinct random numbers below `count`."""
    if wanted > count:
        raise ValueError(f"{wanted} different numbers below {count} were asked for: keep more")
    return torch.randperm(count, generator=generator, device=generator.device)[:wanted]


def _labels(packed_BV: Tensor, places_K: Tensor) -> Tensor:
    return (packed_BV[:, places_K >> 3] >> (places_K & 7).to(torch.uint8)) & 1


def random_symmetries(kind: str, num: int, generator: torch.Generator) -> Float[Tensor, "B 3 3"]:
    """Matrices that permute and flip axes, one per sample, distributed as in `TokenizerDataset`."""
    device = generator.device
    signs_B3 = torch.randint(0, 2, (num, 3), generator=generator, device=device) * 2.0 - 1.0
    swapped_B = torch.randint(0, 2, (num,), generator=generator, device=device).bool()
    orders_B3 = torch.rand(num, 3, generator=generator, device=device).argsort(dim=1)
    kept_B3 = torch.arange(3, device=device).expand(num, -1)
    if kind == "none":
        signs_B3, orders_B3 = torch.ones_like(signs_B3), kept_B3
    elif kind == "mirror":
        signs_B3 = torch.cat([signs_B3[:, :1], torch.ones_like(signs_B3[:, 1:])], dim=1)
        orders_B3 = kept_B3
    elif kind == "upright":
        signs_B3 = signs_B3 * torch.tensor([1.0, 0.0, 1.0], device=device)
        signs_B3 = signs_B3 + torch.tensor([0.0, 1.0, 0.0], device=device)
        orders_B3 = torch.where(swapped_B[:, None], kept_B3.flip(1), kept_B3)
    return torch.diag_embed(signs_B3).gather(1, orders_B3[..., None].expand(-1, -1, 3))


# --- the arithmetic of `shapes.queries` on 64-bit signed tensors --------------------------------


def volume_positions(keys_B: Int[Tensor, " B"], numbers_K: Int[Tensor, " K"]) -> Tensor:
    """`queries.volume_queries` of several keys: (B, K, 3) integers."""
    return (_fields(keys_B, _VOLUME, numbers_K) - 32768).clamp_min(-POSITION_STEPS)


def near_positions(
    keys_B: Int[Tensor, " B"],
    numbers_K: Int[Tensor, " K"],
    bases_BK3: Int[Tensor, "B K 3"],
    sigma: float,
) -> Tensor:
    """`queries.near_queries` of several keys, given the points that the queries lie at."""
    steps = round(sigma * POSITION_STEPS)
    noise = _gaussian_table(keys_B.device)[_fields(keys_B, _NEAR, numbers_K)]
    offsets = (noise * steps + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS
    moved = bases_BK3.long() + offsets
    inside = moved.clamp(-POSITION_STEPS, POSITION_STEPS)
    return (2 * inside - moved).clamp(-POSITION_STEPS, POSITION_STEPS)


@cache
def _gaussian_table(device: torch.device) -> Tensor:
    return torch.from_numpy(gaussian_table()).to(device)


def _fields(keys_B: Tensor, stream: int, numbers_K: Tensor) -> Int[Tensor, "B K 3"]:
    start_B1 = _mixed(keys_B + _signed(stream * _GOLDEN))[:, None]
    words = _mixed(start_B1 + (numbers_K + 1) * _signed(_GOLDEN))
    shifts = torch.tensor([0, 16, 32], device=keys_B.device)
    return (words[..., None] >> shifts) & 0xFFFF


def _mixed(words: Tensor) -> Tensor:
    """Products wrap as those of unsigned words do; only right shifts must clear the sign bits."""
    words = (words ^ _shifted(words, 30)) * _signed(0xBF58476D1CE4E5B9)
    words = (words ^ _shifted(words, 27)) * _signed(0x94D049BB133111EB)
    return words ^ _shifted(words, 31)


def _shifted(words: Tensor, places: int) -> Tensor:
    return (words >> places) & ((1 << (64 - places)) - 1)


def _signed(word: int) -> int:
    word &= 2**64 - 1
    return word - 2**64 if word >> 63 else word
