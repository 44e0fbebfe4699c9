"""Generation: pictures and sentences of held-out objects to meshes, beside controls.

T tokens; unit frame.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from g3pt.config import to_json
from g3pt.data import procedural
from g3pt.data.sources import ProceduralRef, ShapeError, SourceShape
from g3pt.evaluation.controls import (
    TrainingShapes,
    collect_training_shapes,
    condition_features,
    training_shards,
)
from g3pt.evaluation.decoding import decode_mesh
from g3pt.evaluation.families import PER_FAMILY, FamilyReferences
from g3pt.evaluation.objects import ObjectList, Truth, data_hash, load_truth, object_rng, true_mesh
from g3pt.evaluation.protocol import EvaluationSettings
from g3pt.evaluation.reconstruction import refused, score
from g3pt.evaluation.report import (
    base_report,
    code_version,
    difference_table,
    markdown,
    paired_differences,
    summarise,
)
from g3pt.evaluation.results import Measured, Results, Row
from g3pt.evaluation.runner import Evaluator, Job, Progress, run
from g3pt.generation.prompts import Prompts, read_prompts
from g3pt.generation.sampler import generate_tokens
from g3pt.geometry.cameras import canonical_camera
from g3pt.geometry.mesh import MeshError, TriangleMesh
from g3pt.geometry.metrics import Contains, winding_test
from g3pt.models.car import Car
from g3pt.models.contract import require_tokens
from g3pt.models.weights import LoadedWeights, SamplingDefaults, load_weights

COMPARED = ("iou", "chamfer_mean", "fscore_001")
"""Metrics in which predictions are set against controls, object by object."""

PICTURE_SIZE = 256
"""Side of the pictures that are generated from; encoders read less."""

METHODS = (
    "image",
    "text",
    "unconditional",
    "retrieved_by_image",
    "retrieved_by_text",
    "mean_shape",
    "true_shape",
)
"""Rows of an object; the last only says how well its family can be told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationSettings:
    """What is generated, and what it is compared with."""

    conditions: tuple[str, ...] = ()
    """`image`, `text`; empty takes all that the weights know."""

    guidance: float | None = None
    """None takes what the weights say, as in the next three."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None

    training_shards: tuple[str, ...] = ()
    """Prepared training shapes, for the retrieved and the mean shape; empty leaves those out."""

    num_training: int = 2048
    """Training shapes to look among."""

    families: bool = True
    """Tell the family of every procedural result; its references take half a minute to make."""

    unconditional: bool = True
    """Also sample from nothing, as a control."""


@dataclass(frozen=True, kw_only=True)
class GenerationJob(Job):
    """Everything that a worker process needs."""

    weights: str | Path
    device: str
    objects: ObjectList
    settings: EvaluationSettings
    generation: GenerationSettings
    conditions: tuple[str, ...]
    training: TrainingShapes | None
    families: FamilyReferences | None

    def open(self) -> Evaluator:
        """Load the weights."""
        generator = ObjectGenerator(self, load_weights(self.weights, self.device))

        def evaluate(slot: int) -> Measured:
            try:
                return Measured(slot, tuple(generator.rows(self.objects.load(slot))))
            except (ShapeError, MeshError) as error:
                return refused(self.objects.refs[slot].id, slot, error)

        return evaluate


def evaluate_generation(
    weights: str | Path,
    objects: ObjectList,
    settings: EvaluationSettings,
    generation: GenerationSettings | None = None,
    *,
    device: str = "cpu",
    out: Path | None = None,
    workers: int = 1,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Generate every object from its picture and its sentence, and score that beside controls.

    One sample each, whose seed belongs to the object. The picture is the canonical view, the
    sentence the first caption. Controls: an unconditional sample of the same seed; the training
    shape that the model's own encoder finds most similar; the best constant guess.

    Args:
        weights: a weights folder or a bundled name.
        objects: what to generate.
        settings: how finely to measure.
        generation: conditions, sampling, and training shards for the controls.
        device: where the models run.
        out: folder of the results; a rerun with the same arguments goes on where it stopped.
        workers: processes.
        on_progress: hears how many objects are done.

    Returns:
        The report, as JSON values; keys of its summary are `method/metric`.

    Raises:
        FileNotFoundError, ValueError: if weights, objects, shards or `out` cannot be used.
    """
    generation = generation or GenerationSettings()
    loaded = load_weights(weights, device)
    car = generator_of(loaded)
    conditions = known_conditions(car, generation.conditions)
    shards = [training_shards(path).fingerprint for path in generation.training_shards]
    config = {
        "kind": "generation",
        "settings": to_json(settings),
        "generation": {**to_json(generation), "conditions": conditions, "training_shards": shards},
        "weights": loaded.sha256,
        "data": data_hash(objects),
    }
    results = Results.open(out, config, code_version())
    if not set(objects.slots) <= results.finished:
        paths, num = generation.training_shards, generation.num_training
        job = GenerationJob(
            weights=weights,
            device=device,
            objects=objects,
            settings=settings,
            generation=generation,
            conditions=conditions,
            training=collect_training_shapes(car, paths, conditions, num) if paths else None,
            families=_family_references(objects) if generation.families else None,
        )
        run(job, objects.slots, results, workers=workers, on_progress=on_progress)
    report = _report(results, config, settings)
    report["data"] = objects.name
    report["weights"] = {"name": loaded.name, "sha256": loaded.sha256}
    title = f"Generation of {objects.name} by {loaded.name}"
    methods = {name.split("/")[0] for name in report["summary"]}
    table = markdown(title, report, [f"{name}/" for name in METHODS if name in methods])
    results.finish(report, f"{table}\n{difference_table(report['differences'])}")
    return report


def generator_of(weights: LoadedWeights) -> Car:
    """The generator of some weights.

    Raises:
        ValueError: if they have none.
    """
    if weights.car is None:
        raise ValueError(f"weights {weights.name} hold a tokenizer alone; they cannot generate")
    return weights.car


def chosen_sampling(weights: LoadedWeights, generation: GenerationSettings) -> SamplingDefaults:
    """How tokens are sampled: as the weights say, but for what was asked."""
    asked = {
        "guidance": generation.guidance,
        "temperature": generation.temperature,
        "top_k": generation.top_k,
        "top_p": generation.top_p,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    return replace(weights.config.sampling, **given)


def known_conditions(car: Car, wanted: Sequence[str]) -> tuple[str, ...]:
    """The conditions to evaluate.

    Raises:
        ValueError: if the generator does not know one that is asked for.
    """
    known = [config.kind for config in car.config.conditions if config.kind in ("image", "text")]
    if odd := [kind for kind in wanted if kind not in known]:
        raise ValueError(f"these weights take no {odd[0]}; they know: {', '.join(known) or 'none'}")
    return tuple(dict.fromkeys(wanted or known))


def _family_references(objects: ObjectList) -> FamilyReferences | None:
    """Shapes of the families that the objects may belong to; only procedural ones have any."""
    found = {ref.family for ref in objects.refs if isinstance(ref, ProceduralRef)}
    if not found:
        return None
    training = found <= set(procedural.TRAIN_FAMILIES)
    families = procedural.TRAIN_FAMILIES if training else procedural.FAMILIES
    return FamilyReferences.build(families, PER_FAMILY)


class ObjectGenerator:
    """Generates and scores one object after the other."""

    def __init__(self, job: GenerationJob, weights: LoadedWeights) -> None:
        self._job, self._weights = job, weights
        self._tokenizer = require_tokens(weights.tokenizer, weights.name)
        self._car = generator_of(weights)
        self._sampling = chosen_sampling(weights, job.generation)

    def rows(self, shape: SourceShape) -> list[Row]:
        """All methods on one object.

        Raises:
            ShapeError, MeshError: if its truth is of no use.
        """
        truth = load_truth(shape, self._job.settings)
        prompts = self._prompts(shape, truth)
        rows: list[Row] = []
        if self._job.families is not None:
            rows.append(self._named(truth, "true_shape", truth.contains))
        for kind, prompt in prompts.items():
            rows.append(self._generated(truth, kind, prompt))
        if self._job.generation.unconditional:
            rows.append(self._generated(truth, "unconditional", read_prompts(self._car)))
        if self._job.training is not None:
            for kind, prompt in prompts.items():
                rows.append(self._retrieved(truth, self._job.training, kind, prompt))
            mean = self._job.training.mean_shape
            rows.append(self._scored(truth, "mean_shape", mean))
        return rows

    def _prompts(self, shape: SourceShape, truth: Truth) -> dict[str, Prompts]:
        prompts: dict[str, Prompts] = {}
        if "image" in self._job.conditions:
            picture = shape.scene().render(canonical_camera(), size=PICTURE_SIZE, supersample=1)
            prompts["image"] = read_prompts(self._car, image=picture)
        if "text" in self._job.conditions and truth.caption:
            prompts["text"] = read_prompts(self._car, text=truth.caption)
        return prompts

    def _generated(self, truth: Truth, method: str, prompt: Prompts) -> Row:
        job = self._job
        seed = int(object_rng(truth.id, job.settings, 6).integers(2**31))
        sampling = self._sampling
        if method == "unconditional":
            sampling = replace(sampling, guidance=1.0)
        sampled = generate_tokens(
            self._tokenizer,
            self._car,
            prompt.condition,
            seeds=[seed],
            guidance=sampling.guidance,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
        )
        mesh = decode_mesh(
            self._tokenizer,
            sampled.indices_BT[0],
            resolution=job.settings.resolution,
        ).mesh
        row = self._scored(truth, method, mesh)
        text = prompt.texts[0] if prompt.texts else None
        return {**row, "prompt": text, "seed": seed, "nll": float(sampled.nll_B[0])}

    def _retrieved(self, truth: Truth, training: TrainingShapes, kind: str, prompt: Prompts) -> Row:
        feature = condition_features(self._car, prompt.condition, kind)[0]
        shape = training.load(training.nearest(kind, feature))
        mesh = true_mesh(shape, self._job.settings.truth_resolution)
        row = self._scored(truth, f"retrieved_by_{kind}", mesh, shape.contains)
        return {**row, "reference": shape.id}

    def _scored(
        self, truth: Truth, method: str, mesh: TriangleMesh, contains: Contains | None = None
    ) -> Row:
        if contains is None and not mesh.is_empty:
            contains = winding_test(mesh)
        row = self._named(truth, method, contains)
        scores = score(mesh, truth, self._job.settings, contains).to_row()
        return {**row, **scores, "empty": mesh.is_empty}

    def _named(self, truth: Truth, method: str, contains: Contains | None) -> Row:
        row: Row = {"id": truth.id, "family": truth.family, "method": method}
        if self._job.families is None:
            return row
        found = None if contains is None else self._job.families.classify(contains)
        return {**row, "predicted_family": found, "family_accuracy": found == truth.family}


def _report(
    results: Results, config: Mapping[str, Any], settings: EvaluationSettings
) -> dict[str, Any]:
    rows = results.rows
    by_method: dict[str, list[Row]] = {}
    for row in rows:
        if row.get("method"):
            by_method.setdefault(row["method"], []).append(row)
    report = base_report("generation", settings.protocol, rows, config=config, code=results.code)
    report["summary"] = {}
    for method, own in by_method.items():
        report["summary"] |= summarise(own, prefix=f"{method}/")
    report["differences"] = {
        f"{ours}-{control}/{metric}": interval.to_json()
        for ours in ("image", "text")
        for control in ("unconditional", f"retrieved_by_{ours}", "mean_shape")
        if ours in by_method and control in by_method
        for metric, interval in paired_differences(
            by_method[ours], by_method[control], COMPARED
        ).items()
    }
    report["objects"] = rows
    return report
