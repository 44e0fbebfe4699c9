"""What a run needs before its first step: prepared shapes, pictures, tokens."""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from g3pt.models.alternatives.kl import KlTokenizer
from g3pt.models.tokenizer import DiscreteTokenizer
from g3pt.preparation.build import ShardsConfig, build_shards
from g3pt.preparation.engines import InlineEngine, ProcessEngine
from g3pt.preparation.sources import ProceduralSourceConfig, SourceConfig
from g3pt.shapes.cache.arrays import DrawsConfig
from g3pt.shapes.cache.latents import LatentsIdentity, build_latent_cache
from g3pt.shapes.cache.tokens import TokenCacheConfig, TokenizerIdentity, build_token_cache
from g3pt.shapes.packs import is_pack
from g3pt.shapes.shape_set import ShapeSet
from g3pt.shapes.shards import ShardSet, is_complete
from g3pt.shapes.stored import PrepareConfig, ViewsConfig

LOGGER = logging.getLogger(__name__)
PROGRESS_SECONDS = 5.0
"""Seconds between two log lines about one job."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedShapes:
    """A folder of shards, and how to make it when it is missing."""

    path: str
    source: SourceConfig = field(default_factory=ProceduralSourceConfig)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    optional: bool = False
    """Whether training leaves the shapes out, with a log line, if neither they nor their source
    exist."""

    @property
    def config(self) -> ShardsConfig:
        """The config that the shards are built from."""
        return ShardsConfig(source=self.source, prepare=self.prepare, views=self.views)


def ensure_shapes(wanted: tuple[PreparedShapes, ...], *, workers: int = 1) -> tuple[str, ...]:
    """Prepare the shapes that do not exist yet.

    Returns:
        Their folders.

    Raises:
        ValueError: if a folder was built from another config.
    """
    for shapes in wanted:
        # A complete set is taken as it is: its meshes need not be at hand. So is a pack.
        if not (is_complete(Path(shapes.path)) or is_pack(Path(shapes.path))):
            _prepare(shapes, workers)
    return tuple(shapes.path for shapes in wanted)


def _prepare(shapes: PreparedShapes, workers: int) -> None:
    LOGGER.info("%s: preparing %s shapes", shapes.path, shapes.source.kind)
    progress = _Progress(f"{shapes.path}: shapes")
    trusted = isinstance(shapes.source, ProceduralSourceConfig) and workers == 1
    report = build_shards(
        shapes.config,
        shapes.path,
        engine=InlineEngine() if trusted else ProcessEngine(workers),
        on_progress=lambda state: progress(state.done, state.total),
    )
    LOGGER.info("%s: %d shapes, %d refused", shapes.path, report.prepared, report.refused)


def ensure_tokens(
    shapes: Sequence[ShapeSet],
    tokenizer: DiscreteTokenizer,
    fingerprint: str,
    config: TokenCacheConfig,
    *,
    device: torch.device | str = "cpu",
) -> tuple[str, ...]:
    """Tokenize the shapes that this tokenizer has not tokenized yet.

    Returns:
        A folder of tokens next to each set, named after the split and the tokenizer's fingerprint.
    """
    identity = TokenizerIdentity(
        fingerprint=fingerprint,
        scale_lengths=tokenizer.scale_lengths,
        num_bits=tokenizer.num_bits,
    )
    tokenizer = tokenizer.to(device).eval()
    folders: list[str] = []
    for part in shapes:
        folder = token_folder(part, fingerprint)
        build_token_cache(
            tokenizer.tokenize,
            identity,
            part,
            folder,
            config,
            device=device,
            on_progress=_Progress(f"{folder}: pyramids"),
        )
        folders.append(str(folder))
    return tuple(folders)


def token_folder(shapes: ShapeSet, fingerprint: str) -> Path:
    """Where the tokens of a set are kept."""
    return _beside(shapes, "tokens", fingerprint)


def _beside(shapes: ShapeSet, what: str, fingerprint: str) -> Path:
    split = f"-{shapes.selection.split}" if shapes.selection.split else ""
    return Path(f"{shapes.path}.{what}-{fingerprint[:12]}{split}")


def ensure_latents(
    shapes: Sequence[ShardSet],
    tokenizer: KlTokenizer,
    fingerprint: str,
    config: DrawsConfig,
    *,
    device: torch.device | str = "cpu",
) -> tuple[str, ...]:
    """Encode the shapes that this tokenizer has not encoded yet.

    Returns:
        A folder of latents next to each set, named after the split and the tokenizer's
        fingerprint.
    """
    identity = LatentsIdentity(
        fingerprint=fingerprint,
        num_latents=tokenizer.config.num_latents,
        latent_dim=tokenizer.config.latent_dim,
    )
    tokenizer = tokenizer.to(device).eval()
    folders: list[str] = []
    for part in shapes:
        folder = _beside(part, "latents", fingerprint)
        build_latent_cache(
            lambda points, normals: tokenizer.moments(tokenizer.encode(points, normals)),
            identity,
            part,
            folder,
            config,
            device=device,
            on_progress=_Progress(f"{folder}: latents"),
        )
        folders.append(str(folder))
    return tuple(folders)


class _Progress:
    """Logs the progress of a job: at the start, every few seconds, and at the end."""

    def __init__(self, name: str) -> None:
        self._name, self._began, self._said, self._first = name, time.monotonic(), -math.inf, 0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._said == -math.inf:
            self._began, self._first = now, done
        elif done < total and now - self._said < PROGRESS_SECONDS:
            return
        self._said = now
        here = done - self._first
        left = (now - self._began) / here * (total - done) if here else 0.0
        rest = f", {left / 60:.0f} minutes left" if left >= 60 else ""
        LOGGER.info("%s %d of %d%s", self._name, done, total, rest)
