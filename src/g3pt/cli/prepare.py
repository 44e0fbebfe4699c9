"""`g3pt prepare`: any folder, archive or list of meshes to training shards."""

import platform
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from g3pt import __version__
from g3pt.cli.engines import Address, EngineName, check_address, open_engine
from g3pt.cli.options import (
    CommonOptions,
    make_folder_for,
    names_of,
    parse,
    report,
    require_suffix,
    require_writable,
    say,
    working,
)
from g3pt.cli.progress import steps

if TYPE_CHECKING:
    from g3pt.preparation.build import BuildReport, ShardsConfig
    from g3pt.preparation.sources import SourceConfig
    from g3pt.work.engines import Engine, Limits

COLUMNS = ("path", "id", "caption", "category", "split", "licence")


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareOptions(CommonOptions):
    """Turn meshes into shards: occupancy labels, surface points, pictures, captions, quality."""

    source: Annotated[str, tyro.conf.Positional]
    """A folder, a table (.csv, .jsonl, .parquet), an archive (.zip, .tar, .tar.gz), a TRELLIS
    folder with its metadata.csv, `objaverse:UID,UID...`, `objaverse:FILE`, `procedural:NUMBER`."""

    out: Annotated[Path, tyro.conf.Positional]
    """Folder of the shards: a new one, or one that the same command began, which is continued.
    With --stock, the file to write (.safetensors)."""

    stock: bool = False
    """In place of shards, write all meshes with labels into one small file, from which a training
    makes new shapes by warping."""

    max_faces: int = 3000
    """With --stock: meshes with more faces are decimated to about so many."""

    workers: int = 1
    """Number of child processes; use one per core."""

    engine: EngineName = "local"
    """Run on this machine, or on a Ray cluster."""

    address: Address = "local"

    shard: str = ""
    """I/N: make only every N-th shard, starting with shard I, counted from 0; for arrays of cluster
    jobs that share one folder."""

    dry_run: bool = False
    """Prepare one object of eight, at most 20, write nothing, and estimate the cost of all."""

    views: int = 24
    """Pictures per object, not counting the canonical one."""

    view_size: int = 256
    """Side of the pictures in pixels."""

    points: int = 24_576
    """Surface points per object."""

    queries: int = 524_288
    """Labelled query points per object, half of them near the surface."""

    solid_resolution: int = 256
    """Voxels per axis of the inside/outside test; its cost grows with the square."""

    per_shard: int = 256
    """Objects per shard."""

    licence: str = ""
    """Only objects under these licences, separated by commas: `CC0-1.0,MIT-0`."""

    split: str = ""
    """Only objects of this split of the table."""

    limit: int = 0
    """At most so many objects; 0 takes all."""

    include: tuple[str, ...] = ()
    """Only paths of a folder that match one of these patterns."""

    exclude: tuple[str, ...] = ()
    """No paths of a folder that match one of these patterns."""

    gltf_colors: Literal["linear", "srgb"] = "linear"
    """What COLOR_0 of GLB and glTF files holds: linear light, as the specification says, or sRGB
    display values, as some collections do."""

    column: tuple[str, ...] = ()
    """Names of a table's columns, if they differ: `path=file caption=text`."""

    val_share: float = 0.0
    """Share of the objects without a given split that go to `val`, chosen by the hash of the id."""

    timeout: float = 180.0
    """Seconds that one object may take; objects that take longer are refused."""

    memory: float = 6.0
    """GiB that the child process of one object may use."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(PrepareOptions, "prepare", arguments)
    check_address(options.engine, options.address)
    say(f"g3pt prepare: listing {options.source}")
    if options.stock:
        return _stock(options)
    part = _part(options.shard)
    config = _config(options)
    limits = _limits(options)
    if options.dry_run:
        return _estimate(options, config, limits)

    from g3pt.preparation.build import build_shards
    from g3pt.training.signals import stop_at_once

    with stop_at_once(), steps() as shown, _engine(options, limits) as engine:
        result = build_shards(
            config,
            options.out,
            engine=engine,
            part=part,
            val_share=options.val_share,
            on_progress=lambda state: shown.show(
                "objects", state.done, state.total, f"{state.refused} refused"
            ),
        )
    answer = _answer(result)
    if result.complete:
        answer["splits"] = _splits(options.out)
        with working(f"reporting on {options.out}"):
            answer["report"] = _write_report(options, answer)
    report(options, answer, _lines(result, answer))
    return 0


def _stock(options: PrepareOptions) -> int:
    from g3pt.preparation.inputs import MeshRef
    from g3pt.preparation.sources import list_shapes
    from g3pt.preparation.stock_builder import build_stock
    from g3pt.shapes.stock_meshes import StockConfig

    require_suffix(options.out, (".safetensors",), "OUT")
    require_writable(options.out)
    config = StockConfig(max_faces=options.max_faces)
    refs = [ref for ref in list_shapes(_source(options)) if isinstance(ref, MeshRef)]
    if not refs:
        raise ValueError(f"{options.source}: a stock is made of mesh files, there are none")
    make_folder_for(options.out)
    with working(f"making {options.out}"), steps() as shown:
        made = build_stock(
            refs,
            options.out,
            config,
            workers=options.workers,
            on_progress=lambda done, total, refused: shown.show(
                "meshes", done, total, f"{refused} refused"
            ),
        )
    num_refused = sum(made.refused.values())
    lines = [
        f"{options.out}: {made.meshes} meshes ({made.flagged} flagged, {made.decimated} "
        f"decimated), {made.faces} faces, {made.bytes / 1e6:.1f} MB, {num_refused} refused",
        *_noted(made.noted, made.first_note),
        *(f"{number} {code}: {made.examples[code]}" for code, number in made.refused.items()),
    ]
    report(options, {**asdict(made), "path": str(options.out)}, lines)
    return 0


def _noted(num: int, first: str) -> list[str]:
    """A note about meshes that lack something, if there are any."""
    return [f"{num} were read without what they refer to; first: {first}"] if num else []


def _part(text: str) -> tuple[int, int]:
    """Read I/N."""
    if not text:
        return 0, 1
    first, slash, second = text.partition("/")
    if not (slash and first.isdecimal() and second.isdecimal() and int(first) < int(second)):
        raise ValueError(f"--shard takes I/N with I from 0 to N-1, as 3/8, got {text!r}")
    return int(first), int(second)


def _config(options: PrepareOptions) -> "ShardsConfig":
    from g3pt.preparation.build import ShardsConfig
    from g3pt.shapes.stored import PrepareConfig, ViewsConfig

    defaults = PrepareConfig()
    if options.queries < 48:
        raise ValueError(f"--queries must be at least 48, got {options.queries}")
    if options.points < 1:
        raise ValueError(f"--points must be at least 1, got {options.points}")
    half = options.queries // 2
    # Labels are packed eight to a byte, and near queries are divided equally among the sigmas.
    groups = 8 * len(defaults.near_sigmas)
    prepare = replace(
        defaults,
        num_points=options.points,
        num_volume_queries=half // 8 * 8,
        num_near_queries=half // groups * groups,
        solid_resolution=options.solid_resolution,
        seed=options.seed,
    )
    return ShardsConfig(
        source=_source(options),
        prepare=prepare,
        views=ViewsConfig(num_views=options.views, size=options.view_size, seed=options.seed),
        samples_per_shard=options.per_shard,
    )


def _source(options: PrepareOptions) -> "SourceConfig":
    from g3pt.preparation.inputs import FolderSourceConfig, ManifestSourceConfig, source_from_text
    from g3pt.preparation.sources import ProceduralSourceConfig

    if options.source.startswith("procedural:"):
        number = options.source.removeprefix("procedural:")
        if not number.isdecimal():
            raise ValueError(f"{options.source}: expected procedural:NUMBER, as procedural:1000")
        return ProceduralSourceConfig(num=int(number))
    licences = names_of(options.licence)
    config = source_from_text(
        options.source,
        split=options.split,
        licences=licences,
        limit=options.limit,
        gltf_colors=options.gltf_colors,
    )
    if options.include or options.exclude:
        if not isinstance(config, FolderSourceConfig):
            raise ValueError("--include and --exclude choose within a folder; this is none")
        config = replace(config, include=options.include, exclude=options.exclude)
    if options.column:
        if not isinstance(config, ManifestSourceConfig):
            raise ValueError("--column names the columns of a table; this source is none")
        config = replace(config, **_columns(options.column))
    return config


def _columns(given: Sequence[str]) -> dict[str, Any]:
    """Read `path=file caption=text`."""
    names: dict[str, Any] = {}
    for text in given:
        name, equals, column = text.partition("=")
        if not equals or not column or name not in COLUMNS:
            raise ValueError(
                f"--column takes NAME=COLUMN, NAME one of {', '.join(COLUMNS)}; got {text!r}"
            )
        names[f"{name}_column"] = column
    return names


def _limits(options: PrepareOptions) -> "Limits":
    from g3pt.work.engines import Limits

    return Limits(
        seconds=options.timeout,
        cpu_seconds=options.timeout,
        memory_bytes=int(options.memory * 2**30),
    )


def _engine(options: PrepareOptions, limits: "Limits") -> "AbstractContextManager[Engine]":
    return open_engine(options.engine, options.workers, options.address, limits)


def _estimate(options: PrepareOptions, config: "ShardsConfig", limits: "Limits") -> int:
    from g3pt.preparation.estimate import estimate_work

    with steps() as shown, _engine(options, limits) as engine:
        estimate = estimate_work(
            config,
            engine,
            workers=options.workers,
            on_progress=partial(shown.show, "objects to see what they cost"),
        )
    hours, size = estimate.core_hours, estimate.bytes
    lines = [
        f"{estimate.num_objects} objects, {estimate.num_sampled} of them prepared to find out",
        f"time: {estimate.seconds.value / 60:.1f} minutes with {options.workers} workers "
        f"({hours.value:.2f} core-hours, {hours.low:.2f} to {hours.high:.2f})",
        f"disk: {size.value / 1e9:.2f} GB ({size.low / 1e9:.2f} to {size.high / 1e9:.2f})",
        f"refused: {estimate.refused.value:.0f} "
        f"({estimate.refused.low:.0f} to {estimate.refused.high:.0f})",
    ]
    report(options, asdict(estimate), lines)
    return 0


def _answer(result: "BuildReport") -> dict[str, Any]:
    done = result.prepared + result.refused - result.skipped
    hours = result.worker_seconds / 3600
    return {
        "prepared": result.prepared,
        "flagged": result.flagged,
        "refused": result.refused,
        "noted": result.noted,
        "skipped": result.skipped,
        "changed": result.changed,
        "seconds": round(result.seconds, 3),
        "meshes_per_core_hour": round(done / hours, 1) if hours > 0 else None,
        "shards": result.shards,
        "complete": result.complete,
        "path": str(result.path),
    }


def _splits(folder: Path) -> dict[str, int]:
    """Prepared objects of each split."""
    from g3pt.shapes.packs import index_rows

    return dict(Counter(row["split"] for row in index_rows(folder)).most_common())


def _write_report(options: PrepareOptions, answer: dict[str, Any]) -> str:
    from g3pt.preparation.report import write_report

    run = {
        "g3pt": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "engine": options.engine,
        "workers": options.workers,
        "seconds": answer["seconds"],
    }
    path = options.out / "report.html"
    if answer["skipped"] < answer["prepared"] + answer["refused"] or not path.is_file():
        write_report(options.out, run=run)
    return str(path)


def _lines(result: "BuildReport", answer: dict[str, Any]) -> list[str]:
    total = result.prepared + result.refused
    lines = [
        f"{result.path}: {result.prepared} prepared ({result.flagged} flagged), "
        f"{result.refused} refused, {result.shards} shards"
    ]
    if result.skipped == total and result.complete:
        lines.append("nothing was left to do")
    elif result.skipped:
        lines.append(f"{result.skipped} of them were there before")
    lines += _noted(result.noted, result.first_note)
    if splits := answer.get("splits"):
        said = ", ".join(f"{num} {name}" for name, num in splits.items())
        hint = "" if "val" in splits else "; none is held out (--val-share 0.2 holds a fifth out)"
        lines.append(f"splits: {said}{hint}")
    if result.changed:
        lines.append(
            f"{result.changed} files have another size than when they were prepared and were left "
            "as they are; prepare them into another folder"
        )
    if not result.complete:
        lines.append("other parts are still missing: run them, then this again for the index")
    if rate := answer["meshes_per_core_hour"]:
        lines.append(f"{rate:.0f} objects per core-hour, {result.seconds:.0f} seconds")
    if "report" in answer:
        lines.append(f"report: {answer['report']}")
    return lines
