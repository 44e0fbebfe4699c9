"""`g3pt generate --manifest`: meshes of many pictures and sentences, resumably."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from g3pt.cli.color import ColorFlags
from g3pt.cli.engines import Address, EngineName, check_engine, open_engine
from g3pt.cli.options import MESH_FORMATS, WorkError, open_pipeline, parse, report, say
from g3pt.cli.progress import steps
from g3pt.cli.shapes import SamplingOptions
from g3pt.geometry.finishing import Finishing

if TYPE_CHECKING:
    from g3pt.generation.bulk.build import BulkProgress, BulkReport
    from g3pt.generation.bulk.manifest import BulkRow
    from g3pt.generation.bulk.tasks import BulkSettings, ModelSource
    from g3pt.work.engines import Engine

FLAG = "--manifest"

OF_ONE = {
    "--image": "the manifest names the pictures",
    "--text": "the manifest has the sentences",
    "--points": "a manifest holds pictures and sentences",
    "--views": "a row of a manifest has one picture",
    "--mask": "rows have no masks: make the background of the pictures transparent",
    "--cutout": "give --cutouts to keep the cut-out of every picture",
    "--preview": "render the results with `g3pt render`",
    "--every-scale": "give --tokens, and `g3pt detokenize --scales` makes coarser meshes",
    "--lod": "make levels of the results that need them",
    "--output": "name the folder without a flag",
    "-o": "name the folder without a flag",
}
"""Flags of `g3pt generate` for a few shapes -> what to do with a manifest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ManyOptions(SamplingOptions):
    """Make meshes of many pictures and sentences into a folder; run again, it does what is missing.

    Results are the same for any engine and number of workers. A row that fails is named in the
    index with its reason, and the others go on.
    """

    manifest: Path
    """A folder of pictures, or a table (.csv, .jsonl, .parquet) with the columns `id`, `image` or
    `text` or both, and perhaps `seed`."""

    out: Annotated[Path, tyro.conf.Positional]
    """Folder of the results: a new one, or one that the same command began, which is continued."""

    engine: EngineName = "local"
    """Run on this machine, or on a Ray cluster."""

    workers: int = 1
    """Number of processes on this machine, each with its own models and one thread."""

    address: Address = "local"

    format: Literal["glb", "gltf", "obj", "ply", "stl", "off", "3mf", "usdz"] = "glb"
    """Format of the meshes."""

    layout: Literal["shards", "files"] = "shards"
    """Tar files that WebDataset reads, or folders of the same files."""

    per_shard: int = 256
    """Rows per shard."""

    best_of: int = 1
    """Candidates per sample, of which the best is kept."""

    color: ColorFlags = field(default_factory=ColorFlags)

    whole_picture: bool = False
    """Take each whole picture as the object, where nothing stands out from a background."""

    cutouts: bool = False
    """Also keep each picture with all but its object transparent."""

    timeout: float = 600.0
    """Seconds that one row may take, loading the models included; longer ones fail."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    _refuse_flags_of_one(arguments)
    options = parse(ManyOptions, "generate", arguments)
    _check(options)

    from g3pt.generation.bulk.build import generate_many
    from g3pt.generation.bulk.manifest import read_manifest
    from g3pt.training.signals import Stopped, StopSignals
    from g3pt.work.tasks import WorkerError

    rows = read_manifest(options.manifest)
    _tell_missing(rows)
    settings = _settings(options, rows)
    models = _models(options, settings, rows)
    with StopSignals() as signals, steps() as shown, _engine(options, models) as engine:
        try:
            result = generate_many(
                rows,
                options.out,
                settings,
                models,
                engine=engine,
                stopped=lambda: signals.received,
                on_progress=lambda state: shown.show("rows", state.done, state.total, _note(state)),
            )
        except WorkerError as error:
            raise WorkError(str(error)) from error
    report(options, _answer(result), _lines(result))
    if not result.complete:
        done = result.made + result.failed
        raise Stopped(
            f"stopped with {done} of {result.total} rows in complete shards: the same command "
            "goes on from here"
        )
    return 0


def _refuse_flags_of_one(arguments: Sequence[str]) -> None:
    """Say what to do in place of flags that are about a few shapes."""
    for argument in arguments:
        flag = argument.partition("=")[0]
        flag = flag.replace("_", "-") if flag.startswith("--") else flag
        named = "--lod" if flag.startswith("--lod") else flag
        if named in OF_ONE:
            raise ValueError(f"{flag} does not go with {FLAG}: {OF_ONE[named]}")


def _check(options: ManyOptions) -> None:
    options.check()
    for name in ("per_shard", "best_of"):
        if getattr(options, name) < 1:
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{flag} must be at least 1, got {getattr(options, name)}")
    if options.best_of > 1 and (options.sampling.consensus or 1) > 1:
        raise ValueError(
            "--best-of keeps one of several samples, --consensus joins them: give one of the two"
        )
    check_engine(options.engine, options.workers, options.address)
    if options.out.suffix.lower() in MESH_FORMATS and not options.out.is_dir():
        raise ValueError(f"{options.out}: expected a folder, as there are many results")
    if not options.timeout > 0:
        raise ValueError(f"--timeout must be above 0, got {options.timeout:g}")


def _tell_missing(rows: "Sequence[BulkRow]") -> None:
    from g3pt.generation.bulk.build import NAMED
    from g3pt.generation.bulk.manifest import MISSING, sizes_of

    sizes = sizes_of(rows)
    missing = [row.location for row in rows if sizes[row.id] == MISSING]
    if missing:
        more = ", ..." if len(missing) > NAMED else ""
        say(
            f"{len(missing)} of {len(rows)} rows name a picture that does not exist: "
            + ", ".join(missing[:NAMED])
            + more
        )


def _settings(options: ManyOptions, rows: "Sequence[BulkRow]") -> "BulkSettings":
    from g3pt.generation.bulk.tasks import BulkSettings

    paths = [Path(f"mesh.{options.format}")]
    pictures, texts = any(row.image for row in rows), any(row.text for row in rows)
    options.color.check(paths, pictures=pictures, texts=texts)
    options.finish.check_files(paths, colored=options.color.color != "none")
    finishing = {one.name: getattr(options.finish, one.name) for one in fields(Finishing)}
    return BulkSettings(
        seed=options.seed,
        num=options.num,
        best_of=options.best_of,
        sampling=options.sampling.told(),
        resolution=options.resolution,
        min_share=options.min_share,
        color=options.color.source(paths),
        whole_picture=options.whole_picture,
        suffix=paths[0].suffix,
        finishing=Finishing(**finishing),
        tokens=options.tokens,
        cutouts=options.cutouts,
        layout=options.layout,
        per_shard=options.per_shard,
    )


def _models(
    options: ManyOptions, settings: "BulkSettings", rows: "Sequence[BulkRow]"
) -> "ModelSource":
    """Check the weights here, so that wrong ones are told before any process starts.

    Raises:
        FileNotFoundError, ValueError: if there are none, or they cannot make what rows ask for.
    """
    from dataclasses import replace

    from g3pt.generation.bulk.tasks import ModelSource
    from g3pt.models.devices import resolve_device
    from g3pt.training.usable import load_models

    # The process that hands out work may have no GPU, and needs none.
    pipeline = open_pipeline(replace(options, device="cpu"), adapter=options.adapter)
    pipeline.check_num_scales(settings.sampling.num_scales or None)
    known = [] if pipeline.car is None else [one.slot for one in pipeline.car.config.conditions]
    asked = {"image": any(row.image for row in rows), "text": any(row.text for row in rows)}
    for slot in (slot for slot, given in asked.items() if given and slot not in known):
        raise ValueError(
            f"{options.manifest}: has rows with {slot}, and weights {options.weights} take "
            f"{', '.join(known) or 'no prompt at all'}"
        )
    device = options.device
    if device == "auto":
        device = "cpu" if options.engine == "ray" else resolve_device("auto").type
    local = Path(options.weights)
    return ModelSource(
        load=load_models,
        # Workers of a cluster have another working folder.
        weights=str(local.resolve()) if local.exists() else options.weights,
        device=device,
        dtype=options.dtype,
        adapter=None if options.adapter is None else str(options.adapter.resolve()),
        sha256=pipeline.weights.sha256,
    )


def _engine(options: ManyOptions, models: "ModelSource") -> "AbstractContextManager[Engine]":
    from g3pt.work.engines import Limits

    limits = Limits(
        seconds=options.timeout,
        cpu_seconds=options.timeout,
        memory_bytes=None,
        written_bytes=2**32,
    )
    on_gpus = models.device == "cuda"
    return open_engine(options.engine, options.workers, options.address, limits, on_gpus=on_gpus)


def _note(state: "BulkProgress") -> str:
    rate = state.per_second
    told = f"{rate:.1f} a second" if rate >= 1 else f"{rate * 60:.1f} a minute"
    return f"{state.failed} failed" + (f", {told}" if rate else "")


def _answer(result: "BulkReport") -> dict[str, Any]:
    done = result.made + result.failed - result.skipped
    rate = done / result.worker_seconds if result.worker_seconds > 0 else None
    return {
        "path": str(result.path),
        "made": result.made,
        "failed": result.failed,
        "failures": result.failures,
        "skipped": result.skipped,
        "changed": result.changed,
        "rows": result.total,
        "shards": result.shards,
        "complete": result.complete,
        "seconds": round(result.seconds, 3),
        "rows_per_core_hour": None if rate is None else round(rate * 3600, 1),
    }


def _lines(result: "BulkReport") -> list[str]:
    lines = [
        f"{result.path}: {result.made} of {result.total} rows made, {result.failed} failed, "
        f"{result.shards} shards"
    ]
    if result.skipped == result.total:
        lines.append("nothing was left to do")
    elif result.skipped:
        lines.append(f"{result.skipped} of them were there before")
    if result.failed:
        reasons = ", ".join(f"{num} {code}" for code, num in sorted(result.failures.items()))
        lines.append(f"failed: {reasons}; first: {result.first_failures[0]}")
    if result.changed:
        lines.append(
            f"{result.changed} pictures have another size than when the run began; rows that were "
            "done then were left as they are"
        )
    return lines
