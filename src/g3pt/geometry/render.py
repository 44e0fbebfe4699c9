"""Meshes to pictures on a CPU: ray casting, a fixed studio light, contact sheets, files.

Rays are cast by Embree, shading is NumPy. Pictures are square, sRGB uint8, RGBA with straight
alpha on a transparent background. Lights move with the camera: a key light from its upper left, a
weak fill from its right, a little light from everywhere. Camera frame: right, up, backward.
Legend: R rays, N hits, H W picture, P vertices, F faces, C face corners (three per face).
"""

import io
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from embreex import mesh_construction, rtcore_scene  # pyright: ignore[reportMissingTypeStubs]
from jaxtyping import Float32, Float64, Int64, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from g3pt.files import write_whole
from g3pt.geometry.cameras import (
    BOUNDING_RADIUS,
    Camera,
    canonical_camera,
    orbit_camera,
    random_cameras,
    turntable_cameras,
)
from g3pt.geometry.creases import CREASE_DEGREES, crease_normals
from g3pt.geometry.light import (
    AMBIENT,
    DARKEST,
    FILL_DIRECTION,
    FILL_STRENGTH,
    KEY_DIRECTION,
    KEY_STRENGTH,
)
from g3pt.geometry.triangles import NEUTRAL_GREY, TriangleMesh

__all__ = [
    "BOUNDING_RADIUS",
    "CREASE_DEGREES",
    "Camera",
    "Scene",
    "canonical_camera",
    "crease_normals",
    "develop",
    "orbit_camera",
    "over_white",
    "random_cameras",
    "ray_grid",
    "render",
    "save_gif",
    "save_png",
    "shade",
    "sheet",
    "turntable_cameras",
]

_mesh_construction: Any = mesh_construction  # without type stubs
_rtcore_scene: Any = rtcore_scene

_SHADOWED_KEY = 0.3


class Scene:
    """A mesh made ready for many views: acceleration structure, normals, linear colours."""

    def __init__(self, mesh: TriangleMesh) -> None:
        self._vertices = mesh.vertices[np.unique(mesh.faces)].astype(np.float32)
        if mesh.is_empty:
            return
        self._embree = _rtcore_scene.EmbreeScene()
        _mesh_construction.TriangleMesh(
            self._embree, mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32)
        )
        self._normals_F33 = crease_normals(mesh).astype(np.float32).reshape(-1, 3, 3)
        self._colors_F33: Float32[ndarray, "F 3 3"] | None = None
        self._color = _linear(np.array(NEUTRAL_GREY[:3], dtype=np.uint8))
        if mesh.colors is not None:
            self._colors_F33 = _linear(mesh.colors[:, :3])[mesh.faces]

    def render(
        self, camera: Camera, *, size: int = 256, supersample: int = 2, shadow: bool = False
    ) -> UInt8[ndarray, "H W 4"]:
        """Draw the mesh.

        Args:
            camera: where from.
            size: side of the picture in pixels.
            supersample: rays per pixel and axis; alpha is the share of them that hit.
            shadow: let the mesh keep the key light off itself.
        """
        picture = np.zeros((size, size, 4), dtype=np.uint8)
        rows, columns = self._window(camera, size)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return picture
        fine = np.s_[
            rows.start * supersample : rows.stop * supersample,
            columns.start * supersample : columns.stop * supersample,
        ]
        rays_HW3 = ray_grid(size * supersample, camera.fov_degrees)[fine]
        light_HW4 = self._trace(camera, rays_HW3.reshape(-1, 3), shadow).reshape(
            rows.stop - rows.start, supersample, columns.stop - columns.start, supersample, 4
        )
        picture[rows, columns] = _display(light_HW4.mean(axis=(1, 3)))
        return picture

    def _window(self, camera: Camera, size: int) -> tuple[slice, slice]:
        """Rows and columns of the picture that can show the mesh."""
        if not len(self._vertices):
            return slice(0, 0), slice(0, 0)
        local = (
            self._vertices - np.asarray(camera.position, dtype=np.float32)
        ) @ camera.axes().T.astype(np.float32)
        depth = -local[:, 2]
        if depth.min() <= 1e-3:  # partly behind the camera: no bound
            return slice(0, size), slice(0, size)
        half = np.tan(np.deg2rad(camera.fov_degrees) / 2)
        place = local[:, :2] / (depth * half)[:, None] * [1, -1]  # -1..1 from left and from top
        low = np.clip(np.floor((place.min(axis=0) + 1) * size / 2) - 1, 0, size).astype(int)
        high = np.clip(np.ceil((place.max(axis=0) + 1) * size / 2) + 1, 0, size).astype(int)
        return slice(low[1], high[1]), slice(low[0], high[0])

    def _trace(
        self, camera: Camera, local_R3: Float32[ndarray, "R 3"], shadow: bool
    ) -> Float32[ndarray, "R 4"]:
        """Linear colour and coverage along rays given in the camera's frame."""
        axes = camera.axes().astype(np.float32)
        origins_R3 = np.empty_like(local_R3)
        origins_R3[:] = camera.position
        answer = self._embree.run(origins_R3, local_R3 @ axes, output=True)
        hits = np.flatnonzero(answer["primID"] >= 0)
        faces = answer["primID"][hits]
        u, v = answer["u"][hits, None], answer["v"][hits, None]
        # Row order 0, 1, 2 of a face's corners has weights 1 - u - v, u, v.
        weights_N13 = np.stack([1 - u - v, u, v], axis=-1)
        normals_N3 = (weights_N13 @ self._normals_F33[faces])[:, 0] @ axes.T
        normals_N3 /= np.maximum(np.linalg.norm(normals_N3, axis=1, keepdims=True), 1e-9)
        facing = np.einsum("ij,ij->i", answer["Ng"][hits] @ axes.T, local_R3[hits])
        normals_N3 *= -np.sign(facing)[:, None]  # both sides of a face are shown
        lit = 1.0
        if shadow:
            points = local_R3[hits] * answer["tfar"][hits, None]
            lit = self._lit_share(camera, axes, points + 2e-3 * normals_N3)
        albedo = self._color
        if self._colors_F33 is not None:
            albedo = (weights_N13 @ self._colors_F33[faces])[:, 0]
        return _lit_rays(len(local_R3), hits, normals_N3, albedo, lit)

    def _lit_share(
        self, camera: Camera, axes: Float32[ndarray, "3 3"], points_N3: Float32[ndarray, "N 3"]
    ) -> Float32[ndarray, " N"]:
        """How much of the key light reaches points given in the camera's frame."""
        origins = points_N3 @ axes + np.asarray(camera.position, dtype=np.float32)
        toward = np.empty_like(origins)
        toward[:] = _unit(np.array(KEY_DIRECTION)) @ axes
        blocked = self._embree.run(origins, toward) >= 0
        return np.where(blocked, _SHADOWED_KEY, 1.0).astype(np.float32)


def shade(
    num_rays: int,
    hits: Int64[ndarray, " N"],
    normals_N3: Float32[ndarray, "N 3"],
    colors_N3: UInt8[ndarray, "N 3"],
) -> Float32[ndarray, "R 4"]:
    """Light that rays bring home, for other ways to find where they hit than a `Scene`.

    Args:
        num_rays: how many there are.
        hits: the numbers of those that hit.
        normals_N3: unit normals there in the camera's frame (right, up, backward).
        colors_N3: sRGB colours there.

    Returns:
        Linear colour and coverage of every ray, for `develop`.
    """
    return _lit_rays(num_rays, hits, normals_N3, _linear(colors_N3), 1.0)


def develop(
    light_R4: Float32[ndarray, "R 4"], size: int, supersample: int
) -> UInt8[ndarray, "S S 4"]:
    """Linear light of the rays of `ray_grid(size * supersample)` to an sRGB picture."""
    fine = light_R4.reshape(size, supersample, size, supersample, 4)
    return _display(fine.mean(axis=(1, 3)))


def render(
    mesh: TriangleMesh,
    camera: Camera,
    *,
    size: int = 256,
    supersample: int = 2,
    shadow: bool = False,
) -> UInt8[ndarray, "H W 4"]:
    """Draw a mesh once; for many views of one mesh keep a `Scene`."""
    return Scene(mesh).render(camera, size=size, supersample=supersample, shadow=shadow)


def _lit_rays(
    num_rays: int,
    hits: Int64[ndarray, " N"],
    normals_N3: Float32[ndarray, "N 3"],
    albedo_N3: Float32[ndarray, "N 3"] | Float32[ndarray, " 3"],
    lit: Float32[ndarray, " N"] | float,
) -> Float32[ndarray, "R 4"]:
    light_R4 = np.zeros((num_rays, 4), dtype=np.float32)
    albedo_N3 = DARKEST + (1 - DARKEST) * albedo_N3
    light_R4[hits, :3] = albedo_N3 * _studio_light(normals_N3, lit)[:, None]
    light_R4[hits, 3] = 1.0
    return light_R4


def _studio_light(
    normals_N3: Float32[ndarray, "N 3"], lit: Float32[ndarray, " N"] | float
) -> Float32[ndarray, " N"]:
    """Light on surfaces with normals in the camera's frame."""
    key, fill = _unit(np.array(KEY_DIRECTION)), _unit(np.array(FILL_DIRECTION))
    light_N = np.maximum(normals_N3 @ key, 0) * (KEY_STRENGTH * lit)
    light_N += np.maximum(normals_N3 @ fill, 0) * FILL_STRENGTH
    return (light_N + np.float32(AMBIENT)).astype(np.float32)


def _unit(vector: Float64[ndarray, " 3"]) -> Float32[ndarray, " 3"]:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@lru_cache(maxsize=4)
def ray_grid(size: int, fov_degrees: float) -> Float32[ndarray, "H W 3"]:
    """Directions through pixel centres in the camera's frame, top row first, of length 1."""
    half = np.tan(np.deg2rad(fov_degrees) / 2)
    line = ((np.arange(size) + 0.5) / size * 2 - 1) * half
    rays = np.empty((size, size, 3))
    rays[...] = -1.0
    rays[..., 0], rays[..., 1] = line, -line[:, None]
    return (rays / np.linalg.norm(rays, axis=-1, keepdims=True)).astype(np.float32)


def _linear(colors: UInt8[ndarray, "*N 3"]) -> Float32[ndarray, "*N 3"]:
    values = np.arange(256) / 255.0
    table = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return table.astype(np.float32)[colors]


def _display(light_HW4: Float32[ndarray, "H W 4"]) -> UInt8[ndarray, "H W 4"]:
    """Mean linear light and coverage of pixels to sRGB with straight alpha."""
    alpha = light_HW4[..., 3:]
    linear = np.clip(light_HW4[..., :3] / np.maximum(alpha, 1e-6), 0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(np.concatenate([srgb, alpha], axis=-1) * 255).astype(np.uint8)


def over_white(picture: UInt8[ndarray, "H W 4"]) -> UInt8[ndarray, "H W 3"]:
    """Put a picture with alpha on a white ground."""
    alpha = picture[..., 3:].astype(np.float32) / 255
    return np.rint(picture[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def sheet(
    rows: Sequence[Sequence[UInt8[ndarray, "_ _ _"]]],
    labels: Sequence[Sequence[str]] | None = None,
    *,
    gap: int = 4,
) -> UInt8[ndarray, "_ _ 3"]:
    """Lay pictures out in rows on white, each with an optional line of text below it.

    Args:
        rows: pictures with three or four channels; every cell is as large as the largest one.
        labels: one text per picture, in the same rows; cut off at the cell's width.
        gap: pixels between cells.
    """
    pictures = [over_white(p) if p.shape[-1] == 4 else p for row in rows for p in row]
    if not pictures:
        raise ValueError("a sheet needs at least one picture")
    height, width = (max(p.shape[axis] for p in pictures) for axis in (0, 1))
    text_height = max(12, min(20, width // 10)) if labels is not None else 0
    step_y, step_x = height + text_height + gap, width + gap
    num_columns = max(len(row) for row in rows)
    page = Image.new("RGB", (num_columns * step_x + gap, len(rows) * step_y + gap), "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=max(text_height - 3, 1))
    remaining = iter(pictures)
    for r, row in enumerate(rows):
        for c in range(len(row)):
            left, top = gap + c * step_x, gap + r * step_y
            page.paste(Image.fromarray(next(remaining)), (left, top))
            text = labels[r][c] if labels is not None else ""
            while text and draw.textlength(text, font=font) > width - gap:
                text = text[:-1]
            draw.text((left, top + height), text, fill=(40, 40, 40), font=font)
    return np.asarray(page).copy()


def save_png(path: str | os.PathLike[str], picture: UInt8[ndarray, "H W C"]) -> None:
    """Write a picture as PNG; the file appears complete or not at all."""
    _save(path, Image.fromarray(picture), format="PNG")


def save_gif(
    path: str | os.PathLike[str],
    pictures: Sequence[UInt8[ndarray, "_ _ _"]],
    *,
    frames_per_second: float = 12.0,
) -> None:
    """Write pictures on white as an endless animation; complete or not at all."""
    frames = [Image.fromarray(over_white(p) if p.shape[-1] == 4 else p) for p in pictures]
    if not frames:
        raise ValueError("an animation needs at least one picture")
    _save(
        path,
        frames[0],
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=round(1000 / frames_per_second),
        loop=0,
    )


def _save(path: str | os.PathLike[str], image: Image.Image, **options: Any) -> None:
    content = io.BytesIO()
    image.save(content, **options)
    write_whole(path, content.getvalue())
