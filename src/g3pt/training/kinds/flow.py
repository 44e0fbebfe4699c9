"""The flow as a task: velocities of straight paths from noise to cached latents.

Legend: B batch, L latents, E channels of the narrow latent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from g3pt.hashes import tensors_sha256
from g3pt.models.alternatives.kl import KlTokenizer, require_gaussian
from g3pt.models.conditioning import ConditionBatch
from g3pt.models.devices import resolve_device
from g3pt.models.rivals.flow import (
    Flow,
    FlowConfig,
    gaussian_sample,
    logit_normal,
    straight_path,
    velocity_errors,
)
from g3pt.models.tokenizer import Tokenizer
from g3pt.shapes.cache.arrays import DrawsConfig
from g3pt.shapes.datasets.rivals import FlowBatch, FlowDataConfig, FlowDataset
from g3pt.shapes.shards import ShardSet
from g3pt.training.conditioning import ConditionDrawer, ConditionLossConfig, only
from g3pt.training.config import TrainConfig
from g3pt.training.fitting import fit_conditions, shard_captions
from g3pt.training.ingredients import (
    PreparedShapes,
    check_shapes,
    ensure_latents,
    ensure_shapes,
    with_parts,
)
from g3pt.training.input_checks import InputChecks
from g3pt.training.kinds.conditioned import ConditionedTask, HeldOut, HeldOutConfig
from g3pt.training.kinds.contract import ExportedSettings, RunKind, seeded, start_from
from g3pt.training.optim import AdamWConfig, OptimConfig
from g3pt.training.task import WHOLE, Part, TaskOutput, step_generator, to_device
from g3pt.training.trained import load_flow, load_tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowLossConfig(ConditionLossConfig):
    """Sampling of times on the path, and dropping of conditions."""

    time: Literal["logit_normal", "uniform"] = "logit_normal"
    """Distribution of times: most in the middle of the path (Esser et al. 2024), or uniform."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowValidationConfig(HeldOutConfig):
    """Held-out shapes on which the velocity error is measured."""

    latents: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FlowStep:
    """Posteriors of a batch, their conditions and their random numbers."""

    condition: ConditionBatch
    mean_BLE: Tensor
    log_variance_BLE: Tensor
    ids: tuple[str, ...]
    noise_BLE: Tensor
    """Standard normal noise at which the paths begin."""
    posterior_BLE: Tensor
    """Standard normal numbers that draw the latents at the end of the paths from the posteriors."""
    time_B: Tensor


class FlowTask(ConditionedTask[FlowDataset, FlowStep]):
    """Learn the velocity that leads from noise to a shape."""

    def __init__(
        self,
        flow: Flow,
        data: FlowDataConfig,
        loss: FlowLossConfig,
        validation: FlowValidationConfig,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(data.batch_size)
        self.module = flow
        self._data = data
        self._loss = loss
        self._seed = seed
        self._held_out = HeldOut(self._open, data, validation)
        self._conditions = ConditionDrawer(flow.config.conditions, loss, seed=seed)

    # -- batches ------------------------------------------------------------------------------

    def _draw(self, batch: FlowBatch, step: int, part: Part) -> FlowStep:
        size, rng = self._batch_size, step_generator(self._seed, step, "conditions")
        condition = self._conditions.draw(batch, rng, step=step, part=part, batch_size=size)
        paths = step_generator(self._seed, step, "paths")
        return self._on_paths(batch, condition, paths, part.slice(size))

    def _open_dataset(self, part: Part) -> FlowDataset:
        return self._open(self._data, part)

    def _open(self, config: FlowDataConfig, part: Part = WHOLE) -> FlowDataset:
        dataset = FlowDataset(config, rank=part.index, world_size=part.count)
        _check_fit(dataset, self.module)
        return dataset

    def _on_paths(
        self, batch: FlowBatch, condition: ConditionBatch, rng: np.random.Generator, span: slice
    ) -> FlowStep:
        """Draw random numbers for the whole global batch and take the slice of this part."""
        size = self._batch_size
        shape = (size, *batch.mean_BLE.shape[1:])
        noise_BLE = rng.standard_normal(shape, np.float32)[span]
        posterior_BLE = rng.standard_normal(shape, np.float32)[span]
        return FlowStep(
            condition=condition,
            mean_BLE=batch.mean_BLE,
            log_variance_BLE=batch.log_variance_BLE,
            ids=batch.ids,
            noise_BLE=torch.from_numpy(noise_BLE),
            posterior_BLE=torch.from_numpy(posterior_BLE),
            time_B=self._draw_times(rng, size)[span],
        )

    def _draw_times(self, rng: np.random.Generator, size: int) -> Tensor:
        config = self._loss
        if config.time == "uniform":
            return torch.from_numpy(rng.random(size, np.float32))
        standard_B = torch.from_numpy(rng.standard_normal(size, np.float32))
        return logit_normal(standard_B)

    def synthetic_loss(self, batch_size: int, device: torch.device | str = "cpu") -> Tensor:
        """The loss of a placeholder batch of the right sizes: a step without data."""
        config = self.module.config
        latents = torch.zeros(batch_size, config.num_latents, config.latent_dim, device=device)
        step = FlowStep(
            condition=self._conditions.synthetic(batch_size, device),
            mean_BLE=latents,
            log_variance_BLE=latents,
            ids=("",) * batch_size,
            noise_BLE=latents,
            posterior_BLE=latents,
            time_B=latents[:, 0, 0],
        )
        return self.loss(step, step=0, progress=0.5).loss

    # -- loss ---------------------------------------------------------------------------------

    def loss(self, batch: FlowStep, *, step: int, progress: float) -> TaskOutput:
        """Squared error of the velocity, mean over shapes, latents and channels."""
        return TaskOutput(self._errors(batch).mean())

    def _errors(self, batch: FlowStep) -> Tensor:
        flow = self.module
        latents_BLE = flow.normalize(
            gaussian_sample(batch.mean_BLE, batch.log_variance_BLE, batch.posterior_BLE)
        )
        noisy_BLE = straight_path(batch.noise_BLE, latents_BLE, batch.time_B)
        velocity_BLE = flow(noisy_BLE, batch.time_B, batch.condition)
        return velocity_errors(velocity_BLE, batch.noise_BLE, latents_BLE)

    # -- validation ---------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(self, step: int, progress: float) -> Mapping[str, float]:
        """Held-out velocity error with all conditions, each alone, and none."""
        if not self._held_out:
            return {}
        batches = [self._held_out_step(batch, number) for number, batch in self._held_out.batches()]
        metrics: dict[str, float] = {}
        for mode in self._conditions.modes:
            errors = [
                self._errors(replace(batch, condition=only(batch.condition, mode)))
                for batch in batches
            ]
            metrics[f"velocity/{mode}"] = float(self._held_out.gather(errors).mean())
        return metrics

    def _held_out_step(self, batch: FlowBatch, number: int) -> FlowStep:
        """A step with fixed paths, independent of the run's seed, and evenly spread times."""
        size = len(batch.ids)
        rng = step_generator(0, number, "held out")
        shape = (size, *batch.mean_BLE.shape[1:])
        step = FlowStep(
            condition=self._conditions.give_all(batch),
            mean_BLE=batch.mean_BLE,
            log_variance_BLE=batch.log_variance_BLE,
            ids=batch.ids,
            noise_BLE=torch.from_numpy(rng.standard_normal(shape, np.float32)),
            posterior_BLE=torch.zeros(shape),
            time_B=(torch.arange(size) + 0.5) / size,
        )
        return to_device(step, next(self.module.parameters()).device)


def _check_fit(dataset: FlowDataset, flow: Flow) -> None:
    """Check that cached latents and model agree on their layout."""
    cached = (dataset.identity.num_latents, dataset.identity.latent_dim)
    model = (flow.config.num_latents, flow.config.latent_dim)
    if cached != model:
        raise ValueError(
            f"latents and their channels differ: latent cache {cached}, model {model}; let the "
            "run take them from its tokenizer"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowRun:
    """A training of the diffusion rival (Table 1)."""

    kind: Literal["flow"] = "flow"
    name: str = "flow"
    initial: str = ""
    """Run folder or weights folder whose weights training starts from; empty starts at random."""
    tokenizer: str = "runs/tokenizer-kl-tiny"
    """Run folder or weights folder of a KL tokenizer."""
    model: FlowConfig = field(default_factory=FlowConfig)
    """Config of the flow. The sizes of latents are taken from the tokenizer. The words of a text
    condition are taken from the captions if it names none."""
    shapes: tuple[PreparedShapes, ...] = ()
    held_out: tuple[PreparedShapes, ...] = ()
    latents: DrawsConfig = field(default_factory=DrawsConfig)
    """How the shapes are encoded when `data.latents` names none."""
    data: FlowDataConfig = field(default_factory=FlowDataConfig)
    validation: FlowValidationConfig = field(default_factory=FlowValidationConfig)
    loss: FlowLossConfig = field(default_factory=FlowLossConfig)
    optim: OptimConfig = field(default_factory=AdamWConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


LatentsUserT = TypeVar("LatentsUserT", FlowDataConfig, FlowValidationConfig)


class FlowKind(RunKind[FlowRun]):
    """How the diffusion rival is trained."""

    config = FlowRun

    def exported_settings(self, run: FlowRun) -> ExportedSettings:
        """What exported weights take from the config."""
        return ExportedSettings(num_points=run.latents.num_points, classes=run.data.classes)

    def check_inputs(self, run: FlowRun, checks: InputChecks) -> FlowRun:
        """Check weights, shapes and caches."""
        checks.weights("tokenizer", run.tokenizer)
        checks.weights("initial", run.initial)
        return check_shapes(run, checks)

    def complete(self, run: FlowRun, *, workers: int = 1) -> tuple[FlowRun, Tokenizer]:
        """Prepare shapes and latents; fill in the sizes and words of the model."""
        tokenizer = require_gaussian(load_tokenizer(run.tokenizer), run.tokenizer)
        data, validation = with_parts(
            run, lambda config, shapes: _with_latents(run, config, shapes, tokenizer, workers)
        )
        model = replace(
            run.model,
            num_latents=tokenizer.config.num_latents,
            latent_dim=tokenizer.config.latent_dim,
            conditions=fit_conditions(
                run.model.conditions, shard_captions(data.shards), points_width=tokenizer.dim
            ),
        )
        return replace(run, model=model, data=data, validation=validation), tokenizer

    def open(self, run: FlowRun, tokenizer: Tokenizer | None) -> FlowTask:
        """Build the flow and set the statistics that normalise its latents."""
        module = seeded(lambda: Flow(run.model), run.train.seed)
        statistics = FlowDataset(run.data).statistics()
        module.set_statistics(
            torch.from_numpy(statistics.mean_E).float(),
            torch.from_numpy(statistics.deviation_E).float(),
        )
        if run.initial:
            start_from(module, load_flow(run.initial), run.initial)
        return FlowTask(module, run.data, run.loss, run.validation, seed=run.train.seed)

    def open_without_data(self, run: FlowRun) -> FlowTask:
        """Build the task with an untrained flow."""
        return FlowTask(Flow(run.model), run.data, run.loss, run.validation)


def _with_latents(
    run: FlowRun,
    config: LatentsUserT,
    shapes: tuple[PreparedShapes, ...],
    tokenizer: KlTokenizer,
    workers: int,
) -> LatentsUserT:
    shards = ensure_shapes(shapes, workers=workers)
    opened = [ShardSet(path, config.selection) for path in shards]
    device = resolve_device(run.train.device)
    latents = ensure_latents(
        opened, tokenizer, tensors_sha256(tokenizer.state_dict()), run.latents, device=device
    )
    return replace(config, shards=shards, latents=latents)


FLOW = FlowKind()
