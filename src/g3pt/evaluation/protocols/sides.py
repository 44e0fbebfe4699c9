"""One side of a comparison: weights or a folder of meshes, asked for the objects of a set.

Weights answer as they answer a user: by their own settings (consensus, first guess) unless others
are told. Loose parts are kept, as everywhere in the protocol. Unit frame.
"""

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, assert_never

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from g3pt.config import to_json
from g3pt.evaluation.judging import Judge
from g3pt.evaluation.objects import (
    EvaluationSettings,
    ObjectList,
    data_hash,
    file_hash,
    load_truth,
    object_rng,
)
from g3pt.evaluation.protocols.generation import PICTURE_SIZE
from g3pt.evaluation.protocols.meshes import read_prediction
from g3pt.evaluation.protocols.predictions import PredictionFrame, find_predictions, placed
from g3pt.evaluation.protocols.reconstruction import reconstructed
from g3pt.evaluation.report.summary import summarise
from g3pt.evaluation.results import Measured, Results, Row
from g3pt.evaluation.run import Evaluation, Measure, Progress, measure_objects
from g3pt.evaluation.systems import Generator, draw_candidates, load_generator
from g3pt.generation.pipeline import G3PT
from g3pt.generation.prompts import Prompts, read_prompts
from g3pt.generation.systems import ShapeGenerator, system_of
from g3pt.geometry.cameras import canonical_camera
from g3pt.geometry.mesh import TriangleMesh
from g3pt.geometry.metrics import Contains, solid_test
from g3pt.geometry.render import render
from g3pt.models.conditioning import PointsConditionConfig
from g3pt.models.sampling import Sampling
from g3pt.models.tokenizer import Tokenizer
from g3pt.models.weights.load import LoadedRegressor, LoadedWeights
from g3pt.preparation.sources import SourceShape
from g3pt.shapes.datasets.conditioned import choose_visible
from g3pt.work.engines import Engine

Task = Literal["image", "text", "points", "reconstruction", "meshes"]
"""What is asked for: a shape from its picture, its first caption, or points of a visible part of
its surface; the shape itself through the tokenizer and back; or a mesh that is there already."""

CONDITIONS: tuple[Task, ...] = ("image", "text", "points")

TRUE_PICTURE = "truth"
"""Name of the picture of the true shape among those of the answers."""
PICTURE = 448
"""Side of the pictures that are kept for the sheet, from the canonical camera."""
NUM_VISIBLE = 8192
"""Surface points, of which a condition on points is given those that are seen."""


@dataclass(frozen=True, kw_only=True)
class WeightsSide:
    """Weights that answer."""

    kind: Literal["weights"] = "weights"
    weights: str
    """A weights folder, a bundled name, or OWNER/NAME on the Hugging Face hub."""
    adapter: Path | None = None
    sampling: Sampling = field(default_factory=Sampling)
    """What it leaves open is as the weights say."""
    num_steps: int = 50
    """Steps of a flow; other generators have none."""


@dataclass(frozen=True, kw_only=True)
class MeshesSide:
    """A folder of meshes that another system made of the objects, named by their ids."""

    kind: Literal["meshes"] = "meshes"
    folder: Path
    frame: PredictionFrame = "unit"


Side = WeightsSide | MeshesSide


@dataclass(frozen=True, eq=False)
class Answer:
    """What a side makes of one object."""

    mesh: TriangleMesh
    """Unit frame; may be empty."""
    contains: Contains | None = None
    """Inside test of meshes that may have defects; None for those that extraction made."""
    problem: str | None = None


class WeightsAnswers:
    """Weights of any kind; they can do what they hold models for."""

    def __init__(self, side: WeightsSide, device: str) -> None:
        loaded = load_generator(side.weights, device, adapter=side.adapter)
        self.weights = loaded
        self.name = loaded.config.name
        self.tokenizer: Tokenizer | None = None
        self._pipeline: G3PT | None = None
        self._system: ShapeGenerator | None = None
        self._sampling = side.sampling
        self.generator: Generator | None = None
        if isinstance(loaded, LoadedWeights):
            self.tokenizer = loaded.tokenizer
        if isinstance(loaded, LoadedWeights) and loaded.car is not None:
            self._pipeline = G3PT(loaded)
            self.generator = loaded.car
        elif isinstance(loaded, LoadedRegressor) or loaded.flow is not None:
            self._system = system_of(loaded, num_steps=side.num_steps, sampling=side.sampling)
            self.generator = self._system.model
        elif side.sampling != Sampling():
            raise ValueError(f"weights {self.name} hold no generator that could be sampled")
        self.identity: Mapping[str, Any] = {
            "weights": loaded.config.sha256,
            "sampling": to_json(side.sampling),
            "num_steps": side.num_steps,
        }
        self.tasks: tuple[Task, ...] = self._tasks()

    def _tasks(self) -> tuple[Task, ...]:
        slots = () if self.generator is None else self.generator.config.conditions
        known = {condition.slot for condition in slots}
        if self.tokenizer is None:
            known.discard("points")  # they are read by the encoder of a tokenizer
        conditions: tuple[Task, ...] = tuple(task for task in CONDITIONS if task in known)
        return conditions if self.tokenizer is None else (*conditions, "reconstruction")

    @property
    def fingerprint(self) -> str | None:
        """Equal fingerprints mean equal tokenizers; None without one."""
        return self.weights.fingerprint if isinstance(self.weights, LoadedWeights) else None

    def answer(self, task: Task, shape: SourceShape, settings: EvaluationSettings) -> Answer | None:
        """Reconstruct the object, or generate it with a seed of its own."""
        if task == "reconstruction":
            assert isinstance(self.weights, LoadedWeights)
            rng = object_rng(shape.id, settings, 4)
            surface = shape.sample_surface(self.weights.config.num_points, rng)
            _, extraction = reconstructed(self.weights.tokenizer, surface, settings)
            return Answer(extraction.mesh)
        assert self.generator is not None
        prompts = prompts_of(task, shape, self.generator, self.tokenizer, settings)
        if prompts is None:
            return None
        seed = int(object_rng(shape.id, settings, 6).integers(2**31))
        if self._pipeline is not None:
            made = self._pipeline.generate(
                prompts=prompts,
                seed=seed,
                sampling=self._sampling,
                resolution=settings.resolution,
                min_share=0.0,
                color="none",
            )
            return Answer(made.shapes[0].mesh)
        assert self._system is not None
        (candidate,) = draw_candidates(
            self._system, prompts.condition, [seed], resolution=settings.resolution
        )
        return Answer(candidate.mesh)


def prompts_of(
    task: Task,
    shape: SourceShape,
    generator: Generator,
    tokenizer: Tokenizer | None,
    settings: EvaluationSettings,
) -> Prompts | None:
    """What is asked with: canonical picture, first caption, or points of a visible part.

    Returns:
        None if the object has no caption.
    """
    match task:
        case "image":
            picture = shape.scene().render(canonical_camera(), size=PICTURE_SIZE, supersample=1)
            return read_prompts(generator, image=picture)
        case "text":
            return read_prompts(generator, text=shape.captions[0]) if shape.captions else None
        case "points":
            config = next(c for c in generator.config.conditions if c.slot == "points")
            assert isinstance(config, PointsConditionConfig)
            rng = object_rng(shape.id, settings, 9)
            surface = shape.sample_surface(NUM_VISIBLE, rng)
            points, normals = (
                each.astype(np.float32) for each in (surface.points, surface.normals)
            )
            seen = choose_visible(points, normals, config.num_points, rng)
            cloud = np.concatenate([points[seen], normals[seen]], axis=1)
            return read_prompts(generator, points=cloud, tokenizer=tokenizer)
        case _:
            raise ValueError(f"{task} is not asked with a prompt")


class MeshesAnswers:
    """Meshes of a folder, whatever they were asked for with."""

    tasks: tuple[Task, ...] = ("meshes",)

    def __init__(self, side: MeshesSide, ids: Sequence[str]) -> None:
        self.name = side.folder.name
        self.files = find_predictions(side.folder, ids)
        self._frame: PredictionFrame = side.frame
        self.identity: Mapping[str, Any] = {
            "frame": side.frame,
            "meshes": {name: file_hash(path) for name, path in sorted(self.files.items())},
        }

    def answer(self, task: Task, shape: SourceShape, settings: EvaluationSettings) -> Answer | None:
        """The mesh of the object; an unreadable one is empty and has a problem."""
        file = self.files.get(shape.id)
        if file is None:
            return None
        mesh, problem = read_prediction(file, lambda mesh: placed(mesh, self._frame, shape))
        return Answer(mesh, None if mesh.is_empty else solid_test(mesh), problem)


Answerer = WeightsAnswers | MeshesAnswers
"""A side that was opened; `identity` holds JSON values that differ where answers may."""


def open_side(side: Side, ids: Sequence[str], device: str = "cpu") -> Answerer:
    """Load weights, or find meshes.

    Args:
        side: what is compared.
        ids: of the objects.
        device: where models run.

    Raises:
        FileNotFoundError, ValueError: if the side cannot be used.
    """
    match side:
        case WeightsSide():
            return WeightsAnswers(side, device)
        case MeshesSide():
            return MeshesAnswers(side, ids)
        case _:
            assert_never(side)


# --- measuring -----------------------------------------------------------------------------------


def measure_side(
    side: Side,
    answerer: Answerer,
    tasks: Sequence[Task],
    objects: ObjectList,
    settings: EvaluationSettings,
    *,
    device: str = "cpu",
    out: Path | None = None,
    engine: Engine | None = None,
    on_progress: Progress | None = None,
) -> tuple[dict[str, Any], list[Mapping[str, np.ndarray]]]:
    """Ask a side for all objects and score its answers.

    Args:
        side: what is compared.
        answerer: the same, opened.
        tasks: what it is asked for.
        objects: which objects.
        settings: how finely to measure.
        device: where models run.
        out: folder of the results; a rerun goes on there.
        engine: runs the work; by default this process. The numbers do not depend on it.
        on_progress: is told how many objects are done.

    Returns:
        The report, whose rows have the task as their `method`, and by object the PNG pictures of
        its answers (`read_png` reads them).

    Raises:
        ValueError: if `out` holds something else.
    """
    ids = [ref.id for ref in objects.refs]
    load = partial(_load, side, ids, device, tuple(tasks), settings)
    pictures: list[Mapping[str, np.ndarray]] = []

    def measure(slots: Sequence[int]) -> Iterator[Measured]:
        here = partial(_measure_with, answerer, tuple(tasks), settings)
        ready = here if engine is None else load
        yield from measure_objects(objects, ready, slots, engine)

    def describe(results: Results) -> dict[str, Any]:
        pictures.extend(results.arrays)
        return {"summary": summarise([row for row in results.rows if row.get("method")])}

    report = Evaluation(
        kind="side",
        protocol=settings.protocol,
        config={
            "kind": "side of a comparison",
            "settings": to_json(settings),
            "tasks": list(tasks),
            "system": answerer.identity,
            "data": data_hash(objects),
        },
        slots=objects.slots,
        measure=measure,
        describe=describe,
        table=lambda report: f"# {answerer.name} on {objects.name}\n",
        about={"data": objects.name, "name": answerer.name},
    ).run(out, on_progress)
    return report, pictures


def _load(
    side: Side,
    ids: Sequence[str],
    device: str,
    tasks: tuple[Task, ...],
    settings: EvaluationSettings,
) -> Measure:
    return _measure_with(open_side(side, ids, device), tasks, settings)


def _measure_with(
    answerer: Answerer, tasks: tuple[Task, ...], settings: EvaluationSettings
) -> Measure:
    return partial(measure_answers, answerer=answerer, tasks=tasks, settings=settings)


def measure_answers(
    shape: SourceShape,
    slot: int,
    answerer: Answerer,
    tasks: tuple[Task, ...],
    settings: EvaluationSettings,
) -> Measured:
    """Score the answers for one object.

    Raises:
        ShapeError, MeshError: if its truth is of no use.
    """
    judge = Judge(load_truth(shape, settings), settings)
    rows: list[Row] = []
    pictures = {TRUE_PICTURE: as_png(shape.scene().render(canonical_camera(), size=PICTURE))}
    for task in tasks:
        started = time.perf_counter()
        answer = answerer.answer(task, shape, settings)
        if answer is None:
            continue
        seconds = time.perf_counter() - started
        row = judge.judge(task, answer.mesh, answer.contains)
        rows.append({**row, "seconds": seconds, "problem": answer.problem})
        if not answer.mesh.is_empty:
            pictures[task] = as_png(
                render(answer.mesh, canonical_camera(), size=PICTURE, supersample=1)
            )
    return Measured(slot, tuple(rows), arrays={"id": np.array(shape.id), **pictures})


def as_png(picture: UInt8[np.ndarray, "H W 4"]) -> UInt8[np.ndarray, " bytes"]:
    """A picture as the bytes of a PNG file."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, format="PNG")
    return np.frombuffer(content.getvalue(), dtype=np.uint8)


def read_png(content: UInt8[np.ndarray, " bytes"]) -> UInt8[np.ndarray, "H W 4"]:
    """Inverse of `as_png`."""
    return np.asarray(Image.open(io.BytesIO(content.tobytes())).convert("RGBA"))
