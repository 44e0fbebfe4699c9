"""`g3pt evaluate`: score meshes, reconstructions, generations or codes by protocol g3pt-eval-v1."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from g3pt.cli.options import CommonOptions, make_folder_for, parse, report, require_suffix, working
from g3pt.cli.progress import steps
from g3pt.cli.shapes import SamplingFlags

if TYPE_CHECKING:
    from g3pt.evaluation.objects import EvaluationSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateOptions(CommonOptions):
    """What all kinds of evaluation share."""

    limit: int | None = None
    """Only so many objects: the first, or spread evenly over a folder."""

    quick: bool = False
    """Smaller sizes for work in progress: a tenth of the cost, noisier, named so in the report."""

    workers: int = 1
    """Processes."""

    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o", "--out"])] = None
    """Folder for the report and a CSV of all objects; a rerun goes on where it stopped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeshesOptions(EvaluateOptions):
    """Score a folder of meshes against a folder of true ones; files pair by name without suffix."""

    prediction: Path
    """Folder of meshes to score, of any system."""

    truth: Path
    """Folder of true meshes, which set the unit frame."""

    align: bool = False
    """Also score after the best of 24 rotations, a scale and ICP, in columns of their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataOptions(EvaluateOptions):
    """Send held-out shapes through the tokenizer and back, and score what comes out."""

    data: str
    """`procedural` (held-out seeds), `procedural-held-out-families`, a folder of
    shards, or a folder of meshes."""

    split: str = "val"
    """Of a folder of shards, or of meshes with a manifest: objects of this split."""

    gltf_colors: Literal["linear", "srgb"] = "linear"
    """What COLOR_0 holds in the GLB and glTF files of a folder of meshes: linear light, as the
    specification asks, or sRGB display values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RateOptions(DataOptions):
    """Compare `.g3t` files, cut after every scale, with compressed meshes of as many bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationOptions(DataOptions):
    """Make held-out objects from their pictures and captions, and score them with controls.

    With --prediction, score the meshes that another system made of them.
    """

    condition: tuple[Literal["image", "text"], ...] = ()
    """What to generate from (default: all that the weights know)."""

    sampling: SamplingFlags = field(default_factory=SamplingFlags)

    steps: int = 50
    """Steps of a flow; other generators have none."""

    training: tuple[Path, ...] = ()
    """Folders of shards, whose training shapes serve two controls: the one that the model's
    encoder finds most similar, and the best constant guess."""

    num_training: int = 2048
    """Training shapes to look among."""

    samples: int = 1
    """Samples of each prompt: the headline is their mean, spread and diversity are reported."""

    best_of: int = 1
    """Also take the one of so many samples whose silhouette agrees best with the picture (of
    sentences: the likeliest)."""

    align: bool = False
    """Also score after the best of 24 rotations, a scale and ICP, in columns of their own."""

    prediction: Path | None = None
    """Folder of another system's meshes of the same objects, named by object id or listed in a
    manifest.jsonl with id and path: scored in place of the weights."""

    frame: Literal["unit", "box"] = "unit"
    """Where those meshes are: in the unit frame (longest side 1.9, centred), or each to be moved
    there by its own bounding box."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnomaliesOptions(CommonOptions):
    """Score held-out shapes and damaged versions of them, and say how well the two are told apart.

    The score is that of `g3pt score` without a prompt: nats per token.
    """

    data: str = "procedural"
    """`procedural` (held-out seeds), `procedural-held-out-families`, a folder of shards, or a
    folder of meshes."""

    split: str = "val"
    """Of a folder of shards, or of meshes with a manifest: objects of this split."""

    limit: int = 50
    """So many objects: the first, or spread evenly over a folder."""

    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o", "--out"])] = None
    """JSON file for all scores."""


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
        "       g3pt evaluate generation --data SOURCE [--limit N] [--prediction DIR]",
        "       g3pt evaluate rate --data SOURCE [--limit N]",
        "       g3pt evaluate anomalies --data SOURCE [--limit N]",
        "       g3pt evaluate yardsticks --data DIR [--limit N] | --make DIR [--meshes FOLDER]",
        "",
        "`g3pt evaluate meshes --help` and so on list the flags.",
    ]
    return "\n".join(lines)


def _meshes(arguments: Sequence[str]) -> int:
    options = parse(MeshesOptions, "evaluate meshes", arguments)
    for folder in (options.prediction, options.truth):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder of meshes")
    settings = _settings(options)

    from g3pt.evaluation.protocols.meshes import evaluate_meshes

    with steps() as shown:
        result = evaluate_meshes(
            options.prediction,
            options.truth,
            settings,
            align=options.align,
            limit=options.limit,
            out=options.output,
            workers=options.workers,
            on_progress=partial(shown.show, "pairs"),
        )
    report(options, result, _method_lines(result))
    return 0


def _reconstruction(arguments: Sequence[str]) -> int:
    options = parse(DataOptions, "evaluate reconstruction", arguments)

    from g3pt.evaluation.protocols.reconstruction import evaluate_reconstruction

    return _on_data(
        options, partial(evaluate_reconstruction, options.weights, device=options.device)
    )


def _generation(arguments: Sequence[str]) -> int:
    options = parse(GenerationOptions, "evaluate generation", arguments)
    sampling = options.sampling.told()
    _check_generation(options)
    if options.prediction is not None:
        from g3pt.evaluation.protocols.predictions import evaluate_predictions

        evaluate = partial(
            evaluate_predictions, options.prediction, frame=options.frame, align=options.align
        )
        return _on_data(options, evaluate, _method_lines)

    from g3pt.evaluation.protocols.generation import GenerationSettings, evaluate_generation

    generation = GenerationSettings(
        conditions=options.condition,
        sampling=replace(sampling, consensus=None),
        training_shards=tuple(str(path) for path in options.training),
        num_training=options.num_training,
        num_steps=options.steps,
        num_samples=options.samples,
        best_of=options.best_of,
        consensus=sampling.consensus or 1,
        align=options.align,
    )
    evaluate = partial(
        evaluate_generation, options.weights, generation=generation, device=options.device
    )
    return _on_data(options, evaluate, _method_lines)


def _check_generation(options: GenerationOptions) -> None:
    for flag in ("samples", "best_of", "steps"):
        if getattr(options, flag) < 1:
            name = flag.replace("_", "-")
            raise ValueError(f"--{name} must be at least 1, got {getattr(options, flag)}")
    if options.sampling.guess or options.sampling.guess_above is not None:
        raise ValueError(
            "samples and their consensus are measured: leave out --guess and --guess-above"
        )
    if options.prediction is None:
        return
    if not options.prediction.is_dir():
        raise FileNotFoundError(f"{options.prediction}: no such folder of meshes")
    if options.samples > 1 or options.best_of > 1 or (options.sampling.consensus or 1) > 1:
        raise ValueError(
            "--prediction: a folder holds one mesh of each object; leave out --samples, "
            "--best-of and --consensus"
        )


def _method_lines(result: dict[str, Any]) -> list[str]:
    from g3pt.evaluation.sets.distribution import set_lines

    return _lines(result) + set_lines(result["sets"]["methods"])


def _rate(arguments: Sequence[str]) -> int:
    options = parse(RateOptions, "evaluate rate", arguments)

    from g3pt.evaluation.codecs.rate_distortion import evaluate_rate
    from g3pt.evaluation.report.rate import comparison_lines

    evaluate = partial(evaluate_rate, options.weights, device=options.device)
    return _on_data(options, evaluate, comparison_lines)


def _on_data(
    options: DataOptions,
    evaluate: Callable[..., dict[str, Any]],
    describe: Callable[[dict[str, Any]], list[str]] | None = None,
) -> int:
    settings = _settings(options)

    from g3pt.evaluation.objects import list_objects

    objects = list_objects(
        options.data,
        limit=options.limit,
        split=options.split,
        gltf_colors=options.gltf_colors,
    )
    with steps() as shown:
        result = evaluate(
            objects,
            settings,
            out=options.output,
            workers=options.workers,
            on_progress=partial(shown.show, "objects"),
        )
    report(options, result, (describe or _lines)(result))
    return 0


def _settings(options: EvaluateOptions) -> "EvaluationSettings":
    from g3pt.evaluation.objects import EvaluationSettings, quick_settings

    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {options.limit}")
    if options.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {options.workers}")
    return quick_settings(options.seed) if options.quick else EvaluationSettings(seed=options.seed)


def _lines(result: dict[str, Any]) -> list[str]:
    """The summary for a reader."""
    width = max((len(name) for name in result["summary"]), default=0)
    counts = result["counts"]
    return [
        f"{result['protocol']}: {counts['objects']} objects, "
        f"{counts['empty_predictions']} empty predictions, {counts['problems']} problems"
    ] + [
        f"{name:<{width}}  {entry['mean']:.4f}  [{entry['low']:.4f}, {entry['high']:.4f}]"
        for name, entry in result["summary"].items()
    ]


def _anomalies(arguments: Sequence[str]) -> int:
    options = parse(AnomaliesOptions, "evaluate anomalies", arguments)
    if options.output is not None:
        require_suffix(options.output, (".json",), "-o")

    from g3pt.evaluation.objects import list_objects
    from g3pt.evaluation.protocols.anomalies import evaluate_anomalies
    from g3pt.files import write_whole

    objects = list_objects(options.data, limit=options.limit, split=options.split)
    with steps() as shown:
        result = evaluate_anomalies(
            options.weights,
            objects,
            device=options.device,
            seed=options.seed,
            on_progress=partial(shown.show, "objects"),
        )
    if options.output is not None:
        with working("writing"):
            make_folder_for(options.output)
            content = json.dumps(result, indent=2, allow_nan=False) + "\n"
            write_whole(options.output, content)
    lines = [
        f"{row['kind']:<16} AUROC {row['auroc']['mean']:.3f} "
        f"[{row['auroc']['low']:.3f}, {row['auroc']['high']:.3f}], higher than the shape itself in "
        f"{row['higher_after_damage']:.0%}"
        for row in result["kinds"]
    ]
    report(options, result, lines)
    return 0


def _yardsticks(arguments: Sequence[str]) -> int:
    from g3pt.cli import evaluate_yardsticks

    return evaluate_yardsticks.main(arguments)


MODES: dict[str, Callable[[Sequence[str]], int]] = {
    "meshes": _meshes,
    "reconstruction": _reconstruction,
    "generation": _generation,
    "rate": _rate,
    "anomalies": _anomalies,
    "yardsticks": _yardsticks,
}
