"""Finetuning of a generator on recorded examples: low-rank adapters or all weights.

A step shows few examples to CAR, which is large, and many to its first guess, which is small.
Scales that are not sampled by default are not trained. The decoder of the tokenizer can be trained
along, from the tokens of the examples to their labels; encoder and quantizer are kept, so that
tokens stay.

B examples, K of them that CAR sees.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from g3pt.generation.answers import Answer, ConsensusAnswer, GuessAnswer
from g3pt.models.car import Car
from g3pt.models.conditioning import PictureConfig
from g3pt.models.conditioning.pixels import shrink_pictures
from g3pt.models.losses import occupancy_loss
from g3pt.models.sampling import Sampling
from g3pt.models.tokenizer import DiscreteTokenizer
from g3pt.shapes.batch import CarBatch
from g3pt.shapes.yardstick import Yardstick
from g3pt.stream.recorded import RecordedConfig, RecordedDataset
from g3pt.training.next_scale import CarLossConfig, CarStep, NextScale
from g3pt.training.task import DatasetsOfParts, Part, TaskOutput, scales_in_words
from g3pt.training.yardsticks import ReadyYardstick, measure_answers, ready_yardstick

WATCHED = "iou/own"
"""Metric by which the best weights are chosen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneLoss:
    """Losses of a finetuning."""

    generator: CarLossConfig
    car_examples: int = 8
    """Examples of a batch that CAR sees, the first ones."""
    num_scales: int = 0
    """Scales that are trained, from the coarsest on; 0 is all."""
    decoder: float = 0.0
    """Weight of the error of the fields that tokens decode to; 0 keeps the decoder."""


@dataclass(frozen=True, kw_only=True)
class FinetuneStep:
    """What CAR sees of a batch, and what the first guess sees besides."""

    car: CarStep
    guess: CarStep | None


class Finetuned(nn.Module):
    """The modules that are trained."""

    def __init__(self, car: Car, decoder: nn.Module | None) -> None:
        super().__init__()
        self.car = car
        self.decoder = decoder


class FinetuneTask:
    """Train an adapted generator, or a whole one, on recorded examples."""

    def __init__(
        self,
        car: Car,
        tokenizer: DiscreteTokenizer,
        data: RecordedConfig,
        loss: FinetuneLoss,
        own: Yardstick,
        sampling: Sampling,
        *,
        seed: int = 0,
        num_queries: int = 4096,
    ) -> None:
        """Freeze the tokenizer, except its decoder if that is trained.

        Args:
            car: the generator; parameters that require gradients are trained.
            tokenizer: stage 1, which made the tokens of the examples.
            data: the examples; those with a guess hold pictures of its size and their features.
            loss: the losses.
            own: held-out meshes, by which the best weights are chosen.
            sampling: settings of their samples.
            seed: of dropped conditions.
            num_queries: labelled points at which fields of held-out meshes are evaluated.
        """
        self._objective = NextScale(car, tokenizer, loss.generator, seed=seed)
        decoder: nn.Module | None = None
        if loss.decoder:
            decoder = tokenizer.get_submodule("decoder").requires_grad_(True)
        self.module = Finetuned(car, decoder)
        self.tokenizer = tokenizer
        self._car, self._data, self._loss = car, data, loss
        self._own, self._sampling = own, sampling
        self._seed, self._num_queries = seed, num_queries
        self._ready: ReadyYardstick | None = None
        self._datasets = DatasetsOfParts(self._open, data.batch_size)

    def _open(self, part: Part) -> RecordedDataset:
        return RecordedDataset(
            self._data,
            torch.device("cpu"),
            with_features=self._car.guess is not None,
            num_tokens=sum(self._car.config.scale_lengths[: self._num_scales]),
            rank=part.index,
            world_size=part.count,
        )

    @property
    def _num_scales(self) -> int:
        return self._loss.num_scales or self._car.config.num_scales

    def batch(self, step: int, part: Part) -> FinetuneStep:
        """Draw examples, a view of each, and which conditions are dropped."""
        return self._draw(self._datasets[part].batch(step), step, part)

    def order_key(self, part: Part) -> str:
        """Hash of what the order of examples follows from."""
        return self._datasets[part].order_key

    def sample_ids(self, batch: FinetuneStep) -> Sequence[str]:
        """Ids of the shapes."""
        return (*batch.car.ids, *(() if batch.guess is None else batch.guess.ids))

    def _draw(self, batch: CarBatch, step: int, part: Part) -> FinetuneStep:
        features = batch.picture_features_BGGP
        plain = replace(batch, picture_features_BGGP=None)
        drawn = self._objective.draw(plain, step, part, self._data.batch_size)
        pictures = drawn.condition.pictures_BSS4
        if pictures is None:
            return FinetuneStep(car=_rows(drawn, slice(0, self._loss.car_examples)), guess=None)
        condition = replace(
            drawn.condition,
            pictures_BSS4=shrink_pictures(pictures, self._side),
            guess_pictures_BZZ4=None if features is None else pictures,
            guess_features_BGGP=features,
        )
        told = replace(drawn, condition=condition)
        seen = min(self._loss.car_examples, len(drawn.ids))
        rest = None
        if features is not None and seen < len(drawn.ids):
            # The guess needs no examples without a picture; CAR does.
            whole = replace(told, condition=replace(condition, images_dropped_B=~batch.has_image_B))
            rest = _rows(whole, slice(seen, None))
        return FinetuneStep(car=_rows(told, slice(0, seen)), guess=rest)

    @property
    def _side(self) -> int:
        """Side of the pictures that the generator's own encoder reads."""
        conditions = self._car.config.conditions
        return next(each.image_size for each in conditions if isinstance(each, PictureConfig))

    def loss(self, batch: FinetuneStep, *, step: int, progress: float) -> TaskOutput:
        """Cross-entropy of the scales, error of the first guess, and of the decoded tokens."""
        objective, num_scales = self._objective, self._num_scales
        losses_S, signs = objective.losses(batch.car, num_scales, None, step)
        weights_S = losses_S.new_tensor(self._loss.generator.scale_weights[:num_scales])
        if not len(weights_S):
            lengths = self._car.config.scale_lengths[:num_scales]
            weights_S = losses_S.new_tensor(lengths, dtype=torch.float32).sqrt()
        loss = (losses_S * weights_S).sum() / weights_S.sum()
        metrics = {f"ce/{scale}": losses_S[scale] for scale in range(num_scales)}
        if signs is not None and batch.car.condition.guess_pictures_BZZ4 is not None:
            near = objective.guess_loss(batch.car, progress, signs)
            loss, metrics = loss + near.loss, metrics | dict(near.metrics)
        if batch.guess is not None:
            rest = objective.guess_loss(replace(batch.guess, queries_BQ3=None), progress)
            loss = loss + rest.loss
            metrics["guess/features"] = rest.metrics["guess/features"]
        if self._loss.decoder:
            error = self._field_error(batch.car)
            loss = loss + self._loss.decoder * error
            metrics["decoder"] = error
        return TaskOutput(loss, metrics, scales_in_words(num_scales, self._car.config.num_scales))

    def _field_error(self, step: CarStep) -> Tensor:
        """Error of the fields that the true tokens decode to."""
        assert step.queries_BQ3 is not None
        assert step.inside_BQ is not None
        assert step.near_BQ is not None
        num_scales = self._num_scales
        num_tokens = sum(self._car.config.scale_lengths[:num_scales])
        with torch.no_grad():
            summed_BLC = self.tokenizer.decode_indices(step.indices_BT[:, :num_tokens])
        memory = self.tokenizer.shape_memory(summed_BLC, num_scales)
        logits_BQ = self.tokenizer.occupancy(memory, step.queries_BQ3)
        return occupancy_loss(logits_BQ, step.inside_BQ, step.near_BQ)

    @torch.no_grad()
    def evaluate(self, step: int, progress: float) -> Mapping[str, float]:
        """IoU of each kind of answer on the held-out meshes, and their mean as `iou/own`."""
        if self._ready is None:
            self._ready = ready_yardstick(
                self.tokenizer.to(next(self._car.parameters()).device),
                self._own,
                num_scales=self._car.config.num_scales,
                num_queries=self._num_queries,
            )
        answers: list[Answer] = [ConsensusAnswer(num_samples=4)]
        if self._car.guess is not None:
            answers.append(GuessAnswer())
        found = measure_answers(self.tokenizer, self._car, self._ready, answers, self._sampling)
        means = {f"iou/own/{each.name}": float(found[each.name].mean()) for each in answers}
        return means | {WATCHED: float(np.mean(list(means.values())))}


def _rows(step: CarStep, rows: slice) -> CarStep:
    """Some of the samples of a step."""

    def part(value: Tensor | None) -> Tensor | None:
        return None if value is None else value[rows]

    ids = step.ids[rows]
    return CarStep(
        condition=step.condition.rows(torch.arange(len(step.ids))[rows]),
        indices_BT=step.indices_BT[rows],
        ids=ids,
        flip_probability_B=step.flip_probability_B[rows],
        margins_BTK=part(step.margins_BTK),
        queries_BQ3=part(step.queries_BQ3),
        inside_BQ=part(step.inside_BQ),
        near_BQ=part(step.near_BQ),
    )
