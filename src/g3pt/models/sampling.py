"""`Sampling`: all settings of a sampler, as weights hold them and users give them.

It is part of the models because weights hold one. Nothing here needs torch.

Legend: S scales.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, assert_never, get_args

from g3pt.arguments import check_number, check_whole

GuidanceSchedule = Literal["ramp", "constant", "last_half"]
"""`ramp`: from 1 at the coarsest scale to the guidance at the finest. `constant`: the guidance at
all scales. `last_half`: the guidance on the finer half of the scales, 1 on the others."""


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
    """Check type and range of a setting; with `many`, of each of several values."""
    if value is None:
        return
    for one in value if many and _is_several(value) else (value,):
        check_kind(name, one)
        if not is_allowed(one):
            raise ValueError(f"{name} {rule}, got {one}")


def at_most(limit: float) -> tuple[Callable[[Any], bool], str]:
    """The rule that a setting has a largest value."""
    return lambda value: value <= limit, f"must be at most {limit}"


MAX_CONSENSUS = 1024
MAX_SCALES = 1024
MAX_STRENGTH = 1e6
"""Largest guidance and temperature."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How an answer is sampled; None leaves a setting to the weights.

    A setting that the weights leave open, too, is taken from `STANDARD`. Temperature, top_k and
    top_p are one number, or one for every scale, coarsest first.

    Raises:
        ValueError: if a setting is out of its range; the message names setting, range and value.
    """

    guidance: float | None = None
    """Strength of classifier-free guidance (Sec. 4.2) at the finest scale; 1 switches it off."""

    guidance_schedule: GuidanceSchedule | None = None
    """Guidance at the other scales: `ramp` rises from 1 at the coarsest, `constant` is the same at
    all, `last_half` is 1 on the coarser half."""

    guidance_by_scale: tuple[float, ...] | None = None
    """Guidance of every scale, coarsest first. It replaces `guidance` and `guidance_schedule`
    unless it is empty."""

    temperature: float | tuple[float, ...] | None = None
    """Sampling temperature. Below 1 gives more typical shapes; 0 always takes the likeliest
    token."""

    top_k: int | tuple[int, ...] | None = None
    """Keep the k likeliest tokens; 0 keeps all."""

    top_p: float | tuple[float, ...] | None = None
    """Keep the likeliest tokens that together have this probability; 1 keeps all."""

    num_scales: int | None = None
    """Stop after this many scales, which gives a coarser shape; 0 samples all."""

    consensus: int | None = None
    """Number of samples, with consecutive seeds, whose mean is the answer. The mean is safer and
    smoother than one sample. 1 is a plain sample. The setting of the weights applies only to
    pictures for which one answer is wanted."""

    guess: bool | None = None
    """Answer with the generator's first guess, without sampling. It is coarse, but the likeliest
    single answer for objects unlike those of the training. The setting of the weights applies as
    for `consensus`."""

    outline: bool | None = None
    """Fit the first guess to the outline of the object in the picture, taken as seen by the
    canonical camera, before it is meshed. Without it thin parts are lost and the guess shrinks."""

    guess_above: float | Literal["never"] | None = None
    """Answer with the first guess in place of a consensus if its samples are further apart than
    this (`sample_spread`); or `never`."""

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
        _check("consensus", self.consensus, check_whole, *at_most(MAX_CONSENSUS))
        _check("num_scales", self.num_scales, check_whole, *at_most(MAX_SCALES))
        _check("guidance", self.guidance, check_number, *at_most(MAX_STRENGTH))
        _check(
            "guidance_by_scale",
            self.guidance_by_scale,
            check_number,
            *at_most(MAX_STRENGTH),
            many=True,
        )
        _check("temperature", self.temperature, check_number, *at_most(MAX_STRENGTH), many=True)
        if self.guess_above != "never":
            _check("guess_above", self.guess_above, check_number, *not_negative)
        for name in ("guess", "outline"):
            if getattr(self, name) not in (None, True, False):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r:.40}")
        known = get_args(GuidanceSchedule)
        if self.guidance_schedule is not None and self.guidance_schedule not in known:
            raise ValueError(
                f"guidance_schedule must be {', '.join(known[:-1])} or {known[-1]}, got "
                f"{self.guidance_schedule!r:.40}"
            )

    def over(self, base: "Sampling") -> "Sampling":
        """These settings, with those of `base` where they are None.

        If `guidance` or its schedule is set here, `guidance_by_scale` of `base` is not taken over.
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
        """The settings of each scale of a generator, coarsest first.

        Raises:
            ValueError: if values are given for another number of scales.
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
        """`guess_above` as a number; None if it is not set, or `never`."""
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
    outline=True,
    guess_above="never",
)
"""The defaults of settings that neither the user nor the weights give."""

UNCHANGED = Sampling(guidance=1.0, temperature=1.0, top_k=0, top_p=1.0)
"""Sampling from exactly the distribution that the generator learned."""


@dataclass(frozen=True, slots=True)
class ScaleSampling:
    """The settings of one scale."""

    guidance: float
    temperature: float
    top_k: int
    top_p: float


def told_sampling(sampling: Sampling | None, told: dict[str, Any]) -> Sampling:
    """Merge a `Sampling` with settings given by name, as in `generate(guidance=3)`.

    Args:
        sampling: the settings as one object, or None.
        told: fields of `Sampling`; they take precedence. A sequence of numbers gives one per scale,
            also for `guidance`.

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
    """Give the guidance of each scale, coarsest first; 1 is no guidance."""
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
