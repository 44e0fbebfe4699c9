"""`g3pt evaluate yardsticks`: a generator on known kinds, unseen kinds and real models."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from g3pt.cli.options import (
    Adapter,
    CommonOptions,
    make_folder_for,
    parse,
    report,
    require_suffix,
    working,
)
from g3pt.cli.progress import steps

if TYPE_CHECKING:
    from g3pt.evaluation.objects import ObjectList
    from g3pt.shapes.yardstick import Yardstick

NUM_OBJECTS = 200
"""Objects per yardstick that is made, unless --limit is given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class YardsticksOptions(CommonOptions):
    """Measure a generator on kinds of objects that it has seen, and on kinds that it has not.

    With --make, write the yardsticks, the files that it is measured on: new seeds of the training
    families, families that were never trained on, and the held-out models of a folder.
    """

    adapter: Adapter = None

    data: Path | None = None
    """Folder of yardsticks, written by --make."""

    make: Path | None = None
    """Folder to write yardsticks into, in place of measuring."""

    meshes: Path | None = None
    """With --make: a folder of meshes whose manifest holds some out (split val); without it there
    is no yardstick of real models."""

    gltf_colors: Literal["linear", "srgb"] = "linear"
    """With --meshes: what COLOR_0 of its GLB and glTF files holds: linear light, as the
    specification says, or sRGB display values."""

    limit: int | None = None
    """Number of objects per yardstick, the first ones (default: all of a file; 200 with --make)."""

    consensus: int = 8
    """Also measure the mean of so many samples; 1 leaves this out."""

    batch_size: int = 32
    """Objects per batch; affects only the speed."""

    against: Path | None = None
    """A report of earlier weights (from -o): also show the differences, object by object."""

    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o", "--out"])] = None
    """JSON file for the report, with the scores of every object."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(YardsticksOptions, "evaluate yardsticks", arguments)
    _check(options)
    if options.make is not None:
        return _make(options, options.make)
    return _measure(options)


def _check(options: YardsticksOptions) -> None:
    if (options.data is None) == (options.make is None):
        raise ValueError("give exactly one of --data and --make")
    for name in ("limit", "consensus", "batch_size"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if options.output is not None:
        require_suffix(options.output, (".json",), "-o")
    if options.against is not None and not options.against.is_file():
        raise FileNotFoundError(f"{options.against}: no such report")


def missing_yardsticks(files: Sequence[str]) -> tuple[Path, ...]:
    """Files that do not exist and whose names are those of yardsticks that need no other files."""
    from g3pt.evaluation.sets.yardsticks import yardstick_objects

    known = yardstick_objects(None, 1)
    return tuple(
        Path(file) for file in files if Path(file).stem in known and not Path(file).is_file()
    )


def make_yardstick(file: Path) -> None:
    """Make one yardstick, with as many objects as --make takes by default."""
    from g3pt.evaluation.sets.yardsticks import yardstick_objects

    _make_one(file, file.stem, yardstick_objects(None, NUM_OBJECTS)[file.stem])


def _make(options: YardsticksOptions, folder: Path) -> int:
    from g3pt.evaluation.sets.yardsticks import yardstick_objects
    from g3pt.shapes.yardstick import yardstick_path

    outputs: list[dict[str, Any]] = []
    wanted = yardstick_objects(
        options.meshes, options.limit or NUM_OBJECTS, gltf_colors=options.gltf_colors
    )
    for name, objects in wanted.items():
        outputs.append(_make_one(yardstick_path(folder, name), name, objects))
    lines = [
        f"{entry['path']}: {entry['objects']} objects, {entry['flagged']} flagged, "
        f"{len(entry['refused'])} refused, {entry['bytes'] / 1e6:.1f} MB"
        for entry in outputs
    ]
    report(options, {"outputs": outputs}, lines)
    return 0


def _make_one(path: Path, name: str, objects: "ObjectList") -> dict[str, Any]:
    from g3pt.evaluation.sets.yardsticks import build_yardstick
    from g3pt.shapes.yardstick import save_yardstick

    with steps() as shown, working(f"making {path}"):
        built = build_yardstick(name, objects, on_progress=partial(shown.show, name))
        make_folder_for(path)
        save_yardstick(path, built.yardstick)
    return {
        "path": str(path),
        "objects": len(built.yardstick),
        "flagged": int(built.yardstick.flagged_B.sum()),
        "refused": dict(built.refused),
        "bytes": path.stat().st_size,
    }


def _measure(options: YardsticksOptions) -> int:
    from g3pt.evaluation.report.yardsticks import (
        compare_reports,
        comparison_lines,
        read_report,
        yardstick_lines,
        yardstick_report,
    )
    from g3pt.files import write_whole
    from g3pt.shapes.yardstick import load_yardsticks

    assert options.data is not None
    before = None if options.against is None else read_report(options.against)
    yardsticks = load_yardsticks(options.data)
    if options.limit is not None:
        yardsticks = tuple(each.first(options.limit) for each in yardsticks)
    result = yardstick_report(**_measured(options, yardsticks))
    lines = yardstick_lines(result)
    if before is not None:
        result["differences"] = compare_reports(result, before)
        lines += comparison_lines(result["differences"])
    if options.output is not None:
        with working("writing"):
            make_folder_for(options.output)
            write_whole(options.output, json.dumps(result, allow_nan=False) + "\n")
    report(options, result, lines)
    return 0


def _measured(options: YardsticksOptions, yardsticks: "Sequence[Yardstick]") -> dict[str, Any]:
    from g3pt.evaluation.systems import generator_of
    from g3pt.generation.answers import (
        Answer,
        GuessAnswer,
        SampleAnswer,
        SettledAnswer,
        answer_of,
    )
    from g3pt.models.sampling import STANDARD
    from g3pt.models.tokenizer import require_tokens
    from g3pt.models.weights.load import load_weights
    from g3pt.training.yardsticks import measure_yardsticks

    weights = load_weights(options.weights, options.device, adapter=options.adapter)
    car = generator_of(weights)
    tokenizer = require_tokens(weights.tokenizer, weights.name)
    answers: dict[Answer, None] = dict.fromkeys((SampleAnswer(), answer_of(options.consensus)))
    if car.guess is not None:
        answers |= dict.fromkeys((GuessAnswer(), GuessAnswer(outlined=True)))
        by_default = weights.config.sampling.over(STANDARD)
        above, outlined = by_default.spread_limit, bool(by_default.outline)
        if above is not None and options.consensus > 1:
            settled = SettledAnswer(
                num_samples=options.consensus, guess_above=above, outlined=outlined
            )
            answers[settled] = None
    measured = []
    with steps() as shown:
        for number, yardstick in enumerate(yardsticks, start=1):
            measured += measure_yardsticks(
                tokenizer,
                car,
                [yardstick],
                tuple(answers),
                weights.config.sampling,
                num_points=weights.config.num_points,
                seed=options.seed,
                batch_size=options.batch_size,
            )
            shown.show("yardsticks", number, len(yardsticks))
    return {
        "measured": measured,
        "weights": {"name": weights.name, "sha256": weights.sha256},
        "sampling": asdict(weights.config.sampling),
        "seed": options.seed,
    }
