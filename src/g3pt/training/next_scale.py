"""Next-scale prediction from tokens, for any source of batches (Sec. 3.3, Eq. 6).

Legend: B batch, T tokens of all scales end to end, S scales, L latents, C tokenizer channels,
K bits.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Literal, assert_never

import numpy as np
import torch
from torch import Tensor

from g3pt.models.car import Car
from g3pt.models.conditioning import ConditionBatch, read_points
from g3pt.models.guess import metric_root
from g3pt.models.losses import occupancy_loss, sign_loss, soft_iou_loss
from g3pt.models.quantizers import bit_chances
from g3pt.models.teacher import teacher_inputs
from g3pt.models.tokenizer import DiscreteTokenizer
from g3pt.shapes.batch import CarBatch
from g3pt.training.conditioning import (
    ConditionDrawer,
    ConditionLossConfig,
    check_shares,
)
from g3pt.training.curriculum import CurriculumConfig
from g3pt.training.task import Part, TaskOutput, scales_in_words, step_generator

_ROUNDED_QUERYING = {"cuda"}
"""Devices on which the frozen CQT is faster in the low precision of the training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CarLossConfig(ConditionLossConfig):
    """Losses of stage 2, bit flips, and dropping of conditions."""

    weighting: Literal["tokens", "scales"] = "tokens"
    """Whether every token has the same weight (the paper), or every scale."""
    scale_weights: tuple[float, ...] = ()
    """Weight of the mean loss of each scale, coarsest first; empty uses `weighting`."""
    flip_share: float = 0.0
    """Share of samples whose input bits are flipped (bit-flip self-correction)."""
    flip_max: float = 0.2
    """The flip probability per bit of such a sample is uniform between 0 and this."""
    soft_targets: tuple[float, ...] = ()
    """Temperature of the targets of each scale, coarsest first (`bit_chances`): a bit that was
    close to flipping when the shape was tokenized is learnt as nearly even odds. Empty learns the
    tokens as they are. `g3pt evaluate stability` says which temperatures fit a tokenizer."""
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    guess_field: float = 0.0
    """Weight of the error of the field that the first guess decodes to, if the model has a guess
    and the batches hold queries. The error of the guess's summed features has weight 1."""
    guess_field_from: float = 0.0
    """Share of the training after which the field error is used."""
    guess_field_share: float = 1.0
    """Share of a batch (its first samples) whose field is decoded, which is the costliest part."""

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class than the one being defined here.
        ConditionLossConfig.__post_init__(self)
        check_shares(self, "flip_share", "flip_max", "guess_field_share", "guess_field_from")
        if self.scale_weights and min(self.scale_weights) <= 0:
            raise ValueError(f"loss.scale_weights must be positive, got {self.scale_weights}")
        if self.soft_targets and min(self.soft_targets) <= 0:
            raise ValueError(f"loss.soft_targets must be positive, got {self.soft_targets}")
        if self.soft_targets and self.flip_share:
            raise ValueError(
                "loss.soft_targets and loss.flip_share exclude each other: tokens that correct "
                "flipped bits have no margins"
            )


@dataclass(frozen=True, kw_only=True)
class CarStep:
    """Tokens of a batch, their conditions, and the random choices that belong to them."""

    condition: ConditionBatch
    indices_BT: Tensor
    ids: tuple[str, ...]
    flip_probability_B: Tensor
    margins_BTK: Tensor | None = None
    """Margins of the tokens, if targets are softened by them."""
    queries_BQ3: Tensor | None = None
    inside_BQ: Tensor | None = None
    near_BQ: Tensor | None = None
    """Labelled points, as in `CarBatch`."""

    @classmethod
    def of(cls, batch: CarBatch, condition: ConditionBatch, flips_B: Tensor) -> "CarStep":
        """Build a step from a batch, its conditions and its flip probabilities."""
        return cls(
            condition=condition,
            indices_BT=batch.indices_BT,
            ids=batch.ids,
            flip_probability_B=flips_B,
            margins_BTK=batch.margins_BTK,
            queries_BQ3=batch.queries_BQ3,
            inside_BQ=batch.inside_BQ,
            near_BQ=batch.near_BQ,
        )


class NextScale:
    """Conditions and loss of a step of stage 2; tasks add the batches."""

    def __init__(
        self,
        car: Car,
        tokenizer: DiscreteTokenizer,
        loss: CarLossConfig,
        *,
        seed: int = 0,
        only_guess: bool = False,
    ) -> None:
        """Freeze the tokenizer, and with `only_guess` all of the model except its first guess.

        Raises:
            ValueError: if there is not one scale weight or temperature of soft targets per scale,
                or no guess to train.
        """
        self.car = car
        self.tokenizer = tokenizer.eval().requires_grad_(False)
        self.conditions = ConditionDrawer(car.config.conditions, loss, seed=seed)
        self._loss = loss
        self._seed = seed
        self._only_guess = only_guess
        self._root_PP: Tensor | None = None
        self._weights_S: Tensor | None = None
        if only_guess:
            if car.guess is None:
                raise ValueError("trained is guess, and the model makes none: give it model.guess")
            car.requires_grad_(False)
            car.guess.requires_grad_(True)
        for name in ("scale_weights", "soft_targets"):
            num = len(getattr(loss, name))
            if num and num != car.config.num_scales:
                raise ValueError(
                    f"loss.{name} needs {car.config.num_scales} numbers, one a scale, got {num}"
                )

    def draw(self, batch: CarBatch, step: int, part: Part, batch_size: int) -> CarStep:
        """Draw dropped conditions and flips for a part of the global batch.

        Raises:
            ValueError: if targets are to be soft and the batch holds no margins.
        """
        if self._loss.soft_targets and batch.margins_BTK is None:
            raise ValueError(
                "loss.soft_targets needs the margins of the tokens, which these data do not hold: "
                "train on a stream, or on recordings with `margins`"
            )
        rng, config = step_generator(self._seed, step, "conditions"), self._loss
        condition = self.conditions.draw(batch, rng, step=step, part=part, batch_size=batch_size)
        flipped_B = rng.random(batch_size) < config.flip_share
        flips_B = np.where(flipped_B, rng.random(batch_size) * config.flip_max, 0.0)
        flips_B = torch.from_numpy(flips_B[part.slice(batch_size)].astype(np.float32))
        return CarStep.of(batch, condition, flips_B)

    def synthetic_loss(self, batch_size: int, device: torch.device | str = "cpu") -> Tensor:
        """The loss of a placeholder batch of the right sizes: a step without data."""
        guess = self.car.config.guess
        side = None if guess is None else guess.image_size
        num_tokens, num_bits = self.car.config.num_tokens, self.car.config.num_bits
        margins_BTK = None
        if self._loss.soft_targets:
            shape = (batch_size, num_tokens, num_bits)
            margins_BTK = torch.zeros(shape, dtype=torch.uint8, device=device)
        step = CarStep(
            condition=self.conditions.synthetic(batch_size, device, guess_side=side),
            indices_BT=torch.ones(batch_size, num_tokens, dtype=torch.int64, device=device),
            ids=("",) * batch_size,
            flip_probability_B=torch.zeros(batch_size, device=device),
            margins_BTK=margins_BTK,
        )
        return self.loss(step, step=0, progress=0.999).loss

    def loss(self, batch: CarStep, *, step: int, progress: float) -> TaskOutput:
        """Cross-entropy of the scales that the curriculum has reached."""
        config = self._loss
        if self._only_guess:
            return self.guess_loss(batch, progress)
        num_scales = config.curriculum.num_scales(progress, self.car.config.num_scales)
        flips = batch.flip_probability_B if config.flip_share else None
        losses_S, guess = self.losses(batch, num_scales, flips, step)
        weights_S = self._weights_on(losses_S.device, num_scales)
        loss = (losses_S * weights_S).sum() / weights_S.sum()
        metrics = {f"ce/{scale}": losses_S[scale] for scale in range(num_scales)}
        if guess is not None:
            off = self.guess_loss(batch, progress, guess)
            loss = loss + off.loss
            metrics |= off.metrics
        return TaskOutput(loss, metrics, scales_in_words(num_scales, self.car.config.num_scales))

    def guess_loss(
        self, batch: CarStep, progress: float, signs_BTK: Tensor | None = None
    ) -> TaskOutput:
        """Loss and metrics of the first guess, whose signs are computed unless they are given."""
        if signs_BTK is None:
            self.tokenizer.to(batch.indices_BT.device)
            signs_BTK = self.car.guess_signs(batch.condition)
        with_field = self._loss.guess_field > 0 and progress >= self._loss.guess_field_from
        errors = self._guess_errors(batch, signs_BTK, with_field=with_field)
        loss = torch.stack([weight * error for weight, error in errors.values()]).sum()
        scales = self.tokenizer.num_scales_of(signs_BTK.shape[1])
        return TaskOutput(
            loss,
            {f"guess/{name}": error for name, (_, error) in errors.items()},
            f"{scales_in_words(scales, self.car.config.num_scales)}, first guess",
        )

    def _guess_errors(
        self, batch: CarStep, signs_BTK: Tensor, *, with_field: bool
    ) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of each error of the first guess, by name."""
        config, num_tokens = self._loss, signs_BTK.shape[1]
        num_scales = self.tokenizer.num_scales_of(num_tokens)
        if self._root_PP is None:
            self._root_PP = metric_root(self.tokenizer, num_scales)
        indices_BT = batch.indices_BT[:, :num_tokens]
        off = sign_loss(signs_BTK, indices_BT, self._root_PP)
        errors = {"features": (1.0, off)}
        if batch.queries_BQ3 is not None and with_field:
            assert batch.inside_BQ is not None
            assert batch.near_BQ is not None
            some = slice(max(1, round(config.guess_field_share * len(signs_BTK))))
            guess_BLC = self.tokenizer.decode_signs(signs_BTK[some])
            memory = self.tokenizer.shape_memory(guess_BLC, num_scales)
            inside_BQ, near_BQ = batch.inside_BQ[some], batch.near_BQ[some]
            logits_BQ = self.tokenizer.occupancy(memory, batch.queries_BQ3[some])
            bce = occupancy_loss(logits_BQ, inside_BQ, near_BQ)
            errors["field"] = (config.guess_field, bce)
            iou = soft_iou_loss(logits_BQ, inside_BQ, ~near_BQ)
            errors["iou"] = (config.guess_field, iou)
        return errors

    def _weights_on(self, device: torch.device, num_scales: int) -> Tensor:
        """Weights of the first scales, copied to a device once: the host waits for a copy."""
        if self._weights_S is None or self._weights_S.device != device:
            self._weights_S = torch.tensor(self._scale_weights(), dtype=torch.float32).to(device)
        return self._weights_S[:num_scales]

    def _scale_weights(self) -> Sequence[float]:
        lengths = self.car.config.scale_lengths
        if self._loss.scale_weights:
            return self._loss.scale_weights
        match self._loss.weighting:
            case "tokens":
                return lengths
            case "scales":
                return [1.0] * len(lengths)
            case _:
                assert_never(self._loss.weighting)

    def losses(
        self, batch: CarStep, num_scales: int, flips_B: Tensor | None, step: int
    ) -> tuple[Tensor, Tensor | None]:
        """Cross-entropy by scale, and the signs of the first guess if the model has one.

        Targets are soft if the batch holds margins.
        """
        indices_BT = batch.indices_BT
        indices_BT = indices_BT[:, : sum(self.car.config.scale_lengths[:num_scales])]
        self.tokenizer.to(indices_BT.device)
        generator = None
        if flips_B is not None:
            generator = torch.Generator(indices_BT.device)
            generator.manual_seed(self._seed * 1_000_003 + step)
        told = read_points(batch.condition, self.tokenizer)
        condition = self.car.encode_condition(told)
        signs_BTK = None if self.car.guess is None else self.car.guess_signs(told)
        guess_BLC = None
        if signs_BTK is not None and self.car.config.is_shown_guess:
            guess_BLC = self.tokenizer.decode_signs(signs_BTK.detach())
        # With flipped bits the CQT decides signs of residuals, so it runs outside autocast, as it
        # did when the tokens were made. Otherwise it gives only inputs, which are rounded anyway.
        kind = indices_BT.device.type
        rounds = flips_B is None and kind in _ROUNDED_QUERYING
        with nullcontext() if rounds else torch.autocast(kind, enabled=False):
            teacher = teacher_inputs(
                self.tokenizer,
                indices_BT,
                self.car.config.input_kind,
                guess_BLC=guess_BLC,
                flip_probability_B=flips_B,
                generator=generator,
            )
        logits = self.car(teacher.inputs_BTC, condition, num_scales)
        if batch.margins_BTK is None:
            return self.car.token_losses(logits, teacher.targets_BT), signs_BTK
        chances_BTK = self._chances(indices_BT, batch.margins_BTK, num_scales)
        return self.car.soft_token_losses(logits, chances_BTK), signs_BTK

    def _chances(self, indices_BT: Tensor, margins_BTK: Tensor, num_scales: int) -> Tensor:
        """Chance of every bit of the first scales to be set, with the temperature of its scale."""
        lengths = list(self.car.config.scale_lengths[:num_scales])
        tokens = indices_BT.split(lengths, dim=1)
        margins = margins_BTK[:, : sum(lengths)].split(lengths, dim=1)
        scales = zip(tokens, margins, self._loss.soft_targets[:num_scales], strict=True)
        return torch.cat([bit_chances(*scale) for scale in scales], dim=1)
