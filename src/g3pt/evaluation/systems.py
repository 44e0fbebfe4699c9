"""Generators of shapes, CAR and its rivals, with one interface for the evaluation."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int
from torch import Tensor

from g3pt.evaluation.results import Row
from g3pt.generation.answers import answer_of
from g3pt.generation.likelihood import token_likelihood
from g3pt.generation.surface import encode_surface
from g3pt.generation.systems import CarSystem, FlowSystem, RegressorSystem, ShapeGenerator
from g3pt.geometry.isosurface import extract_surface
from g3pt.geometry.mesh import TriangleMesh
from g3pt.models.car import Car
from g3pt.models.conditioning import ConditionBatch
from g3pt.models.conditioning.encoders import Conditioner
from g3pt.models.rivals.flow import Flow
from g3pt.models.rivals.regressor import Regressor
from g3pt.models.sampling import Sampling
from g3pt.models.tokenizer import DiscreteTokenizer, require_tokens
from g3pt.models.weights.load import (
    LoadedRegressor,
    LoadedWeights,
    holds_regressor,
    load_regressor_weights,
)
from g3pt.models.weights.places import located
from g3pt.preparation.sources import SourceShape
from g3pt.training.usable import load_models

Generator = Car | Flow | Regressor
"""A model that makes shapes of prompts. Its condition encoders also serve the controls."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemSettings:
    """How a system is sampled; what `sampling` leaves open is as the weights say."""

    sampling: Sampling = field(default_factory=Sampling)
    consensus: int = 1
    """Samples of the answer that is the mean of several; 1 makes none. A regressor has none."""
    num_steps: int = 50
    """Integration steps of a flow, which of `sampling` uses the guidance alone."""


class TrueLikelihood:
    """Scores true shapes under one tokenizer and generator."""

    def __init__(self, tokenizer: DiscreteTokenizer, car: Car, num_points: int) -> None:
        """Take the models; `num_points` surface points of a shape are read by the tokenizer."""
        self._tokenizer, self._car, self._num_points = tokenizer, car, num_points

    def tokens(self, shape: SourceShape, rng: np.random.Generator) -> Int[Tensor, "1 T"]:
        """Tokenize a shape from points of its surface."""
        return encode_surface(self._tokenizer, shape, self._num_points, rng).indices_T[None]

    def row(self, tokens_1T: Int[Tensor, "1 T"], condition: ConditionBatch) -> Row:
        """Columns `true_*`: in nats, nats per token (of all and of each scale), and bits."""
        found = token_likelihood(self._tokenizer, self._car, tokens_1T, condition)
        row: Row = {
            "true_nll": float(found.nats[0]),
            "true_nats_per_token": float(found.nats_per_token[0]),
            "true_bits_per_shape": float(found.bits_per_shape[0]),
        }
        by_scale = found.scale_nats_per_token[0].tolist()
        return row | {f"true_nats_per_token_{s}": nats for s, nats in enumerate(by_scale, start=1)}


@dataclass(frozen=True, eq=False)
class Systems:
    """One generator, sampled with guidance and without."""

    name: str
    sha256: str
    guided: ShapeGenerator
    plain: ShapeGenerator
    """Without guidance, for samples of nothing."""
    likelihood: TrueLikelihood | None
    """None where the system knows none."""
    consensus: ShapeGenerator | None = None
    """Like `guided`, but of several samples each; None where that is not asked for."""
    num_consensus: int = 1
    """How many."""

    @property
    def generator(self) -> Generator:
        """The model itself."""
        return self.guided.model


def open_systems(
    weights: str | Path,
    device: str = "auto",
    settings: SystemSettings | None = None,
    *,
    adapter: str | Path | None = None,
) -> Systems:
    """Load the generator of some weights, whichever it is.

    Args:
        weights: as for `load_generator`.
        device: where it runs.
        settings: how it is sampled.
        adapter: folder of an adapter for a CAR.

    Raises:
        FileNotFoundError, ValueError: if the weights cannot be used or hold no generator.
    """
    settings = settings or SystemSettings()
    loaded = load_generator(weights, device, adapter=adapter)
    if isinstance(loaded, LoadedRegressor):
        systems = _regressor(loaded)
    else:
        systems = _car(loaded, settings) if loaded.flow is None else _flow(loaded, settings)
    if settings.consensus > 1 and systems.consensus is None:
        raise ValueError(f"a consensus is made of several samples; {systems.name} samples none")
    return systems


def load_generator(
    weights: str | Path, device: str = "auto", *, adapter: str | Path | None = None
) -> LoadedWeights | LoadedRegressor:
    """Load the models of some weights, of whichever kind they are.

    Args:
        weights: as for `load_models`, or a weights folder of a regressor.
        device: where they run.
        adapter: folder of an adapter for these weights, which must hold a CAR.

    Raises:
        FileNotFoundError, ValueError: if the weights or the adapter cannot be used.
    """
    weights = located(weights)
    if not holds_regressor(weights):
        return load_models(weights, device, adapter=adapter)
    if adapter is not None:
        raise ValueError(f"{adapter}: adapts a CAR, and {weights} hold a regressor")
    return load_regressor_weights(weights, device)


def _car(weights: LoadedWeights, settings: SystemSettings) -> Systems:
    car, sampling = generator_of(weights), settings.sampling
    tokenizer = require_tokens(weights.tokenizer, weights.name)
    return Systems(
        name=weights.name,
        sha256=weights.sha256,
        guided=CarSystem(weights, sampling=sampling),
        plain=CarSystem(weights, sampling=Sampling(guidance=1.0).over(sampling)),
        likelihood=TrueLikelihood(tokenizer, car, weights.config.num_points),
        consensus=None
        if settings.consensus == 1
        else CarSystem(weights, sampling=sampling, answer=answer_of(settings.consensus)),
        num_consensus=settings.consensus,
    )


def _flow(weights: LoadedWeights, settings: SystemSettings) -> Systems:
    steps = settings.num_steps
    guided = FlowSystem(weights, num_steps=steps, sampling=settings.sampling)
    return Systems(
        name=guided.name,
        sha256=weights.sha256,
        guided=guided,
        plain=FlowSystem(weights, num_steps=steps, sampling=Sampling(guidance=1.0)),
        likelihood=None,
        consensus=None
        if settings.consensus == 1
        else FlowSystem(
            weights,
            num_steps=steps,
            sampling=settings.sampling,
            num_samples=settings.consensus,
        ),
        num_consensus=settings.consensus,
    )


def _regressor(weights: LoadedRegressor) -> Systems:
    system = RegressorSystem(weights)
    return Systems(
        name=system.name,
        sha256=weights.config.sha256,
        guided=system,
        plain=system,
        likelihood=None,
    )


def generator_of(weights: LoadedWeights) -> Car:
    """The generator of some weights.

    Raises:
        ValueError: if they have none.
    """
    if weights.car is None:
        raise ValueError(f"weights {weights.name} hold a tokenizer alone; they cannot generate")
    return weights.car


def conditioner_of(model: Generator) -> Conditioner:
    """The condition encoders of a generator."""
    return model.conditioner if isinstance(model, Car) else model.trunk.conditioner


@dataclass(frozen=True, eq=False)
class Candidate:
    """One sample as a mesh."""

    seed: int
    mesh: TriangleMesh
    nll: float | None
    seconds_sample: float
    """Its share of drawing the batch: tokens, or the steps of an ODE."""
    seconds_extract: float
    """From the field to the mesh."""


def draw_candidates(
    system: ShapeGenerator, condition: ConditionBatch, seeds: Sequence[int], *, resolution: int
) -> list[Candidate]:
    """Draw samples for one prompt, all in one batch, and mesh them.

    Args:
        system: the generator.
        condition: a single row.
        seeds: one per sample; a sample does not depend on how many others there are.
        resolution: grid cells per axis.
    """
    drawn = system.generate(condition.repeat(len(seeds)), seeds)
    nlls = drawn.nll or (None,) * len(seeds)
    candidates: list[Candidate] = []
    for seed, occupancy, nll in zip(seeds, drawn.fields, nlls, strict=True):
        started = time.perf_counter()
        mesh = extract_surface(occupancy, resolution=resolution).mesh
        taken = time.perf_counter() - started
        candidates.append(Candidate(seed, mesh, nll, drawn.seconds / len(seeds), taken))
    return candidates
