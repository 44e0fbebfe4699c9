"""The regressor as a task: occupancy of query points from a picture, straight from shards.

Legend: B batch, Q query points.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily

from g3pt.models.conditioning import ConditionBatch
from g3pt.models.losses import occupancy_loss
from g3pt.models.rivals.regressor import Regressor, RegressorConfig
from g3pt.models.tokenizer import Tokenizer
from g3pt.shapes.datasets.rivals import RegressorBatch, RegressorDataConfig, RegressorDataset
from g3pt.training.conditioning import ConditionDrawer, ConditionLossConfig, only
from g3pt.training.config import TrainConfig
from g3pt.training.fitting import fit_conditions, shard_captions
from g3pt.training.ingredients import PreparedShapes, check_shapes, ensure_shapes, with_parts
from g3pt.training.input_checks import InputChecks
from g3pt.training.kinds.conditioned import ConditionedTask, HeldOut, HeldOutConfig
from g3pt.training.kinds.contract import ExportedSettings, RunKind, seeded, start_from
from g3pt.training.kinds.tokenizer import batch_scores
from g3pt.training.optim import AdamWConfig, OptimConfig
from g3pt.training.task import Part, TaskOutput, step_generator, to_device
from g3pt.training.trained import load_regressor


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressorLossConfig(ConditionLossConfig):
    """Loss of the regressor, and dropping of its conditions."""

    dropout: float = 0.0
    """Chance that a sample loses all its conditions; 0, since the regressor has no guidance."""
    near_weight: float = 1.0
    """Weight of the loss on near-surface queries, relative to that on volume queries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressorValidationConfig(HeldOutConfig):
    """Held-out shapes that are evaluated during training."""

    num_volume_queries: int = 4096
    num_near_queries: int = 1024


@dataclass(frozen=True, kw_only=True)
class RegressorStep:
    """Labelled query points and their conditions."""

    condition: ConditionBatch
    queries_BQ3: Tensor
    inside_BQ: Tensor
    near_BQ: Tensor
    ids: tuple[str, ...]

    @classmethod
    def of(cls, batch: RegressorBatch, condition: ConditionBatch) -> "RegressorStep":
        """Build a step from a batch and its conditions."""
        return cls(
            condition=condition,
            queries_BQ3=batch.queries_BQ3,
            inside_BQ=batch.inside_BQ,
            near_BQ=batch.near_BQ,
            ids=batch.ids,
        )


class RegressorTask(ConditionedTask[RegressorDataset, RegressorStep]):
    """Learn the field that a picture shows."""

    def __init__(
        self,
        regressor: Regressor,
        data: RegressorDataConfig,
        loss: RegressorLossConfig,
        validation: RegressorValidationConfig,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(data.batch_size)
        self.module = regressor
        self._data = data
        self._loss = loss
        self._seed = seed
        self._held_out = HeldOut(RegressorDataset, data, validation)
        self._conditions = ConditionDrawer(regressor.config.conditions, loss, seed=seed)

    def _draw(self, batch: RegressorBatch, step: int, part: Part) -> RegressorStep:
        size, rng = self._batch_size, step_generator(self._seed, step, "conditions")
        condition = self._conditions.draw(batch, rng, step=step, part=part, batch_size=size)
        return RegressorStep.of(batch, condition)

    def _open_dataset(self, part: Part) -> RegressorDataset:
        return RegressorDataset(self._data, rank=part.index, world_size=part.count)

    def synthetic_loss(self, batch_size: int, device: torch.device | str = "cpu") -> Tensor:
        """The loss of a placeholder batch of the right sizes: a step without data."""
        data = self._data
        num_queries = data.num_volume_queries + data.num_near_queries
        near_Q = torch.arange(num_queries, device=device) >= data.num_volume_queries
        step = RegressorStep(
            condition=self._conditions.synthetic(batch_size, device),
            queries_BQ3=torch.zeros(batch_size, num_queries, 3, device=device),
            inside_BQ=near_Q.expand(batch_size, -1),
            near_BQ=near_Q.expand(batch_size, -1),
            ids=("",) * batch_size,
        )
        return self.loss(step, step=0, progress=0.5).loss

    def loss(self, batch: RegressorStep, *, step: int, progress: float) -> TaskOutput:
        """BCE on volume and near-surface queries."""
        logits_BQ = self._logits(batch)
        loss = occupancy_loss(logits_BQ, batch.inside_BQ, batch.near_BQ, self._loss.near_weight)
        return TaskOutput(loss, batch_scores(logits_BQ, batch.inside_BQ, batch.near_BQ))

    def _logits(self, batch: RegressorStep) -> Tensor:
        return self.module(batch.condition, batch.queries_BQ3)

    @torch.no_grad()
    def evaluate(self, step: int, progress: float) -> Mapping[str, float]:
        """Held-out IoU and near-surface accuracy with all conditions, each alone, and none."""
        if not self._held_out:
            return {}
        device = next(self.module.parameters()).device
        values: dict[str, list[Tensor]] = {}
        for _, held in self._held_out.batches():
            batch = to_device(held, device)
            whole = RegressorStep.of(batch, self._conditions.give_all(batch))
            for mode in self._conditions.modes:
                told = only(whole.condition, mode)
                logits_BQ = self._logits(replace(whole, condition=told))
                scores = batch_scores(logits_BQ, batch.inside_BQ, batch.near_BQ)
                for name, value in scores.items():
                    values.setdefault(f"{name}/{mode}", []).append(value)
        gathered = {name: self._held_out.gather(each).tolist() for name, each in values.items()}
        return {name: sum(value / len(each) for value in each) for name, each in gathered.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressorRun:
    """A training of the regression rival (Table 1)."""

    kind: Literal["regressor"] = "regressor"
    name: str = "regressor"
    initial: str = ""
    """Run folder or weights folder whose weights training starts from; empty starts at random."""
    model: RegressorConfig = field(default_factory=RegressorConfig)
    """Config of the regressor. The words of a text condition are taken from the captions if it
    names none."""
    shapes: tuple[PreparedShapes, ...] = ()
    held_out: tuple[PreparedShapes, ...] = ()
    data: RegressorDataConfig = field(default_factory=RegressorDataConfig)
    validation: RegressorValidationConfig = field(default_factory=RegressorValidationConfig)
    loss: RegressorLossConfig = field(default_factory=RegressorLossConfig)
    optim: OptimConfig = field(default_factory=AdamWConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


class RegressorKind(RunKind[RegressorRun]):
    """How the regression rival is trained."""

    config = RegressorRun

    def exported_settings(self, run: RegressorRun) -> ExportedSettings:
        """What exported weights take from the config."""
        return ExportedSettings(classes=run.data.classes)

    def check_inputs(self, run: RegressorRun, checks: InputChecks) -> RegressorRun:
        """Check weights, shapes and caches."""
        checks.weights("initial", run.initial)
        return check_shapes(run, checks)

    def complete(self, run: RegressorRun, *, workers: int = 1) -> tuple[RegressorRun, None]:
        """Prepare the shapes; fill in words from their captions."""
        data, validation = with_parts(
            run,
            lambda config, shapes: replace(config, shards=ensure_shapes(shapes, workers=workers)),
        )
        conditions = fit_conditions(
            run.model.conditions,
            shard_captions(data.shards),
            points_width=run.model.decoder.dim,
        )
        model = replace(run.model, conditions=conditions)
        return replace(run, model=model, data=data, validation=validation), None

    def open(self, run: RegressorRun, tokenizer: Tokenizer | None) -> RegressorTask:
        """Build the regressor."""
        module = seeded(lambda: Regressor(run.model), run.train.seed)
        if run.initial:
            start_from(module, load_regressor(run.initial), run.initial)
        return RegressorTask(module, run.data, run.loss, run.validation, seed=run.train.seed)

    def open_without_data(self, run: RegressorRun) -> RegressorTask:
        """Build the task with real tensors: the anchors of the decoder are computed from values."""
        with unset_fake_temporarily():
            regressor = Regressor(run.model)
        return RegressorTask(regressor, run.data, run.loss, run.validation)


REGRESSOR = RegressorKind()
