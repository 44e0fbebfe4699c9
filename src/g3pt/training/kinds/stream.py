"""Stage 2 as a task whose examples are made while it runs (`stream`).

The batch of a step follows from the step's number. But an example stays in a pool for many steps,
so a resumed run first makes the contents of the pool again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, assert_never

import torch
from torch import Tensor

from g3pt.generation.answers import Answer, ConsensusAnswer, GuessAnswer, SampleAnswer
from g3pt.models.car import Car, CarConfig
from g3pt.models.conditioning.encoders import Condition
from g3pt.models.conditioning.pretrained import PretrainedImageEncoder, frozen_features
from g3pt.models.sampling import STANDARD, Sampling
from g3pt.models.tokenizer import DiscreteTokenizer, Tokenizer, require_tokens
from g3pt.shapes.batch import CarBatch
from g3pt.shapes.yardstick import Yardstick, load_yardstick
from g3pt.stream.dataset import StreamConfig, StreamDataset
from g3pt.stream.recorded import RecordedConfig, RecordedDataset
from g3pt.stream.recording import CONFIG_FILE as RECORDING_FILE
from g3pt.training.config import TrainConfig
from g3pt.training.distributed import World
from g3pt.training.fitting import fit_to_tokenizer, stream_captions
from g3pt.training.input_checks import InputChecks
from g3pt.training.kinds.conditioned import ConditionedTask
from g3pt.training.kinds.contract import ExportedSettings, RunKind, seeded, start_from
from g3pt.training.kinds.generator import cqt_alone, generator_operations
from g3pt.training.next_scale import CarLossConfig, CarStep, NextScale
from g3pt.training.optim import AdamWConfig, OptimConfig
from g3pt.training.task import Part, TaskOutput
from g3pt.training.trained import load_car, load_tokenizer
from g3pt.training.yardsticks import (
    ReadyYardstick,
    YardstickMeasure,
    measure_answers,
    measure_yardstick,
    ready_yardstick,
)

WATCHED = Sampling(guidance=1.5, temperature=0.5)
"""Sampling that generators are measured with while they train, and in the table `unseen`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchConfig:
    """Yardsticks on which a training is evaluated."""

    yardsticks: tuple[str, ...] = ()
    """Files of yardsticks (`g3pt evaluate yardsticks --make`); empty evaluates nothing."""
    optional: tuple[str, ...] = ()
    """Files of more yardsticks; those that exist are added to `yardsticks` when training begins."""
    num_objects: int = 100
    """Number of objects of each yardstick, from the first on."""
    num_queries: int = 0
    """Labelled points per object at which fields are evaluated; 0 is all."""
    consensus: int = 8
    """Samples of the consensus that is measured in addition to one sample; 1 leaves it out."""
    sampling: Sampling = WATCHED
    """Settings of every sample; those that are None are the standard ones."""


class StreamTask(ConditionedTask[StreamDataset | RecordedDataset, CarStep]):
    """Predict each scale from the condition and all coarser scales, on ever new shapes."""

    def __init__(
        self,
        car: Car,
        tokenizer: DiscreteTokenizer,
        data: StreamConfig | RecordedConfig,
        loss: CarLossConfig,
        watch: WatchConfig,
        *,
        seed: int = 0,
        only_guess: bool = False,
    ) -> None:
        if only_guess and isinstance(data, StreamConfig) and data.text_share:
            raise ValueError(
                "trained is guess, which reads pictures alone: set data.text_share to 0, got "
                f"{data.text_share}"
            )
        super().__init__(data.batch_size)
        self.module = car
        self.tokenizer = tokenizer
        self._objective = NextScale(car, tokenizer, loss, seed=seed, only_guess=only_guess)
        self._data = data
        self._with_margins = bool(loss.soft_targets)
        self._only_guess = only_guess
        self._watch = watch
        self._ready: list[tuple[Yardstick, ReadyYardstick]] | None = None

    def _draw(self, batch: CarBatch, step: int, part: Part) -> CarStep:
        return self._objective.draw(batch, step, part, self._batch_size)

    def _open_dataset(self, part: Part) -> StreamDataset | RecordedDataset:
        device = next(self.module.parameters()).device
        self.tokenizer.to(device)
        see = seeing(self.module, self._data.image_size)
        shared = {"rank": part.index, "world_size": part.count}
        if isinstance(self._data, RecordedConfig):
            return RecordedDataset(
                self._data,
                device,
                with_features=see is not None,
                with_margins=self._with_margins,
                num_tokens=self._num_tokens,
                **shared,
            )
        return StreamDataset(self._data, device, self.tokenize, see, **shared)

    @property
    def _num_tokens(self) -> int:
        """Tokens of every shape that are trained on."""
        config = self.module.config
        if self._only_guess and config.guess is not None:
            return sum(config.scale_lengths[: config.guess.num_scales])
        return config.num_tokens

    def tokenize(self, points_BN3: Tensor, normals_BN3: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Tokens (B, T) of all scales that are trained on; with soft targets their margins, too."""
        tokenizer, num_scales = self.tokenizer, self.module.config.num_scales
        tokenize = tokenizer.tokenize_with_margins if self._with_margins else tokenizer.tokenize
        return tokenize(points_BN3, normals_BN3, num_scales)

    def synthetic_loss(self, batch_size: int, device: torch.device | str = "cpu") -> Tensor:
        """The loss of a placeholder batch of the right sizes: a step without data."""
        return self._objective.synthetic_loss(batch_size, device)

    def loss(self, batch: CarStep, *, step: int, progress: float) -> TaskOutput:
        """Cross-entropy of the scales that the curriculum has reached, and of the first guess."""
        return self._objective.loss(batch, step=step, progress=progress)

    @torch.no_grad()
    def evaluate(self, step: int, progress: float) -> Mapping[str, float]:
        """Cross-entropy by scale and IoU of every answer, by yardstick.

        `iou/new` is the IoU of the best answer, mean over all yardsticks except `known`. The best
        averaged weights are chosen by it.
        """
        metrics: dict[str, float] = {}
        best: dict[str, float] = {}
        for whole, ready in self._yardsticks():
            name = whole.name
            metrics |= self._evaluate(whole, ready)
            best[name] = max(metrics[f"iou/{name}/{a.name}"] for a in self.answers)
        new = [value for name, value in best.items() if name != "known"]
        if new:
            metrics["iou/new"] = sum(new) / len(new)
        return metrics

    def _evaluate(self, whole: Yardstick, ready: ReadyYardstick) -> dict[str, float]:
        """Evaluate on one yardstick; a guess alone has no cross-entropy of tokens."""
        if not self._only_guess:
            return measured_metrics(self._measure(whole, ready))
        world, sound_B = World.current(), ~whole.flagged_B
        asked = (self.tokenizer, self.module, ready, self.answers, self._watch.sampling)
        gathered = {
            answer: world.gather_rows(torch.from_numpy(iou_B), len(whole)).numpy()
            for answer, iou_B in measure_answers(*asked).items()
        }
        return {
            f"iou/{whole.name}/{answer}": float(iou_B[sound_B].mean())
            for answer, iou_B in gathered.items()
        }

    def measure(self) -> list[YardstickMeasure]:
        """Measure the module in its current state on every yardstick."""
        return [self._measure(whole, ready) for whole, ready in self._yardsticks()]

    def _measure(self, whole: Yardstick, ready: ReadyYardstick) -> YardstickMeasure:
        measured = measure_yardstick(
            self.tokenizer, self.module, ready, self.answers, self._watch.sampling
        )
        return measured.gather(whole, World.current())

    def _yardsticks(self) -> list[tuple[Yardstick, ReadyYardstick]]:
        """Every yardstick, and the share of its objects that this process measures."""
        if self._ready is None:
            self.tokenizer.to(next(self.module.parameters()).device)
            self._ready = []
            for path in self._watch.yardsticks:
                whole = load_yardstick(path).first(self._watch.num_objects)
                ready = ready_yardstick(
                    self.tokenizer,
                    whole.take(World.current().own_rows(len(whole))),
                    num_scales=self.module.config.num_scales,
                    num_queries=self._watch.num_queries or None,
                    num_points=self._data.num_points,
                )
                self._ready.append((whole, ready))
        return self._ready

    @property
    def answers(self) -> list[Answer]:
        """Kinds of answers that are measured."""
        if self._only_guess:
            return [GuessAnswer()]
        answers: list[Answer] = [SampleAnswer()]
        if self._watch.consensus > 1:
            answers.append(ConsensusAnswer(num_samples=self._watch.consensus))
        if self.module.guess is not None:
            answers.append(GuessAnswer())
        return answers


def measured_metrics(measured: YardstickMeasure) -> dict[str, float]:
    """Means over the objects with reliable labels, named `WHAT/YARDSTICK/WHICH`."""
    sound = measured.take(~measured.flagged_B, measured.name)
    metrics = {
        f"ce/{sound.name}/{scale}": float(value)
        for scale, value in enumerate(sound.ce.mean(axis=0))
    }
    metrics |= {
        f"calibrated/{sound.name}/{scale}": float(value)
        for scale, value in enumerate(sound.calibrated.mean(axis=0))
    }
    return metrics | {f"iou/{sound.name}/{name}": float(v.mean()) for name, v in sound.iou.items()}


def seeing(car: Car, image_size: int) -> Callable[[Tensor], Tensor] | None:
    """Function from pictures of this side to the frozen features that the model reads, if any."""
    conditions: Any = car.conditioner.conditions
    condition = conditions["image"] if "image" in conditions else None
    if isinstance(condition, Condition) and isinstance(condition.encoder, PretrainedImageEncoder):
        if condition.encoder.reads_features:
            return condition.encoder.pretrained_features
    if car.guess is not None and car.guess.config.image_size == image_size:
        return partial(frozen_features, image_size=image_size, sha256=car.guess.config.sha256)
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamRun:
    """A training of stage 2 on shapes that are made while it runs."""

    kind: Literal["stream"] = "stream"
    name: str = "car-stream"
    initial: str = ""
    """Run folder, weights folder or bundled name whose weights training starts from; empty
    starts from random weights."""
    tokenizer: str = "g3pt-small"
    """Run folder of a tokenizer, weights folder, or name of bundled weights."""
    model: CarConfig = field(default_factory=CarConfig)
    """Config of the generator. Scale lengths, bits and input width are taken from the tokenizer.
    The words of a text condition are taken from families and stock if it names none."""
    trained: Literal["all", "guess"] = "all"
    """`all` of the model, or only its first `guess`: then the guess starts from random weights, and
    all others stay as in `initial`."""
    num_scales: int = 0
    """Number of scales that are trained, from the coarsest on; 0 is all."""
    data: StreamConfig | RecordedConfig = field(default_factory=lambda: StreamConfig(meshes=0))
    watch: WatchConfig = field(default_factory=WatchConfig)
    loss: CarLossConfig = field(default_factory=CarLossConfig)
    optim: OptimConfig = field(default_factory=AdamWConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


class StreamKind(RunKind[StreamRun]):
    """How stage 2 is trained on shapes that are made during training."""

    config = StreamRun

    def exported_settings(self, run: StreamRun) -> ExportedSettings:
        """What exported weights take from the config."""
        return ExportedSettings(
            num_points=run.data.num_points, sampling=run.watch.sampling.over(STANDARD)
        )

    def check_inputs(self, run: StreamRun, checks: InputChecks) -> StreamRun:
        """Check weights, stock or recordings, and yardsticks."""
        checks.weights("tokenizer", run.tokenizer)
        checks.weights("initial", run.initial)
        return _check_stream(run, checks)

    def complete(self, run: StreamRun, *, workers: int = 1) -> tuple[StreamRun, Tokenizer]:
        """Take layout from the tokenizer and words from families and stock."""
        tokenizer = require_tokens(load_tokenizer(run.tokenizer), run.tokenizer)
        captions = stream_captions(run.data)
        model = fit_to_tokenizer(run.model, tokenizer, captions, num_scales=run.num_scales or None)
        return replace(run, model=model), tokenizer

    def open(self, run: StreamRun, tokenizer: Tokenizer | None) -> StreamTask:
        """Build the generator; possibly only its first guess is trained."""
        assert isinstance(tokenizer, DiscreteTokenizer), "stage 2 needs a tokenizer"
        module, only_guess = seeded(lambda: Car(run.model), run.train.seed), run.trained == "guess"
        if run.initial:
            afresh = "guess." if only_guess else ""
            start_from(module, load_car(run.initial), run.initial, afresh=afresh)
        return StreamTask(
            module,
            tokenizer,
            run.data,
            run.loss,
            run.watch,
            seed=run.train.seed,
            only_guess=only_guess,
        )

    def open_without_data(self, run: StreamRun) -> StreamTask:
        """Build the task with an untrained tokenizer of the right layout."""
        return StreamTask(
            Car(run.model),
            cqt_alone(run.model),
            run.data,
            run.loss,
            run.watch,
            only_guess=run.trained == "guess",
        )

    def operations(self, run: StreamRun) -> float:
        """Operations of a step without flipped bits."""
        return generator_operations(run.model, run.loss)


def _check_stream(run: StreamRun, checks: InputChecks) -> StreamRun:
    data, watch = run.data, run.watch
    match data:
        case StreamConfig():
            if data.meshes + data.recombined and not Path(data.stock).is_file():
                if data.stock_is_optional and data.grammar + data.families:
                    checks.left_out.append(
                        f"{data.stock}: there is no stock of meshes; training goes without them"
                    )
                    data = replace(data, meshes=0, recombined=0, stock="")
                else:
                    checks.require(
                        "data.stock",
                        False,
                        f"there is no file {data.stock}; `g3pt prepare MESHES {data.stock} "
                        "--stock` makes it",
                    )
        case RecordedConfig():
            there = [(Path(one.folder) / RECORDING_FILE).is_file() for one in data.selections]
            for one, found in zip(data.selections, there, strict=True):
                if not found and one.optional:
                    checks.left_out.append(
                        f"{one.folder}: there is no such recording; training goes without it"
                    )
                elif not found:
                    checks.require(
                        "data.selections",
                        False,
                        f"there is no recording in {one.folder}; docs/training.md says what makes "
                        "them",
                    )
            pairs = zip(data.selections, there, strict=True)
            kept = tuple(one for one, found in pairs if found or not one.optional)
            if kept:
                data = replace(data, selections=kept)
            else:
                checks.wrong("data.selections: none of these recordings is there")
        case _:
            assert_never(data)
    for file in watch.yardsticks:
        checks.require(
            "watch.yardsticks",
            Path(file).is_file() or checks.promised(file),
            f"there is no file {file}; `g3pt evaluate yardsticks --make {Path(file).parent}` "
            "makes it",
        )
    optional = tuple(file for file in watch.optional if Path(file).is_file())
    checks.left_out += [
        f"{file}: there is no such yardstick; training is watched without it"
        for file in watch.optional
        if file not in optional
    ]
    watch = replace(watch, yardsticks=(*watch.yardsticks, *optional), optional=())
    return replace(run, data=data, watch=watch)


STREAM = StreamKind()
