"""Pictures of many shapes at once, on the device that holds them: framing, light and patterns.

Framing and light are those of `geometry.cameras` and `geometry.shading`, but the frame is found
before the picture is drawn: coarse bundles of rays locate the silhouette, so that every fine ray
belongs to the final picture.

Legend: V pictures, R rays of a picture, S side of a picture. A window is a part of a camera's view,
(centre x, centre y, half side), y upwards; the whole view is (0, 0, 1).
"""

from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from jaxtyping import Bool, Float32, Int, UInt8
from torch import Tensor
from torch.nn.functional import normalize

from g3pt.geometry.cameras import OBJECT_FILL
from g3pt.geometry.shading import (
    AMBIENT,
    DARKEST,
    FILL_DIRECTION,
    FILL_STRENGTH,
    KEY_DIRECTION,
    KEY_STRENGTH,
)
from g3pt.stream.cameras import Cameras
from g3pt.stream.casting import Hits, RayCaster

_SEARCH_SIDES = (48, 128)
"""Least and most rays per side of the first search for the silhouette, in the whole view."""
_REFINE_SIDES = (48, 96)
"""The same for the second search, around the silhouette found."""
_SEARCH_MARGIN = 1.5
"""Margin around the rays that hit, in distances between rays."""
_RAYS_AT_A_TIME = 1 << 22
"""At about 200 bytes per ray, less than a gigabyte."""
_GLOSS_EXPONENT = 24.0

PLAIN, STRIPES, CHECKS, MARBLE = range(4)

Rows = TypeVar("Rows", "Cameras", "Lights", "Patterns")


@dataclass(frozen=True)
class Lights:
    """Lights of each picture; directions to the light in the camera's frame, any length."""

    keys_V3: Float32[Tensor, "V 3"]
    key_strengths_V: Float32[Tensor, " V"]
    fills_V3: Float32[Tensor, "V 3"]
    fill_strengths_V: Float32[Tensor, " V"]
    ambients_V: Float32[Tensor, " V"]
    glosses_V: Float32[Tensor, " V"]
    """Strength of the key light's white highlight."""


@dataclass(frozen=True)
class Patterns:
    """A second colour on the surface, as a function of the position in the unit frame."""

    kinds_V: Int[Tensor, " V"]
    """`PLAIN`, `STRIPES`, `CHECKS` or `MARBLE`."""
    waves_V43: Float32[Tensor, "V 4 3"]
    """Wave vectors: stripes use the first, checks the first three, marble all."""
    phases_V4: Float32[Tensor, "V 4"]
    colors_V3: Float32[Tensor, "V 3"]
    """Linear reflectance, 0 to 1."""
    strengths_V: Float32[Tensor, " V"]
    """Opacity of the second colour, 0 to 1."""


def studio_lights(num: int, device: torch.device | str) -> Lights:
    """Return the light of `geometry.shading` `num` times."""
    return Lights(
        keys_V3=torch.tensor(KEY_DIRECTION, device=device).expand(num, 3),
        key_strengths_V=torch.full((num,), KEY_STRENGTH, device=device),
        fills_V3=torch.tensor(FILL_DIRECTION, device=device).expand(num, 3),
        fill_strengths_V=torch.full((num,), FILL_STRENGTH, device=device),
        ambients_V=torch.full((num,), AMBIENT, device=device),
        glosses_V=torch.zeros(num, device=device),
    )


def draw(
    caster: RayCaster,
    shapes_V: Int[Tensor, " V"],
    cameras: Cameras,
    size: int,
    *,
    lights: Lights | None = None,
    patterns: Patterns | None = None,
    windows_V3: Float32[Tensor, "V 3"] | None = None,
) -> UInt8[Tensor, "V S S 4"]:
    """Draw shapes centred, the longer side of the silhouette scaled to `OBJECT_FILL` of the side.

    Args:
        caster: holds the shapes.
        shapes_V: index of the shape that each picture shows.
        cameras: one for each picture.
        size: side of the pictures in pixels, with one ray each.
        lights: one for each picture; by default the studio's.
        patterns: one for each picture; by default none.
        windows_V3: the part of each camera's view to draw; by default found by `frame_windows`,
            which takes longer than the picture itself.

    Returns:
        sRGB with straight alpha; transparent black where nothing was hit.

    Raises:
        ValueError: if the numbers of shapes and cameras differ.
    """
    if len(shapes_V) != len(cameras):
        raise ValueError(f"draw needs a camera a shape, got {len(cameras)} for {len(shapes_V)}")
    lights = lights or studio_lights(len(cameras), shapes_V.device)
    pictures_VSS4 = torch.empty(
        len(shapes_V), size, size, 4, dtype=torch.uint8, device=shapes_V.device
    )
    step = max(1, _RAYS_AT_A_TIME // max(size, _search_side(size)) ** 2)
    for start in range(0, len(shapes_V), step):
        part = slice(start, start + step)
        seen = _rows(cameras, part)
        pictures_VSS4[part] = draw_windows(
            caster,
            shapes_V[part],
            seen,
            frame_windows(caster, shapes_V[part], seen, size)
            if windows_V3 is None
            else windows_V3[part],
            size,
            _rows(lights, part),
            None if patterns is None else _rows(patterns, part),
        )
    return pictures_VSS4


def _rows(tensors: Rows, part: slice) -> Rows:
    return type(tensors)(*(getattr(tensors, field.name)[part] for field in fields(tensors)))


def draw_windows(
    caster: RayCaster,
    shapes_V: Int[Tensor, " V"],
    cameras: Cameras,
    windows_V3: Float32[Tensor, "V 3"],
    size: int,
    lights: Lights,
    patterns: Patterns | None,
) -> UInt8[Tensor, "V S S 4"]:
    """Draw the windows of all pictures at once; see `draw`."""
    rays_VR3 = window_rays(cameras, windows_V3, size)
    hits = caster.cast(shapes_V, cameras.positions_V3, rays_VR3)
    albedo_VR3 = linear(hits.colors_VR3)
    if patterns is not None:
        points_VR3 = cameras.positions_V3[:, None] + rays_VR3 * hits.lengths_VR[..., None]
        albedo_VR3 = painted(albedo_VR3, points_VR3, patterns)
    pictures_VR4 = _develop(hits, _lit(hits, albedo_VR3, cameras, lights))
    return pictures_VR4.reshape(-1, size, size, 4)


def frame_windows(
    caster: RayCaster, shapes_V: Int[Tensor, " V"], cameras: Cameras, size: int
) -> Float32[Tensor, "V 3"]:
    """Windows in which the silhouettes are centred and cover `OBJECT_FILL` of the side.

    The whole view where nothing is seen.
    """
    whole_V3 = torch.tensor([0.0, 0.0, 1.0], device=shapes_V.device).expand(len(shapes_V), 3)
    side = _search_side(size)
    around_V3 = _silhouettes(caster, shapes_V, cameras, whole_V3, side)
    margin = whole_V3.new_tensor([0.0, 0.0, _SEARCH_MARGIN * 2 / side])
    refine_side = min(max(size, _REFINE_SIDES[0]), _REFINE_SIDES[1])
    found_V3 = _silhouettes(caster, shapes_V, cameras, around_V3 + margin, refine_side)
    return found_V3 / found_V3.new_tensor([1.0, 1.0, OBJECT_FILL])


def point_windows(points_VN3: Float32[Tensor, "V N 3"], cameras: Cameras) -> Float32[Tensor, "V 3"]:
    """Estimate the result of `frame_windows` from points on the surfaces.

    It needs no rays, but is too narrow by up to a few hundredths where hardly any points lie on
    protruding thin parts.
    """
    seen_VN3 = (points_VN3 - cameras.positions_V3[:, None]) @ cameras.axes_V33.transpose(1, 2)
    flat_VN2 = seen_VN3[..., :2] / (-seen_VN3[..., 2:] * cameras.tangents_V[:, None, None])
    low_V2, high_V2 = flat_VN2.amin(dim=1), flat_VN2.amax(dim=1)
    half_V1 = (high_V2 - low_V2).amax(dim=1, keepdim=True) / 2
    return torch.cat([(low_V2 + high_V2) / 2, half_V1 / OBJECT_FILL], dim=1)


def _search_side(size: int) -> int:
    return min(max(size, _SEARCH_SIDES[0]), _SEARCH_SIDES[1])


def _silhouettes(
    caster: RayCaster,
    shapes_V: Int[Tensor, " V"],
    cameras: Cameras,
    windows_V3: Float32[Tensor, "V 3"],
    side: int,
) -> Float32[Tensor, "V 3"]:
    """Smallest windows around the silhouettes in given windows, which are kept if empty."""
    rays_VR3 = window_rays(cameras, windows_V3, side)
    hits = caster.cast(shapes_V, cameras.positions_V3, rays_VR3)
    hit_VSS = hits.hit_VR.reshape(-1, side, side)
    left_V, right_V = _edges(hit_VSS.any(1))
    top_V, bottom_V = _edges(hit_VSS.any(2))
    middle_V2 = torch.stack([left_V + right_V, -top_V - bottom_V], dim=-1) / 2
    half_V1 = torch.maximum(right_V - left_V, bottom_V - top_V)[:, None] / 2
    inner_V3 = windows_V3[:, 2:] * torch.cat([middle_V2, half_V1], dim=-1)
    found_V3 = inner_V3 + windows_V3 * windows_V3.new_tensor([1.0, 1.0, 0.0])
    return torch.where(hits.hit_VR.any(1, keepdim=True), found_V3, windows_V3)


def _edges(seen_VS: Bool[Tensor, "V S"]) -> tuple[Float32[Tensor, " V"], Float32[Tensor, " V"]]:
    """Outer edges of the first and the last set pixel; the picture spans -1 to 1."""
    side = seen_VS.shape[1]
    first_V = seen_VS.byte().argmax(1)
    last_V = side - seen_VS.flip(1).byte().argmax(1)
    return first_V * (2.0 / side) - 1, last_V * (2.0 / side) - 1


def window_rays(
    cameras: Cameras, windows_V3: Float32[Tensor, "V 3"], side: int
) -> Float32[Tensor, "V R 3"]:
    """Unit directions through the centres of a window's pixels, top row first."""
    line_S = (torch.arange(side, device=windows_V3.device) + 0.5) * (2.0 / side) - 1
    x_VS = (windows_V3[:, :1] + windows_V3[:, 2:] * line_S) * cameras.tangents_V[:, None]
    y_VS = (windows_V3[:, 1:2] - windows_V3[:, 2:] * line_S) * cameras.tangents_V[:, None]
    right_V113, up_V113, backward_V113 = cameras.axes_V33[:, None, None].unbind(3)
    rays_VSS3 = x_VS[:, None, :, None] * right_V113 - backward_V113
    rays_VSS3 = rays_VSS3 + y_VS[:, :, None, None] * up_V113
    return normalize(rays_VSS3, dim=-1).flatten(1, 2)


def linear(colors_VR3: UInt8[Tensor, "V R 3"]) -> Float32[Tensor, "V R 3"]:
    """Turn sRGB bytes into linear reflectance."""
    values = colors_VR3.float() / 255
    return torch.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def painted(
    albedo_VR3: Float32[Tensor, "V R 3"], points_VR3: Float32[Tensor, "V R 3"], patterns: Patterns
) -> Float32[Tensor, "V R 3"]:
    """Blend the patterns' second colours over those of the surface."""
    waves = [
        (_dots(points_VR3, patterns.waves_V43[:, i]) + patterns.phases_V4[:, i, None])
        for i in range(4)
    ]
    stripes_VR = (waves[0].sin() > 0).float()
    checks_VR = (waves[0].sin() * waves[1].sin() * waves[2].sin() > 0).float()
    swirl_VR = waves[0] + 2 * (waves[1] + 2 * (waves[2] + waves[3].sin()).sin()).sin()
    marble_VR = swirl_VR.sin() * 0.5 + 0.5
    kinds_V1 = patterns.kinds_V[:, None]
    share_VR = torch.where(kinds_V1 == STRIPES, stripes_VR, torch.zeros_like(stripes_VR))
    share_VR = torch.where(kinds_V1 == CHECKS, checks_VR, share_VR)
    share_VR = torch.where(kinds_V1 == MARBLE, marble_VR, share_VR)
    share_VR = share_VR * patterns.strengths_V[:, None]
    return torch.lerp(albedo_VR3, patterns.colors_V3[:, None], share_VR[..., None])


def _lit(
    hits: Hits, albedo_VR3: Float32[Tensor, "V R 3"], cameras: Cameras, lights: Lights
) -> Float32[Tensor, "V R 3"]:
    """Linear light arriving along the rays."""
    keys_V3, fills_V3 = normalize(lights.keys_V3, dim=-1), normalize(lights.fills_V3, dim=-1)
    halfway_V3 = normalize(keys_V3 + keys_V3.new_tensor([0.0, 0.0, 1.0]), dim=-1)

    def facing(directions_V3: Tensor) -> Tensor:
        in_world_V3 = (directions_V3[:, :, None] * cameras.axes_V33).sum(1)
        return _dots(hits.normals_VR3, in_world_V3).clamp_min(0)

    light_VR = lights.ambients_V[:, None] + lights.key_strengths_V[:, None] * facing(keys_V3)
    light_VR = light_VR + lights.fill_strengths_V[:, None] * facing(fills_V3)
    shine_VR = lights.glosses_V[:, None] * facing(halfway_V3) ** _GLOSS_EXPONENT
    return (DARKEST + (1 - DARKEST) * albedo_VR3) * light_VR[..., None] + shine_VR[..., None]


def _dots(
    vectors_VR3: Float32[Tensor, "V R 3"], direction_V3: Float32[Tensor, "V 3"]
) -> Float32[Tensor, "V R"]:
    """Dot products with one vector per picture; a matrix product might round to 10 bits."""
    return (vectors_VR3 * direction_V3[:, None]).sum(-1)


def _develop(hits: Hits, light_VR3: Float32[Tensor, "V R 3"]) -> UInt8[Tensor, "V R 4"]:
    light_VR3 = light_VR3.clamp(0, 1) * hits.hit_VR[..., None]
    srgb_VR3 = torch.where(
        light_VR3 <= 0.0031308, 12.92 * light_VR3, 1.055 * light_VR3 ** (1 / 2.4) - 0.055
    )
    alpha_VR1 = hits.hit_VR[..., None].float()
    return (torch.cat([srgb_VR3, alpha_VR1], dim=-1) * 255).round().to(torch.uint8)
