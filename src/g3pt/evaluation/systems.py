"""What is evaluated: whatever turns a condition and seeds into fields of shapes.

B batch.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from g3pt.generation.field import ShapeField
from g3pt.generation.sampler import generate_tokens
from g3pt.geometry.isosurface import extract_surface
from g3pt.geometry.mesh import TriangleMesh
from g3pt.models.car import Car
from g3pt.models.conditioning import ConditionBatch
from g3pt.models.contract import DiscreteTokenizer
from g3pt.models.weights import SamplingDefaults


@dataclass(frozen=True, eq=False)
class Drawn:
    """Samples that were drawn together."""

    fields: tuple[ShapeField, ...]
    nlls: tuple[float, ...] | None
    """Of each, given its condition, in nats; None for systems that know no likelihood."""
    seconds: float
    """For all of them together, from the condition to the fields."""


class System(ABC):
    """A generator as the evaluation sees it."""

    @abstractmethod
    def draw(self, condition: ConditionBatch, seeds: Sequence[int], *, guided: bool) -> Drawn:
        """Draw one sample per row of the condition and seed.

        `guided` lets the condition count for more than by itself, where the system can do that.
        """


class CarSystem(System):
    """Cross-scale autoregressive generation."""

    def __init__(self, tokenizer: DiscreteTokenizer, car: Car, sampling: SamplingDefaults) -> None:
        self._tokenizer, self._car, self._sampling = tokenizer, car, sampling

    def draw(self, condition: ConditionBatch, seeds: Sequence[int], *, guided: bool) -> Drawn:
        """Sample tokens scale by scale and prepare their fields."""
        started = time.perf_counter()
        sampled = generate_tokens(
            self._tokenizer,
            self._car,
            condition,
            seeds=seeds,
            guidance=self._sampling.guidance if guided else 1.0,
            temperature=self._sampling.temperature,
            top_k=self._sampling.top_k,
            top_p=self._sampling.top_p,
        )
        nlls = tuple(sampled.nll_B.tolist())
        fields = tuple(
            ShapeField.from_tokens(self._tokenizer, indices_T) for indices_T in sampled.indices_BT
        )
        return Drawn(fields, nlls, time.perf_counter() - started)


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
    system: System,
    condition: ConditionBatch,
    seeds: Sequence[int],
    *,
    resolution: int,
    guided: bool = True,
) -> list[Candidate]:
    """Draw samples for one prompt, all in one batch, and mesh them.

    Args:
        system: the generator.
        condition: a single row.
        seeds: one per sample; a sample does not depend on how many others there are.
        resolution: grid cells per axis.
        guided: False for samples that are to stand for the model's own distribution.
    """
    drawn = system.draw(condition.repeat(len(seeds)), seeds, guided=guided)
    nlls = drawn.nlls or (None,) * len(seeds)
    candidates: list[Candidate] = []
    for seed, field, nll in zip(seeds, drawn.fields, nlls, strict=True):
        started = time.perf_counter()
        mesh = extract_surface(field, resolution=resolution).mesh
        taken = time.perf_counter() - started
        candidates.append(Candidate(seed, mesh, nll, drawn.seconds / len(seeds), taken))
    return candidates
