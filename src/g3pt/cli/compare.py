"""`g3pt compare`: two weights, or two folders of meshes, on the same objects."""

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from g3pt.cli.options import CommonOptions, naming_splits, parse, report, require_folder, working
from g3pt.cli.progress import steps
from g3pt.config import from_json
from g3pt.models.sampling import Sampling

if TYPE_CHECKING:
    from g3pt.evaluation.protocols.sides import Side
    from g3pt.evaluation.report.comparison import Comparison
    from g3pt.shapes.yardstick import Yardstick

REPORT_FILE = "comparison.json"
TABLE_FILE = "report.md"
ROWS_FILE = "objects.csv"
SHEET_FILE = "sheet.png"


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareOptions(CommonOptions):
    """Compare two weights on the same objects, or two folders of meshes with the true ones.

    Weights answer as they answer a user. Differences are B - A, object by object, with intervals.
    A folder of an adapter stands for --weights with this adapter.
    """

    a: Annotated[str, tyro.conf.Positional]
    """Weights (a name, a folder, OWNER/NAME on the hub), an adapter, or a folder of meshes that are
    named by the ids of the objects."""

    b: Annotated[str, tyro.conf.Positional]
    """The same: weights, an adapter or a folder of meshes. A positive difference favours B, where
    more is better."""

    data: str
    """`procedural` (held-out seeds), `procedural-held-out-families`, a folder of shards, a folder
    of meshes, or yardsticks: a file, or a folder of such files
    (`g3pt evaluate yardsticks --make FOLDER`)."""

    task: tuple[Literal["image", "text", "points", "reconstruction"], ...] = ()
    """What weights are asked with (default: all that both can do; reconstruction only if their
    tokenizers differ)."""

    adapter_a: Path | None = None
    """Folder of an adapter for the weights A."""

    adapter_b: Path | None = None
    """Folder of an adapter for the weights B."""

    sampling_a: tuple[str, ...] = ()
    """Sampling settings of A, such as `temperature=0.5 consensus=1` (default: those of the weights;
    `g3pt generate --help` describes them)."""

    sampling_b: tuple[str, ...] = ()
    """Sampling settings of B."""

    steps: int = 50
    """Steps of a flow; other generators ignore it."""

    frame: Literal["unit", "box", "source"] = "unit"
    """Frame of the meshes of a folder: `unit`, the unit frame (longest side 1.9, centred); `box`,
    any, and each mesh is moved to the unit frame by its own bounding box; `source`, that of the
    true mesh's file."""

    limit: int | None = None
    """Number of objects: the first ones, or for a folder some spread evenly over it."""

    split: str = "val"
    """Objects of this split, for a folder of shards, or of meshes whose manifest names splits;
    `all` takes every one."""

    gltf_colors: Literal["linear", "srgb"] = "linear"
    """What COLOR_0 holds in the GLB and glTF files of a folder of meshes: linear light, as the
    specification says, or sRGB display values."""

    quick: bool = False
    """Smaller sizes for work in progress: a tenth of the cost, but noisier. The report says so."""

    shown: int = 8
    """Objects on the sheet, from the greatest loss of B to its greatest gain."""

    workers: int = 1
    """Number of processes."""

    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o", "--out"])] = None
    """Folder for report, table, sheet and a CSV of all objects; a rerun continues where it
    stopped."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(CompareOptions, "compare", arguments)
    for name in ("limit", "workers", "shown", "steps"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} must be at least 1, got {value}")
    if options.output is not None:
        require_folder(options.output)
    sides = (
        _side(options, options.a, options.adapter_a, options.sampling_a, "a"),
        _side(options, options.b, options.adapter_b, options.sampling_b, "b"),
    )
    yardsticks = _yardsticks(options)
    if yardsticks:
        compared = _on_yardsticks(options, sides, yardsticks)
    else:
        compared = _on_objects(options, sides)

    from g3pt.evaluation.report.comparison import comparison_lines

    lines = comparison_lines(compared.report)
    if options.output is not None:
        with working("writing"):
            _write(options.output, compared)
        lines.append(f"{options.output}: {TABLE_FILE}, {SHEET_FILE}, {ROWS_FILE}, {REPORT_FILE}")
    report(options, compared.report, lines)
    return 0


# --- sides ---------------------------------------------------------------------------------------


def _side(
    options: CompareOptions,
    text: str,
    adapter: Path | None,
    sampling: Sequence[str],
    letter: Literal["a", "b"],
) -> "Side":
    from g3pt.evaluation.protocols.sides import MeshesSide, WeightsSide

    told = told_settings(sampling, f"--sampling-{letter}")
    match kind_of(Path(text)):
        case "meshes":
            if adapter is not None or sampling:
                raise ValueError(
                    f"{text}: is a folder of meshes; --adapter-{letter} and --sampling-{letter} "
                    "are for weights"
                )
            return MeshesSide(folder=Path(text), frame=options.frame)
        case "adapter":
            if adapter is not None:
                raise ValueError(f"{text}: is an adapter itself; leave out --adapter-{letter}")
            weights, adapter = options.weights, Path(text)
        case "weights":
            weights = text
    return WeightsSide(weights=weights, adapter=adapter, sampling=told, num_steps=options.steps)


def kind_of(path: Path) -> Literal["weights", "adapter", "meshes"]:
    """What a folder holds; what is no folder is the name of weights.

    Raises:
        ValueError: if it holds nothing that can be compared.
    """
    from g3pt.evaluation.protocols.meshes import meshes_by_name
    from g3pt.evaluation.protocols.predictions import MANIFEST
    from g3pt.models.weights.places import CONFIG_FILE, MODEL_FILE, is_adapter
    from g3pt.training.checkpoint import is_run_folder

    if not path.is_dir():
        return "weights"
    if is_adapter(path):
        return "adapter"
    if is_run_folder(path):
        raise ValueError(f"{path}: is a run; `g3pt export` makes weights of it")
    if (path / MODEL_FILE).is_file() or (path / CONFIG_FILE).is_file():
        return "weights"
    if (path / MANIFEST).is_file() or meshes_by_name(path):
        return "meshes"
    raise ValueError(f"{path}: holds neither weights, nor an adapter, nor meshes")


def told_settings(pairs: Sequence[str], flag: str) -> Sampling:
    """Sampling settings from words such as `temperature=0.5`.

    Raises:
        ValueError: if there is no such setting, or it is out of range.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        name = {"scales": "num_scales"}.get(name, name.replace("-", "_"))
        if not equals or name not in {one.name for one in fields(Sampling)}:
            known = ", ".join(one.name for one in fields(Sampling))
            raise ValueError(f"{flag} {pair}: expected NAME=VALUE with one of {known}")
        try:
            values[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):  # a word, such as the name of a schedule
            values[name] = {"true": True, "false": False}.get(value, value)
    return from_json(Sampling, values, origin=flag)


# --- data ----------------------------------------------------------------------------------------


def _yardsticks(options: CompareOptions) -> "tuple[Yardstick, ...]":
    """The yardsticks that --data names; none if it names something else."""
    from g3pt.shapes.yardstick import YARDSTICKS, load_yardstick, load_yardsticks, yardstick_path

    path = Path(options.data)
    if path.is_file():
        found = (load_yardstick(path),)
    elif any(yardstick_path(path, name).is_file() for name in YARDSTICKS):
        found = load_yardsticks(path)
    else:
        return ()
    return found if options.limit is None else tuple(one.first(options.limit) for one in found)


def _on_yardsticks(
    options: CompareOptions,
    sides: "tuple[Side, Side]",
    yardsticks: "Sequence[Yardstick]",
) -> "Comparison":
    from g3pt.evaluation.protocols.sides import WeightsSide
    from g3pt.evaluation.protocols.yardstick_comparison import compare_on_yardsticks

    a, b = sides
    if not isinstance(a, WeightsSide) or not isinstance(b, WeightsSide):
        raise ValueError(
            f"{options.data}: yardsticks hold no meshes to compare a folder with; give the folder "
            "of meshes that they were made of"
        )
    if options.task not in ((), ("image",)):
        raise ValueError(f"{options.data}: yardsticks ask with pictures; leave out --task")
    with steps() as shown:
        return compare_on_yardsticks(
            (a, b),
            yardsticks,
            num_shown=options.shown,
            seed=options.seed,
            device=options.device,
            show=shown.show,
        )


def _on_objects(options: CompareOptions, sides: "tuple[Side, Side]") -> "Comparison":
    from g3pt.evaluation.objects import EvaluationSettings, list_objects, quick_settings
    from g3pt.evaluation.protocols.comparison import compare_on_objects
    from g3pt.evaluation.run import local_engine

    with naming_splits():
        objects = list_objects(
            options.data,
            limit=options.limit,
            split=options.split,
            gltf_colors=options.gltf_colors,
        )
    settings = EvaluationSettings(seed=options.seed)
    with steps() as shown:
        return compare_on_objects(
            sides,
            objects,
            quick_settings(options.seed) if options.quick else settings,
            tasks=options.task,
            num_shown=options.shown,
            device=options.device,
            out=options.output,
            engine=local_engine(options.workers),
            show=shown.show,
        )


def _write(folder: Path, compared: "Comparison") -> None:
    from g3pt.evaluation.report.comparison import comparison_markdown, comparison_sheet
    from g3pt.evaluation.results import to_csv
    from g3pt.files import write_whole
    from g3pt.geometry.render import save_png

    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(compared.report, indent=2, allow_nan=False) + "\n"
    write_whole(folder / REPORT_FILE, text)
    write_whole(folder / ROWS_FILE, to_csv(compared.report["objects"]))
    write_whole(folder / TABLE_FILE, comparison_markdown(compared.report, SHEET_FILE))
    save_png(folder / SHEET_FILE, comparison_sheet(compared))
