"""Batches of a training from a stream of examples that are made, pooled and drawn from.

Legend: B batch, V pictures of an example, Q queries, N surface points.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from g3pt.procedural import ASSEMBLY, AssemblyFamily
from g3pt.shapes.batch import CarBatch
from g3pt.shapes.queries import POSITION_STEPS
from g3pt.stream.augmentation import Augmentation
from g3pt.stream.cameras import ViewLaw
from g3pt.stream.chunks import Chunk, ChunkConfig, iterate_chunks
from g3pt.stream.fields import QueryCounts
from g3pt.stream.maker import ExampleMaker, MakerConfig, Tokenize
from g3pt.stream.pool import Pool
from g3pt.stream.recombination import RecombinationConfig
from g3pt.stream.warps import WarpConfig

SeePictures = Callable[[Tensor], Tensor]
"""Pictures (V, S, S, 4), uint8 -> features of a frozen encoder, (V, ...)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamConfig:
    """Data of generator training that is made during the training."""

    kind: Literal["stream"] = "stream"
    batch_size: int = 256
    """Examples in a global batch."""
    held: int = 32_768
    """Examples in the pool, in device memory."""
    first: int = 8192
    """Examples made before the first step."""
    made_per_step: float = 80.0
    """Examples made per later step. With a third of the batch or more, few examples are seen more
    than three times: repeated examples are memorised."""
    grammar: int = 42
    """Shapes of the grammar in a chunk of new examples; likewise `families` and `meshes`."""
    families: int = 14
    meshes: int = 8
    recombined: int = 0
    """Shapes in a chunk that are joined from parts of meshes, and of assemblies; 0 makes none."""
    assembly: AssemblyFamily = ASSEMBLY
    """Which assemblies the grammar makes: "cut-assembly" adds bevels and intersections."""
    stock: str = ""
    """File of a stock of meshes (`g3pt prepare --stock`); required if `meshes` or `recombined` is
    not 0."""
    stock_is_optional: bool = False
    """Whether to train without meshes, with a message, if there is no such file."""
    num_points: int = 8192
    """Surface points from which an example is tokenized."""
    spread: int = 1
    """Candidates of every one of them: more than 1 keeps well-spread ones."""
    image_size: int = 224
    """Side of the pictures."""
    num_views: int = 2
    """Pictures per example; a step sees one of them."""
    text_share: float = 0.12
    """Share of the steps that are conditioned on captions instead of pictures."""
    queries: QueryCounts = field(default_factory=QueryCounts)
    views: ViewLaw = field(default_factory=ViewLaw)
    warps: WarpConfig = field(default_factory=WarpConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    recombination: RecombinationConfig = field(default_factory=RecombinationConfig)
    workers: int = -1
    """Processes that make procedural shapes; 0 uses the training process, -1 all processors but
    one."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "held", "first", "num_points", "num_views", "spread"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name} must be at least 1, got {getattr(self, name)}")
        counts = self.grammar, self.families, self.meshes, self.recombined
        if min(counts) < 0 or not self.chunk_size:
            raise ValueError(
                "data.grammar, families, meshes and recombined must not be negative, nor all 0, "
                f"got {', '.join(map(str, counts))}"
            )
        if self.meshes + self.recombined and not self.stock:
            raise ValueError(
                "data.stock must name a file of meshes where data.meshes or recombined is not 0"
            )
        if self.made_per_step < 0 or not 0 <= self.text_share <= 1:
            raise ValueError(
                "data needs made_per_step >= 0 and text_share in [0, 1], got "
                f"{self.made_per_step} and {self.text_share}"
            )
        if self.chunk_size > self.held:
            raise ValueError(
                f"data.held must be at least a chunk of {self.chunk_size}, got {self.held}"
            )

    @property
    def chunk_size(self) -> int:
        """Examples made at a time."""
        return self.grammar + self.families + self.meshes + self.recombined

    @property
    def num_workers(self) -> int:
        """Number of worker processes, with -1 resolved."""
        return max(1, (os.cpu_count() or 2) - 1) if self.workers < 0 else self.workers

    @property
    def chunk(self) -> ChunkConfig | None:
        """Config of the procedural part of a chunk; None if it has none."""
        if not self.grammar + self.families:
            return None
        return ChunkConfig(
            num_grammar=self.grammar,
            num_families=self.families,
            assembly=self.assembly,
            first_seed=self.seed * 50_000_000,
        )

    @property
    def maker(self) -> MakerConfig:
        """Config of the maker of examples."""
        return MakerConfig(
            num_points=self.num_points,
            spread=self.spread,
            image_size=self.image_size,
            num_views=self.num_views,
            queries=self.queries,
            views=self.views,
            warps=self.warps,
            augmentation=self.augmentation,
            recombination=self.recombination if self.recombined else None,
            assembly=self.assembly,
        )


class StreamDataset:
    """Batches of a stream; a batch depends only on the step."""

    def __init__(
        self,
        config: StreamConfig,
        device: torch.device,
        tokenize: Tokenize,
        see: SeePictures | None = None,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Open the stock and start the worker processes.

        Args:
            config: config of the stream.
            device: device where examples are made, held and drawn.
            tokenize: the frozen tokenizer; batches hold margins if it gives any.
            see: the frozen part of the picture encoder, if there is one.
            rank: index of this process among `world_size`; each makes its own examples.
            world_size: number of processes that share a global batch.

        Raises:
            FileNotFoundError, ValueError: if the stock cannot be used.
        """
        self.config = config
        self._device, self._rank, self._world_size = device, rank, world_size
        self._maker = ExampleMaker(config.maker, device, tokenize, see, stock=config.stock)
        self._pool = Pool(config.held)
        self._started = False
        self._chunks: Iterator[Chunk] | None = None
        self._next_chunk = 0

    @property
    def num_made(self) -> int:
        """Number of examples made so far, each of another shape."""
        return self._next_chunk * self.config.chunk_size

    @property
    def order_key(self) -> str:
        """Empty: every process makes its own examples, and there is no common order."""
        return ""

    def batch(self, step: int) -> CarBatch:
        """This process's share of global batch number `step`, on the device."""
        config = self.config
        self._fill(config.first + step * config.made_per_step / self._world_size)
        rng = np.random.default_rng([config.seed, step, self._rank])
        size = config.batch_size // self._world_size
        told = np.zeros(0, np.int64)
        if rng.random() < config.text_share:
            told = self._pool.told()
        reads = len(told) > 0
        rows = told[rng.integers(len(told), size=size)] if reads else None
        if rows is None:
            rows = rng.integers(len(self._pool), size=size)
        drawn = self._pool.rows(rows)
        views = rng.integers(config.num_views, size=size)
        index_B = torch.from_numpy(views).to(self._device, non_blocking=True)
        places_B = torch.arange(size, device=self._device)
        num_volume, total = config.queries.num_volume, config.queries.total
        near_Q = torch.arange(total, device=self._device) >= num_volume
        features = drawn.features_BVGGP
        return CarBatch(
            indices_BT=drawn.indices_BT.long(),
            margins_BTK=drawn.margins_BTK,
            pictures_BSS4=None if reads else drawn.pictures_BVSS4[places_B, index_B],
            picture_features_BGGP=None
            if reads or features is None
            else features[places_B, index_B],
            has_image_B=drawn.shown_BV[places_B, index_B] & (not reads),
            view_B=index_B,
            captions=drawn.captions if reads else ("",) * size,
            labels_B=torch.full((size,), -1, device=self._device),
            ids=tuple(f"stream-{row}" for row in rows),
            queries_BQ3=drawn.queries_BQ3.float() / POSITION_STEPS,
            inside_BQ=drawn.inside_BQ,
            near_BQ=near_Q.expand(size, -1),
        )

    def _fill(self, wanted: float) -> None:
        """Make chunks until as many examples were made as this step requires."""
        config = self.config
        last_chunk = -(-int(wanted) // config.chunk_size)
        if not self._started:
            self._started = True
            # Examples that would already have been replaced need not be made.
            self._next_chunk = max(0, last_chunk - -(-config.held // config.chunk_size))
            self._pool = Pool(config.held, num_made=self.num_made)
            if config.chunk is not None:
                self._chunks = iterate_chunks(
                    config.chunk,
                    first=self._own(self._next_chunk),
                    stride=self._world_size,
                    workers=config.num_workers,
                )
        while self._next_chunk < last_chunk:
            chunk = None if self._chunks is None else next(self._chunks)
            number = self._own(self._next_chunk)
            self._pool.put(self._maker.make(chunk, config.meshes, number, config.recombined))
            self._next_chunk += 1

    def _own(self, number: int) -> int:
        """Global number of a chunk of this process."""
        return number * self._world_size + self._rank
