"""CAR and its rivals of Table 1 behind one interface: from a condition to occupancy fields.

A field becomes a mesh by `geometry.isosurface.extract_surface`, for all systems alike.

Legend: B batch, T tokens, L latents.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from g3pt.generation.answers import Answer, SampleAnswer, answer_features
from g3pt.generation.field import ShapeField
from g3pt.generation.flow_sampler import Method, generate_latents
from g3pt.generation.sampler import generate_tokens
from g3pt.geometry.outline import OutlinedField
from g3pt.models.alternatives.kl import require_gaussian
from g3pt.models.car import Car
from g3pt.models.conditioning.contract import ConditionBatch
from g3pt.models.rivals.flow import Flow
from g3pt.models.rivals.regressor import Regressor
from g3pt.models.sampling import STANDARD, Sampling
from g3pt.models.tokenizer import require_tokens
from g3pt.models.weights.load import (
    LoadedRegressor,
    LoadedWeights,
    holds_regressor,
    load_regressor_weights,
    load_weights,
)


@dataclass(frozen=True, eq=False)
class GeneratedFields:
    """The shapes of a batch."""

    fields: Sequence[ShapeField | OutlinedField]
    seconds: float
    """Time from the condition to fields that can be queried, for the whole batch, without meshing.
    """
    nll: tuple[float, ...] | None = None
    """Negative log-likelihood of each shape in nats; None if the system does not know it."""


@runtime_checkable
class ShapeGenerator(Protocol):
    """A system that generates shapes from conditions."""

    @property
    def name(self) -> str:
        """Name of the weights, with the sampling settings."""
        ...

    @property
    def model(self) -> Car | Flow | Regressor:
        """The generator; `read_prompts` prepares pictures and sentences for it."""
        ...

    @property
    def conditions(self) -> tuple[str, ...]:
        """Conditions that it takes: some of image, text, points and class."""
        ...

    def generate(self, condition: ConditionBatch, seeds: Sequence[int]) -> GeneratedFields:
        """Make one shape per row of the condition, each with its seed.

        Raises:
            ValueError: if the numbers of seeds and rows differ.
        """
        ...


class CarSystem:
    """Next-scale prediction: the system of the paper."""

    def __init__(
        self,
        weights: LoadedWeights,
        *,
        sampling: Sampling | None = None,
        answer: Answer | None = None,
    ) -> None:
        """Take weights that hold a CAR.

        Args:
            weights: tokenizer and generator.
            sampling: settings of the sampler; those that are None are taken from the weights.
            answer: kind of answer to each condition; None takes one sample.

        Raises:
            ValueError: if the weights hold no CAR.
        """
        if weights.car is None:
            raise ValueError(f"weights {weights.name} hold no CAR; they cannot generate")
        self.model: Car = weights.car
        self.name = weights.name
        self._tokenizer = require_tokens(weights.tokenizer, weights.name)
        self._sampling = (sampling or Sampling()).over(weights.config.sampling)
        self._answer = answer or SampleAnswer()

    @property
    def conditions(self) -> tuple[str, ...]:
        """Conditions that it takes."""
        return tuple(condition.slot for condition in self.model.config.conditions)

    def generate(self, condition: ConditionBatch, seeds: Sequence[int]) -> GeneratedFields:
        """Sample tokens scale by scale and decode them, or decode another kind of answer.

        Only a single sample has a likelihood; other answers are features without tokens.
        """
        clock = _Clock(self.model.positions.device)
        models = (self._tokenizer, self.model)
        if not isinstance(self._answer, SampleAnswer):
            answered = answer_features(
                *models, condition, self._answer, seeds=seeds, sampling=self._sampling
            )
            return GeneratedFields(answered.fields(self._tokenizer), clock.seconds())
        sampled = generate_tokens(*models, condition, seeds=seeds, sampling=self._sampling)
        fields = [ShapeField.from_tokens(self._tokenizer, row_T) for row_T in sampled.indices_BT]
        return GeneratedFields(fields, clock.seconds(), tuple(sampled.nll_B.tolist()))


class FlowSystem:
    """Diffusion: rectified flow over the latents of the KL-VAE."""

    def __init__(
        self,
        weights: LoadedWeights,
        *,
        num_steps: int = 50,
        sampling: Sampling | None = None,
        method: Method = "euler",
        num_samples: int = 1,
    ) -> None:
        """Take weights that hold a flow.

        Args:
            weights: KL-VAE and flow.
            num_steps: steps from noise to a shape.
            sampling: of the settings it has only `guidance`.
            method: how it integrates.
            num_samples: each answer is the mean of so many samples: their latents are averaged,
                and decoded once, as a consensus of CAR is.

        Raises:
            ValueError: if the weights hold no flow.
        """
        if weights.flow is None:
            raise ValueError(f"weights {weights.name} hold no flow; they cannot generate")
        self.model: Flow = weights.flow
        self.name = f"{weights.name}, {num_steps} steps"
        self._tokenizer = require_gaussian(weights.tokenizer, weights.name)
        self._num_steps = num_steps
        said = (sampling or Sampling()).over(weights.config.sampling).over(STANDARD).guidance
        assert said is not None
        self._guidance = said
        self._method: Method = method
        self._num_samples = num_samples

    @property
    def conditions(self) -> tuple[str, ...]:
        """Conditions that it takes."""
        return tuple(condition.slot for condition in self.model.config.conditions)

    @torch.inference_mode()
    def generate(self, condition: ConditionBatch, seeds: Sequence[int]) -> GeneratedFields:
        """Integrate the flow from noise and decode the latents at its end.

        A mean also takes the seeds that follow.
        """
        clock, tokenizer = _Clock(self.model.positions.device), self._tokenizer
        samples = [
            generate_latents(
                self.model,
                condition,
                seeds=[seed + number for seed in seeds],
                num_steps=self._num_steps,
                guidance=self._guidance,
                method=self._method,
            )
            for number in range(self._num_samples)
        ]
        latents_BLE = torch.stack(samples).mean(dim=0)
        memory_BLC = tokenizer.shape_memory(tokenizer.expand(latents_BLE))
        fields = [ShapeField(tokenizer, row_1LC) for row_1LC in memory_BLC.split(1)]
        return GeneratedFields(fields, clock.seconds())


class RegressorSystem:
    """Regression: one forward pass gives the one answer; seeds have no effect."""

    def __init__(self, weights: LoadedRegressor) -> None:
        self.model: Regressor = weights.regressor
        self.name = weights.config.name

    @property
    def conditions(self) -> tuple[str, ...]:
        """Conditions that it takes."""
        return tuple(condition.slot for condition in self.model.config.conditions)

    @torch.inference_mode()
    def generate(self, condition: ConditionBatch, seeds: Sequence[int]) -> GeneratedFields:
        """Predict the fields from the condition."""
        if len(seeds) != condition.batch_size:
            raise ValueError(f"{len(seeds)} seeds for {condition.batch_size} conditions")
        clock = _Clock(self.model.queries_LD.device)
        memory_BLC = self.model.shape_memory(condition)
        fields = [ShapeField(self.model, row_1LC) for row_1LC in memory_BLC.split(1)]
        return GeneratedFields(fields, clock.seconds())


def load_system(
    weights: str | Path,
    device: str | torch.device = "auto",
    *,
    num_steps: int = 50,
    sampling: Sampling | None = None,
) -> ShapeGenerator:
    """Load the system of a weights folder: a CAR, a flow or a regressor.

    Args:
        weights: a weights folder or the name of bundled weights.
        device: device on which it runs.
        num_steps: steps of a flow; other systems ignore it.
        sampling: settings of the sampler; those that are None are taken from the weights. A flow
            has only `guidance`, a regressor has none.

    Raises:
        FileNotFoundError: if there are no such weights.
        ValueError: if the weights hold no generator, or are damaged.
    """
    if holds_regressor(weights):
        return RegressorSystem(load_regressor_weights(weights, device))
    return system_of(load_weights(weights, device), num_steps=num_steps, sampling=sampling)


def system_of(
    loaded: LoadedWeights | LoadedRegressor,
    *,
    num_steps: int = 50,
    sampling: Sampling | None = None,
) -> ShapeGenerator:
    """The system of weights that are loaded; see `load_system`.

    Raises:
        ValueError: if they hold no generator.
    """
    if isinstance(loaded, LoadedRegressor):
        return RegressorSystem(loaded)
    if loaded.flow is not None:
        return FlowSystem(loaded, num_steps=num_steps, sampling=sampling)
    return CarSystem(loaded, sampling=sampling)


class _Clock:
    """Measures seconds of finished work on a device, which runs asynchronously."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._wait()
        self._started = time.perf_counter()

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def seconds(self) -> float:
        self._wait()
        return time.perf_counter() - self._started
