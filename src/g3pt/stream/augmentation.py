"""Augmentation of rendered pictures: lights, patterns, and the defects of cut-out photographs.

Random lights and patterns are for `drawing.draw`. Drawn pictures then get the defects that
photographs with a removed background have: another frame, a remaining shadow, an edge too tight or
too wide, blur, colours of a camera, noise, few colours. Everything is done in batches on the device
of the pictures, with one random generator.

Legend: V pictures, S side of a picture. Colours of fully transparent pixels are undefined.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, max_pool2d, normalize, pad

from g3pt.geometry.cameras import MIN_ALPHA
from g3pt.stream.drawing import MARBLE, STRIPES, Lights, Patterns, studio_lights

_LUMA = (0.299, 0.587, 0.114)
_BLUR_RADIUS = 3
"""Radius of the blur kernel in standard deviations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """How often each augmentation is applied (shares of 1), and its largest strength."""

    light: float = 0.7
    """Share of pictures with another light than the studio's."""
    gloss: float = 0.3
    """Share of these with a glossy surface."""
    pattern: float = 0.25
    pattern_lengths: tuple[float, float] = (0.08, 0.7)
    """Shortest and longest wavelength of a pattern in unit-frame lengths."""
    frame: float = 0.5
    shift: float = 0.06
    """Largest shift in each direction, as a share of the picture's side."""
    scale: float = 0.15
    """Largest relative change of size; larger objects are cropped."""
    turn_degrees: float = 6.0
    shadow: float = 0.15
    shadow_strength: float = 0.6
    edge: float = 0.3
    """Share of pictures whose alpha is cut a pixel too tight or too wide."""
    color: float = 0.7
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.5
    hue_degrees: float = 18.0
    grey: float = 0.08
    blur: float = 0.35
    blur_width: float = 0.012
    """Largest standard deviation, as a share of the picture's side."""
    noise: float = 0.35
    noise_strength: float = 0.07
    """Largest standard deviation, for values from 0 to 1."""
    few_colors: float = 0.12
    fewest_levels: int = 5
    """Fewest levels of a channel in pictures with few colours."""

    def __post_init__(self) -> None:
        for name in ("light", "gloss", "pattern", "frame", "shadow", "edge", "color", "grey"):
            _check_share(name, getattr(self, name))
        for name in ("blur", "noise", "few_colors", "shadow_strength"):
            _check_share(name, getattr(self, name))
        low, high = self.pattern_lengths
        if not 0 < low <= high:
            raise ValueError(
                f"augmentation.pattern_lengths must be positive and increasing, got {(low, high)}"
            )
        if not 0 <= self.scale < 1:
            raise ValueError(f"augmentation.scale must lie in [0, 1), got {self.scale}")
        if self.fewest_levels < 2:
            raise ValueError(
                f"augmentation.fewest_levels must be at least 2, got {self.fewest_levels}"
            )


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"augmentation.{name} is a share from 0 to 1, got {value}")


def random_lights(config: Augmentation, num: int, generator: torch.Generator) -> Lights:
    """Lights for `drawing.draw`: the studio's, or others from in front of or above the shape."""
    chance = _Chance(num, generator)
    studio = studio_lights(num, generator.device)
    other_V = chance.happens(config.light)

    def mixed(usual: Tensor, other: Tensor) -> Tensor:
        return torch.where(other_V.view(-1, *[1] * (usual.ndim - 1)), other, usual)

    x_V, y_V, z_V = chance.directions().unbind(1)
    keys_V3 = torch.stack([x_V, y_V.abs() - 0.25, z_V.abs() - 0.15], dim=1)
    return Lights(
        keys_V3=mixed(studio.keys_V3, keys_V3),
        key_strengths_V=mixed(studio.key_strengths_V, chance.between(0.35, 1.1)),
        fills_V3=mixed(studio.fills_V3, chance.directions()),
        fill_strengths_V=mixed(studio.fill_strengths_V, chance.between(0.0, 0.45)),
        ambients_V=mixed(studio.ambients_V, chance.between(0.12, 0.6)),
        glosses_V=chance.between(0.05, 0.7) * (other_V & chance.happens(config.gloss)),
    )


def random_patterns(config: Augmentation, num: int, generator: torch.Generator) -> Patterns:
    """Patterns for `drawing.draw`: half upright, the others with a random orientation."""
    chance = _Chance(num, generator)
    kinds_V = torch.randint(STRIPES, MARBLE + 1, (num,), generator=generator, device=chance.device)
    first_V3 = chance.directions()
    upright_V1 = chance.happens(0.5)[:, None]
    # Upright patterns vary along the axes, or around the vertical one.
    axis_V3 = torch.eye(3, device=chance.device)[(3 * chance.between(0, 1)).long().clamp_max(2)]
    first_V3 = torch.where(upright_V1, axis_V3, first_V3)
    helper_V3 = first_V3.roll(1, 1)
    second_V3 = normalize(first_V3.cross(helper_V3, dim=1), dim=1)
    third_V3 = first_V3.cross(second_V3, dim=1)
    directions_V43 = torch.stack([first_V3, second_V3, third_V3, chance.directions()], dim=1)
    short, long = config.pattern_lengths
    lengths_V = short * (long / short) ** chance.between(0, 1)
    return Patterns(
        kinds_V=kinds_V * chance.happens(config.pattern),
        waves_V43=directions_V43 * (2 * math.pi / lengths_V)[:, None, None],
        phases_V4=torch.stack([chance.between(0, 2 * math.pi) for _ in range(4)], dim=1),
        colors_V3=torch.stack([chance.between(0, 1) for _ in range(3)], dim=1) ** 2.2,
        strengths_V=chance.between(0.2, 0.95),
    )


def augment(
    config: Augmentation, pictures_VSS4: UInt8[Tensor, "V S S 4"], generator: torch.Generator
) -> UInt8[Tensor, "V S S 4"]:
    """Give pictures the defects of cut-out photographs.

    Args:
        config: frequencies and strengths.
        pictures_VSS4: straight alpha.
        generator: source of randomness, on the pictures' device.
    """
    chance = _Chance(len(pictures_VSS4), generator)
    pictures_V4SS = pictures_VSS4.permute(0, 3, 1, 2).float() / 255
    colors_V3SS, alpha_V1SS = pictures_V4SS[:, :3], pictures_V4SS[:, 3:]
    solid_V4SS = torch.cat([colors_V3SS * alpha_V1SS, alpha_V1SS], dim=1)  # premultiplied
    solid_V4SS = _shadowed(config, solid_V4SS, chance)
    solid_V4SS = _reframed(config, solid_V4SS, chance)
    solid_V4SS = _cut(config, solid_V4SS, chance)
    solid_V4SS = _blurred(config, solid_V4SS, chance)
    alpha_V1SS = solid_V4SS[:, 3:]
    colors_V3SS = _recolored(config, solid_V4SS[:, :3] / alpha_V1SS.clamp_min(1e-3), chance)
    noise_V = chance.between(0, config.noise_strength) * chance.happens(config.noise)
    grain_V3SS = torch.randn(colors_V3SS.shape, generator=generator, device=chance.device)
    colors_V3SS = (colors_V3SS + _wide(noise_V) * grain_V3SS).clamp(0, 1)
    steps_V111 = _wide(chance.between(config.fewest_levels - 1, 24).floor())
    coarse_V3SS = (colors_V3SS * steps_V111).round() / steps_V111
    few_V111 = _wide(chance.happens(config.few_colors))
    colors_V3SS = torch.where(few_V111, coarse_V3SS, colors_V3SS)
    values_V4SS = torch.cat([colors_V3SS, alpha_V1SS], dim=1).clamp(0, 1) * 255
    return values_V4SS.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class _Chance:
    """Random numbers, one for each picture."""

    def __init__(self, num: int, generator: torch.Generator) -> None:
        self._num = num
        self._generator = generator
        self.device = generator.device

    def between(self, low: float, high: float) -> Float32[Tensor, " V"]:
        uniform = torch.rand(self._num, generator=self._generator, device=self.device)
        return low + (high - low) * uniform

    def happens(self, share: float) -> Bool[Tensor, " V"]:
        return self.between(0, 1) < share

    def directions(self) -> Float32[Tensor, "V 3"]:
        normal = torch.randn(self._num, 3, generator=self._generator, device=self.device)
        return normalize(normal, dim=1)


def _wide(values_V: Tensor) -> Tensor:
    return values_V[:, None, None, None]


def _shadowed(
    config: Augmentation, solid_V4SS: Float32[Tensor, "V 4 S S"], chance: _Chance
) -> Float32[Tensor, "V 4 S S"]:
    """Add a soft dark patch under the object, as poor cut-outs keep."""
    side = solid_V4SS.shape[-1]
    line_S = (torch.arange(side, device=chance.device) + 0.5) / side
    seen_VSS = solid_V4SS[:, 3] >= MIN_ALPHA / 255
    bottom_V = torch.where(seen_VSS.any(2), line_S, 0.0).amax(1)
    right_V = torch.where(seen_VSS.any(1), line_S, 0.0).amax(1)
    left_V = torch.where(seen_VSS.any(1), line_S, 1.0).amin(1)
    width_V = (right_V - left_V).clamp_min(0.05)
    middle_V = (left_V + right_V) / 2 + width_V * chance.between(-0.2, 0.2)
    across_VS = (line_S - middle_V[:, None]) / (width_V * chance.between(0.4, 0.75))[:, None]
    low_V = bottom_V - chance.between(-0.01, 0.05)
    down_VS = (line_S - low_V[:, None]) / chance.between(0.03, 0.14)[:, None]
    away_VSS = down_VS.square()[:, :, None] + across_VS.square()[:, None]
    strength_V = chance.between(0.1, config.shadow_strength) * chance.happens(config.shadow)
    shadow_VSS = strength_V[:, None, None] * (-2 * away_VSS).exp()
    behind_V1SS = ((1 - solid_V4SS[:, 3]) * shadow_VSS)[:, None]
    tone_V111 = _wide(chance.between(0.0, 0.25))
    dark_V4SS = torch.cat([(behind_V1SS * tone_V111).expand(-1, 3, -1, -1), behind_V1SS], dim=1)
    return solid_V4SS + dark_V4SS


def _reframed(
    config: Augmentation, solid_V4SS: Float32[Tensor, "V 4 S S"], chance: _Chance
) -> Float32[Tensor, "V 4 S S"]:
    """Shift, scale and rotate pictures a little; what leaves the frame is cropped."""
    moved_V = chance.happens(config.frame)
    zoom_V = torch.where(moved_V, 1 / chance.between(1 - config.scale, 1 + config.scale), 1.0)
    turn_V = chance.between(-1, 1) * math.radians(config.turn_degrees) * moved_V
    right_V = chance.between(-2 * config.shift, 2 * config.shift) * moved_V
    down_V = chance.between(-2 * config.shift, 2 * config.shift) * moved_V
    cosine_V, sine_V = zoom_V * turn_V.cos(), zoom_V * turn_V.sin()
    from_x_V = -cosine_V * right_V + sine_V * down_V  # where the new middle was
    from_y_V = -sine_V * right_V - cosine_V * down_V
    rows = [cosine_V, -sine_V, from_x_V, sine_V, cosine_V, from_y_V]
    places = affine_grid(
        torch.stack(rows, dim=1).view(-1, 2, 3), list(solid_V4SS.shape), align_corners=False
    )
    there_V4SS = grid_sample(solid_V4SS, places, mode="bilinear", align_corners=False)
    return torch.where(_wide(moved_V), there_V4SS, solid_V4SS)


def _cut(
    config: Augmentation, solid_V4SS: Float32[Tensor, "V 4 S S"], chance: _Chance
) -> Float32[Tensor, "V 4 S S"]:
    """Cut the object out too tightly, or with an edge of its background."""
    radius = max(1, round(solid_V4SS.shape[-1] / 128))
    alpha_V1SS = solid_V4SS[:, 3:]
    amount_V = chance.between(0.3, 1.0) * chance.happens(config.edge)
    wide_V = chance.happens(0.5)
    # What a tighter cut removes, and what a wider one adds.
    less_V1SS = alpha_V1SS + max_pool2d(-alpha_V1SS, 2 * radius + 1, 1, radius)
    more_V1SS = max_pool2d(alpha_V1SS, 2 * radius + 1, 1, radius) - alpha_V1SS
    keep_V1SS = 1 - _wide(amount_V * ~wide_V) * less_V1SS / alpha_V1SS.clamp_min(1e-3)
    edge_V1SS = _wide(amount_V * wide_V) * more_V1SS
    grounds_V311 = torch.stack([chance.between(0, 1) for _ in range(3)], dim=1)[..., None, None]
    # Most backgrounds are white walls and tables.
    grounds_V311 = torch.where(_wide(chance.happens(0.6)), 1 - 0.15 * grounds_V311, grounds_V311)
    return solid_V4SS * keep_V1SS + torch.cat([edge_V1SS * grounds_V311, edge_V1SS], dim=1)


def _blurred(
    config: Augmentation, solid_V4SS: Float32[Tensor, "V 4 S S"], chance: _Chance
) -> Float32[Tensor, "V 4 S S"]:
    side = solid_V4SS.shape[-1]
    width_V = chance.between(0.2, 1.0) * chance.happens(config.blur) * config.blur_width * side
    radius = min(math.ceil(_BLUR_RADIUS * config.blur_width * side), side - 1)
    offsets = torch.arange(-radius, radius + 1, device=chance.device)
    weights_VO = (-0.5 * (offsets / width_V.clamp_min(1e-2)[:, None]).square()).exp()
    weights_VO = weights_VO / weights_VO.sum(1, keepdim=True)
    for dim, room in ((2, (0, 0, radius, radius)), (3, (radius, radius, 0, 0))):
        padded = pad(solid_V4SS, room)
        solid_V4SS = sum(
            (
                _wide(weights_VO[:, i]) * padded.narrow(dim, i, side)
                for i in range(1, 2 * radius + 1)
            ),
            start=_wide(weights_VO[:, 0]) * padded.narrow(dim, 0, side),
        )
    return solid_V4SS


def _recolored(
    config: Augmentation, colors_V3SS: Float32[Tensor, "V 3 S S"], chance: _Chance
) -> Float32[Tensor, "V 3 S S"]:
    """Change brightness, contrast, saturation and hue; some pictures become grey."""
    changed_V = chance.happens(config.color)

    def around_one(spread: float) -> Tensor:
        return _wide(1 + spread * chance.between(-1, 1) * changed_V)

    colors_V3SS = colors_V3SS * around_one(config.brightness)
    colors_V3SS = ((colors_V3SS - 0.5) * around_one(config.contrast) + 0.5).clamp(0, 1)
    weights_3 = colors_V3SS.new_tensor(_LUMA)
    luma_V1SS = (colors_V3SS * weights_3[:, None, None]).sum(1, keepdim=True)
    saturation_V111 = around_one(config.saturation) * ~_wide(chance.happens(config.grey))
    # Hue rotates about the grey axis, which leaves grey unchanged.
    angle_V = math.radians(config.hue_degrees) * chance.between(-1, 1) * changed_V
    red, green, blue = (colors_V3SS - luma_V1SS).unbind(1)
    along_VSS = (red + green + blue) / 3
    turned_V3SS = torch.stack([blue - green, red - blue, green - red], dim=1) / 3**0.5
    chroma_V3SS = torch.stack([red, green, blue], dim=1) - along_VSS[:, None]
    chroma_V3SS = chroma_V3SS * _wide(angle_V.cos()) + turned_V3SS * _wide(angle_V.sin())
    chroma_V3SS = chroma_V3SS + along_VSS[:, None]
    return (luma_V1SS + saturation_V111 * chroma_V3SS).clamp(0, 1)
