"""Recorded examples for training on a CPU, and the five recordings of the table `unseen`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from g3pt.models.conditioning.efficientnet_weights import BUNDLED_SHA256
from g3pt.models.conditioning.pretrained import frozen_features
from g3pt.models.tokenizer import DiscreteTokenizer
from g3pt.procedural import TRAIN_FAMILIES
from g3pt.stream.augmentation import Augmentation
from g3pt.stream.fields import QueryCounts
from g3pt.stream.maker import MakerConfig
from g3pt.stream.recording import UNWARPED, RecordingConfig, record

PoolName = Literal["families", "few_families", "grammar", "real", "warped"]

NUM_FEW = 6
"""Families in the row that has the fewest; it needs more shapes of each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """A recording and the number of examples that it should have."""

    name: str
    config: RecordingConfig
    num: int

    def folder(self, root: str | Path) -> Path:
        """Folder of the recording."""
        return Path(root) / self.name


def record_pool(
    pool: Pool,
    root: str | Path,
    num: int,
    tokenizer: DiscreteTokenizer,
    on_part: Callable[[int, int], None] | None = None,
) -> int:
    """Record a pool up to a number of examples; see `record`.

    Args:
        pool: the pool to record.
        root: folder of all pools.
        num: number of examples wanted.
        tokenizer: the tokenizer whose tokens are recorded.
        on_part: called with the number of parts that are done, and of all parts.

    Returns:
        Number of examples in the pool.
    """
    config, see = pool.config, None
    if config.features:
        see = partial(frozen_features, image_size=config.maker.image_size, sha256=BUNDLED_SHA256)
    tokenize = tokenizer.tokenize_with_margins if config.margins else tokenizer.tokenize
    return record(
        config,
        pool.folder(root),
        num,
        partial(tokenize, num_scales=config.num_scales),
        see,
        on_part=on_part,
    )


def spread_families(num: int) -> tuple[str, ...]:
    """Training families spread evenly over their list, in which similar ones are neighbours."""
    return tuple(TRAIN_FAMILIES[place * len(TRAIN_FAMILIES) // num] for place in range(num))


def toy_pools(stock: str) -> tuple[Pool, ...]:
    """Pictures of 128 pixels, 2,048 points, the first three scales of the bundled tokenizer.

    Args:
        stock: file of the meshes that may be trained on.
    """
    maker = MakerConfig(
        num_points=2048,
        image_size=128,
        num_views=1,
        canonical_size=32,
        queries=QueryCounts(num_volume=512, num_near=255),
        augmentation=Augmentation(),
    )
    return _pools(maker, stock, part=256, features=True, sizes=(8192, 2048, 16_384, 8192))


def smoke_pools() -> tuple[Pool, ...]:
    """Small pools that are recorded in seconds, without meshes."""
    maker = MakerConfig(
        num_points=256,
        image_size=64,
        num_views=1,
        canonical_size=16,
        queries=QueryCounts(num_volume=64, num_near=48),
    )
    return _pools(maker, "", part=8, features=True, sizes=(16, 8, 16, 0))


def _pools(
    maker: MakerConfig, stock: str, *, part: int, features: bool, sizes: tuple[int, int, int, int]
) -> tuple[Pool, ...]:
    families, few, grammar, warped = sizes
    plain = RecordingConfig(
        source="families", part=part, features=features, margins=True, maker=maker
    )
    pools = [
        Pool(name="families", config=plain, num=families),
        Pool(name="grammar", config=replace(plain, source="grammar"), num=grammar),
        Pool(
            name="few_families",
            config=replace(plain, families=spread_families(NUM_FEW), first_seed=1_000_000),
            num=few,
        ),
    ]
    if warped:
        meshes = replace(plain, source="meshes", stock=stock)
        unwarped = replace(meshes, maker=replace(maker, warps=UNWARPED))
        pools += [
            Pool(name="real", config=unwarped, num=1_000_000),
            Pool(name="warped", config=meshes, num=warped),
        ]
    return tuple(pools)
