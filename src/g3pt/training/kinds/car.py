"""Stage 2 as a task: next-scale prediction from cached tokens (Sec. 3.3, Eq. 6).

Legend: B batch, T tokens of all scales end to end, S scales, N text tokens.
"""

import logging
import math
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import torch
from torch import Tensor

from g3pt.hashes import tensors_sha256
from g3pt.models.car import Car, CarConfig
from g3pt.models.devices import resolve_device
from g3pt.models.tokenizer import DiscreteTokenizer, Tokenizer, require_tokens
from g3pt.shapes.batch import CarBatch
from g3pt.shapes.cache.tokens import TokenCacheConfig
from g3pt.shapes.datasets.tokenizer import CarDataConfig, CarDataset
from g3pt.shapes.packs import open_shapes
from g3pt.training.conditioning import only
from g3pt.training.config import TrainConfig
from g3pt.training.features import ensure_features
from g3pt.training.fitting import fit_to_tokenizer, shard_captions
from g3pt.training.ingredients import (
    PreparedShapes,
    check_shapes,
    ensure_shapes,
    ensure_tokens,
    with_parts,
)
from g3pt.training.input_checks import InputChecks
from g3pt.training.kinds.conditioned import ConditionedTask, HeldOut, HeldOutConfig
from g3pt.training.kinds.contract import ExportedSettings, RunKind, seeded, start_from
from g3pt.training.kinds.generator import cqt_alone, generator_operations
from g3pt.training.next_scale import CarLossConfig, CarStep, NextScale
from g3pt.training.optim import AdamWConfig, OptimConfig
from g3pt.training.task import WHOLE, Part, TaskOutput
from g3pt.training.trained import load_car, load_tokenizer

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class CarValidationConfig(HeldOutConfig):
    """Held-out shapes on which cross-entropy is measured."""

    tokens: tuple[str, ...] = ()
    image_features: tuple[str, ...] = ()
    """Feature caches of the held-out shapes, as in the training data."""
    text_features: tuple[str, ...] = ()


class CarTask(ConditionedTask[CarDataset, CarStep]):
    """Predict each scale from the condition and all coarser scales."""

    def __init__(
        self,
        car: Car,
        tokenizer: DiscreteTokenizer,
        data: CarDataConfig,
        loss: CarLossConfig,
        validation: CarValidationConfig,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(data.batch_size)
        self.module = car
        self.tokenizer = tokenizer
        self._objective = NextScale(car, tokenizer, loss, seed=seed)
        self._data = data
        self._held_out = HeldOut(self._open, data, validation)

    # -- batches ------------------------------------------------------------------------------

    def _draw(self, batch: CarBatch, step: int, part: Part) -> CarStep:
        return self._objective.draw(batch, step, part, self._batch_size)

    def _open_dataset(self, part: Part) -> CarDataset:
        return self._open(self._data, part)

    def _open(self, config: CarDataConfig, part: Part = WHOLE) -> CarDataset:
        dataset = CarDataset(config, rank=part.index, world_size=part.count)
        _check_fit(dataset, self.module, self.tokenizer)
        return dataset

    def synthetic_loss(self, batch_size: int, device: torch.device | str = "cpu") -> Tensor:
        """The loss of a placeholder batch of the right sizes: a step without data."""
        return self._objective.synthetic_loss(batch_size, device)

    # -- loss ---------------------------------------------------------------------------------

    def loss(self, batch: CarStep, *, step: int, progress: float) -> TaskOutput:
        """Cross-entropy of the scales that the curriculum has reached, and of the first guess."""
        return self._objective.loss(batch, step=step, progress=progress)

    # -- validation ---------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(self, step: int, progress: float) -> dict[str, float]:
        """Held-out cross-entropy in nats per token and bits per shape.

        It is measured with `all` conditions of a shape, with each alone, and with `none`. The
        differences show how much the model uses each condition.
        """
        if not self._held_out:
            return {}
        lengths = self.module.config.scale_lengths
        lengths_S = torch.tensor(lengths, dtype=torch.float64)
        metrics: dict[str, float] = {}
        device = next(self.module.parameters()).device
        batches = [self._held_out_step(each.to(device)) for _, each in self._held_out.batches()]
        for mode in self._objective.conditions.modes:
            losses_NS = self._held_out.gather(
                [
                    self._objective.losses(
                        replace(batch, condition=only(batch.condition, mode)), len(lengths), None, 0
                    )[0]
                    for batch in batches
                ]
            )
            losses_S = losses_NS.mean(dim=0).double().cpu()
            nats = float((losses_S * lengths_S).sum())
            metrics[f"ce/{mode}"] = nats / sum(lengths)
            metrics[f"bits_per_shape/{mode}"] = nats / math.log(2)
            if mode == "all":
                metrics.update({f"ce/{s}": value for s, value in enumerate(losses_S.tolist())})
        return metrics

    def _held_out_step(self, batch: CarBatch) -> CarStep:
        condition = self._objective.conditions.give_all(batch)
        return CarStep.of(batch, condition, batch.indices_BT.new_zeros(len(batch.ids)).float())


def _check_fit(dataset: CarDataset, car: Car, tokenizer: DiscreteTokenizer) -> None:
    """Check that cached tokens, tokenizer and model agree on their layout."""
    identity, config = dataset.identity, car.config
    layouts = {
        "token cache": (identity.scale_lengths, identity.num_bits),
        "tokenizer": (tokenizer.scale_lengths, tokenizer.num_bits),
        "model": (config.scale_lengths, config.num_bits),
    }
    if len(set(layouts.values())) > 1:
        raise ValueError(
            "scale lengths and bits differ: "
            + ", ".join(f"{name} {layout}" for name, layout in layouts.items())
        )
    if identity.fingerprint != tensors_sha256(tokenizer.state_dict()):
        LOGGER.warning(
            "%s: the tokens carry another fingerprint than the tokenizer at hand; unless these are "
            "the same weights under another name, tokenize again",
            ", ".join(str(tokens.path) for tokens in dataset.tokens),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class CarRun:
    """A training of stage 2."""

    kind: Literal["car"] = "car"
    name: str = "car"
    initial: str = ""
    """Run folder, weights folder or bundled name whose weights training starts from; empty
    starts from random weights."""
    tokenizer: str = "g3pt-small"
    """Run folder of a tokenizer, weights folder, or name of bundled weights."""
    model: CarConfig = field(default_factory=CarConfig)
    """Config of the generator. Scale lengths, bits and input width are taken from the tokenizer.
    The words of a text condition are taken from the captions if it names none."""
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


ShardsUserT = TypeVar("ShardsUserT", CarDataConfig, CarValidationConfig)


class CarKind(RunKind[CarRun]):
    """How stage 2 is trained on prepared shapes."""

    config = CarRun

    def exported_settings(self, run: CarRun) -> ExportedSettings:
        """What exported weights take from the config."""
        return ExportedSettings(num_points=run.tokens.num_points, classes=run.data.classes)

    def check_inputs(self, run: CarRun, checks: InputChecks) -> CarRun:
        """Check weights, shapes and caches."""
        checks.weights("tokenizer", run.tokenizer)
        checks.weights("initial", run.initial)
        return check_shapes(run, checks)

    def complete(self, run: CarRun, *, workers: int = 1) -> tuple[CarRun, Tokenizer]:
        """Prepare shapes, tokens and features; fill in the layout and words of the model."""
        tokenizer = require_tokens(load_tokenizer(run.tokenizer), run.tokenizer)
        data, validation = with_parts(
            run, lambda config, shapes: _with_tokens(run, config, shapes, tokenizer, workers)
        )
        if run.cache_features:
            data, validation = _with_features(run, data), _with_features(run, validation)
        model = fit_to_tokenizer(run.model, tokenizer, shard_captions(data.shards))
        return replace(run, model=model, data=data, validation=validation), tokenizer

    def open(self, run: CarRun, tokenizer: Tokenizer | None) -> CarTask:
        """Build the generator."""
        assert isinstance(tokenizer, DiscreteTokenizer), "stage 2 needs a tokenizer"
        module = seeded(lambda: Car(run.model), run.train.seed)
        if run.initial:
            start_from(module, load_car(run.initial), run.initial)
        return CarTask(module, tokenizer, run.data, run.loss, run.validation, seed=run.train.seed)

    def open_without_data(self, run: CarRun) -> CarTask:
        """Build the task with an untrained tokenizer of the right layout."""
        return CarTask(Car(run.model), cqt_alone(run.model), run.data, run.loss, run.validation)

    def operations(self, run: CarRun) -> float:
        """Operations of a step without flipped bits."""
        return generator_operations(run.model, run.loss)


def _with_tokens(
    run: CarRun,
    config: ShardsUserT,
    shapes: tuple[PreparedShapes, ...],
    tokenizer: DiscreteTokenizer,
    workers: int,
) -> ShardsUserT:
    shards = ensure_shapes(shapes, workers=workers)
    opened = [open_shapes(path, config.selection) for path in shards]
    device = resolve_device(run.train.device)
    tokens = ensure_tokens(
        opened, tokenizer, tensors_sha256(tokenizer.state_dict()), run.tokens, device=device
    )
    return replace(config, shards=shards, tokens=tokens)


def _with_features(run: CarRun, config: ShardsUserT) -> ShardsUserT:
    opened = [open_shapes(path, config.selection) for path in config.shards]
    device = resolve_device(run.train.device)
    return replace(config, **ensure_features(opened, run.model.conditions, device=device))


CAR = CarKind()
