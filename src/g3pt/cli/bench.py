"""`g3pt bench`: measure the speed of g3pt on this machine, and compare it with other software."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from g3pt.cli.options import (
    CommonOptions,
    WorkError,
    make_folder_for,
    parse,
    report,
    require_suffix,
    working,
)
from g3pt.cli.progress import steps

if TYPE_CHECKING:
    from g3pt.benchmarks.rows import BenchmarkRow


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchOptions(CommonOptions):
    """Measure the speed of g3pt on this machine.

    `prepare`: preparing meshes, alone and compared with mesh2sdf and point-cloud-utils.
    `gemm`: speed of matrix products and copies on the device.
    `car-step`, `tokenizer-step`: a training step compared with a matrix product of the same run.
    `stream`: steps a minute on the stream, compared with batches put together on the host.
    `train`: samples a second of two processes of one thread, beside one.
    `loader`: shapes a second that one loader process gives, beside what a GPU could take.
    `generation-sizes`: sampling the tokens of whole shapes, cached and uncached.
    `bulk`: seconds a picture of bulk generation by two processes, beside one.
    `extraction`: meshing by tracking the surface, compared with querying the whole grid.
    `waiting`: meshing with threads that sleep while they wait, alone and next to a busy process.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names of the benchmarks (default: all)."""

    meshes: Path | None = None
    """Folder of meshes to measure on (default: shapes of the procedural families)."""

    num: int = 40
    """Number of meshes, or of pictures."""

    seconds: float = 120.0
    """Time limit per attempt at one object; other software may hang."""

    sizes: tuple[str, ...] = ()
    """Sizes of the generators to measure, 0.8M to 1.5B (default: the paper's on a GPU, 6M
    elsewhere)."""

    quick: bool = False
    """Small sizes, only to check that everything runs."""

    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """JSON file for the rows."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(BenchOptions, "bench", arguments)
    if options.output is not None:
        require_suffix(options.output, (".json",), "-o")
    if options.meshes is not None and not options.meshes.is_dir():
        raise FileNotFoundError(f"{options.meshes}: no such folder of meshes")

    from g3pt.benchmarks.catalogue import BENCHMARKS
    from g3pt.benchmarks.rows import BenchmarkSettings
    from g3pt.files import write_whole
    from g3pt.models.devices import resolve_device
    from g3pt.models.sizes import size_of_name

    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        raise ValueError(
            f"there is no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}"
        )
    for size in options.sizes:
        size_of_name(size)
    resolve_device(options.device)
    settings = BenchmarkSettings(
        meshes=options.meshes,
        num=options.num,
        quick=options.quick,
        seed=options.seed,
        seconds=options.seconds,
        device=options.device,
        sizes=options.sizes,
        weights=options.weights,
    )
    rows: list[BenchmarkRow] = []
    failures: list[str] = []
    with steps() as shown:
        for name in options.names or BENCHMARKS:
            try:
                with working(name):
                    rows += BENCHMARKS[name](settings, shown.show)
            except WorkError as error:  # keep the results of the other benchmarks
                failures.append(str(error))
    result = {"rows": [row.as_json() for row in rows]}
    if options.output is not None:
        make_folder_for(options.output)
        text = json.dumps(result, indent=2, allow_nan=False)
        write_whole(options.output, f"{text}\n")
    report(options, result, as_lines(rows))
    if failures:
        raise WorkError("; ".join(failures))
    return 0


def as_lines(rows: Sequence["BenchmarkRow"]) -> list[str]:
    """The machine, then one readable line per row."""
    if not rows:
        return []
    machine = rows[0].machine
    width = max(len(row.name) for row in rows)
    unit = max(len(row.unit) for row in rows)
    lines = [f"{machine.processor}, {machine.cores} cores, load {machine.load}"]
    for row in rows:
        other = f"other {_number(row.other)}" if row.other is not None else ""
        ratio = f"{row.ratio:.3g}x" if row.ratio is not None else ""
        verdict = ""
        if row.floor is not None:
            verdict = (
                f"floor {row.floor:g}: " + {True: "met", False: "MISSED", None: "?"}[row.meets]
            )
        line = (
            f"{row.name:<{width}}  {_number(row.ours)} {row.unit:<{unit}}  {other:<15}  "
            f"{ratio:>8}  {verdict:<18}  {row.note}"
        )
        lines.append(line.rstrip())
    return lines


def _number(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.4g'):>9}"
