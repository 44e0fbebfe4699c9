"""What a run needs before its first step: prepared shapes, pictures, tokens, words."""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from g3pt.data.cache import ShapeCache, build_cache
from g3pt.data.prepare import PrepareConfig
from g3pt.data.rendering import ViewsConfig, render_views
from g3pt.data.sources import ProceduralSourceConfig, SourceConfig
from g3pt.data.tokens_cache import TokenCacheConfig, TokenizerIdentity, build_token_cache
from g3pt.models.car import CarConfig
from g3pt.models.conditioning.text import TextConditionConfig
from g3pt.models.conditioning.vocabulary import collect_vocabulary
from g3pt.models.tokenizer import Tokenizer

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedShapes:
    """A folder of prepared shapes, and how to make it when it is missing."""

    path: str
    source: SourceConfig = field(default_factory=ProceduralSourceConfig)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    num_views: int = 0
    """Pictures a shape; stage 1 needs none."""


def ensure_shapes(wanted: tuple[PreparedShapes, ...], *, workers: int = 1) -> tuple[str, ...]:
    """Build the caches that are not there yet and render their missing views.

    Returns:
        Their folders.

    Raises:
        ValueError: if one was built from something else.
    """
    for shapes in wanted:
        report = build_cache(
            shapes.source,
            shapes.prepare,
            shapes.path,
            workers=workers,
            on_progress=_Progress(f"{shapes.path}: shapes"),
        )
        LOGGER.info("%s: %d shapes, %d refused", shapes.path, report.prepared, report.refused)
        if shapes.num_views:
            render_views(
                ShapeCache(shapes.path),
                ViewsConfig(num_views=shapes.num_views),
                workers=workers,
                on_progress=_Progress(f"{shapes.path}: pictures"),
            )
    return tuple(shapes.path for shapes in wanted)


def ensure_tokens(
    caches: tuple[str, ...],
    tokenizer: Tokenizer,
    fingerprint: str,
    config: TokenCacheConfig,
    *,
    device: torch.device | str = "cpu",
) -> tuple[str, ...]:
    """Tokenize the caches that this tokenizer has not tokenized yet.

    Returns:
        A folder of tokens beside each cache, named after the tokenizer's fingerprint.
    """
    identity = TokenizerIdentity(
        fingerprint=fingerprint,
        scale_lengths=tokenizer.scale_lengths,
        num_bits=tokenizer.num_bits,
    )
    tokenizer = tokenizer.to(device).eval()
    folders: list[str] = []
    for path in caches:
        folder = Path(f"{path}.tokens-{fingerprint[:12]}")
        build_token_cache(
            tokenizer.tokenize,
            identity,
            ShapeCache(path),
            folder,
            config,
            device=device,
            on_progress=_Progress(f"{folder}: pyramids"),
        )
        folders.append(str(folder))
    return tuple(folders)


def fit_to_tokenizer(model: CarConfig, tokenizer: Tokenizer, caches: tuple[str, ...]) -> CarConfig:
    """Take over the tokenizer's layout, and words from the captions where none are named."""
    conditions = tuple(
        replace(condition, vocabulary=_vocabulary(caches))
        if isinstance(condition, TextConditionConfig) and not condition.vocabulary
        else condition
        for condition in model.conditions
    )
    return replace(
        model,
        scale_lengths=tokenizer.scale_lengths,
        num_bits=tokenizer.num_bits,
        input_dim=tokenizer.config.dim,
        conditions=conditions,
    )


def _vocabulary(caches: tuple[str, ...]) -> tuple[str, ...]:
    opened = [ShapeCache(path) for path in caches]
    texts = (text for cache in opened for row in range(len(cache)) for text in cache.captions(row))
    return collect_vocabulary(texts)


class _Progress:
    """Log about every tenth of a long job."""

    def __init__(self, name: str) -> None:
        self._name, self._said = name, 0.0

    def __call__(self, done: int, total: int) -> None:
        if done / total >= self._said + 0.1:
            self._said = done / total
            LOGGER.info("%s %d of %d", self._name, done, total)
