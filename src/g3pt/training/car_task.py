"""Stage 2 as a task: next-scale prediction from cached tokens (Sec. 3.3, Eq. 6).

Legend: B batch, T tokens of all scales end to end, S scales, N text tokens.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

import numpy as np
import torch
from torch import Tensor

from g3pt.data.batch import CarBatch
from g3pt.data.dataset import CarDataConfig, CarDataset
from g3pt.data.shards import VALIDATION, Selection
from g3pt.models.car import Car
from g3pt.models.contract import DiscreteTokenizer
from g3pt.models.losses import feature_loss, occupancy_loss, soft_iou_loss
from g3pt.models.teacher import teacher_inputs
from g3pt.training.checkpoint import fingerprint
from g3pt.training.conditioning import (
    ConditionDrawer,
    ConditionLossConfig,
    GivenConditions,
    check_shares,
    condition_batch,
    only,
)
from g3pt.training.curriculum import CurriculumConfig
from g3pt.training.task import DatasetsOfParts, Part, TaskOutput, step_generator

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class CarLossConfig(ConditionLossConfig):
    """What stage 2 minimises, and what it has to do without."""

    weighting: Literal["tokens", "scales"] = "tokens"
    """Every token counts alike (the paper), or every scale does."""
    scale_weights: tuple[float, ...] = ()
    """Weight of the mean loss of each scale, coarsest first, in place of `weighting`; empty leaves
    it to that."""
    flip_share: float = 0.0
    """Share of samples whose input bits are damaged (bit-flip self-correction)."""
    flip_max: float = 0.2
    """Their chance per bit is uniform from 0 to this."""
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    guess_features: float = 1.0
    """Weight of the error of the first guess, where the model has one, in the summed features."""
    guess_field: float = 1.0
    """Weight of the error of the field that it decodes to, where the batches hold queries."""

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class than the one being defined here.
        ConditionLossConfig.__post_init__(self)
        check_shares(self, "flip_share", "flip_max")
        if self.scale_weights and min(self.scale_weights) <= 0:
            raise ValueError(f"loss.scale_weights must be positive, got {self.scale_weights}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CarValidationConfig:
    """Held-out shapes whose cross-entropy is watched."""

    shards: tuple[str, ...] = ()
    """Folders of prepared shapes; empty switches validation off."""
    selection: Selection = VALIDATION
    """Which of their shapes are looked at."""
    tokens: tuple[str, ...] = ()
    image_features: tuple[str, ...] = ()
    """Feature caches of the held-out shapes, as in the training data."""
    text_features: tuple[str, ...] = ()
    num_shapes: int = 128
    batch_size: int = 32


@dataclass(frozen=True)
class CarStep:
    """A batch and the random choices that belong to it."""

    batch: CarBatch
    given: GivenConditions
    flip_probability_B: Tensor


class CarTask:
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
        self.module = car
        self.tokenizer = tokenizer.eval().requires_grad_(False)
        self._data = data
        self._loss = loss
        self._validation = validation
        self._seed = seed
        num = len(loss.scale_weights)
        if num and num != car.config.num_scales:
            raise ValueError(
                f"loss.scale_weights needs {car.config.num_scales} numbers, one a scale, got {num}"
            )
        self._datasets = DatasetsOfParts(self._open_dataset, data.batch_size)
        self._held_out: CarDataset | None = None
        self._conditions = ConditionDrawer(car.config.conditions, loss, seed=seed)

    # -- batches ------------------------------------------------------------------------------

    def batch(self, step: int, part: Part) -> CarStep:
        """Draw shapes, a view, a sentence and a resampling of each, and what is dropped."""
        batch = self._datasets[part].batch(step)
        span, size, config = part.slice(self._data.batch_size), self._data.batch_size, self._loss
        rng = step_generator(self._seed, step, "conditions")
        given = self._conditions.draw(batch, rng, step=step, part=part, batch_size=size)
        flipped_B = rng.random(size) < config.flip_share
        flips_B = np.where(flipped_B, rng.random(size) * config.flip_max, 0.0)
        return CarStep(
            batch=batch,
            given=given,
            flip_probability_B=torch.from_numpy(flips_B[span].astype(np.float32)),
        )

    def _open_dataset(self, part: Part) -> CarDataset:
        dataset = CarDataset(self._data, rank=part.index, world_size=part.count)
        _check_fit(dataset, self.module, self.tokenizer)
        return dataset

    def synthetic_loss(self, batch_size: int, device: torch.device | str = "cpu") -> Tensor:
        """The loss of a batch of the right sizes and no meaning: a step without data."""
        return self.loss(self._synthetic_batch(batch_size, device), step=0, progress=0.999).loss

    def _synthetic_batch(self, batch_size: int, device: torch.device | str) -> CarStep:
        conditions, given = self._conditions.synthetic(batch_size, device)
        num_tokens = self.module.config.num_tokens
        indices_BT = torch.ones(batch_size, num_tokens, dtype=torch.int64, device=device)
        return CarStep(
            batch=CarBatch(indices_BT=indices_BT, **vars(conditions)),
            given=given,
            flip_probability_B=torch.zeros(batch_size, device=device),
        )

    # -- loss ---------------------------------------------------------------------------------

    def loss(self, batch: CarStep, *, step: int, progress: float) -> TaskOutput:
        """Cross-entropy of the scales that the curriculum has reached."""
        config = self._loss
        num_scales = config.curriculum.num_scales(progress, self.module.config.num_scales)
        flips = batch.flip_probability_B if config.flip_share else None
        losses_S, guess = self._losses(batch, num_scales, flips, step)
        weights_S = losses_S.new_tensor(self._scale_weights()[:num_scales])
        loss = (losses_S * weights_S).sum() / weights_S.sum()
        metrics = {f"ce/{scale}": losses_S[scale] for scale in range(num_scales)}
        if guess is not None:
            errors = self._guess_errors(batch.batch, guess)
            loss = loss + sum(weight * error for weight, error in errors.values())
            metrics |= {f"guess/{name}": error for name, (_, error) in errors.items()}
        return TaskOutput(loss, metrics)

    def _guess_errors(self, batch: CarBatch, guess_BLC: Tensor) -> dict[str, tuple[float, Tensor]]:
        """How far the first guess is off, with the weight of each kind of error."""
        config = self._loss
        with torch.no_grad():
            goal_BLC = self.tokenizer.decode_indices(batch.indices_BT)
        errors = {"features": (config.guess_features, feature_loss(guess_BLC, goal_BLC))}
        if batch.queries_BQ3 is not None and config.guess_field:
            assert batch.inside_BQ is not None
            assert batch.near_BQ is not None
            memory = self.tokenizer.shape_memory(guess_BLC)
            logits_BQ = self.tokenizer.occupancy(memory, batch.queries_BQ3)
            bce = occupancy_loss(logits_BQ, batch.inside_BQ, batch.near_BQ)
            errors["field"] = (config.guess_field, bce)
            iou = soft_iou_loss(logits_BQ, batch.inside_BQ, ~batch.near_BQ)
            errors["iou"] = (config.guess_field, iou)
        return errors

    def _scale_weights(self) -> Sequence[float]:
        lengths = self.module.config.scale_lengths
        if self._loss.scale_weights:
            return self._loss.scale_weights
        match self._loss.weighting:
            case "tokens":
                return lengths
            case "scales":
                return [1.0] * len(lengths)
            case _:
                assert_never(self._loss.weighting)

    def _losses(
        self, batch: CarStep, num_scales: int, flips_B: Tensor | None, step: int
    ) -> tuple[Tensor, Tensor | None]:
        """Cross-entropy by scale, and the first guess of a model that makes one."""
        indices_BT = batch.batch.indices_BT
        indices_BT = indices_BT[:, : sum(self.module.config.scale_lengths[:num_scales])]
        self.tokenizer.to(indices_BT.device)
        generator = None
        if flips_B is not None:
            generator = torch.Generator(indices_BT.device)
            generator.manual_seed(self._seed * 1_000_003 + step)
        condition = self.module.encode_condition(
            condition_batch(batch.batch, batch.given, self.tokenizer)
        )
        guess_BLC = self.module.guess_features(condition)
        # The CQT decides signs of residuals here: outside autocast, as when the tokens were made.
        with torch.autocast(indices_BT.device.type, enabled=False):
            teacher = teacher_inputs(
                self.tokenizer,
                indices_BT,
                self.module.config.input_kind,
                guess_BLC=guess_BLC,
                flip_probability_B=flips_B,
                generator=generator,
            )
        logits = self.module(teacher.inputs_BTC, condition, num_scales)
        return self.module.token_losses(logits, teacher.targets_BT), guess_BLC

    def sample_ids(self, batch: CarStep) -> Sequence[str]:
        """Ids of the shapes."""
        return batch.batch.ids

    # -- validation ---------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(self, step: int, progress: float) -> dict[str, float]:
        """Held-out cross-entropy in nats per token and bits per shape.

        Under `all` conditions that a shape has, under each alone, and under `none`: how far
        these lie apart says how much a condition is made use of.
        """
        if not self._validation.shards:
            return {}
        dataset = self._open_held_out()
        lengths = self.module.config.scale_lengths
        lengths_S = torch.tensor(lengths, dtype=torch.float64)
        metrics: dict[str, float] = {}
        size = dataset.config.batch_size
        num_batches = max(1, min(self._validation.num_shapes, dataset.num_shapes) // size)
        batches = [self._held_out_step(dataset, number) for number in range(num_batches)]
        for mode in self._conditions.modes:
            losses_S = torch.stack(
                [self._losses(_only(batch, mode), len(lengths), None, 0)[0] for batch in batches]
            )
            losses_S = losses_S.mean(dim=0).double().cpu()
            nats = float((losses_S * lengths_S).sum())
            metrics[f"ce/{mode}"] = nats / sum(lengths)
            metrics[f"bits_per_shape/{mode}"] = nats / math.log(2)
            if mode == "all":
                metrics.update({f"ce/{s}": value for s, value in enumerate(losses_S.tolist())})
        return metrics

    def _open_held_out(self) -> CarDataset:
        if self._held_out is None:
            config = replace(
                self._data,
                shards=self._validation.shards,
                selection=self._validation.selection,
                tokens=self._validation.tokens,
                image_features=self._validation.image_features,
                text_features=self._validation.text_features,
                weights=(),
                batch_size=self._validation.batch_size,
                canonical_share=1.0,
                seed=0,
            )
            dataset = CarDataset(config)
            if dataset.num_shapes < config.batch_size:
                dataset = CarDataset(replace(config, batch_size=dataset.num_shapes))
            _check_fit(dataset, self.module, self.tokenizer)
            self._held_out = dataset
        return self._held_out

    def _held_out_step(self, dataset: CarDataset, number: int) -> CarStep:
        batch = dataset.batch(number).to(next(self.module.parameters()).device)
        given = self._conditions.give_all(batch)
        return CarStep(batch, given, torch.zeros(len(batch.ids), device=batch.indices_BT.device))


def _only(batch: CarStep, mode: str) -> CarStep:
    """The batch with a single condition left (or `all` of them, or `none`)."""
    return replace(batch, given=only(batch.given, mode))


def _check_fit(dataset: CarDataset, car: Car, tokenizer: DiscreteTokenizer) -> None:
    """The cached tokens, the tokenizer and the model must agree on their layout."""
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
    if identity.fingerprint != fingerprint(tokenizer):
        LOGGER.warning(
            "%s: the tokens carry another fingerprint than the tokenizer at hand; unless these are "
            "the same weights under another name, tokenize again",
            ", ".join(str(tokens.path) for tokens in dataset.tokens),
        )
