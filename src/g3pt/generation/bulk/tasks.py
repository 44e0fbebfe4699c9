"""The work on one row of a manifest, in any process: its picture or sentence to files.

The models stay loaded in the process between rows. Everything that a row gives depends on the row,
the settings and the weights alone. Rows are not joined in batches: the sums of a matrix product
change with its number of rows, and with them tokens.
"""

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

from g3pt.files import NO_ROOM
from g3pt.generation.bulk.manifest import BulkRow
from g3pt.generation.coloring import ColorSource
from g3pt.generation.pictures import CutPicture, at_own_size, cut_out
from g3pt.generation.pipeline import G3PT
from g3pt.generation.pixels import PictureError
from g3pt.generation.results import GeneratedShape
from g3pt.generation.writing import baker, shape_entry, write_finished, write_tokens
from g3pt.geometry.finishing import Finishing, finish_of
from g3pt.geometry.render import save_png
from g3pt.models.g3t import TokenFrame
from g3pt.models.sampling import Sampling
from g3pt.models.weights.load import LoadedWeights
from g3pt.models.weights.precision import DtypeName
from g3pt.shapes.shards import pack_members, sample_key
from g3pt.work.tasks import Stopwatch, Task, TaskResult, WorkerError


@dataclass(frozen=True, kw_only=True, slots=True)
class BulkSettings:
    """How every row is made; the same settings, rows and weights give the same bytes."""

    seed: int = 0
    """Rows without a seed of their own get one from this and their id."""
    num: int = 1
    """Samples per row, with consecutive seeds."""
    best_of: int = 1
    """Candidates per sample."""
    sampling: Sampling = field(default_factory=Sampling)
    resolution: int = 128
    """Grid cells per axis of the mesh."""
    min_share: float = 0.01
    """Loose parts below this share of the surface are dropped."""
    color: ColorSource = "auto"
    whole_picture: bool = False
    """Each whole picture is the object."""
    suffix: str = ".glb"
    """Format of the meshes."""
    finishing: Finishing = field(default_factory=Finishing)
    tokens: bool = False
    """Also keep the tokens."""
    cutouts: bool = False
    """Also keep each picture with all but its object transparent."""
    layout: Literal["shards", "files"] = "shards"
    """Tar files, or folders of the same files."""
    per_shard: int = 256
    """Rows per shard, failed ones included."""

    def __post_init__(self) -> None:
        if min(self.num, self.best_of, self.per_shard) < 1:
            raise ValueError(
                "num, best_of and per_shard must be at least 1, got "
                f"{self.num}, {self.best_of} and {self.per_shard}"
            )
        if self.suffix == ".obj" and self.finishing.texture is not None:
            raise ValueError(
                "suffix is .obj, which keeps a texture in two more files: write .glb for textures"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """Where every process loads the models from."""

    load: Callable[..., LoadedWeights]
    """A function of a module, called as `load(weights, device, dtype=..., adapter=...)`."""
    weights: str
    device: str
    dtype: DtypeName = "auto"
    adapter: str | None = None
    sha256: str
    """Hash of the weights; a process that finds others does not work."""


class RowError(ValueError):
    """A row that nothing can be made of."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class BulkTask(Task):
    """One row and how to make it."""

    number: int
    row: BulkRow
    settings: BulkSettings
    models: ModelSource

    @property
    def id(self) -> str:
        """Id of the row."""
        return self.row.id

    def refusal(self, stage: str, code: str, message: str) -> dict[str, Any]:
        """The index row of a failed row."""
        if self.row.location:  # results do not depend on the place of a manifest
            message = message.replace(self.row.location, self.row.image)
        return {**self._asked(), "stage": stage, "code": code, "message": message}

    def work(self, watch: Stopwatch) -> TaskResult:
        """Make the shapes of the row.

        Raises:
            WorkerError: if the models cannot be loaded, or the device has failed.
        """
        with watch.stage("load"):
            pipeline = _pipeline(self.models)
        try:
            return self._work(pipeline, watch)
        except torch.AcceleratorError as error:  # the device stays unusable for this process
            raise WorkerError(f"{self.models.device}: {error}") from error
        except OSError as error:
            if watch.current == "write" and error.errno in NO_ROOM:  # no row is to blame
                raise WorkerError(f"no room for temporary files: {error}") from error
            raise

    def _work(self, pipeline: G3PT, watch: Stopwatch) -> TaskResult:
        with watch.stage("read"):
            found = self._picture()
            prompts = pipeline.read_prompts(image=found, text=self.row.text or None)
        settings = self.settings
        with watch.stage("generate"):
            result = pipeline.generate(
                prompts=prompts,
                seed=self.row.seed_of(settings.seed),
                num=settings.num,
                best_of=settings.best_of,
                sampling=settings.sampling,
                resolution=settings.resolution,
                min_share=settings.min_share,
                color=settings.color,
            )
        if all(shape.mesh.is_empty for shape in result.shapes):
            seeds = ", ".join(map(str, result.seeds))
            raise RowError(f"the shape of seed {seeds} has no inside", "empty")
        with watch.stage("write"):
            return self._packed(pipeline, result.shapes, found, watch)

    def _picture(self) -> CutPicture | None:
        row = self.row
        if not (row.image or row.text):
            raise RowError("expected a picture or a sentence, the row has neither", "no_prompt")
        if not row.image:
            return None
        if not Path(row.location).is_file():
            raise RowError(f"{row.location}: no such picture", "missing")
        try:
            return cut_out(row.location, whole_picture=self.settings.whole_picture)
        except PictureError as error:
            raise RowError(str(error), "picture") from error

    def _packed(
        self,
        pipeline: G3PT,
        shapes: tuple[GeneratedShape, ...],
        found: CutPicture | None,
        watch: Stopwatch,
    ) -> TaskResult:
        key, settings = key_of(self.row.id), self.settings
        described = {**self._asked(), "key": key}
        if found is not None:
            described["cutout"] = found.cutout.to_json()
        with tempfile.TemporaryDirectory(prefix="g3pt-") as name:
            folder = Path(name)
            outputs: list[dict[str, Any]] = []
            for number, shape in enumerate(shapes):
                stem = key if settings.num == 1 else f"{key}.{number}"
                outputs.append(self._write(pipeline, shape, folder / f"{stem}{settings.suffix}"))
            if found is not None and settings.cutouts:
                save_png(folder / f"{key}.cutout.png", at_own_size(self.row.location, found))
            files = {
                path.name.removeprefix(f"{key}."): path.read_bytes()
                for path in sorted(folder.iterdir())
            }
        described["outputs"] = outputs
        text = json.dumps(described, sort_keys=True, indent=1) + "\n"
        sample = pack_members(key, {"json": text.encode(), **files})
        row = {
            **described,
            "files": [f"{key}.{name}" for name, _, _ in sample.members],
            "size": len(sample.data),
            "sha256": sample.sha256,
            "members": [list(member) for member in sample.members],
        }
        return TaskResult(self.number, row, sample.data, watch.seconds)

    def _write(self, pipeline: G3PT, shape: GeneratedShape, path: Path) -> dict[str, Any]:
        finishing = self.settings.finishing
        finish = finish_of([shape.mesh], path, finishing, bake=baker(shape, finishing))
        entry = shape_entry(shape) | write_finished(shape.mesh, path, finish)
        if self.settings.tokens:
            entry |= write_tokens(shape.tokens, TokenFrame(), pipeline.weights.fingerprint, path)
        # Names in place of paths of the temporary folder.
        return entry | {
            name: Path(entry[name]).name for name in ("path", "tokens_path") if entry.get(name)
        }

    def _asked(self) -> dict[str, Any]:
        """What the row asks for."""
        row = self.row
        asked = {"image": row.image, "text": row.text}
        given = {name: value for name, value in asked.items() if value}
        return {"id": row.id, "seed": row.seed_of(self.settings.seed), **given}


def key_of(row_id: str) -> str:
    """Name of a row's files: its id if that is a plain name, else a hash of it."""
    return row_id if re.fullmatch(r"[A-Za-z0-9_-]{1,100}", row_id) else sample_key(row_id)


@lru_cache(maxsize=1)
def _pipeline(models: ModelSource) -> G3PT:
    """The models of this process, on one thread.

    Raises:
        WorkerError: if they cannot be loaded, or differ from those of the run.
    """
    torch.set_num_threads(1)
    try:
        loaded = models.load(
            models.weights, models.device, dtype=models.dtype, adapter=models.adapter
        )
        pipeline = G3PT(loaded)
    except Exception as error:
        message = f"{models.weights}: cannot be loaded here: {type(error).__name__}: {error}"
        raise WorkerError(message) from error
    if loaded.sha256 != models.sha256:
        raise WorkerError(
            f"{models.weights}: expected the weights {models.sha256[:12]} of this run on every "
            f"node, found {loaded.sha256[:12]}"
        )
    return pipeline
