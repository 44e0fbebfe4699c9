"""A run: everything that a training of one kind is made from."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from g3pt.config import ConfigError, from_json
from g3pt.models.car import CarConfig
from g3pt.models.cvq import CvqConfig
from g3pt.models.rivals.flow import FlowConfig
from g3pt.models.rivals.regressor import RegressorConfig
from g3pt.models.tokenizers import TokenizerConfig
from g3pt.preparation.sources import as_once_meant
from g3pt.shapes.cache.draws import DrawsConfig
from g3pt.shapes.cache.tokens import TokenCacheConfig
from g3pt.shapes.datasets.rivals import FlowDataConfig, RegressorDataConfig
from g3pt.shapes.datasets.tokenizer import CarDataConfig, TokenizerDataConfig
from g3pt.training.car_task import CarValidationConfig
from g3pt.training.flow_task import FlowLossConfig, FlowValidationConfig
from g3pt.training.ingredients import PreparedShapes
from g3pt.training.loop import TrainConfig
from g3pt.training.next_scale import CarLossConfig
from g3pt.training.optim import AdamWConfig, OptimConfig
from g3pt.training.regressor_task import RegressorLossConfig, RegressorValidationConfig
from g3pt.training.stream_run import StreamRun
from g3pt.training.tokenizer_task import TokenizerLossConfig
from g3pt.training.validation import ValidationConfig

CONFIG_FILE = "config.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerRun:
    """A training of stage 1."""

    kind: Literal["tokenizer"] = "tokenizer"
    name: str = "tokenizer"
    initial: str = ""
    """Run folder, weights folder or bundled name whose weights training starts from; empty
    starts afresh."""
    model: TokenizerConfig = field(default_factory=CvqConfig)
    trained: Literal["all", "decoder"] = "all"
    """What is trained. With `decoder` tokens stay what they are, so a generator stays usable."""
    shapes: tuple[PreparedShapes, ...] = ()
    """Prepared when missing and read where `data.shards` names nothing else."""
    held_out: tuple[PreparedShapes, ...] = ()
    """Likewise, for `validation.shards`; one at most is looked at."""
    data: TokenizerDataConfig = field(default_factory=TokenizerDataConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    loss: TokenizerLossConfig = field(default_factory=TokenizerLossConfig)
    optim: OptimConfig = field(default_factory=AdamWConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class CarRun:
    """A training of stage 2."""

    kind: Literal["car"] = "car"
    name: str = "car"
    initial: str = ""
    """Run folder, weights folder or bundled name whose weights training starts from; empty
    starts afresh."""
    tokenizer: str = "g3pt-small"
    """Run folder of a tokenizer, weights folder, or name of bundled weights."""
    model: CarConfig = field(default_factory=CarConfig)
    """Its scale lengths, bits and input width are taken from the tokenizer, the words of its
    text condition from the captions if it names none."""
    shapes: tuple[PreparedShapes, ...] = ()
    held_out: tuple[PreparedShapes, ...] = ()
    tokens: TokenCacheConfig = field(default_factory=TokenCacheConfig)
    """How the shapes are tokenized when `data.tokens` names none."""
    cache_features: bool = False
    """Whether frozen encoders see every picture and caption once, before training, and their
    features are read from disk; otherwise they run in every step."""
    data: CarDataConfig = field(default_factory=CarDataConfig)
    validation: CarValidationConfig = field(default_factory=CarValidationConfig)
    loss: CarLossConfig = field(default_factory=CarLossConfig)
    optim: OptimConfig = field(default_factory=AdamWConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowRun:
    """A training of the diffusion rival (Table 1)."""

    kind: Literal["flow"] = "flow"
    name: str = "flow"
    initial: str = ""
    """Run folder or weights folder whose weights training starts from; empty starts afresh."""
    tokenizer: str = "runs/tokenizer-kl-tiny"
    """Run folder or weights folder of a KL tokenizer."""
    model: FlowConfig = field(default_factory=FlowConfig)
    """Its latents are taken from the tokenizer, the words of its text condition from the
    captions if it names none."""
    shapes: tuple[PreparedShapes, ...] = ()
    held_out: tuple[PreparedShapes, ...] = ()
    latents: DrawsConfig = field(default_factory=DrawsConfig)
    """How the shapes are encoded when `data.latents` names none."""
    data: FlowDataConfig = field(default_factory=FlowDataConfig)
    validation: FlowValidationConfig = field(default_factory=FlowValidationConfig)
    loss: FlowLossConfig = field(default_factory=FlowLossConfig)
    optim: OptimConfig = field(default_factory=AdamWConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressorRun:
    """A training of the regression rival (Table 1)."""

    kind: Literal["regressor"] = "regressor"
    name: str = "regressor"
    initial: str = ""
    """Run folder or weights folder whose weights training starts from; empty starts afresh."""
    model: RegressorConfig = field(default_factory=RegressorConfig)
    """The words of its text condition are taken from the captions if it names none."""
    shapes: tuple[PreparedShapes, ...] = ()
    held_out: tuple[PreparedShapes, ...] = ()
    data: RegressorDataConfig = field(default_factory=RegressorDataConfig)
    validation: RegressorValidationConfig = field(default_factory=RegressorValidationConfig)
    loss: RegressorLossConfig = field(default_factory=RegressorLossConfig)
    optim: OptimConfig = field(default_factory=AdamWConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


Run = TokenizerRun | CarRun | StreamRun | FlowRun | RegressorRun


def load_run(folder: str | Path) -> Run:
    """Read the config of a run folder.

    Raises:
        FileNotFoundError: if there is none.
        ConfigError: if it is not one.
    """
    return read_run(Path(folder) / CONFIG_FILE)


def read_run(path: Path) -> Run:
    """Read the config of a run, of any kind.

    Raises:
        FileNotFoundError: if there is none.
        ConfigError: if it is not one.
    """
    try:
        data: Any = as_once_meant(json.loads(path.read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    kinds = {
        "tokenizer": TokenizerRun,
        "car": CarRun,
        "stream": StreamRun,
        "flow": FlowRun,
        "regressor": RegressorRun,
    }
    kind = data.get("kind") if isinstance(data, dict) else None
    if kind not in kinds:
        raise ConfigError(f"{path}: kind: expected one of {', '.join(kinds)}, got {kind!r}")
    return from_json(kinds[kind], data, origin=str(path))
