"""What a run needs before its first step: prepared shapes, pictures, tokens."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch

from g3pt.models.alternatives.kl import KlTokenizer
from g3pt.models.conditioning import FrozenConfig
from g3pt.models.conditioning.frozen import HUB_PREFIX as FROZEN_HUB_PREFIX
from g3pt.models.conditioning.frozen import source_arguments
from g3pt.models.tokenizer import DiscreteTokenizer
from g3pt.preparation.build import ShardsConfig, build_shards, check_folder
from g3pt.preparation.inputs import MeshRef, list_meshes
from g3pt.preparation.sources import (
    ObjaverseSourceConfig,
    ProceduralSourceConfig,
    SourceConfig,
    list_shapes,
)
from g3pt.preparation.worker import split_of
from g3pt.shapes.cache.arrays import DrawsConfig
from g3pt.shapes.cache.latents import LatentsIdentity, build_latent_cache
from g3pt.shapes.cache.tokens import TokenCacheConfig, TokenizerIdentity, build_token_cache
from g3pt.shapes.packs import is_pack
from g3pt.shapes.shape_set import Selection, ShapeSet
from g3pt.shapes.shards import ShardSet, is_complete
from g3pt.shapes.stored import PrepareConfig, ViewsConfig
from g3pt.training.input_checks import InputChecks, is_prepared
from g3pt.training.tracking import duration
from g3pt.work.engines import InlineEngine, ProcessEngine

RunT = TypeVar("RunT", bound=Any)

CACHES = ("tokens", "latents", "image_features", "text_features")
"""Fields of data configs that name folders next to sets of shapes."""

LOGGER = logging.getLogger(__name__)
PROGRESS_SECONDS = 5.0
"""Seconds between two log lines about one job."""
SETTLED_SECONDS = 10.0
"""Seconds after which the time left is told."""


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


def check_shapes(run: RunT, checks: InputChecks, *, num_held_out: int | None = None) -> RunT:
    """Check the inputs of a run that learns from prepared shapes.

    Args:
        run: with `data`, `shapes`, `validation`, `held_out` and `model`.
        checks: collects what is found.
        num_held_out: sets of held-out shapes that such a run looks at; None is all.

    Returns:
        The run without optional inputs that do not exist.
    """
    data, validation = run.data, run.validation
    for name, config in (("data", data), ("validation", validation)):
        for cache in CACHES:
            checks.folders(f"{name}.{cache}", getattr(config, cache, ()))
    for condition in getattr(run.model, "conditions", ()):
        if isinstance(condition, FrozenConfig) and not getattr(data, f"{condition.slot}_features"):
            _check_frozen(condition, checks)
    kept: list[bool] = []
    if data.shards:
        checks.shards("data.shards", data.shards)
        for path in data.shards:
            checks.selection("data", path, data.selection)
    else:
        kept = [_prepared(checks, "shapes", shapes) for shapes in run.shapes]
        for shapes in (one for one, keep in zip(run.shapes, kept, strict=True) if keep):
            _check_selection(checks, shapes, data.selection)
        if run.shapes and not any(kept):
            checks.wrong("shapes: nothing of them is there, and nothing is left to learn from")
    num_parts = len(data.shards or run.shapes)
    if data.weights and len(data.weights) != num_parts:
        checks.wrong(
            f"data.weights: expected one for each of {num_parts} sets of shapes, got {data.weights}"
        )
    elif not all(kept) and data.weights:
        shares = tuple(w for w, keep in zip(data.weights, kept, strict=True) if keep)
        data = replace(data, weights=shares)
    shapes = run.shapes
    if not data.shards:
        shapes = tuple(one for one, keep in zip(shapes, kept, strict=True) if keep)
    return replace(run, data=data, shapes=shapes, held_out=_held_out(run, checks, num_held_out))


def _prepared(checks: InputChecks, field: str, shapes: PreparedShapes) -> bool:
    """Whether shapes are there or can be made; False if they are optional and cannot."""
    if is_prepared(shapes.path):
        return True
    source = shapes.source
    if isinstance(source, ObjaverseSourceConfig):  # is listed over the network
        checks.made.append(f"{shapes.path}: prepared from Objaverse")
        return True
    refs: list[Any] = []
    if shapes.optional and checks.lacks(lambda: list_shapes(source)):
        checks.left_out.append(
            f"{shapes.path}: there are no meshes at {getattr(source, 'path', source.kind)}; "
            "training goes without them"
        )
        return False
    listed = checks.attempt(field, lambda: refs.extend(list_shapes(source)))
    if listed and checks.attempt(field, lambda: check_folder(Path(shapes.path), shapes.config)):
        checks.made.append(f"{shapes.path}: prepared from {len(refs)} {source.kind} shapes")
    return True


def _check_selection(checks: InputChecks, shapes: PreparedShapes, selection: Selection) -> None:
    """Check that something will be left of shapes, also of those that are not prepared yet."""
    if is_prepared(shapes.path):
        checks.selection("data", shapes.path, selection)
    elif not isinstance(shapes.source, ProceduralSourceConfig | ObjaverseSourceConfig):
        source = shapes.source
        refs: list[MeshRef] = []
        if checks.lacks(lambda: refs.extend(list_meshes(source))):
            return
        rows = [{"split": split_of(ref), "licence": ref.licence, "quality": {}} for ref in refs]
        if rows:
            checks.selection("data", shapes.path, selection, rows)


def _held_out(run: Any, checks: InputChecks, num: int | None) -> tuple[PreparedShapes, ...]:
    named = run.validation.shards
    if named:
        paths = (named,) if isinstance(named, str) else named
        checks.shards("validation.shards", paths)
        for path in paths:
            checks.selection("validation", path, run.validation.selection)
        return run.held_out
    found = list[PreparedShapes]()
    for shapes in run.held_out:
        if _prepared(checks, "held_out", shapes):
            found.append(shapes)
        if len(found) == num:
            break
    return tuple(found)


def _check_frozen(condition: FrozenConfig, checks: InputChecks) -> None:
    field = f"model.conditions: {condition.kind}"
    if find_spec("transformers") is None:
        checks.wrong(f"{field}: needs transformers: pip install 'g3pt[hub]'")
    if not condition.source.startswith(FROZEN_HUB_PREFIX):
        checks.attempt(field, lambda: source_arguments(condition.kind, condition.source))


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


def with_parts(
    run: Any, prepare: Callable[[Any, tuple[PreparedShapes, ...]], Any]
) -> tuple[Any, Any]:
    """Data and validation config of a run, each prepared where it names no folder.

    Args:
        run: with `data`, `shapes`, `validation` and `held_out`.
        prepare: gives a config that names folders of these shapes.
    """
    data, validation = run.data, run.validation
    if not data.shards:
        data = prepare(data, run.shapes)
    if not validation.shards and run.held_out:
        validation = prepare(validation, run.held_out)
    return data, validation


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
        # Before, most of the time was that in which workers start.
        is_known = now - self._began >= SETTLED_SECONDS and left >= PROGRESS_SECONDS
        rest = f", {duration(left)} left" if is_known else ""
        LOGGER.info("%s %d of %d%s", self._name, done, total, rest)
