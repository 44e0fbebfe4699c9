"""CAR and its rivals behind one contract, as Table 1 asks them: a condition to fields.

A field becomes a mesh as everywhere, with `geometry.isosurface.extract_surface`.

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

    fields: list[ShapeField]
    seconds: float
    """From the condition to fields that can be asked, for the whole batch, meshes not included."""
    nll: tuple[float, ...] | None = None
    """Negative log-likelihood in nats, of systems that know it."""


@runtime_checkable
class ShapeGenerator(Protocol):
    """What makes shapes of conditions."""

    @property
    def name(self) -> str:
        """Of the weights, and how they are sampled."""
        ...

    @property
    def model(self) -> Car | Flow | Regressor:
        """The generator; `read_prompts` prepares pictures and sentences for it."""
        ...

    @property
    def conditions(self) -> tuple[str, ...]:
        """What it can be told: some of image, text, points and class."""
        ...

    def generate(self, condition: ConditionBatch, seeds: Sequence[int]) -> GeneratedFields:
        """Make one shape per row of the condition and seed.

        Raises:
            ValueError: if there are not as many seeds as rows.
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
            sampling: how tokens are sampled; what it leaves open is as the weights say.
            answer: what is made of each condition; None takes one sample.

        Raises:
            ValueError: if they hold no CAR.
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
        """What it can be told."""
        return tuple(condition.slot for condition in self.model.config.conditions)

    def generate(self, condition: ConditionBatch, seeds: Sequence[int]) -> GeneratedFields:
        """Sample tokens scale by scale and decode them, or what several samples agree on.

        Only a single sample has a likelihood: other answers are features without tokens.
        """
        clock = _Clock(self.model.positions.device)
        models = (self._tokenizer, self.model)
        if not isinstance(self._answer, SampleAnswer):
            answered = answer_features(
                *models, condition, self._answer, seeds=seeds, sampling=self._sampling
            )
            memory = self._tokenizer.shape_memory(answered.summed_BLC, answered.num_scales_B)
            fields = [ShapeField(self._tokenizer, row) for row in memory.split(1)]
            return GeneratedFields(fields, clock.seconds())
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
        guidance: float | None = None,
        method: Method = "euler",
    ) -> None:
        """Take weights that hold a flow; `guidance` None takes what they say.

        Raises:
            ValueError: if they do not hold one.
        """
        if weights.flow is None:
            raise ValueError(f"weights {weights.name} hold no flow; they cannot generate")
        self.model: Flow = weights.flow
        self.name = f"{weights.name}, {num_steps} steps"
        self._tokenizer = require_gaussian(weights.tokenizer, weights.name)
        self._num_steps = num_steps
        said = Sampling(guidance=guidance).over(weights.config.sampling).over(STANDARD).guidance
        assert said is not None
        self._guidance = said
        self._method: Method = method

    @property
    def conditions(self) -> tuple[str, ...]:
        """What it can be told."""
        return tuple(condition.slot for condition in self.model.config.conditions)

    @torch.inference_mode()
    def generate(self, condition: ConditionBatch, seeds: Sequence[int]) -> GeneratedFields:
        """Follow the flow from noise and decode where it ends."""
        clock, tokenizer = _Clock(self.model.positions.device), self._tokenizer
        latents_BLE = generate_latents(
            self.model,
            condition,
            seeds=seeds,
            num_steps=self._num_steps,
            guidance=self._guidance,
            method=self._method,
        )
        memory_BLC = tokenizer.shape_memory(tokenizer.expand(latents_BLE))
        fields = [ShapeField(tokenizer, row_1LC) for row_1LC in memory_BLC.split(1)]
        return GeneratedFields(fields, clock.seconds())


class RegressorSystem:
    """Regression: one pass, one answer; seeds change nothing."""

    def __init__(self, weights: LoadedRegressor) -> None:
        self.model: Regressor = weights.regressor
        self.name = weights.config.name

    @property
    def conditions(self) -> tuple[str, ...]:
        """What it can be told."""
        return tuple(condition.slot for condition in self.model.config.conditions)

    @torch.inference_mode()
    def generate(self, condition: ConditionBatch, seeds: Sequence[int]) -> GeneratedFields:
        """Read the condition."""
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
    guidance: float | None = None,
) -> ShapeGenerator:
    """The system that a weights folder holds, whichever it is.

    Args:
        weights: a weights folder or a bundled name.
        device: where it runs.
        num_steps: of a flow; others have none.
        guidance: of CAR and flow; None takes what the weights say.

    Raises:
        FileNotFoundError: if there are no such weights.
        ValueError: if they hold no generator, or are not sound.
    """
    if holds_regressor(weights):
        return RegressorSystem(load_regressor_weights(weights, device))
    loaded = load_weights(weights, device)
    if loaded.flow is not None:
        return FlowSystem(loaded, num_steps=num_steps, guidance=guidance)
    return CarSystem(loaded, sampling=Sampling(guidance=guidance))


class _Clock:
    """Seconds of work on a device, not of its being ordered."""

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
