"""Rows whose run is a rival of CAR: pictures become meshes, and no tokens are foreseen."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never, final

from g3pt.evaluation.protocols.generation import GenerationSettings, evaluate_generation
from g3pt.evaluation.results import Row
from g3pt.models.alternatives.kl import require_gaussian
from g3pt.models.weights.config import RegressorWeightsConfig, WeightsConfig
from g3pt.models.weights.load import save_regressor_weights, save_weights
from g3pt.reproduce.car_rows import GENERATED
from g3pt.reproduce.experiments import EvaluationSet, LikelihoodSet, MeasuredSet, Variant
from g3pt.reproduce.row_kind import Facts, Report, RowKind
from g3pt.training.kinds.flow import FlowRun
from g3pt.training.kinds.regressor import RegressorRun
from g3pt.training.start import complete
from g3pt.training.trained import load_flow, load_regressor, load_tokenizer


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
                    num_steps=variant.num_steps,
                    families=False,
                    unconditional=False,
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
