"""The work on one object: it reads the object's own files alone and gives the bytes of a sample."""

from dataclasses import dataclass
from typing import Any

from g3pt.hashes import text_key
from g3pt.preparation.leakage import describe_shape
from g3pt.preparation.prepare import draw_views, prepare_shape
from g3pt.preparation.sources import MeshRef, ProceduralRef, ShapeRef, load_shape
from g3pt.shapes.shards import pack_sample, sample_key
from g3pt.shapes.stored import PrepareConfig, ViewsConfig
from g3pt.work.tasks import Stopwatch, Task, TaskResult

INDEX_FIELDS = (
    "id",
    "family",
    "licence",
    "captions",
    "query_key",
    "volume_share",
    "quality",
    "num_faces",
    "extents",
)
"""Fields of a sample's description that the index repeats for selection."""


@dataclass(frozen=True, slots=True)
class ObjectTask(Task):
    """One object and how to prepare it."""

    number: int
    """Number of the object in the plan."""
    ref: ShapeRef
    prepare: PrepareConfig
    views: ViewsConfig
    val_share: float = 0.0
    """Share of the objects without a given split that go to `val`."""

    @property
    def id(self) -> str:
        """Id of the object."""
        return self.ref.id

    def work(self, watch: Stopwatch) -> TaskResult:
        """Prepare the object."""
        return _prepare(self, watch)

    def refusal(self, stage: str, code: str, message: str) -> dict[str, Any]:
        """The row of an object that cannot be used."""
        said = {"stage": stage, "code": code, "message": message}
        return {"id": self.ref.id, "path": path_of(self.ref), **said}


def _prepare(task: ObjectTask, watch: Stopwatch) -> TaskResult:
    notes: list[str] = []
    with watch.stage("read"):
        shape = load_shape(
            task.ref, solid_resolution=task.prepare.solid_resolution, on_note=notes.append
        )
    record = prepare_shape(shape, task.prepare, watch)
    with watch.stage("render"):
        pictures, cameras = draw_views(shape, task.views)
    with watch.stage("pack"):
        split = split_of(task.ref, task.val_share)
        record.description.update(
            split=split, cameras=cameras, descriptor=describe_shape(record, task.prepare)
        )
        sample = pack_sample(record, pictures)
    kept = {name: record.description[name] for name in INDEX_FIELDS if name in record.description}
    row = {
        **kept,
        "split": split,
        "descriptor": record.description["descriptor"],
        "size": len(sample.data),
        "sha256": sample.sha256,
        "members": [list(member) for member in sample.members],
        "key": sample_key(shape.id),
    }
    if notes and isinstance(task.ref, MeshRef):
        # Without the path: a set does not depend on the location of its source.
        row["notes"] = [note.removeprefix(f"{task.ref.name}: ") for note in notes]
    return TaskResult(task.number, row, sample.data, watch.seconds)


def path_of(ref: ShapeRef) -> str:
    """Path of an object, for messages."""
    if isinstance(ref, ProceduralRef):
        return ref.id
    return f"{ref.location}!{ref.member}" if ref.member else ref.location


def split_of(ref: ShapeRef, val_share: float = 0.0) -> str:
    """The given split of an object, else a split by the hash of its id.

    An id keeps its split whatever else is in the set, and a larger `val_share` only adds to `val`.
    """
    if ref.split:
        return ref.split
    return "val" if text_key(f"split {ref.id}") < val_share * 2**64 else "train"
