"""What a worker does with one object: the same function here, in a child process, on a cluster.

It touches no file but the object's own and returns bytes, so whoever called it decides what is
kept. Its result depends on the task alone.
"""

from dataclasses import dataclass, field
from typing import Any

from g3pt.hashes import text_key
from g3pt.preparation.leakage import describe_shape
from g3pt.preparation.prepare import Stopwatch, draw_views, prepare_shape
from g3pt.preparation.sources import MeshRef, ProceduralRef, ShapeRef, load_shape
from g3pt.shapes.shards import pack_sample, sample_key
from g3pt.shapes.stored import PrepareConfig, ViewsConfig

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
"""What the index repeats of a sample's description, for readers to choose by."""


@dataclass(frozen=True, slots=True)
class ObjectTask:
    """One object and what is wanted of it."""

    number: int
    """Its place in the plan."""
    ref: ShapeRef
    prepare: PrepareConfig
    views: ViewsConfig
    val_share: float = 0.0
    """Share of ids without a split of their own that go to `val`."""


@dataclass(frozen=True, slots=True)
class ObjectResult:
    """What became of one object."""

    number: int
    row: dict[str, Any]
    """Its line in the index, or in the quarantine list."""
    data: bytes = b""
    """Its sample; empty if it was refused."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time by stage."""

    @property
    def is_refused(self) -> bool:
        """Whether there is no sample."""
        return not self.data


def prepare_object(task: ObjectTask) -> ObjectResult:
    """Prepare one object; whatever goes wrong with it becomes its refusal."""
    watch = Stopwatch()
    try:
        return _prepare(task, watch)
    except MemoryError:
        refusal = refuse(task, watch.current, "memory", "ran out of the memory it may use")
    except Exception as error:  # whatever one object does, the others must go on
        code = getattr(error, "code", None)
        code = code if isinstance(code, str) else "error"
        message = " ".join(str(error).split())[:500] or type(error).__name__
        refusal = refuse(task, watch.current, code, message)
    return ObjectResult(task.number, refusal.row, seconds=watch.seconds)


def _prepare(task: ObjectTask, watch: Stopwatch) -> ObjectResult:
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
        # Without the path: a set does not depend on where its source lies.
        row["notes"] = [note.removeprefix(f"{task.ref.name}: ") for note in notes]
    return ObjectResult(task.number, row, sample.data, watch.seconds)


def refuse(task: ObjectTask, stage: str, code: str, message: str) -> ObjectResult:
    """The result of an object that cannot be used."""
    row = {
        "id": task.ref.id,
        "path": path_of(task.ref),
        "stage": stage,
        "code": code,
        "message": message,
    }
    return ObjectResult(task.number, row)


def path_of(ref: ShapeRef) -> str:
    """Where an object lies, for people."""
    if isinstance(ref, ProceduralRef):
        return ref.id
    return f"{ref.location}!{ref.member}" if ref.member else ref.location


def split_of(ref: ShapeRef, val_share: float) -> str:
    """The split that an object was given, or else one by the hash of its id.

    An id keeps its split whatever else is in the set, and a larger share only adds to `val`.
    """
    if ref.split:
        return ref.split
    return "val" if text_key(f"split {ref.id}") < val_share * 2**64 else "train"
