"""Rows whose run is a tokenizer: shapes are sent through it and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from g3pt.evaluation.protocols.reconstruction import evaluate_reconstruction
from g3pt.evaluation.results import Row
from g3pt.models.tokenizers import build_tokenizer
from g3pt.models.weights.config import WeightsConfig
from g3pt.models.weights.load import save_weights
from g3pt.reproduce.experiments import EvaluationSet, MeasuredSet, Variant
from g3pt.reproduce.row_kind import Facts, Report, RowKind
from g3pt.training.ingredients import ensure_shapes
from g3pt.training.kinds.tokenizer import TokenizerRun
from g3pt.training.trained import load_tokenizer

METRICS = ("iou", "chamfer_mean", "fscore_001", "near_accuracy")
"""Measured on every object; the paper's IoU, Cham., F-score and Acc."""


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
        return METRICS

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
