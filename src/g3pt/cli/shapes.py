"""Shared by the commands that sample shapes: flags, their ranges, files and their description."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from g3pt.cli.color import describe_color
from g3pt.cli.finish import FinishFlags, describe_finish
from g3pt.cli.options import Adapter, CommonOptions, working
from g3pt.cli.progress import steps
from g3pt.models.sampling import Sampling

if TYPE_CHECKING:
    from g3pt.generation.pipeline import G3PT
    from g3pt.generation.results import GenerationResult, ScaleEvent
    from g3pt.models.g3t import TokenFrame


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingFlags(Sampling):
    """Settings of the sampler; the defaults are those of the weights."""

    num_scales: Annotated[int | None, tyro.conf.arg(name="scales")] = None
    """Stop after this many scales; the shape is coarser."""

    guess: bool = False
    """Mesh the generator's first guess, without sampling, for weights that make one. Some weights
    do so by default for pictures, or if the samples of a consensus disagree, and say so;
    --consensus 1 makes them sample."""

    def __post_init__(self) -> None:
        """Check nothing: `told` checks the values later and names the flag."""

    def told(self) -> Sampling:
        """The given settings, checked; those without a flag are None.

        Raises:
            ValueError: if one is out of range; the message names the flag and its range.
        """
        return said_with_flags(self, {"num_scales": "scales"}, guess=self.guess or None)


def said_with_flags(flags: Sampling, names: dict[str, str], **changes: Any) -> Sampling:
    """Check settings that were given as flags, and return them.

    Args:
        flags: the flags as they were read.
        names: setting -> flag, for flags whose name differs from that of their setting.
        changes: settings that replace those of the flags.

    Raises:
        ValueError: if one is out of range; the message names the flag and its range.
    """
    said = {one.name: getattr(flags, one.name) for one in fields(Sampling)}
    try:
        return Sampling(**{**said, **changes})
    except ValueError as error:
        name, _, rule = str(error).partition(" ")
        flag = names.get(name, name).replace("_", "-")
        raise ValueError(f"--{flag} {rule}") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingOptions(CommonOptions):
    """Flags for sampling and meshing."""

    adapter: Adapter = None

    num: int = 1
    """Samples per prompt."""

    resolution: int = 128
    """Grid cells per axis of the mesh, 16 to 1024."""

    sampling: SamplingFlags = field(default_factory=SamplingFlags)

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the generator; auto is bfloat16 on GPUs that support it, else float32."""

    min_share: float = 0.01
    """Drop loose parts below this share of the whole surface area; 0 keeps everything."""

    tokens: bool = False
    """Also write the tokens, as NAME.g3t next to the mesh."""

    finish: FinishFlags = field(default_factory=FinishFlags)

    def check(self) -> None:
        """Refuse settings out of range before any work, so that they count as wrong input.

        Raises:
            ValueError: if there are any; the message names the flag and its range.
        """
        from g3pt.generation.meshing import check_resolution

        check_resolution(self.resolution)
        if self.num < 1:
            raise ValueError(f"--num must be at least 1, got {self.num}")
        self.sampling.told()
        if not 0 <= self.min_share <= 1:
            raise ValueError(f"--min-share must lie between 0 and 1, got {self.min_share:g}")

    def request(self) -> dict[str, Any]:
        """The flags as arguments of `G3PT.generate`."""
        return {
            "seed": self.seed,
            "num": self.num,
            "sampling": self.sampling.told(),
            "resolution": self.resolution,
            "min_share": self.min_share,
        }


def describe(entry: dict[str, Any]) -> str:
    """The result of one sample as a line; a printable solid has more."""
    if entry["path"] is None:
        return f"seed {entry['seed']}: empty, nothing written"
    parts = "1 part" if entry["components"] == 1 else f"{entry['components']} parts"
    state = "closed" if entry["closed"] else "open"
    color = describe_color(entry["color"]) if "color" in entry else ""
    line = f"{entry['path']}: {entry['faces']} faces, {state}, {parts}, seed {entry['seed']}"
    return line + color + describe_finish(entry)


def empty_message(outputs: list[dict[str, Any]]) -> str | None:
    """The message if some samples have no inside, else None."""
    empty = [str(entry["seed"]) for entry in outputs if entry["path"] is None]
    if not empty:
        return None
    return (
        f"the shape of seed {', '.join(empty)} has no inside: nothing was written for it; "
        "try another seed"
    )


def write_in_place(
    pipeline: "G3PT",
    result: "GenerationResult",
    paths: Sequence[Path],
    source: "TokenFrame",
    options: SamplingOptions,
    *,
    unit_frame: bool,
) -> list[dict[str, Any]]:
    """Write samples at the place and scale of their source, or in the unit frame if asked."""
    from g3pt.generation.writing import own_unit, write_samples
    from g3pt.models.g3t import TokenFrame

    return write_samples(
        result,
        paths,
        TokenFrame() if unit_frame else source,
        options.finish,
        own_unit=own_unit(source, unit_frame=unit_frame),
        tokens_of=pipeline.weights.fingerprint if options.tokens else None,
    )


def sample_stems(stem: str, options: SamplingOptions) -> list[str]:
    """File names of samples without suffix; if there are several, the names contain the seeds."""
    if options.num == 1:
        return [stem]
    return [f"{stem}-{options.seed + k}" for k in range(options.num)]


@contextmanager
def scales_shown() -> "Iterator[Callable[[ScaleEvent], None]]":
    """Show the number of sampled scales while the block runs; errors in it become `WorkError`."""
    with steps() as shown, working("generating"):
        total = 0

        def show(event: "ScaleEvent") -> None:
            nonlocal total
            if event.stage == "tokens":
                shown.show("scales", event.scale + 1, event.num_scales)
            elif event.stage == "color":
                shown.show("colours", event.first, event.total)
            else:
                total = event.total
                shown.show("meshes", event.first, total, f"{event.queries:,} points")

        yield show
        if total:
            shown.show("meshes", total, total)
