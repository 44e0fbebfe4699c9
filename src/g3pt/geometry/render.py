"""Meshes to pictures on a CPU: ray casting, contact sheets, files.

Rays are cast by Embree; light and shading normals are those of `geometry.shading`. Pictures are
square, sRGB uint8, RGBA with straight alpha on a transparent background.
Legend: R rays, N hits, H W picture, P vertices, F faces.
"""

import io
import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from embreex import mesh_construction, rtcore_scene  # pyright: ignore[reportMissingTypeStubs]
from jaxtyping import Float32, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from g3pt.files import write_whole
from g3pt.geometry.cameras import Camera, ray_grid
from g3pt.geometry.shading import (
    KEY_DIRECTION,
    crease_normals,
    display,
    linear,
    shade,
    unit,
)
from g3pt.geometry.triangles import NEUTRAL_GREY, TriangleMesh

_mesh_construction: Any = mesh_construction  # without type stubs
_rtcore_scene: Any = rtcore_scene

_SHADOWED_KEY = 0.3
_NO_HIT = 1e30
"""Embree's distance of a ray that hits nothing is larger."""


class Scene:
    """A mesh prepared for many views: acceleration structure, linear colours, normals if drawn."""

    def __init__(self, mesh: TriangleMesh) -> None:
        self._mesh = mesh
        self._vertices = mesh.vertices[np.unique(mesh.faces)].astype(np.float32)
        if mesh.is_empty:
            return
        self._embree = _rtcore_scene.EmbreeScene()
        _mesh_construction.TriangleMesh(
            self._embree, mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32)
        )
        self._colors_F33: Float32[ndarray, "F 3 3"] | None = None
        self._color = linear(np.array(NEUTRAL_GREY[:3], dtype=np.uint8))
        if mesh.colors is not None:
            self._colors_F33 = linear(mesh.colors[:, :3])[mesh.faces]

    @cached_property
    def _corner_normals(self) -> Float32[ndarray, "F 3 3"]:
        return crease_normals(self._mesh).astype(np.float32).reshape(-1, 3, 3)

    def reach(
        self, origin: Float32[ndarray, " 3"], rays_R3: Float32[ndarray, "R 3"]
    ) -> Float32[ndarray, " R"]:
        """How far rays from one point go until they hit the mesh, in lengths of each ray.

        Args:
            origin: where all rays begin, in the frame of the mesh.
            rays_R3: directions in that frame; their lengths are the units of the answer.

        Returns:
            Infinity for a ray that hits nothing.
        """
        if self._mesh.is_empty:
            return np.full(len(rays_R3), np.inf, dtype=np.float32)
        origins_R3 = np.empty_like(rays_R3)
        origins_R3[:] = origin
        reach_R: Float32[ndarray, " R"] = self._embree.run(origins_R3, rays_R3, query="DISTANCE")
        return np.where(reach_R < _NO_HIT, reach_R, np.inf).astype(np.float32)

    def render(
        self, camera: Camera, *, size: int = 256, supersample: int = 2, shadow: bool = False
    ) -> UInt8[ndarray, "H W 4"]:
        """Draw the mesh.

        Args:
            camera: the point of view.
            size: side of the picture in pixels.
            supersample: rays per pixel and axis; alpha is the share of them that hit.
            shadow: whether the mesh casts a shadow of the key light on itself.
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
        picture[rows, columns] = display(light_HW4.mean(axis=(1, 3)))
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
        """Linear colour and coverage of rays given in the camera's frame."""
        axes = camera.axes().astype(np.float32)
        origins_R3 = np.empty_like(local_R3)
        origins_R3[:] = camera.position
        answer = self._embree.run(origins_R3, local_R3 @ axes, output=True)
        hits = np.flatnonzero(answer["primID"] >= 0)
        faces = answer["primID"][hits]
        u, v = answer["u"][hits, None], answer["v"][hits, None]
        # Row order 0, 1, 2 of a face's corners has weights 1 - u - v, u, v.
        weights_N13 = np.stack([1 - u - v, u, v], axis=-1)
        normals_N3 = (weights_N13 @ self._corner_normals[faces])[:, 0] @ axes.T
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
        return shade(len(local_R3), hits, normals_N3, albedo, lit)

    def _lit_share(
        self, camera: Camera, axes: Float32[ndarray, "3 3"], points_N3: Float32[ndarray, "N 3"]
    ) -> Float32[ndarray, " N"]:
        """Share of the key light that reaches points given in the camera's frame."""
        origins = points_N3 @ axes + np.asarray(camera.position, dtype=np.float32)
        toward = np.empty_like(origins)
        toward[:] = unit(np.array(KEY_DIRECTION)) @ axes
        blocked = self._embree.run(origins, toward) >= 0
        return np.where(blocked, _SHADOWED_KEY, 1.0).astype(np.float32)


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


def over_white(picture: UInt8[ndarray, "H W 4"]) -> UInt8[ndarray, "H W 3"]:
    """Blend a picture with alpha over white."""
    alpha = picture[..., 3:].astype(np.float32) / 255
    return np.rint(picture[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def sheet(
    rows: Sequence[Sequence[UInt8[ndarray, "_ _ _"]]],
    labels: Sequence[Sequence[str]] | None = None,
    *,
    gap: int = 4,
) -> UInt8[ndarray, "_ _ 3"]:
    """Lay out pictures in rows on white, each with an optional line of text below it.

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
    """Write pictures on white as a looping GIF; the file appears complete or not at all."""
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
