"""`g3pt evaluate`: score meshes, reconstructions or generated shapes by protocol g3pt-eval-v1."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g3pt.cli.options import CommonOptions, make_folder_for, parse, report, working
from g3pt.cli.progress import steps

if TYPE_CHECKING:
    from g3pt.data.sources import SourceConfig

DEFAULT_LIMIT = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class MeshesOptions(CommonOptions):
    """Score a folder of meshes against a folder of true ones; files pair by name without suffix."""

    prediction: Path
    """Folder of meshes to score, of any system."""

    truth: Path
    """Folder of true meshes, which set the unit frame."""

    align: bool = False
    """Also score after the best of 24 rotations, a scale and ICP, in columns of their own."""

    limit: int = 0
    """Only the first so many pairs; 0 takes all."""

    output: Path | None = None
    """Also write the JSON to this file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataOptions(CommonOptions):
    """Score the tokenizer (`reconstruction`) or the whole model (`generation`) on held-out data."""

    data: str
    """`procedural` (held-out seeds), `procedural-held-out` (held-out families), or a folder of
    meshes."""

    split: str = ""
    """Of a folder with a manifest: only rows of this split."""

    limit: int = DEFAULT_LIMIT
    """Number of shapes; 0 takes a whole folder."""

    resolution: int = 256
    """Grid cells per axis of the meshes that are scored."""

    output: Path | None = None
    """Also write the JSON to this file."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    mode, *rest = arguments or [""]
    if mode in ("-h", "--help"):
        print(usage())
        return 0
    if mode not in MODES:
        raise ValueError(f"evaluate what? choose one of {', '.join(MODES)}, got {mode!r}")
    return MODES[mode](rest)


def usage() -> str:
    """The help of the verb itself."""
    lines = [
        "usage: g3pt evaluate meshes --prediction DIR --truth DIR [--align]",
        "       g3pt evaluate reconstruction --data SOURCE [--limit N]",
        "       g3pt evaluate generation --data SOURCE [--limit N]",
        "",
        "`g3pt evaluate meshes --help` and so on list the flags.",
    ]
    return "\n".join(lines)


def _meshes(arguments: Sequence[str]) -> int:
    options = parse(MeshesOptions, "evaluate meshes", arguments)
    for folder in (options.prediction, options.truth):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder of meshes")

    from g3pt.evaluation.meshes import evaluate_meshes

    with steps() as shown:
        evaluation = evaluate_meshes(
            options.prediction,
            options.truth,
            align=options.align,
            limit=options.limit,
            seed=options.seed,
            on_progress=lambda done, total: shown.show("pairs", done, total),
        )
    return _finish(options, options.output, evaluation)


def _on_data(mode: str, arguments: Sequence[str]) -> int:
    command = f"evaluate {mode}"
    options = parse(DataOptions, command, arguments)

    from g3pt.data.sources import open_source
    from g3pt.generation.pipeline import G3PT, check_resolution

    check_resolution(options.resolution)
    source = open_source(source_named(options.data, options.split, options.limit))
    pipeline = G3PT.from_pretrained(options.weights, options.device)
    with steps() as shown, working(command):
        evaluation = _evaluation_of(mode)(
            pipeline,
            source,
            resolution=options.resolution,
            seed=options.seed,
            on_progress=lambda done, total: shown.show("shapes", done, total),
        )
    return _finish(options, options.output, evaluation)


def _evaluation_of(mode: str) -> Callable[..., Any]:
    if mode == "reconstruction":
        from g3pt.evaluation.reconstruction import evaluate_reconstruction

        return evaluate_reconstruction
    from g3pt.evaluation.generation import evaluate_generation

    return evaluate_generation


def source_named(name: str, split: str, limit: int) -> "SourceConfig":
    """The data source that a word or a folder on the command line stands for.

    Raises:
        ValueError: if the limit is negative, or zero for an unlimited source.
        FileNotFoundError: if there is no such folder.
    """
    from g3pt.data.procedural import HELD_OUT_SEEDS
    from g3pt.data.sources import FolderSourceConfig, ProceduralSourceConfig

    if limit < 0:
        raise ValueError(f"--limit must not be negative, got {limit}")
    if name in ("procedural", "procedural-held-out"):
        if limit == 0 or split:
            raise ValueError(f"--data {name}: give a --limit, and no --split")
        return ProceduralSourceConfig(
            num=limit,
            first_seed=HELD_OUT_SEEDS.start,
            families="train" if name == "procedural" else "held_out",
        )
    if not Path(name).is_dir():
        raise FileNotFoundError(
            f"--data {name}: is neither procedural, procedural-held-out nor a folder of meshes"
        )
    return FolderSourceConfig(path=name, split=split, limit=limit)


def _finish(options: CommonOptions, output: Path | None, evaluation: Any) -> int:
    result: dict[str, Any] = evaluation.as_json()
    if output is not None:
        with working("writing"):
            make_folder_for(output)
            temporary = output.with_name(f".{output.name}.partial")
            temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            temporary.replace(output)
    report(options, result, [evaluation.as_text()])
    return 0


MODES: dict[str, Callable[[Sequence[str]], int]] = {
    "meshes": _meshes,
    "reconstruction": partial(_on_data, "reconstruction"),
    "generation": partial(_on_data, "generation"),
}
