"""`g3pt export`: trained runs to a weights folder that every other command takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from g3pt.cli.options import CommonOptions, Output, parse, report, working

if TYPE_CHECKING:
    from g3pt.models.car import Car
    from g3pt.models.rivals.flow import Flow
    from g3pt.models.tokenizer import Tokenizer
    from g3pt.models.weights.config import RegressorWeightsConfig, WeightsConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions(CommonOptions):
    """Join a tokenizer and a generator into a weights folder."""

    tokenizer: str | None = None
    """Run folder of the tokenizer, or weights that hold one; only a regressor has none."""

    car: str | None = None
    """Run folder of the generator, or weights that hold one; without it nothing is generated."""

    flow: str | None = None
    """Run folder of a flow, or weights that hold one, in place of a CAR."""

    regressor: str | None = None
    """Run folder of a regressor, or weights that hold one: it stands alone."""

    name: str = "mine"
    """Under which the weights are known."""

    storage: Literal["float32", "float16", "bfloat16"] = "float16"
    """Number format of the file."""

    compact: tuple[str, ...] = ()
    """Beginnings of tensor names whose matrices are stored as 8-bit rows, such as `car.` and
    `tokenizer.decoder.`: half the size. Of what makes tokens, that would change the tokens."""

    num_points: int | None = None
    """Surface points that a shape is sampled with before it becomes tokens (default: as many as
    the generator's tokens were made of, or as the tokenizer was trained on)."""

    guidance: float = 2.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 0.95
    """How tokens are sampled when nobody says otherwise, like the three before."""

    card: Path | None = None
    """Model card to put beside the weights, in Markdown."""

    evaluation: Path | None = None
    """Evaluation report to put beside the weights, JSON."""

    output: Output
    """The folder."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(ExportOptions, "export", arguments)
    for path in (options.card, options.evaluation):
        if path is not None and not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
    if options.output.is_file():
        raise ValueError(f"{options.output}: is a file, a folder is needed")

    _check_parts(options)
    written = _export_regressor(options) if options.regressor else _export_generator(options)
    size = sum(path.stat().st_size for path in options.output.iterdir())
    result = {
        "path": str(options.output),
        "name": written.name,
        "sha256": written.sha256,
        "bytes": size,
    }
    report(options, result, [f"{options.output}: {size / 1e6:.1f} MB, SHA-256 {written.sha256}"])
    return 0


def _check_parts(options: ExportOptions) -> None:
    """Refuse parts that do not make one system."""
    if options.regressor is not None:
        others = (options.tokenizer, options.car, options.flow)
        if any(other is not None for other in others):
            raise ValueError("a regressor stands alone: give no tokenizer, CAR or flow beside it")
    elif options.tokenizer is None:
        raise ValueError("--tokenizer is missing: name a run folder, or weights that hold one")
    if options.car is not None and options.flow is not None:
        raise ValueError("a CAR and a flow need different tokenizers: export them one by one")


def _export_generator(options: ExportOptions) -> "WeightsConfig":
    from g3pt.models.weights.config import SamplingDefaults, WeightsConfig
    from g3pt.models.weights.load import save_weights
    from g3pt.training.trained import load_car, load_flow, load_tokenizer

    assert options.tokenizer is not None
    tokenizer = load_tokenizer(options.tokenizer)
    car = None if options.car is None else load_car(options.car)
    flow = None if options.flow is None else load_flow(options.flow)
    if car is not None:
        _check_fit(tokenizer, car)
    if flow is not None:
        _check_latents(tokenizer, flow, options.tokenizer)
    num_points, classes = _settings(options.tokenizer, options.car or options.flow)
    config = WeightsConfig(
        name=options.name,
        storage=options.storage,
        compact=options.compact,
        tokenizer=tokenizer.config,
        num_points=options.num_points or num_points,
        classes=classes,
        sampling=SamplingDefaults(
            guidance=options.guidance,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
        ),
    )
    with working("writing"):
        return save_weights(
            options.output,
            tokenizer,
            car,
            flow=flow,
            config=config,
            card=options.card,
            evaluation=options.evaluation,
        )


def _export_regressor(options: ExportOptions) -> "RegressorWeightsConfig":
    from g3pt.models.weights.config import RegressorWeightsConfig
    from g3pt.models.weights.load import load_regressor_weights, save_regressor_weights
    from g3pt.training.runs import RegressorRun, load_run
    from g3pt.training.trained import load_regressor

    source = options.regressor
    assert source is not None
    regressor = load_regressor(source)
    if (Path(source) / "checkpoints").is_dir():
        run = load_run(source)
        assert isinstance(run, RegressorRun)
        classes = run.data.classes
    else:
        classes = load_regressor_weights(source, "cpu").config.classes
    config = RegressorWeightsConfig(
        name=options.name, storage=options.storage, regressor=regressor.config, classes=classes
    )
    with working("writing"):
        return save_regressor_weights(
            options.output,
            regressor,
            config=config,
            card=options.card,
            evaluation=options.evaluation,
        )


def _check_latents(tokenizer: "Tokenizer", flow: "Flow", name: str) -> None:
    """A flow works with the KL tokenizer that it was trained on only; see that they can fit."""
    from g3pt.models.alternatives.kl import require_gaussian

    kl = require_gaussian(tokenizer, name).config
    of_flow = (flow.config.num_latents, flow.config.latent_dim)
    if of_flow != (kl.num_latents, kl.latent_dim):
        raise ValueError(
            f"the flow was trained with another tokenizer: latents and channels are {of_flow}, "
            f"those of the tokenizer {(kl.num_latents, kl.latent_dim)}"
        )


def _check_fit(tokenizer: "Tokenizer", car: "Car") -> None:
    """A generator works with the tokenizer that it was trained on only; see that they can fit."""
    of_tokenizer = (tokenizer.scale_lengths, tokenizer.num_bits, tokenizer.dim)
    of_car = (car.config.scale_lengths, car.config.num_bits, car.config.input_dim)
    if of_tokenizer != of_car:
        raise ValueError(
            f"the generator was trained with another tokenizer: scales, bits and channels are "
            f"{of_car}, those of the tokenizer {of_tokenizer}"
        )


def _settings(tokenizer: str, generator: str | None) -> tuple[int, tuple[str, ...]]:
    """Points that the tokenizer reads and names of the classes, as the sources say."""
    from g3pt.models.weights.load import load_weights
    from g3pt.training.runs import CarRun, FlowRun, TokenizerRun, load_run
    from g3pt.training.stream_run import StreamRun

    num_points, classes = 0, ()
    for source in (tokenizer, generator):
        if source is None:
            continue
        if not (Path(source) / "checkpoints").is_dir():
            config = load_weights(source, "cpu").config
            num_points, classes = num_points or config.num_points, config.classes
            continue
        run = load_run(source)
        match run:
            case TokenizerRun():
                num_points = run.data.num_points
            case CarRun():
                # The tokens that the generator knows were made from so many points.
                num_points, classes = run.tokens.num_points, run.data.classes
            case StreamRun():
                num_points = run.data.num_points
            case FlowRun():
                num_points, classes = run.latents.num_points, run.data.classes
            case _:
                raise ValueError(f"{source}: holds the run of a {run.kind}")
    return num_points, classes
