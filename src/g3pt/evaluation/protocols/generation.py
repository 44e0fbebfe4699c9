"""Generation: pictures and sentences of held-out objects to meshes, with controls.

N points; unit frame.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from g3pt import procedural
from g3pt.config import to_json
from g3pt.evaluation.judging import Judge
from g3pt.evaluation.objects import (
    EvaluationSettings,
    ObjectList,
    Truth,
    data_hash,
    load_truth,
    object_rng,
)
from g3pt.evaluation.protocols.controls import (
    TrainingShapes,
    collect_training_shapes,
    condition_features,
    training_shards,
)
from g3pt.evaluation.report.generation import COMPARED, describe_generation, generation_table
from g3pt.evaluation.results import Measured, Row
from g3pt.evaluation.run import (
    Evaluation,
    Measure,
    Progress,
    measure_objects,
    num_local_workers,
)
from g3pt.evaluation.sets.distribution import pack_sketches
from g3pt.evaluation.sets.families import PER_FAMILY, FamilyReferences
from g3pt.evaluation.systems import (
    Candidate,
    Generator,
    Systems,
    SystemSettings,
    draw_candidates,
    open_systems,
)
from g3pt.generation.prompts import Prompts, read_prompts
from g3pt.generation.selection import choose_candidate
from g3pt.geometry.cameras import canonical_camera
from g3pt.geometry.metrics import Contains, occupancy_iou, winding_test
from g3pt.geometry.sampling import sample_volume
from g3pt.models.sampling import Sampling
from g3pt.preparation.sources import ProceduralRef, SourceShape
from g3pt.work.engines import Engine

Part = Literal["samples", "consensus", "retrieved", "mean_shape"]
"""What may be measured of an object: single samples and the best of them, the mean of several, the
training shape that is most alike, the best constant guess."""

PICTURE_SIZE = 256
"""Side of the pictures that are generated from; encoders read less."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationSettings:
    """What is generated, and what it is compared with."""

    conditions: tuple[str, ...] = ()
    """`image`, `text`; empty takes all that the weights know."""

    sampling: Sampling = field(default_factory=Sampling)
    """What it leaves open is as the weights say; `consensus` is a row of its own."""

    training_shards: tuple[str, ...] = ()
    """Prepared training shapes, for the retrieved and the mean shape; empty leaves those out."""

    num_training: int = 2048
    """Training shapes to look among."""

    families: bool = True
    """Classify results on procedural objects by family, whose references take half a minute."""

    unconditional: bool = True
    """Also sample from nothing, as a control."""

    num_samples: int = 1
    """Samples of each prompt, from as many seeds; the headline is their mean."""

    best_of: int = 1
    """Also take the one of so many samples that agrees best with the prompt; 1 leaves that out."""

    consensus: int = 1
    """Also mesh the mean of so many samples, in a row of its own; 1 leaves that out."""

    num_steps: int = 50
    """Steps of a flow; other systems have none."""

    align: bool = False
    """Also score every mesh after the best rotation, scale and shift, in columns `aligned_*`."""

    parts: tuple[Part, ...] = ()
    """Measure these alone of what is asked for above; empty takes all."""

    def __post_init__(self) -> None:
        for name in ("num_training", "num_samples", "best_of", "consensus", "num_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        lacking: dict[Part, str] = {}
        if self.consensus == 1:
            lacking["consensus"] = "a consensus above 1"
        if not self.training_shards:
            lacking["retrieved"] = lacking["mean_shape"] = "training_shards"
        for part in self.parts:
            if part in lacking:
                raise ValueError(f"parts: {part} needs {lacking[part]}")

    @property
    def system(self) -> SystemSettings:
        """How the generator is sampled."""
        return SystemSettings(
            sampling=self.sampling,
            consensus=self.consensus,
            num_steps=self.num_steps,
        )


def evaluate_generation(
    weights: str | Path,
    objects: ObjectList,
    settings: EvaluationSettings,
    generation: GenerationSettings | None = None,
    *,
    device: str = "cpu",
    adapter: Path | None = None,
    out: Path | None = None,
    engine: Engine | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Generate every object from its picture and its sentence, and score that with controls.

    Seeds belong to the object. The picture is the canonical view, the sentence the first caption.
    Nothing is aligned with the truth in the headline. Controls: an unconditional sample of the
    same seed; the training shape that the model's own encoder finds most similar; the best
    constant guess.

    Args:
        weights: a weights folder or a bundled name; of CAR, a flow or a regressor.
        objects: what to generate.
        settings: how finely to measure.
        generation: conditions, sampling, and training shards for the controls.
        device: where the models run.
        adapter: folder of an adapter for the weights.
        out: folder of the results; a rerun with the same arguments goes on where it stopped.
        engine: runs the work; by default this process. The numbers do not depend on it.
        on_progress: is told how many objects are done.

    Returns:
        The report, as JSON values; keys of its summary are `method/metric`.

    Raises:
        FileNotFoundError, ValueError: if weights, objects, shards or `out` cannot be used.
    """
    generation = generation or GenerationSettings()
    open_them = partial(open_systems, weights, device, generation.system, adapter=adapter)
    systems = open_them()
    conditions = known_conditions(systems.generator, generation.conditions)
    shards = [training_shards(path).fingerprint for path in generation.training_shards]

    def measure(slots: Sequence[int]) -> Iterator[Measured]:
        methods = _methods(systems, conditions, objects, generation)
        load = partial(_load, open_them, methods, settings)
        return measure_objects(objects, load, slots, engine)

    return Evaluation(
        kind="generation",
        protocol=settings.protocol,
        config={
            "kind": "generation",
            "settings": to_json(settings),
            "generation": {
                **to_json(generation),
                "conditions": conditions,
                "training_shards": shards,
            },
            "weights": systems.sha256,
            "data": data_hash(objects),
        },
        slots=objects.slots,
        measure=measure,
        describe=partial(describe_generation, settings=settings, threads=num_local_workers(engine)),
        table=partial(generation_table, f"Generation of {objects.name} by {systems.name}"),
        about={
            "data": objects.name,
            "weights": {"name": systems.name, "sha256": systems.sha256},
        },
        about_last=True,
    ).run(out, on_progress)


def _methods(
    systems: Systems, conditions: tuple[str, ...], objects: ObjectList, of: GenerationSettings
) -> "Methods":
    """What is done with every object; looks at the training shapes of the controls."""
    training = None
    if of.training_shards:
        training = collect_training_shapes(
            systems.generator, of.training_shards, conditions, of.num_training
        )
    return Methods(
        conditions=conditions,
        num_samples=of.num_samples,
        best_of=of.best_of,
        align=of.align,
        training=training,
        families=family_references(objects) if of.families else None,
        unconditional=of.unconditional,
        parts=of.parts,
    )


def _load(
    open_them: Callable[[], Systems], methods: "Methods", settings: EvaluationSettings
) -> Measure:
    return ObjectGenerator(open_them(), methods, settings).evaluate


def known_conditions(model: Generator, wanted: Sequence[str]) -> tuple[str, ...]:
    """The conditions to evaluate.

    Raises:
        ValueError: if the generator does not know one that is asked for.
    """
    known = [config.slot for config in model.config.conditions if config.slot in ("image", "text")]
    if odd := [kind for kind in wanted if kind not in known]:
        raise ValueError(f"these weights take no {odd[0]}; they know: {', '.join(known) or 'none'}")
    return tuple(dict.fromkeys(wanted or known))


def family_references(objects: ObjectList) -> FamilyReferences | None:
    """Shapes of the families that the objects may belong to; only procedural ones have any."""
    found = {ref.family for ref in objects.refs if isinstance(ref, ProceduralRef)}
    if not found:
        return None
    training = found <= set(procedural.TRAIN_FAMILIES)
    families = procedural.TRAIN_FAMILIES if training else procedural.FAMILIES
    return FamilyReferences.build(families, PER_FAMILY)


# --- one object ----------------------------------------------------------------------------------


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
    parts: tuple[Part, ...] = ()

    def have(self, part: Part) -> bool:
        """Whether a part is measured."""
        return not self.parts or part in self.parts


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
        about = self._true_likelihood(shape, prompts) if methods.have("samples") else {}
        first = int(object_rng(truth.id, self._settings, 6).integers(2**31))
        for kind, prompt in prompts.items():
            if methods.have("samples"):
                rows += self._sampled(judge, kind, prompt, first, about[kind])
            if methods.have("consensus") and kind != "unconditional":
                rows += self._consensus(judge, kind, prompt, first)
        if methods.training is not None:
            for kind, prompt in prompts.items():
                if methods.have("retrieved") and kind != "unconditional":
                    rows.append(self._retrieved(judge, methods.training, kind, prompt))
            if methods.have("mean_shape"):
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

    def _sampled(
        self, judge: Judge, kind: str, prompt: Prompts, first: int, about: Row
    ) -> list[Row]:
        """Single samples, whose seeds count from the first one, and the best of them."""
        num_samples, best_of = self._methods.num_samples, self._methods.best_of
        if kind == "unconditional":
            best_of = 1  # nothing was asked for that a sample could agree with
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
        rows: list[Row] = [
            {**row, "sample": sample, "prompt": _text(prompt), **about}
            for sample, row in enumerate(scored[:num_samples])
        ]
        if num_samples > 1:
            rows[0]["diversity"] = self._diversity(judge, candidates[:num_samples])
        if best_of > 1 and (prompt.pictures or candidates[0].nll is not None):
            best = self._best(judge, prompt, candidates[:best_of], scored[:best_of])
            rows.append({**best, "prompt": _text(prompt)})
        return rows

    def _consensus(self, judge: Judge, kind: str, prompt: Prompts, first: int) -> list[Row]:
        """The mean of several samples, from the seed of the plain sample on, if it is asked for."""
        if self._systems.consensus is None:
            return []
        (candidate,) = draw_candidates(
            self._systems.consensus,
            prompt.condition,
            [first],
            resolution=self._settings.resolution,
        )
        method = f"{kind}_consensus_of_{self._systems.num_consensus}"
        row = judge.judge(method, candidate.mesh)
        return [{**row, **_origin(candidate), "prompt": _text(prompt)}]

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
            canonical_camera(),
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
        mesh = shape.true_mesh(self._settings.truth_resolution)
        row = judge.judge(f"retrieved_by_{kind}", mesh, shape.contains)
        return {**row, "reference": shape.id}


def _text(prompt: Prompts) -> str | None:
    return prompt.texts[0] if prompt.texts else None


def _origin(candidate: Candidate) -> Row:
    return {
        "seed": candidate.seed,
        "nll": candidate.nll,
        "seconds_sample": candidate.seconds_sample,
        "seconds_extract": candidate.seconds_extract,
    }


def diversity(
    solids: Sequence[Contains | None], points_N3: Float64[np.ndarray, "N 3"]
) -> float | None:
    """Mean 1 - IoU over all pairs of samples; None for a single sample.

    Args:
        solids: inside tests of the samples; None for an empty one.
        points_N3: where they are asked; two samples without a point inside are equal.
    """
    if len(solids) < 2:
        return None
    nothing = np.zeros(len(points_N3), dtype=bool)
    inside = [nothing if contains is None else contains(points_N3) for contains in solids]
    return float(np.mean([1.0 - occupancy_iou(a, b) for a, b in combinations(inside, 2)]))
