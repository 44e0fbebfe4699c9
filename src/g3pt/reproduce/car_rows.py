"""Rows whose run is a CAR: tokens are foreseen, pictures become meshes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never, final

from g3pt.evaluation.protocols.generation import GenerationSettings, evaluate_generation
from g3pt.evaluation.protocols.likelihood import TokenizedShapes, evaluate_likelihood
from g3pt.evaluation.results import Row
from g3pt.models.tokenizer import require_tokens
from g3pt.models.weights.config import WeightsConfig
from g3pt.models.weights.load import save_weights
from g3pt.reproduce.experiments import EvaluationSet, LikelihoodSet, MeasuredSet, Variant
from g3pt.reproduce.row_kind import Facts, Report, RowKind
from g3pt.shapes.cache.tokens import TokenCache
from g3pt.shapes.shards import ShardSet
from g3pt.training.checkpoint import fingerprint
from g3pt.training.ingredients import ensure_shapes, ensure_tokens
from g3pt.training.kinds.car import CarRun
from g3pt.training.start import complete
from g3pt.training.trained import load_car, load_tokenizer

GENERATED = ("iou", "chamfer_mean", "fscore_001")
"""Of the mesh that is made from the canonical picture."""


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
        (tokens,) = ensure_tokens([shards], tokenizer, fingerprint(tokenizer), self.run.tokens)
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
        """Generate the objects from their pictures, or measure how well tokens are foreseen."""
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
        retrieved = variant.method.startswith("retrieved")
        return GenerationSettings(
            conditions=("image",),
            sampling=variant.sampling,
            training_shards=tuple(s.path for s in self.run.shapes) if retrieved else (),
            families=False,
            unconditional=False,
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
