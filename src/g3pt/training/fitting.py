"""What a model takes from its data and its tokenizer: layout, widths, words."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from g3pt.config import ConfigError
from g3pt.models.car import CarConfig
from g3pt.models.conditioning import ConditionConfig, PointsConditionConfig, TextConditionConfig
from g3pt.models.conditioning.vocabulary import collect_vocabulary
from g3pt.models.tokenizer import DiscreteTokenizer
from g3pt.procedural import TRAIN_FAMILIES, make_shape
from g3pt.shapes.mesh_stock import MeshStock
from g3pt.shapes.packs import open_shapes
from g3pt.stream.dataset import StreamConfig
from g3pt.stream.recorded import RecordedConfig

NUM_CAPTIONED = 4096
"""Shapes of families whose captions the words of a stream are collected from."""


def fit_to_tokenizer(
    model: CarConfig,
    tokenizer: DiscreteTokenizer,
    captions: Iterable[str],
    *,
    num_scales: int | None = None,
) -> CarConfig:
    """Take the layout from the tokenizer, and words from the captions if the config names none.

    Args:
        model: config of the generator.
        tokenizer: stage 1.
        captions: read only if a text condition has no words yet.
        num_scales: number of scales that are generated, from the coarsest on; None is all.

    Raises:
        ConfigError: if the tokenizer has fewer scales.
    """
    if num_scales is not None and not 1 <= num_scales <= tokenizer.num_scales:
        raise ConfigError(
            f"num_scales must be within 1 to {tokenizer.num_scales}, got {num_scales}"
        )
    return replace(
        model,
        scale_lengths=tokenizer.scale_lengths[:num_scales],
        num_bits=tokenizer.num_bits,
        input_dim=tokenizer.dim,
        conditions=fit_conditions(model.conditions, captions, points_width=tokenizer.dim),
    )


def fit_conditions(
    conditions: tuple[ConditionConfig, ...], captions: Iterable[str], *, points_width: int
) -> tuple[ConditionConfig, ...]:
    """Fill in words from the captions if none are named, and the width of encoded points."""

    def fit(condition: ConditionConfig) -> ConditionConfig:
        match condition:
            case TextConditionConfig(vocabulary=()):
                return replace(condition, vocabulary=collect_vocabulary(captions))
            case PointsConditionConfig():
                return replace(condition, width=points_width)
            case _:
                return condition

    return tuple(fit(condition) for condition in conditions)


def shard_captions(shards: Sequence[str]) -> Iterator[str]:
    """All captions of some sets of shapes; nothing is opened before the first is asked for."""
    for path in shards:
        part = open_shapes(path)
        for row in range(len(part)):
            yield from part.captions(row)


def stream_captions(data: StreamConfig | RecordedConfig) -> Iterator[str]:
    """Captions of the shapes of a stream: several of each family, one of each mesh.

    Recorded streams give none, since their batches have no captions.
    """
    if isinstance(data, RecordedConfig):
        return
    if data.families:
        for seed in range(NUM_CAPTIONED):
            yield make_shape(seed, TRAIN_FAMILIES[seed % len(TRAIN_FAMILIES)]).caption(seed % 4)
    if data.stock:
        for one in MeshStock.read(data.stock).objects:
            yield from one["captions"]
