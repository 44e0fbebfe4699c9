"""Generation: pictures and sentences of held-out objects to meshes, beside controls."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from g3pt import procedural
from g3pt.config import to_json
from g3pt.evaluation.objects import ObjectList, data_hash
from g3pt.evaluation.protocol import EvaluationSettings
from g3pt.evaluation.protocols.controls import collect_training_shapes, training_shards
from g3pt.evaluation.protocols.object_generator import Methods, ObjectGenerator
from g3pt.evaluation.protocols.reconstruction import refused
from g3pt.evaluation.report.generation import generation_report, write_report
from g3pt.evaluation.results import Measured, Results
from g3pt.evaluation.runner import Evaluator, Job, Progress, run
from g3pt.evaluation.sets.families import PER_FAMILY, FamilyReferences
from g3pt.evaluation.systems import Generator, SystemSettings, open_systems
from g3pt.geometry.mesh import MeshError
from g3pt.models.sampling import Sampling
from g3pt.preparation.sources import ProceduralRef, ShapeError
from g3pt.versions import code_version


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
    """Tell the family of every procedural result; its references take half a minute to make."""

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

    def __post_init__(self) -> None:
        for name in ("num_training", "num_samples", "best_of", "consensus", "num_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def system(self) -> SystemSettings:
        """How the generator is sampled."""
        return SystemSettings(
            sampling=self.sampling,
            consensus=self.consensus,
            num_steps=self.num_steps,
        )


@dataclass(frozen=True, kw_only=True)
class GenerationJob(Job):
    """Everything that a worker process needs."""

    weights: str | Path
    device: str
    objects: ObjectList
    settings: EvaluationSettings
    generation: GenerationSettings
    methods: Methods

    def open(self) -> Evaluator:
        """Load the weights."""
        systems = open_systems(self.weights, self.device, self.generation.system)
        generator = ObjectGenerator(systems, self.methods, self.settings)

        def evaluate(slot: int) -> Measured:
            try:
                return generator.evaluate(self.objects.load(slot), slot)
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
        out: folder of the results; a rerun with the same arguments goes on where it stopped.
        workers: processes.
        on_progress: hears how many objects are done.

    Returns:
        The report, as JSON values; keys of its summary are `method/metric`.

    Raises:
        FileNotFoundError, ValueError: if weights, objects, shards or `out` cannot be used.
    """
    generation = generation or GenerationSettings()
    systems = open_systems(weights, device, generation.system)
    conditions = known_conditions(systems.generator, generation.conditions)
    shards = [training_shards(path).fingerprint for path in generation.training_shards]
    config = {
        "kind": "generation",
        "settings": to_json(settings),
        "generation": {**to_json(generation), "conditions": conditions, "training_shards": shards},
        "weights": systems.sha256,
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
            methods=Methods(
                conditions=conditions,
                num_samples=generation.num_samples,
                best_of=generation.best_of,
                align=generation.align,
                training=None
                if not paths
                else collect_training_shapes(systems.generator, paths, conditions, num),
                families=family_references(objects) if generation.families else None,
                unconditional=generation.unconditional,
            ),
        )
        run(job, objects.slots, results, workers=workers, on_progress=on_progress)
    report = generation_report(results, config, settings, threads=workers)
    report["data"] = objects.name
    report["weights"] = {"name": systems.name, "sha256": systems.sha256}
    write_report(results, report, f"Generation of {objects.name} by {systems.name}")
    return report


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
