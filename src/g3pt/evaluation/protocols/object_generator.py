"""All methods on one object: samples of the system, the best of several, and controls.

Unit frame.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from g3pt.evaluation.judging import Judge
from g3pt.evaluation.objects import Truth, load_truth, object_rng, true_mesh
from g3pt.evaluation.protocol import EvaluationSettings
from g3pt.evaluation.protocols.controls import TrainingShapes, condition_features
from g3pt.evaluation.results import Measured, Row
from g3pt.evaluation.sets.families import FamilyReferences
from g3pt.evaluation.sets.samples import diversity
from g3pt.evaluation.sets.sketches import pack_sketches
from g3pt.evaluation.systems import Candidate, Systems, draw_candidates
from g3pt.generation.prompts import Prompts, read_prompts
from g3pt.generation.selection import choose_candidate
from g3pt.geometry.cameras import canonical_camera
from g3pt.geometry.metrics import winding_test
from g3pt.geometry.sampling import sample_volume
from g3pt.preparation.sources import SourceShape

COMPARED = ("iou", "chamfer_mean", "fscore_001")
"""Metrics in which predictions are set against controls, object by object."""

PICTURE_SIZE = 256
"""Side of the pictures that are generated from; encoders read less."""


@dataclass(frozen=True, kw_only=True)
class Methods:
    """What is done with every object."""

    conditions: tuple[str, ...]
    unconditional: bool = True
    """Also sample from nothing, as a control."""
    num_samples: int = 1
    best_of: int = 1
    """Samples that the best is chosen of; 1 chooses nothing."""
    align: bool = False
    training: TrainingShapes | None = None
    families: FamilyReferences | None = None


class ObjectGenerator:
    """Generates and scores one object after the other."""

    def __init__(self, systems: Systems, methods: Methods, settings: EvaluationSettings) -> None:
        self._systems, self._methods, self._settings = systems, methods, settings

    def evaluate(self, shape: SourceShape, slot: int) -> Measured:
        """All methods on one object.

        Raises:
            ShapeError, MeshError: if its truth is of no use.
        """
        methods = self._methods
        truth = load_truth(shape, self._settings)
        judge = Judge(truth, self._settings, methods.families, aligned=methods.align)
        prompts = self._prompts(shape, truth)
        rows: list[Row] = [] if methods.families is None else [judge.judge_truth()]
        about = self._true_likelihood(shape, prompts)
        for kind, prompt in prompts.items():
            rows += self._sampled(judge, kind, prompt, about[kind])
        if methods.training is not None:
            for kind, prompt in prompts.items():
                if kind != "unconditional":
                    rows.append(self._retrieved(judge, methods.training, kind, prompt))
            rows.append(judge.judge("mean_shape", methods.training.mean_shape))
        return Measured(slot, tuple(rows), arrays=pack_sketches(judge.sketches))

    def _prompts(self, shape: SourceShape, truth: Truth) -> dict[str, Prompts]:
        """What is generated from, by method; nothing at all comes last."""
        model = self._systems.generator
        prompts: dict[str, Prompts] = {}
        if "image" in self._methods.conditions:
            picture = shape.scene().render(canonical_camera(), size=PICTURE_SIZE, supersample=1)
            prompts["image"] = read_prompts(model, image=picture)
        if "text" in self._methods.conditions and truth.caption:
            prompts["text"] = read_prompts(model, text=truth.caption)
        if self._methods.unconditional:
            prompts["unconditional"] = read_prompts(model)
        return prompts

    def _true_likelihood(
        self, shape: SourceShape, prompts: Mapping[str, Prompts]
    ) -> dict[str, Row]:
        """How likely the true shape is, given what each method is."""
        model = self._systems.likelihood
        if model is None:
            return {kind: {} for kind in prompts}
        tokens_1T = model.tokens(shape, object_rng(shape.id, self._settings, 4))
        return {kind: model.row(tokens_1T, prompt.condition) for kind, prompt in prompts.items()}

    # --- samples ---------------------------------------------------------------------------

    def _sampled(self, judge: Judge, kind: str, prompt: Prompts, about: Row) -> list[Row]:
        num_samples, best_of = self._methods.num_samples, self._methods.best_of
        if kind == "unconditional":
            best_of = 1  # nothing was asked for that a sample could agree with
        first = int(object_rng(judge.truth.id, self._settings, 6).integers(2**31))
        candidates = draw_candidates(
            self._systems.plain if kind == "unconditional" else self._systems.guided,
            prompt.condition,
            range(first, first + max(num_samples, best_of)),
            resolution=self._settings.resolution,
        )
        scored = [
            {**judge.judge(kind, candidate.mesh, shown=number < num_samples), **_origin(candidate)}
            for number, candidate in enumerate(candidates)
        ]
        text = prompt.texts[0] if prompt.texts else None
        rows: list[Row] = [
            {**row, "sample": sample, "prompt": text, **about}
            for sample, row in enumerate(scored[:num_samples])
        ]
        if num_samples > 1:
            rows[0]["diversity"] = self._diversity(judge, candidates[:num_samples])
        if best_of > 1 and (prompt.pictures or candidates[0].nll is not None):
            best = self._best(judge, prompt, candidates[:best_of], scored[:best_of])
            rows.append({**best, "prompt": text})
        if self._systems.consensus is not None and kind != "unconditional":
            rows.append({**self._consensus(judge, kind, prompt, first), "prompt": text})
        return rows

    def _consensus(self, judge: Judge, kind: str, prompt: Prompts, first: int) -> Row:
        """The mean of several samples, from the seed of the plain sample on."""
        assert self._systems.consensus is not None
        (candidate,) = draw_candidates(
            self._systems.consensus,
            prompt.condition,
            [first],
            resolution=self._settings.resolution,
        )
        method = f"{kind}_consensus_of_{self._systems.num_consensus}"
        return {**judge.judge(method, candidate.mesh), **_origin(candidate)}

    def _diversity(self, judge: Judge, candidates: Sequence[Candidate]) -> float | None:
        points = sample_volume(
            self._settings.num_prefix, object_rng(judge.truth.id, self._settings, 8)
        )
        solids = [None if c.mesh.is_empty else winding_test(c.mesh) for c in candidates]
        return diversity(solids, points)

    def _best(
        self, judge: Judge, prompt: Prompts, candidates: Sequence[Candidate], scored: Sequence[Row]
    ) -> Row:
        """The candidate that agrees best with the prompt; the truth is in columns of its own.

        Columns `mean_*` are those of a candidate taken at random, `oracle_*` of the one with the
        highest IoU with the truth: what a perfect choice would reach.
        """
        picture = prompt.pictures[0] if prompt.pictures else None
        choice = choose_candidate(
            [candidate.mesh for candidate in candidates],
            [0.0 if candidate.nll is None else candidate.nll for candidate in candidates],
            picture,
            [canonical_camera()],
        )
        method = f"{scored[0]['method']}_best_of_{len(candidates)}"
        row = {
            **scored[choice.index],
            **judge.judge(method, candidates[choice.index].mesh),
            "candidate": choice.index,
            "selected_by": choice.criterion,
            "agreement": choice.scores[choice.index] if picture is not None else None,
        }
        oracle = max(scored, key=lambda each: each["iou"])
        for name in ("seconds_sample", "seconds_extract"):
            row[name] = sum(each[name] for each in scored)
        for name in COMPARED:
            row[f"mean_{name}"] = float(np.mean([each[name] for each in scored]))
            row[f"oracle_{name}"] = oracle[name]
        return row

    # --- controls --------------------------------------------------------------------------

    def _retrieved(self, judge: Judge, training: TrainingShapes, kind: str, prompt: Prompts) -> Row:
        feature = condition_features(self._systems.generator, prompt.condition, kind)[0]
        shape = training.load(training.nearest(kind, feature))
        mesh = true_mesh(shape, self._settings.truth_resolution)
        row = judge.judge(f"retrieved_by_{kind}", mesh, shape.contains)
        return {**row, "reference": shape.id}


def _origin(candidate: Candidate) -> Row:
    return {
        "seed": candidate.seed,
        "nll": candidate.nll,
        "seconds_sample": candidate.seconds_sample,
        "seconds_extract": candidate.seconds_extract,
    }
