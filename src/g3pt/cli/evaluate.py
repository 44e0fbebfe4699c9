"""`g3pt evaluate`: score meshes, reconstructions, generations or codes by protocol g3pt-eval-v1."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro

from g3pt.cli.engines import Address, EngineName, check_engine, open_engine
from g3pt.cli.options import (
    Adapter,
    CommonOptions,
    make_folder_for,
    naming_splits,
    parse,
    report,
    require_suffix,
    working,
)
from g3pt.cli.progress import steps
from g3pt.cli.shapes import SamplingFlags

if TYPE_CHECKING:
    from g3pt.evaluation.objects import EvaluationSettings
    from g3pt.work.engines import Engine


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateOptions(CommonOptions):
    """Flags of all kinds of evaluation."""

    limit: int | None = None
    """Number of objects: the first ones, or for a folder some spread evenly over it."""

    quick: bool = False
    """Smaller sizes for work in progress: a tenth of the cost, but noisier. The report says so."""

    engine: EngineName = "local"
    """Run on this machine, or on a Ray cluster, whose nodes must see the same files. The numbers do
    not depend on it."""

    workers: int = 1
    """Number of processes on this machine."""

    address: Address = "local"

    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o", "--out"])] = None
    """Folder for the report and a CSV of all objects; a rerun continues where it stopped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeshesOptions(EvaluateOptions):
    """Score a folder of meshes against a folder of true ones; names without suffix pair files."""

    prediction: Path
    """Folder of meshes to score, made by any system."""

    truth: Path
    """Folder of true meshes, which set the unit frame."""

    align: bool = False
    """Also score after alignment by the best of 24 rotations, a scale and ICP, in extra columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataOptions(EvaluateOptions):
    """Tokenize held-out shapes, decode the tokens, and score the reconstructions."""

    data: str
    """`procedural` (held-out seeds), `procedural-held-out-families`, a folder of
    shards, or a folder of meshes."""

    split: str = "val"
    """Objects of this split, for a folder of shards, or of meshes whose manifest names splits;
    `all` takes every one."""

    gltf_colors: Literal["linear", "srgb"] = "linear"
    """What COLOR_0 holds in the GLB and glTF files of a folder of meshes: linear light, as the
    specification says, or sRGB display values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RateOptions(DataOptions):
    """Compare `.g3t` files, cut after every scale, with compressed meshes of the same size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationOptions(DataOptions):
    """Generate held-out objects from their pictures and captions, and score them with controls.

    With --prediction, score the meshes that another system generated.
    """

    adapter: Adapter = None

    condition: tuple[Literal["image", "text"], ...] = ()
    """Conditions to generate from (default: all that the weights know)."""

    sampling: SamplingFlags = field(default_factory=SamplingFlags)

    steps: int = 50
    """Steps of a flow; other generators ignore it."""

    training: tuple[Path, ...] = ()
    """Folders of shards whose training shapes serve as two controls: the shape that the model's
    encoder finds most similar, and the best constant guess."""

    num_training: int = 2048
    """Number of training shapes to choose the controls from."""

    samples: int = 1
    """Samples per prompt. The headline is their mean; spread and diversity are reported too."""

    best_of: int = 1
    """Also score the best of so many samples: its silhouette agrees best with the picture (for
    sentences: it is the likeliest)."""

    align: bool = False
    """Also score after alignment by the best of 24 rotations, a scale and ICP, in extra columns."""

    prediction: Path | None = None
    """Folder of another system's meshes of the same objects, which are scored in place of the
    weights. Files are named by object id, or listed in a manifest.jsonl with id and path."""

    frame: Literal["unit", "box", "source"] = "unit"
    """Frame of these meshes: `unit`, the unit frame (longest side 1.9, centred); `box`, any, and
    each mesh is moved to the unit frame by its own bounding box; `source`, that of the true
    mesh's file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialOptions(CommonOptions):
    """What every trial of tokens is told."""

    data: str = "procedural"
    """`procedural` (held-out seeds), `procedural-held-out-families`, a folder of shards, or a
    folder of meshes."""

    split: str = "val"
    """Objects of this split, for a folder of shards, or of meshes whose manifest names splits;
    `all` takes every one."""

    limit: int = 50
    """Number of objects: the first ones, or for a folder some spread evenly over it."""

    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o", "--out"])] = None
    """JSON file for the numbers of every object."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnomaliesOptions(TrialOptions):
    """Score held-out shapes and damaged versions of them, and say how well scores separate the two.

    The score is that of `g3pt score` without a prompt: nats per token.
    """

    adapter: Adapter = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StabilityOptions(TrialOptions):
    """Tokenize held-out shapes from two draws of surface points, and count bits that differ."""

    num_points: int | None = None
    """Surface points of a draw (default: as many as the weights want)."""

    spread: int = 1
    """Candidates of every surface point: more than 1 keeps well-spread points."""


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
    """Help text of `g3pt evaluate` itself."""
    lines = [
        "usage: g3pt evaluate meshes --prediction DIR --truth DIR [--align]",
        "       g3pt evaluate reconstruction --data SOURCE [--limit N]",
        "       g3pt evaluate generation --data SOURCE [--limit N] [--prediction DIR]",
        "       g3pt evaluate rate --data SOURCE [--limit N]",
        "       g3pt evaluate anomalies --data SOURCE [--limit N]",
        "       g3pt evaluate stability --data SOURCE [--limit N] [--num-points N] [--spread N]",
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

    with steps() as shown, _engine(options) as engine:
        result = evaluate_meshes(
            options.prediction,
            options.truth,
            settings,
            align=options.align,
            limit=options.limit,
            out=options.output,
            engine=engine,
            on_progress=partial(shown.show, "pairs"),
        )
    report(options, result, _method_lines(result))
    return 0


def _reconstruction(arguments: Sequence[str]) -> int:
    options = parse(DataOptions, "evaluate reconstruction", arguments)

    from g3pt.evaluation.protocols.reconstruction import evaluate_reconstruction

    return _on_data(
        options, partial(evaluate_reconstruction, options.weights, device=_device(options))
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
        evaluate_generation,
        options.weights,
        generation=generation,
        device=_device(options),
        adapter=options.adapter,
    )
    return _on_data(options, evaluate, _method_lines)


def _check_generation(options: GenerationOptions) -> None:
    for flag in ("samples", "best_of", "steps"):
        if getattr(options, flag) < 1:
            name = flag.replace("_", "-")
            raise ValueError(f"--{name} must be at least 1, got {getattr(options, flag)}")
    if options.sampling.guess or options.sampling.guess_above or options.sampling.outline:
        raise ValueError(
            "samples and their consensus are measured: leave out --guess, --guess-above and "
            "--outline"
        )
    if options.prediction is None:
        return
    if not options.prediction.is_dir():
        raise FileNotFoundError(f"{options.prediction}: no such folder of meshes")
    if options.adapter is not None:
        raise ValueError("--prediction takes no weights: leave out --adapter")
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

    evaluate = partial(evaluate_rate, options.weights, device=_device(options))
    return _on_data(options, evaluate, comparison_lines)


def _on_data(
    options: DataOptions,
    evaluate: Callable[..., dict[str, Any]],
    describe: Callable[[dict[str, Any]], list[str]] | None = None,
) -> int:
    settings = _settings(options)

    from g3pt.evaluation.objects import list_objects

    with naming_splits():
        objects = list_objects(
            options.data,
            limit=options.limit,
            split=options.split,
            gltf_colors=options.gltf_colors,
        )
    with steps() as shown, _engine(options) as engine:
        result = evaluate(
            objects,
            settings,
            out=options.output,
            engine=engine,
            on_progress=partial(shown.show, "objects"),
        )
    report(options, result, (describe or _lines)(result))
    return 0


def _settings(options: EvaluateOptions) -> "EvaluationSettings":
    from g3pt.evaluation.objects import EvaluationSettings, quick_settings

    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {options.limit}")
    check_engine(options.engine, options.workers, options.address)
    return quick_settings(options.seed) if options.quick else EvaluationSettings(seed=options.seed)


@contextmanager
def _engine(options: EvaluateOptions) -> "Iterator[Engine | None]":
    """The engine that runs the work; None is this process."""
    from g3pt.evaluation.run import LIMITS

    if options.engine == "local" and options.workers == 1:
        yield None
        return
    on_gpus = _device(options) == "cuda"
    with open_engine(
        options.engine, options.workers, options.address, LIMITS, on_gpus=on_gpus
    ) as engine:
        yield engine


def _device(options: EvaluateOptions) -> str:
    """Where models run: nodes of a cluster may differ, so `auto` means their CPUs."""
    return "cpu" if options.engine == "ray" and options.device == "auto" else options.device


def _lines(result: dict[str, Any]) -> list[str]:
    """The summary as readable lines."""
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
    options = _trial_options(AnomaliesOptions, "evaluate anomalies", arguments)

    from g3pt.evaluation.protocols.anomalies import evaluate_anomalies

    result = _try(options, partial(evaluate_anomalies, adapter=options.adapter))
    lines = [
        f"{row['kind']:<16} AUROC {row['auroc']['mean']:.3f} "
        f"[{row['auroc']['low']:.3f}, {row['auroc']['high']:.3f}], higher than the shape itself in "
        f"{row['higher_after_damage']:.0%}"
        for row in result["kinds"]
    ]
    report(options, result, lines)
    return 0


def _stability(arguments: Sequence[str]) -> int:
    options = _trial_options(StabilityOptions, "evaluate stability", arguments)

    from g3pt.evaluation.protocols.stability import evaluate_stability

    result = _try(
        options,
        partial(evaluate_stability, num_points=options.num_points, spread=options.spread),
    )
    lines = [
        f"scale {scale}, {row['tokens']:>4} tokens: {row['differ']['mean']:6.1%} of bits differ "
        f"[{row['differ']['low']:.1%}, {row['differ']['high']:.1%}], given coarser tokens "
        f"{row['differ_given']['mean']:.1%}; soft targets fit at {row['temperature']:.3f}"
        for scale, row in enumerate(result["scales"])
    ]
    report(options, result, lines)
    return 0


TrialT = TypeVar("TrialT", bound=TrialOptions)


def _trial_options(kind: type[TrialT], name: str, arguments: Sequence[str]) -> TrialT:
    options = parse(kind, name, arguments)
    if options.output is not None:
        require_suffix(options.output, (".json",), "-o")
    return options


def _try(options: TrialOptions, evaluate: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Run a trial on its objects, and write what it found."""
    from g3pt.evaluation.objects import list_objects
    from g3pt.files import write_whole

    with naming_splits():
        objects = list_objects(options.data, limit=options.limit, split=options.split)
    with steps() as shown:
        result = evaluate(
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
    return result


def _yardsticks(arguments: Sequence[str]) -> int:
    from g3pt.cli import evaluate_yardsticks

    return evaluate_yardsticks.main(arguments)


MODES: dict[str, Callable[[Sequence[str]], int]] = {
    "meshes": _meshes,
    "reconstruction": _reconstruction,
    "generation": _generation,
    "rate": _rate,
    "anomalies": _anomalies,
    "stability": _stability,
    "yardsticks": _yardsticks,
}
