"""The rows of tables, by kind of run: how they are prepared, kept, measured and described.

`RowKind` is the contract that series and tables ask; `kind_of` finds the kind of a run.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never, final

import numpy as np

from g3pt.evaluation.protocols.generation import GenerationSettings, evaluate_generation
from g3pt.evaluation.protocols.likelihood import TokenizedShapes, evaluate_likelihood
from g3pt.evaluation.protocols.reconstruction import evaluate_reconstruction
from g3pt.evaluation.results import Row
from g3pt.hashes import tensors_sha256
from g3pt.models.alternatives.kl import require_gaussian
from g3pt.models.tokenizer import require_tokens
from g3pt.models.tokenizers import build_tokenizer
from g3pt.models.weights.config import RegressorWeightsConfig, WeightsConfig
from g3pt.models.weights.load import save_regressor_weights, save_weights
from g3pt.reproduce.experiments import EvaluationSet, LikelihoodSet, MeasuredSet, Variant
from g3pt.shapes.cache.tokens import TokenCache
from g3pt.shapes.shards import ShardSet
from g3pt.training.ingredients import ensure_shapes, ensure_tokens
from g3pt.training.kinds.car import CarRun
from g3pt.training.kinds.flow import FlowRun
from g3pt.training.kinds.regressor import RegressorRun
from g3pt.training.kinds.stream import StreamRun
from g3pt.training.kinds.tokenizer import TokenizerRun
from g3pt.training.runs import Run
from g3pt.training.start import complete
from g3pt.training.trained import load_car, load_flow, load_regressor, load_tokenizer

Report = dict[str, Any]
"""JSON values that an evaluation returns."""

RECONSTRUCTED = ("iou", "chamfer_mean", "fscore_001", "near_accuracy")
"""Measured on every object; the paper's IoU, Cham., F-score and Acc."""

GENERATED = ("iou", "chamfer_mean", "fscore_001", "normal_consistency", "components")
"""Of the mesh that is made from the canonical picture. Of a single sample, sharp features and sound
parts say more than IoU, for which a blurred mean is the best answer to what a picture leaves open.
"""


@dataclass(frozen=True, kw_only=True)
class Facts(ABC):
    """What a row says of its model and its training, in addition to scores."""

    tokens: int
    """Tokens or latents of a shape, those of all scales."""

    @abstractmethod
    def cells(self) -> dict[str, str]:
        """Header to text, for the table of facts."""

    @abstractmethod
    def columns(self) -> Row:
        """Columns of the CSV."""


class RowKind(ABC):
    """How the rows of one kind of run are prepared, kept, measured and described."""

    @abstractmethod
    def prepare(self, sets: Sequence[MeasuredSet], workers: int) -> None:
        """Make the data that runs and measurements share, before several start at once."""

    @abstractmethod
    def keep(self, variant: Variant, seed: int, run_folder: Path, weights: Path) -> None:
        """Write the weights of a finished training."""

    @abstractmethod
    def measure(
        self, variant: Variant, weights: Path, one: MeasuredSet, out: Path, device: str
    ) -> Report:
        """Measure trained weights on a set; rows of objects go to `out`."""

    @abstractmethod
    def metrics(self, one: MeasuredSet) -> tuple[str, ...]:
        """Columns of the objects' rows that a table shows, the first of them in its plot."""

    @abstractmethod
    def facts(self, summaries: Sequence[dict[str, Any]]) -> Facts:
        """Describe a row from the `row.json` of its seeds."""


# --- tokenizers --------------------------------------------------------------------------------


@final
@dataclass(frozen=True, kw_only=True)
class TokenizerFacts(Facts):
    """A tokenizer and what its runs found on their own validation shapes."""

    codebook: int
    """Entries; 0 where the bottleneck is continuous."""
    bits: int
    """Of a whole shape; a continuous latent is counted as 16-bit numbers."""
    validation_iou: tuple[float, ...]
    """Of the field, seed by seed."""
    usage: float | None
    """Share of the codebook that occurs, mean over seeds."""
    usage_by_scale: tuple[float, ...]
    bit_entropy_by_scale: tuple[float, ...]

    def cells(self) -> dict[str, str]:
        """As text."""
        return {
            "bits a shape": str(self.bits),
            "validation IoU": ", ".join(f"{value:.3f}" for value in self.validation_iou),
            "usage %": "" if self.usage is None else f"{100 * self.usage:.1f}",
            "usage % by scale": " ".join(f"{100 * value:.1f}" for value in self.usage_by_scale),
            "bit entropy by scale": " ".join(f"{value:.2f}" for value in self.bit_entropy_by_scale),
        }

    def columns(self) -> Row:
        """As numbers."""
        return {
            "tokens": self.tokens,
            "codebook": self.codebook,
            "bits": self.bits,
            "usage": self.usage,
        }


@final
@dataclass(frozen=True)
class TokenizerRows(RowKind):
    """Tokenizers."""

    run: TokenizerRun

    def prepare(self, sets: Sequence[MeasuredSet], workers: int) -> None:
        """Prepare the shapes."""
        ensure_shapes((*self.run.shapes, *self.run.held_out), workers=workers)

    def keep(self, variant: Variant, seed: int, run_folder: Path, weights: Path) -> None:
        """Write the tokenizer alone."""
        run = self.run
        save_weights(
            weights,
            load_tokenizer(run_folder),
            config=WeightsConfig(
                name=variant.seeded(seed).name,
                storage="float32",
                tokenizer=run.model,
                num_points=run.data.num_points,
            ),
        )

    def measure(
        self, variant: Variant, weights: Path, one: MeasuredSet, out: Path, device: str
    ) -> Report:
        """Reconstruct the objects.

        Raises:
            ValueError: if the set asks for likelihoods, which a tokenizer does not have.
        """
        if not isinstance(one, EvaluationSet):
            raise ValueError(f"{variant.name}: a tokenizer has no likelihood ({one.name})")
        return evaluate_reconstruction(
            weights,
            one.objects(),
            one.settings,
            device=device,
            out=out,
        )

    def metrics(self, one: MeasuredSet) -> tuple[str, ...]:
        """Those of a reconstruction."""
        return RECONSTRUCTED

    def facts(self, summaries: Sequence[dict[str, Any]]) -> TokenizerFacts:
        """Use of the codebook and validation, over the seeds."""
        tokenizer = build_tokenizer(self.run.model)
        tokens = sum(tokenizer.scale_lengths)
        numbers = int(np.prod(tokenizer.noise_shape)) if tokenizer.noise_shape else 0
        health = [summary["validation"] for summary in summaries]
        scales = range(tokenizer.num_scales if tokenizer.num_bits else 0)
        return TokenizerFacts(
            tokens=tokens,
            codebook=2**tokenizer.num_bits if tokenizer.num_bits else 0,
            bits=tokens * tokenizer.num_bits or 16 * numbers,
            validation_iou=tuple(one["iou"] for one in health),
            usage=_mean([one["usage"] for one in health]) if tokenizer.num_bits else None,
            usage_by_scale=tuple(_mean([one[f"usage/{k}"] for one in health]) for k in scales),
            bit_entropy_by_scale=tuple(
                _mean([one[f"bit_entropy/{k}"] for one in health]) for k in scales
            ),
        )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


# --- CAR ---------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, kw_only=True)
class CarFacts(Facts):
    """A generator and what its runs found on their own validation shapes."""

    bits: int
    """Of a whole shape."""
    validation_ce: tuple[float, ...]
    """Cross-entropy in nats a token with all conditions, seed by seed."""

    def cells(self) -> dict[str, str]:
        """As text."""
        return {
            "bits a shape": str(self.bits),
            "validation cross-entropy": ", ".join(f"{value:.4f}" for value in self.validation_ce),
        }

    def columns(self) -> Row:
        """As numbers."""
        return {"tokens": self.tokens, "bits": self.bits}


@final
@dataclass(frozen=True)
class CarRows(RowKind):
    """Cross-scale autoregressive generators."""

    run: CarRun

    def prepare(self, sets: Sequence[MeasuredSet], workers: int) -> None:
        """Prepare and tokenize the shapes of the run and of the sets."""
        complete(self.run, workers=workers)
        for one in sets:
            if isinstance(one, LikelihoodSet):
                self._tokenized(one, workers)

    def _tokenized(self, one: LikelihoodSet, workers: int = 1) -> TokenizedShapes:
        (path,) = ensure_shapes((one.shapes,), workers=workers)
        shards = ShardSet(path)
        tokenizer = require_tokens(load_tokenizer(self.run.tokenizer), self.run.tokenizer)
        (tokens,) = ensure_tokens(
            [shards], tokenizer, tensors_sha256(tokenizer.state_dict()), self.run.tokens
        )
        return TokenizedShapes(one.name, shards, TokenCache(tokens), one.num)

    def keep(self, variant: Variant, seed: int, run_folder: Path, weights: Path) -> None:
        """Write the frozen tokenizer and the generator."""
        tokenizer = load_tokenizer(self.run.tokenizer)
        save_weights(
            weights,
            tokenizer,
            load_car(run_folder),
            config=WeightsConfig(
                name=variant.seeded(seed).name,
                storage="float32",
                tokenizer=tokenizer.config,
                num_points=self.run.tokens.num_points,
                classes=self.run.data.classes,
                sampling=variant.sampling,
            ),
        )

    def measure(
        self, variant: Variant, weights: Path, one: MeasuredSet, out: Path, device: str
    ) -> Report:
        """Generate the objects from their pictures, or measure how well tokens are predicted."""
        match one:
            case EvaluationSet():
                return evaluate_generation(
                    weights,
                    one.objects(),
                    one.settings,
                    self._generation(variant),
                    device=device,
                    out=out,
                )
            case LikelihoodSet():
                return evaluate_likelihood(
                    weights,
                    self._tokenized(one),
                    device=device,
                    out=out,
                )
            case _:
                assert_never(one)

    def _generation(self, variant: Variant) -> GenerationSettings:
        """From pictures alone, without controls unless the row is one of them."""
        retrieved = variant.is_retrieval
        return GenerationSettings(
            conditions=("image",),
            sampling=variant.sampling,
            consensus=variant.consensus,
            training_shards=tuple(s.path for s in self.run.shapes) if retrieved else (),
            families=False,
            unconditional=False,
            parts=(variant.part,),
        )

    def metrics(self, one: MeasuredSet) -> tuple[str, ...]:
        """Scores of meshes, or cross-entropies."""
        match one:
            case EvaluationSet():
                return GENERATED
            case LikelihoodSet():
                scales = range(1, self.run.model.num_scales + 1)
                return ("ce", "bits_per_shape", *(f"ce_{scale}" for scale in scales))
            case _:
                assert_never(one)

    def facts(self, summaries: Sequence[dict[str, Any]]) -> CarFacts:
        """Size of a shape and validation, over the seeds."""
        model = self.run.model
        return CarFacts(
            tokens=model.num_tokens,
            bits=model.num_tokens * model.num_bits,
            validation_ce=tuple(summary["validation"]["ce/all"] for summary in summaries),
        )


# --- rivals of CAR -----------------------------------------------------------------------------


@final
@dataclass(frozen=True, kw_only=True)
class RivalFacts(Facts):
    """A rival and the loss that its runs ended with."""

    loss: tuple[float, ...]
    """Of training, seed by seed; of another kind for each rival."""

    def cells(self) -> dict[str, str]:
        """As text."""
        return {"last training loss": ", ".join(f"{value:.4f}" for value in self.loss)}

    def columns(self) -> Row:
        """As numbers."""
        return {"tokens": self.tokens}


@final
@dataclass(frozen=True)
class RivalRows(RowKind):
    """Diffusion over latents, and regression."""

    run: FlowRun | RegressorRun

    def prepare(self, sets: Sequence[MeasuredSet], workers: int) -> None:
        """Prepare the shapes and, for a flow, their latents."""
        complete(self.run, workers=workers)

    def keep(self, variant: Variant, seed: int, run_folder: Path, weights: Path) -> None:
        """Write the rival, a flow with the tokenizer that it runs over."""
        name = variant.seeded(seed).name
        match self.run:
            case FlowRun():
                tokenizer = require_gaussian(load_tokenizer(self.run.tokenizer), name)
                save_weights(
                    weights,
                    tokenizer,
                    flow=load_flow(run_folder),
                    config=WeightsConfig(
                        name=name,
                        storage="float32",
                        tokenizer=tokenizer.config,
                        num_points=self.run.latents.num_points,
                        sampling=variant.sampling,
                    ),
                )
            case RegressorRun():
                save_regressor_weights(
                    weights,
                    load_regressor(run_folder),
                    config=RegressorWeightsConfig(
                        name=name, storage="float32", regressor=self.run.model
                    ),
                )
            case _:
                assert_never(self.run)

    def measure(
        self, variant: Variant, weights: Path, one: MeasuredSet, out: Path, device: str
    ) -> Report:
        """Generate the objects from their pictures.

        Raises:
            ValueError: for a set that is about tokens.
        """
        match one:
            case EvaluationSet():
                generation = GenerationSettings(
                    conditions=("image",),
                    sampling=variant.sampling,
                    consensus=variant.consensus,
                    num_steps=variant.num_steps,
                    families=False,
                    unconditional=False,
                    parts=(variant.part,),
                )
                return evaluate_generation(
                    weights, one.objects(), one.settings, generation, device=device, out=out
                )
            case LikelihoodSet():
                raise ValueError(f"{variant.name}: a {self.run.kind} knows no likelihood of tokens")
            case _:
                assert_never(one)

    def metrics(self, one: MeasuredSet) -> tuple[str, ...]:
        """Scores of meshes."""
        return GENERATED if isinstance(one, EvaluationSet) else ()

    def facts(self, summaries: Sequence[dict[str, Any]]) -> RivalFacts:
        """Latents, and the losses at the end."""
        match self.run:
            case FlowRun():
                num_latents = self.run.model.num_latents
            case RegressorRun():
                num_latents = self.run.model.decoder.num_latents
            case _:
                assert_never(self.run)
        return RivalFacts(tokens=num_latents, loss=tuple(summary["loss"] for summary in summaries))


# --- from a run to its kind --------------------------------------------------------------------


def kind_of(run: Run) -> RowKind:
    """The kind of a run; another kind of run is one more case here.

    Raises:
        ValueError: if rows are not made of such runs.
    """
    match run:
        case TokenizerRun():
            return TokenizerRows(run)
        case CarRun():
            return CarRows(run)
        case FlowRun() | RegressorRun():
            return RivalRows(run)
        case StreamRun():
            raise ValueError(f"{run.name}: a training on a stream is no row of a table")
        case _:
            assert_never(run)
