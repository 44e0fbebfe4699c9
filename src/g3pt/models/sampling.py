"""`Sampling`: all that can be told to a sampler, by weights and by people alike.

It lies with the models because weights hold one. Nothing here needs torch.
Legend: S scales.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, assert_never, get_args

from g3pt.arguments import check_number, check_whole

GuidanceSchedule = Literal["ramp", "constant", "last_half"]
"""From 1 at the coarsest scale to the number at the finest; the number everywhere; the number on
the finer half of the scales, 1 on the others."""


def _is_several(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _check(
    name: str,
    value: Any,
    check_kind: Callable[[str, object], None],
    is_allowed: Callable[[Any], bool],
    rule: str,
    *,
    many: bool = False,
) -> None:
    """Refuse a setting of another kind or out of its range; with `many`, each of several."""
    if value is None:
        return
    for one in value if many and _is_several(value) else (value,):
        check_kind(name, one)
        if not is_allowed(one):
            raise ValueError(f"{name} {rule}, got {one}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How an answer is sampled; None leaves a setting to the weights.

    What the weights do not say either is as in `STANDARD`. Temperature, top_k and top_p are one
    number, or one for every scale, coarsest first.

    Raises:
        ValueError: naming the setting, its range and what came.
    """

    guidance: float | None = None
    """How much more the prompt counts than by itself (classifier-free guidance, Sec. 4.2): that of
    the finest scale; 1 is neutral."""

    guidance_schedule: GuidanceSchedule | None = None
    """How it reaches the other scales: `ramp` from 1 at the coarsest, `constant`, or `last_half`:
    1 on the coarser half."""

    guidance_by_scale: tuple[float, ...] | None = None
    """Guidance of every scale, coarsest first, in place of the two; empty leaves it to them."""

    temperature: float | tuple[float, ...] | None = None
    """Below 1 is more typical; 0 always takes the likeliest token."""

    top_k: int | tuple[int, ...] | None = None
    """Keep the k likeliest tokens; 0 keeps all."""

    top_p: float | tuple[float, ...] | None = None
    """Keep the likeliest tokens that hold this probability; 1 keeps all."""

    num_scales: int | None = None
    """Stop after this many scales, a coarser shape; 0 is all."""

    consensus: int | None = None
    """Samples whose mean is the answer, safer and smoother than one of them; their seeds follow
    each other. 1 is a plain sample. What weights say holds for pictures of which one answer is
    wanted."""

    guess: bool | None = None
    """Answer with the generator's first guess, without sampling: coarse, and the likeliest single
    answer for things unlike those it learned. What weights say holds as for the consensus."""

    guess_above: float | Literal["never"] | None = None
    """The first guess answers in place of a consensus whose samples are further apart than this
    (`sample_spread`); or `never`."""

    def __post_init__(self) -> None:
        not_negative = (lambda value: value >= 0, "must not be negative")
        positive = (lambda value: value >= 1, "must be at least 1")
        share = (lambda value: 0 < value <= 1, "must be within (0, 1]")
        _check("guidance", self.guidance, check_number, *not_negative)
        _check("guidance_by_scale", self.guidance_by_scale, check_number, *not_negative, many=True)
        _check("temperature", self.temperature, check_number, *not_negative, many=True)
        _check("top_k", self.top_k, check_whole, *not_negative, many=True)
        _check("top_p", self.top_p, check_number, *share, many=True)
        _check("num_scales", self.num_scales, check_whole, *not_negative)
        _check("consensus", self.consensus, check_whole, *positive)
        if self.guess_above != "never":
            _check("guess_above", self.guess_above, check_number, *not_negative)
        if self.guess is not None and not isinstance(self.guess, bool):
            raise ValueError(f"guess must be True or False, got {self.guess!r:.40}")
        known = get_args(GuidanceSchedule)
        if self.guidance_schedule is not None and self.guidance_schedule not in known:
            raise ValueError(
                f"guidance_schedule must be {', '.join(known[:-1])} or {known[-1]}, got "
                f"{self.guidance_schedule!r:.40}"
            )

    def over(self, base: "Sampling") -> "Sampling":
        """These settings, and those of `base` where nothing is said here.

        Who says `guidance` or its schedule does not want the numbers by scale of `base`.
        """
        unsaid: dict[str, Any] = {
            field.name: getattr(base, field.name)
            for field in fields(self)
            if getattr(self, field.name) is None
        }
        one_guidance = self.guidance is not None or self.guidance_schedule is not None
        if one_guidance and self.guidance_by_scale is None:
            unsaid["guidance_by_scale"] = ()
        return replace(self, **unsaid)

    def per_scale(self, num_scales: int) -> tuple["ScaleSampling", ...]:
        """The settings of each of the scales that a generator has, coarsest first.

        Raises:
            ValueError: if numbers are given for another number of scales.
        """
        said = self.over(STANDARD)
        columns = [
            _column("temperature", said.temperature, num_scales),
            _column("top_k", said.top_k, num_scales),
            _column("top_p", said.top_p, num_scales),
        ]
        return tuple(
            ScaleSampling(guidance, temperature, int(top_k), top_p)
            for guidance, temperature, top_k, top_p in zip(
                said.guidance_of(num_scales), *columns, strict=True
            )
        )

    def guidance_of(self, num_scales: int) -> tuple[float, ...]:
        """Guidance of each scale, coarsest first.

        Raises:
            ValueError: if `guidance_by_scale` names another number of scales.
        """
        said = self.over(STANDARD)
        if not said.guidance_by_scale:
            assert said.guidance is not None and said.guidance_schedule is not None
            return guidance_per_scale(float(said.guidance), num_scales, said.guidance_schedule)
        if len(said.guidance_by_scale) != num_scales:
            raise ValueError(
                f"guidance_by_scale needs {num_scales} numbers, one a scale, got "
                f"{len(said.guidance_by_scale)}"
            )
        return tuple(float(one) for one in said.guidance_by_scale)

    @property
    def spread_limit(self) -> float | None:
        """`guess_above` as a number; None where it is not said, or `never`."""
        return None if self.guess_above in (None, "never") else float(self.guess_above)


STANDARD = Sampling(
    guidance=2.0,
    guidance_schedule="ramp",
    guidance_by_scale=(),
    temperature=1.0,
    top_k=0,
    top_p=0.95,
    num_scales=0,
    consensus=1,
    guess=False,
    guess_above="never",
)
"""What holds where nobody says otherwise."""

UNCHANGED = Sampling(guidance=1.0, temperature=1.0, top_k=0, top_p=1.0)
"""The distribution that the generator learned, as it is."""


@dataclass(frozen=True, slots=True)
class ScaleSampling:
    """The settings of one scale."""

    guidance: float
    temperature: float
    top_k: int
    top_p: float


def told_sampling(sampling: Sampling | None, told: dict[str, Any]) -> Sampling:
    """Settings of which some are given by name: `generate(guidance=3)`.

    Args:
        sampling: settings in one piece, if there are some.
        told: fields of `Sampling`; they count more. A sequence of numbers is one a scale, also for
            `guidance`.

    Raises:
        TypeError: if there is no such setting.
        ValueError: if one is out of its range.
    """
    names = [field.name for field in fields(Sampling)]
    if unknown := [name for name in told if name not in names]:
        raise TypeError(
            f"there is no argument {unknown[0]!r}; settings of the sampler are {', '.join(names)}"
        )
    by_scale = ("guidance", "guidance_by_scale", "temperature", "top_k", "top_p")
    values: dict[str, Any] = {
        name: tuple(value) if name in by_scale and _is_several(value) else value
        for name, value in told.items()
    }
    if isinstance(values.get("guidance"), tuple):
        values["guidance_by_scale"] = values.pop("guidance")
    return Sampling(**values).over(sampling or Sampling())


def guidance_per_scale(
    guidance: float, num_scales: int, schedule: GuidanceSchedule = "ramp"
) -> tuple[float, ...]:
    """Give the guidance of each scale, coarsest first; 1 is none."""
    match schedule:
        case "ramp":
            last = max(num_scales - 1, 1)
            return tuple(1 + (guidance - 1) * scale / last for scale in range(num_scales))
        case "constant":
            return (guidance,) * num_scales
        case "last_half":
            first = num_scales // 2
            return (1.0,) * first + (guidance,) * (num_scales - first)
        case _:
            assert_never(schedule)


def _column(name: str, value: Any, num_scales: int) -> list[float]:
    if not _is_several(value):
        return [float(value)] * num_scales
    if len(value) != num_scales:
        raise ValueError(f"{name} needs one value or {num_scales}, got {len(value)}")
    return [float(one) for one in value]
