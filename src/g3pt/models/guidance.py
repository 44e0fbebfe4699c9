"""How strongly each scale is guided (classifier-free guidance, Sec. 4.2)."""

from typing import Literal, assert_never

GuidanceSchedule = Literal["ramp", "constant", "last_half"]
"""From 1 at the coarsest scale to the number at the finest; the number everywhere; the number on
the finer half of the scales, 1 on the others."""


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
