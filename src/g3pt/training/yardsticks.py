"""Measurement of a generator on yardsticks: sets of held-out objects.

Two things are measured for every object: the cross-entropy of its tokens given its picture
(teacher-forced), and the IoU of the field of each kind of answer with the labelled queries. Nothing
is meshed, so two hundred objects take seconds on a GPU, and a training can be evaluated by it. The
functions take modules in any state, in training or loaded from a folder, on any device.

Legend: B objects, N surface points, Q queries, S picture side, T tokens, L latents, C tokenizer
channels, K bits, G temperatures; in array names below, S also counts scales.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int, UInt8
from torch import Tensor, nn

from g3pt.generation.answers import Answer, answer_features
from g3pt.generation.field import ShapeField
from g3pt.geometry.outline import OutlinedField
from g3pt.hashes import text_key
from g3pt.models.car import Car, CarConfig
from g3pt.models.conditioning import ConditionBatch, PictureConfig
from g3pt.models.conditioning.pixels import shrink_pictures
from g3pt.models.heads import HEADS
from g3pt.models.quantizers import unpack_bits
from g3pt.models.sampling import Sampling
from g3pt.models.teacher import teacher_inputs
from g3pt.models.tokenizer import DiscreteTokenizer
from g3pt.shapes.yardstick import Yardstick
from g3pt.training.distributed import World

TOKENS = "tokens"
"""Name of the answer made of the object's own tokens: the best that the tokenizer can reach."""
BATCH_SIZE = 32
TEMPERATURES = tuple(2.0 ** (step / 8) for step in range(-8, 25))
"""Temperatures T that are tried for each scale, including 1. The cross-entropy is convex in 1/T, so
the best of them is within a hundredth of a nat of the optimum."""
CHUNK = {"cpu": 16_384, "cuda": 262_144}
"""Most query points, summed over objects, that are decoded in one call, by device."""


@dataclass(frozen=True, eq=False)
class ReadyYardstick:
    """A yardstick on a device, with the tokens of its objects."""

    yardstick: Yardstick
    pictures_BSS4: UInt8[Tensor, "B S S 4"]
    indices_BT: Int[Tensor, "B T"]
    queries_Q3: Float[Tensor, "Q 3"]
    inside_BQ: Bool[Tensor, "B Q"]


@torch.no_grad()
def ready_yardstick(
    tokenizer: DiscreteTokenizer,
    yardstick: Yardstick,
    *,
    num_scales: int | None = None,
    num_points: int | None = None,
    num_queries: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> ReadyYardstick:
    """Tokenize the objects once, for any number of measurements.

    Args:
        tokenizer: stage 1, on the device that measures; no longer trained.
        yardstick: the objects.
        num_scales: number of scales that the generator makes; None is all.
        num_points: surface points that the tokenizer reads; None, or more than there are, is all.
        num_queries: labelled points at which fields are evaluated; None, or more than there are,
            is all.
        batch_size: number of objects per batch.
    """
    device = next(tokenizer.parameters()).device
    points_BN3, normals_BN3 = (
        torch.from_numpy(np.ascontiguousarray(each[:, :num_points])) for each in yardstick.surface
    )
    pairs = zip(points_BN3.split(batch_size), normals_BN3.split(batch_size), strict=True)
    with _evaluating(tokenizer):
        indices = [
            tokenizer.tokenize(points.to(device), directions.to(device), num_scales)
            for points, directions in pairs
        ]
    return ReadyYardstick(
        yardstick,
        torch.from_numpy(yardstick.pictures_BSS4).to(device),
        torch.cat(indices),
        torch.from_numpy(yardstick.queries[:num_queries]).to(device),
        torch.from_numpy(np.ascontiguousarray(yardstick.inside_BQ[:, :num_queries])).to(device),
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class YardstickMeasure:
    """Measurements of every object of a yardstick; S counts scales here."""

    name: str
    ids: tuple[str, ...]
    flagged_B: Bool[np.ndarray, " B"]
    chance: float
    """Cross-entropy of a uniform guess among all entries, in nats per token."""
    ce_BGS: Float64[np.ndarray, "B G S"]
    """Cross-entropy by scale in nats per token, with logits divided by each of `TEMPERATURES`."""
    bit_accuracy_BS: Float64[np.ndarray, "B S"]
    """Share of bits whose likelier value is the correct one."""
    iou: Mapping[str, Float64[np.ndarray, " B"]] = field(default_factory=dict)
    """IoU of the field of each kind of answer, by its name."""
    seconds: float = 0.0

    @property
    def ce(self) -> Float64[np.ndarray, "B S"]:
        """Cross-entropy of the generator at temperature 1."""
        return self.ce_BGS[:, TEMPERATURES.index(1.0)]

    @property
    def _best(self) -> Int[np.ndarray, " S"]:
        """Index of the temperature of each scale with the lowest mean cross-entropy."""
        return self.ce_BGS.mean(axis=0).argmin(axis=0)

    @property
    def temperature(self) -> Float64[np.ndarray, " S"]:
        """Best temperature of each scale; above 1 if the generator is overconfident."""
        return np.array(TEMPERATURES)[self._best]

    @property
    def calibrated(self) -> Float64[np.ndarray, "B S"]:
        """Cross-entropy at the best temperature of each scale."""
        return np.stack(
            [self.ce_BGS[:, best, scale] for scale, best in enumerate(self._best)], axis=1
        )

    def gather(self, whole: Yardstick, world: World) -> "YardstickMeasure":
        """Measurements of the whole yardstick, of which this process measured `world.own_rows`."""

        def together(own: np.ndarray) -> np.ndarray:
            return world.gather_rows(torch.from_numpy(own), len(whole)).numpy()

        return replace(
            self,
            ids=whole.ids,
            flagged_B=whole.flagged_B,
            ce_BGS=together(self.ce_BGS),
            bit_accuracy_BS=together(self.bit_accuracy_BS),
            iou={answer: together(values_B) for answer, values_B in self.iou.items()},
        )

    def take(self, chosen_B: Bool[np.ndarray, " B"], name: str) -> "YardstickMeasure":
        """Some of the objects, under another name."""
        return YardstickMeasure(
            name=name,
            ids=tuple(one for one, taken in zip(self.ids, chosen_B, strict=True) if taken),
            flagged_B=self.flagged_B[chosen_B],
            chance=self.chance,
            ce_BGS=self.ce_BGS[chosen_B],
            bit_accuracy_BS=self.bit_accuracy_BS[chosen_B],
            iou={answer: values_B[chosen_B] for answer, values_B in self.iou.items()},
            seconds=self.seconds,
        )


def measure_yardsticks(
    tokenizer: DiscreteTokenizer,
    car: Car,
    yardsticks: Sequence[Yardstick | ReadyYardstick],
    answers: Sequence[Answer],
    sampling: Sampling,
    *,
    num_points: int | None = None,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> list[YardstickMeasure]:
    """Measure a generator on all yardsticks; see `measure_yardstick`.

    Yardsticks that are not ready are tokenized first, from `num_points` of their points.
    """
    num_scales = car.config.num_scales
    measured: list[YardstickMeasure] = []
    for one in yardsticks:
        if isinstance(one, Yardstick):
            one = ready_yardstick(
                tokenizer, one, num_scales=num_scales, num_points=num_points, batch_size=batch_size
            )
        measured.append(
            measure_yardstick(
                tokenizer, car, one, answers, sampling, seed=seed, batch_size=batch_size
            )
        )
    return measured


@torch.no_grad()
def measure_yardstick(
    tokenizer: DiscreteTokenizer,
    car: Car,
    ready: ReadyYardstick,
    answers: Sequence[Answer],
    sampling: Sampling,
    *,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> YardstickMeasure:
    """Measure a generator on one yardstick.

    The modules are in evaluation mode meanwhile. In addition to the answers, `TOKENS` is measured:
    the field of the object's own tokens, of the scales that are sampled.

    Args:
        tokenizer: stage 1, which made the tokens.
        car: stage 2, conditioned on the pictures only.
        ready: the objects, from `ready_yardstick` with the scales of `car`.
        answers: kinds of answers to compare with the labels; none measures only the likelihood.
        sampling: settings of every sample.
        seed: the seed of each object is made from this and from the object's id.
        batch_size: number of objects per batch.

    Raises:
        ValueError: if the generator reads no pictures.
    """
    started = time.perf_counter()
    parts = []
    with _evaluating(tokenizer), _evaluating(car):
        for start in range(0, len(ready.indices_BT), batch_size):
            rows = slice(start, start + batch_size)
            condition = picture_condition(ready.pictures_BSS4[rows], car.config)
            parts.append(_likelihood(tokenizer, car, ready.indices_BT[rows], condition))
    iou = measure_answers(
        tokenizer, car, ready, answers, sampling, seed=seed, batch_size=batch_size
    )
    ce, bit_accuracy = (torch.cat(each).double().cpu().numpy() for each in zip(*parts, strict=True))
    return YardstickMeasure(
        name=ready.yardstick.name,
        ids=ready.yardstick.ids,
        flagged_B=ready.yardstick.flagged_B,
        chance=car.config.num_bits * math.log(2),
        ce_BGS=ce,
        bit_accuracy_BS=bit_accuracy,
        iou=iou,
        seconds=time.perf_counter() - started,
    )


@torch.no_grad()
def measure_answers(
    tokenizer: DiscreteTokenizer,
    car: Car,
    ready: ReadyYardstick,
    answers: Sequence[Answer],
    sampling: Sampling,
    *,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> dict[str, Float64[np.ndarray, " B"]]:
    """IoU of the field of every answer, and of the objects' own tokens as `TOKENS`.

    Arguments as in `measure_yardstick`.
    """
    num_scales = sampling.num_scales or car.config.num_scales
    num_tokens = sum(car.config.scale_lengths[:num_scales])
    seeds = [object_seed(own, seed) for own in ready.yardstick.ids]
    ious: dict[str, list[Tensor]] = {name: [] for name in (TOKENS, *(a.name for a in answers))}
    with _evaluating(tokenizer), _evaluating(car):
        for start in range(0, len(seeds), batch_size):
            rows = slice(start, start + batch_size)
            condition = picture_condition(ready.pictures_BSS4[rows], car.config)
            summed_BLC = tokenizer.decode_indices(ready.indices_BT[rows, :num_tokens])
            labels = ready.queries_Q3, ready.inside_BQ[rows]
            ious[TOKENS].append(field_iou(tokenizer, summed_BLC, num_scales, *labels))
            for answer in answers:
                found = answer_features(
                    tokenizer, car, condition, answer, seeds=seeds[rows], sampling=sampling
                )
                iou_B = field_iou(tokenizer, found.summed_BLC, found.num_scales_B, *labels)
                if any(outline is not None for outline in found.outlines):
                    _measure_outlined(iou_B, found.fields(tokenizer), *labels)
                ious[answer.name].append(iou_B)
    return {name: torch.cat(each).double().cpu().numpy() for name, each in ious.items()}


def _measure_outlined(
    iou_B: Float[Tensor, " B"],
    fields: Sequence[ShapeField | OutlinedField],
    queries_Q3: Float[Tensor, "Q 3"],
    inside_BQ: Bool[Tensor, "B Q"],
) -> None:
    """Replace the IoU of fields that are fitted to an outline, which are evaluated one by one."""
    points = queries_Q3.cpu().numpy()
    for row, shown in enumerate(fields):
        if isinstance(shown, OutlinedField):
            predicted_Q = torch.from_numpy(shown(points) > 0).to(inside_BQ.device)
            iou_B[row] = _iou(predicted_Q[None], inside_BQ[row : row + 1])[0]


def object_seed(object_id: str, seed: int = 0) -> int:
    """Seed of an object's first sample; it does not depend on the object's place in a yardstick."""
    return (text_key(f"yardstick {seed} {object_id}") & 0xFFFF_FFFF) >> 1


def picture_condition(pictures_BSS4: UInt8[Tensor, "B S S 4"], config: CarConfig) -> ConditionBatch:
    """Condition on framed pictures, shrunk by averaging to the size that the encoder reads.

    Args:
        pictures_BSS4: straight-alpha RGBA, at least as large as the encoder reads.
        config: config of the generator.

    Raises:
        ValueError: if none of them is a picture.
    """
    image = next((each for each in config.conditions if isinstance(each, PictureConfig)), None)
    if image is None:
        known = ", ".join(each.slot for each in config.conditions) or "nothing"
        raise ValueError(f"yardsticks ask with pictures; this generator is told {known}")
    small_BSS4 = shrink_pictures(pictures_BSS4, image.image_size)
    guess_BZZ4 = None
    if config.guess is not None:
        guess_BZZ4 = shrink_pictures(pictures_BSS4, config.guess.image_size)
    return ConditionBatch(
        batch_size=len(small_BSS4), pictures_BSS4=small_BSS4, guess_pictures_BZZ4=guess_BZZ4
    )


def _likelihood(
    tokenizer: DiscreteTokenizer,
    car: Car,
    indices_BT: Int[Tensor, "B T"],
    condition: ConditionBatch,
) -> tuple[Float[Tensor, "B G S"], Float[Tensor, "B S"]]:
    """Nats per token by temperature and scale, and share of correct bits by scale."""
    encoded = car.encode_condition(condition)
    teacher = teacher_inputs(
        tokenizer,
        indices_BT,
        car.config.input_kind,
        guess_BLC=car.shown_features(tokenizer, condition),
    )
    logits = car(teacher.inputs_BTC, encoded)
    targets = teacher.targets_BT.split([part.shape[1] for part in logits], dim=1)
    nats: list[Tensor] = []
    right: list[Tensor] = []
    for scale, (logits_BTV, targets_BT) in enumerate(zip(logits, targets, strict=True)):
        wide_BTV = logits_BTV.float()
        tried = [
            car.losses_of_scale(wide_BTV / temperature, targets_BT, scale).mean(dim=1)
            for temperature in TEMPERATURES
        ]
        nats.append(torch.stack(tried, dim=1))
        signs_BTK = HEADS[car.config.heads[scale]].expected_signs(wide_BTV)
        bits_BTK = unpack_bits(targets_BT, car.config.num_bits)
        right.append(((signs_BTK > 0) == bits_BTK).float().mean(dim=(1, 2)))
    return torch.stack(nats, dim=2), torch.stack(right, dim=1)


@torch.no_grad()
def field_iou(
    tokenizer: DiscreteTokenizer,
    summed_BLC: Float[Tensor, "B L C"],
    num_scales: int | Int[Tensor, " B"],
    queries_Q3: Float[Tensor, "Q 3"],
    inside_BQ: Bool[Tensor, "B Q"],
) -> Float[Tensor, " B"]:
    """Intersection over union of decoded fields and labels at the same points.

    Args:
        tokenizer: stage 1, whose decoder gives the fields.
        summed_BLC: sums of upsampled features.
        num_scales: number of scales in the sums.
        queries_Q3: points of the unit frame, the same for all shapes.
        inside_BQ: labels of the points for each shape. If a field and its labels are both empty,
            the IoU is 1.
    """
    memory = tokenizer.shape_memory(summed_BLC, num_scales)
    size = max(1, CHUNK.get(summed_BLC.device.type, 16_384) // len(summed_BLC))
    predicted = [
        tokenizer.occupancy(memory, part.expand(len(summed_BLC), -1, -1)) > 0
        for part in queries_Q3.split(size)
    ]
    return _iou(torch.cat(predicted, dim=1), inside_BQ)


def _iou(predicted_BQ: Bool[Tensor, "B Q"], inside_BQ: Bool[Tensor, "B Q"]) -> Float[Tensor, " B"]:
    union_B = (predicted_BQ | inside_BQ).sum(dim=1)
    both_B = (predicted_BQ & inside_BQ).sum(dim=1)
    return torch.where(union_B == 0, 1.0, both_B / union_B.clamp(min=1))


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Put the module in evaluation mode inside the context."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)
