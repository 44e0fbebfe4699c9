"""`g3pt export`: join trained runs into a weights folder that every other command takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from g3pt.cli.options import CommonOptions, Output, parse, report, require_folder, working
from g3pt.cli.shapes import said_with_flags
from g3pt.models.sampling import STANDARD, Sampling

if TYPE_CHECKING:
    from g3pt.models.weights.config import RegressorWeightsConfig, WeightsConfig
    from g3pt.training.origins import Origin


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingFlags(Sampling):
    """Default sampling settings of the weights (inherited)."""

    def __post_init__(self) -> None:
        """Check nothing: `said_with_flags` checks the values later and names the flag."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions(CommonOptions):
    """Join a tokenizer and a generator into a weights folder.

    Settings without a flag are inherited from the weights that the models come from, or that their
    runs started from.
    """

    tokenizer: str | None = None
    """Run folder of the tokenizer, or weights that hold one; only a regressor needs none."""

    car: str | None = None
    """Run folder of the generator, or weights that hold one; without it the weights can only
    tokenize and decode."""

    adapter: Path | None = None
    """Folder of an adapter (`g3pt finetune`) that is put into the generator; --car names the
    weights that it was made from."""

    flow: str | None = None
    """Run folder of a flow, or weights that hold one, in place of a CAR."""

    regressor: str | None = None
    """Run folder of a regressor, or weights that hold one; give it without other models."""

    inherit: str | None = None
    """Weights or run to inherit from, in place of those that the runs started from; `nothing` for
    none."""

    name: str = "mine"
    """Name of the weights."""

    storage: Literal["float32", "float16", "bfloat16"] | None = None
    """Number format of the file (inherited, or else float16)."""

    compact: tuple[str, ...] | None = None
    """Prefixes of tensor names whose matrices are stored as 8-bit rows, at half the size, such as
    `car.` and `tokenizer.decoder.`. Other parts of a tokenizer stored this way change its tokens.
    Inherited; --compact without values stores none this way."""

    num_points: int | None = None
    """Surface points that the tokenizer reads per shape (inherited, or else the number that the
    generator's tokens were made from, or that the tokenizer was trained on)."""

    sampling: SettingFlags = field(default_factory=SettingFlags)

    card: Path | None = None
    """Model card to put into the folder, in Markdown (default: one that says where the models come
    from, followed by the card of the weights that they started from)."""

    evaluation: Path | None = None
    """Evaluation report to put into the folder, in JSON."""

    attribution: Path | None = None
    """Credits of the training data, in Markdown (inherited)."""

    licence: Path | None = None
    """Text of the licence of the weights (inherited)."""

    output: Output
    """The weights folder to write."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(ExportOptions, "export", arguments)
    for path in (options.card, options.evaluation, options.attribution, options.licence):
        if path is not None and not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
    require_folder(options.output)

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
    """Refuse models that do not make up one system."""
    if options.regressor is not None:
        others = (options.tokenizer, options.car, options.flow)
        if any(other is not None for other in others):
            raise ValueError("a regressor stands alone: give no tokenizer, CAR or flow beside it")
    elif options.tokenizer is None:
        raise ValueError("--tokenizer is missing: name a run folder, or weights that hold one")
    if options.num_points is not None and options.num_points < 1:
        raise ValueError(f"--num-points must be at least 1, got {options.num_points}")
    if options.adapter is not None and options.car is None:
        raise ValueError("--adapter needs --car: the weights that the adapter was made from")
    if options.car is not None and options.flow is not None:
        raise ValueError("a CAR and a flow need different tokenizers: export them one by one")


def _export_generator(options: ExportOptions) -> "WeightsConfig":
    from g3pt.models.weights.config import WeightsConfig
    from g3pt.models.weights.load import load_weights, save_weights
    from g3pt.training.origins import inherited_compact, inherited_storage, origin_of
    from g3pt.training.trained import load_car, load_flow, load_tokenizer
    from g3pt.training.usable import check_fit, check_latents

    assert options.tokenizer is not None
    generator_source = options.car or options.flow
    made = origin_of(options.tokenizer, options.inherit)
    generator = None if generator_source is None else origin_of(generator_source, options.inherit)
    tokenizer = load_tokenizer(options.tokenizer)
    car = None if options.car is None else load_car(options.car)
    if options.adapter is not None:
        assert options.car is not None
        car = load_weights(options.car, "cpu", adapter=options.adapter).car
    flow = None if options.flow is None else load_flow(options.flow)
    if car is not None:
        check_fit(tokenizer, car)
    if flow is not None:
        check_latents(tokenizer, flow, options.tokenizer)
    origins = {"tokenizer": made} | ({} if generator is None else {"generator": generator})
    of_run = generator.num_points if generator is not None and generator.trained else None
    num_points = options.num_points or of_run or made.num_points
    assert num_points, "every run and all weights say how many points a tokenizer reads"
    compact = inherited_compact(made, generator) if options.compact is None else options.compact
    inherited = None if generator is None else generator.sampling
    config = WeightsConfig(
        name=options.name,
        storage=options.storage or inherited_storage(list(origins.values())),
        compact=compact,
        tokenizer=tokenizer.config,
        car=None if car is None else car.config,
        flow=None if flow is None else flow.config,
        num_points=num_points,
        classes=(generator.classes if generator else ()) or made.classes,
        sampling=said_with_flags(options.sampling, {}).over(inherited or STANDARD).over(STANDARD),
    )
    _check_sampling(config, len(getattr(tokenizer, "scale_lengths", ())))
    with working("writing"):
        return save_weights(
            options.output,
            tokenizer,
            car,
            flow=flow,
            config=config,
            **_files(options, origins, config),
        )


def _check_sampling(config: "WeightsConfig", num_scales: int) -> None:
    """Refuse default settings that the models cannot carry out.

    Raises:
        ValueError: if there are any; the message names the flag.
    """
    sampling = config.sampling
    if config.car is None:
        return
    if (sampling.num_scales or 0) > num_scales:
        raise ValueError(
            f"--num-scales must lie in 0..{num_scales}, the scales of the tokenizer, got "
            f"{sampling.num_scales}"
        )
    sampling.per_scale(num_scales)
    if config.car.guess is None and (sampling.guess or sampling.spread_limit is not None):
        raise ValueError(
            "the generator makes no first guess to answer with: give --guess False and "
            "--guess-above never"
        )


def _files(
    options: ExportOptions,
    origins: "Mapping[str, Origin]",
    config: "WeightsConfig | RegressorWeightsConfig",
) -> "dict[str, Path | str | None]":
    """Card, evaluation, attribution and licence: those of the flags, or else inherited ones."""
    from g3pt.models.weights.places import (
        ATTRIBUTION_FILE,
        CARD_FILE,
        EVALUATION_FILE,
        LICENCE_FILE,
    )
    from g3pt.training.cards import exported_card
    from g3pt.training.origins import are_copies, inherited_text

    every = list(origins.values())
    credit = {
        ATTRIBUTION_FILE: options.attribution or inherited_text(every, ATTRIBUTION_FILE),
        LICENCE_FILE: options.licence or inherited_text(every, LICENCE_FILE),
    }
    card: Path | str | None = options.card
    evaluation: Path | str | None = options.evaluation
    if are_copies(every, config):
        card = card or inherited_text(every, CARD_FILE)
        evaluation = evaluation or inherited_text(every, EVALUATION_FILE)
    beside = [name for name, content in credit.items() if content is not None]
    return {
        "card": card or exported_card(origins, config, beside),
        "evaluation": evaluation,
        "attribution": credit[ATTRIBUTION_FILE],
        "licence": credit[LICENCE_FILE],
    }


def _export_regressor(options: ExportOptions) -> "RegressorWeightsConfig":
    from g3pt.models.weights.config import RegressorWeightsConfig
    from g3pt.models.weights.load import save_regressor_weights
    from g3pt.training.origins import inherited_storage, origin_of
    from g3pt.training.trained import load_regressor

    assert options.regressor is not None
    origin = origin_of(options.regressor, options.inherit)
    regressor = load_regressor(options.regressor)
    config = RegressorWeightsConfig(
        name=options.name,
        storage=options.storage or inherited_storage([origin]),
        regressor=regressor.config,
        classes=origin.classes,
    )
    files = _files(options, {"regressor": origin}, config)
    with working("writing"):
        return save_regressor_weights(options.output, regressor, config=config, **files)
