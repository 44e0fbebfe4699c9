"""Photographs whose cut-out is known: renders over drawn backgrounds, with shadows and faults.

Every picture is a pure function of its number. S is the side, alpha the share of the object.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image
from scipy import ndimage

from g3pt.geometry.cameras import orbit_camera, silhouette_box
from g3pt.geometry.render import render
from g3pt.geometry.triangles import TriangleMesh
from g3pt.procedural import make_shape

SIDE = 384
FAMILIES = (
    "chair",
    "mug",
    "car",
    "lamp",
    "bottle",
    "cabinet",
    "teapot",
    "airplane",
    "animal",
    "sofa",
)
PER_KIND = 6


@dataclass(frozen=True, eq=False)
class Composite:
    """A picture and what of it is the object."""

    name: str
    rgb: np.ndarray
    """S S 3, uint8."""
    alpha: np.ndarray
    """S S, from 0 to 1."""


def composites() -> list[Composite]:
    """Sixty pictures: ten kinds of background, six objects over each."""
    return [composite(kind, turn) for kind in KINDS for turn in range(PER_KIND)]


def composite(kind: str, turn: int) -> Composite:
    """One picture of a kind."""
    number = PER_KIND * list(KINDS).index(kind) + turn
    rng = np.random.default_rng(number)
    family = FAMILIES[number % len(FAMILIES)]
    placed = place(drawn(family, turn % 2), rng)
    rgb, alpha = KINDS[kind](placed, rng)
    return Composite(f"{kind} {turn}: {family}", rgb.clip(0, 255).round().astype(np.uint8), alpha)


# --- objects -------------------------------------------------------------------------------


@cache
def drawn(family: str, seed: int) -> np.ndarray:
    """A shape of two colours from above, S S 4."""
    rng = np.random.default_rng([seed, FAMILIES.index(family)])
    mesh = make_shape(seed, family).mesh(64)
    heights = mesh.vertices[:, 1]
    # Half of them nearly grey, as much furniture is, which is harder to tell from a shadow.
    vivid = 1.0 if rng.random() < 0.5 else 0.15
    low, high = (rng.uniform(50, 205) + vivid * rng.uniform(-50, 50, 3) for _ in range(2))
    upper = heights > np.quantile(heights, 0.4)
    colors = np.where(upper[:, None], high, low)
    opaque = np.full((len(colors), 1), 255)
    colored = TriangleMesh(
        mesh.vertices, mesh.faces, colors=np.hstack([colors, opaque]).astype(np.uint8)
    )
    camera = orbit_camera(rng.uniform(-60, 60), rng.uniform(10, 35))
    return render(colored, camera, size=SIDE, shadow=True)


def place(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The object at half to three quarters of the side, somewhere inside the picture."""
    box = silhouette_box(picture)
    assert box is not None
    cut = Image.fromarray(picture).crop(box)
    factor = rng.uniform(0.5, 0.75) * SIDE / max(cut.size)
    width, height = (max(1, round(side * factor)) for side in cut.size)
    left = round((SIDE - width) * rng.uniform(0.25, 0.75))
    top = round((SIDE - height) * rng.uniform(0.4, 0.75))
    canvas = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    canvas.paste(cut.resize((width, height), Image.Resampling.BILINEAR), (left, top))
    return np.asarray(canvas)


# --- backgrounds ---------------------------------------------------------------------------


def color(rng: np.random.Generator, low: int = 70, high: int = 240) -> np.ndarray:
    return rng.uniform(low, high, 3)


def blend(placed: np.ndarray, ground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    alpha = placed[..., 3] / 255.0
    return placed[..., :3] * alpha[..., None] + ground * (1 - alpha[..., None]), alpha


def gradient(rng: np.random.Generator) -> np.ndarray:
    first, second = color(rng), color(rng)
    turn = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) - 0.5
    share = np.clip(0.5 + (np.cos(turn) * x + np.sin(turn) * y) / 1.4, 0, 1)
    return first + share[..., None] * (second - first)


def noise(rng: np.random.Generator, strength: float = 30.0, size: float = 0.0) -> np.ndarray:
    """Noise around a colour; `size` is the width in pixels of its grains."""
    grains = rng.normal(size=(SIDE, SIDE, 3))
    if size:
        grains = ndimage.gaussian_filter(grains, (size, size, 0))
        grains /= grains.std()
    return color(rng, 90, 200) + strength * grains


def pattern(rng: np.random.Generator) -> np.ndarray:
    """Stripes or checks of two colours that are not far from each other."""
    first = color(rng, 90, 220)
    second = first + rng.uniform(20, 55) * rng.choice([-1, 1], 3)
    y, x = np.mgrid[:SIDE, :SIDE] // int(rng.integers(12, 36))
    odd = ((x + y) if rng.random() < 0.5 else x) % 2 == 1
    return np.where(odd[..., None], second, first)


def room(rng: np.random.Generator) -> np.ndarray:
    """A wall, a skirting board, and a floor of planks with grain."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    edge = rng.uniform(0.5, 0.7) + rng.uniform(-0.06, 0.06) * x
    wall = color(rng, 130, 235) * (1.05 - 0.2 * np.hypot(x - 0.3, y - 0.1))[..., None]
    planks = rng.uniform(0.75, 1.1, 160)[((x - 0.5) / (y - 0.2).clip(0.1) * 14).astype(int) + 80]
    floor = color(rng, 80, 190) * planks[..., None] + 5 * rng.normal(size=(SIDE, SIDE, 1))
    ground = np.where((y > edge)[..., None], floor, wall)
    return np.where(((y > edge - 0.03) & (y <= edge))[..., None], 0.8 * wall + 40, ground)


def shaded(ground: np.ndarray, placed: np.ndarray, blur: float, depth: float) -> np.ndarray:
    """Let the object cast its shadow on the ground, to the right and away from the viewer."""
    box = silhouette_box(placed)
    assert box is not None
    foot = box[3] - 1
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(float)
    height = (foot - rows) / 0.3  # how high the point is that throws its shadow here
    thrown = ndimage.map_coordinates(
        placed[..., 3] / 255.0, [foot - height, columns - 0.5 * height], order=1
    )
    thrown = ndimage.gaussian_filter(np.where(rows <= foot + 0.5, thrown, 0.0), blur)
    return ground * (1 - depth * thrown[..., None])


def jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    from io import BytesIO

    stream = BytesIO()
    image = Image.fromarray(rgb.clip(0, 255).round().astype(np.uint8))
    image.save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream)).astype(float)


def blurred(rgb: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(rgb, (sigma, sigma, 0))


Painter = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def on_gradient(placed: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return blend(placed, gradient(rng) + 2 * rng.normal(size=(SIDE, SIDE, 3)))


def on_noise(placed: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return blend(placed, noise(rng))


def on_clouds(placed: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return blend(placed, noise(rng, 25.0, 20.0))


def on_pattern(placed: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return blend(placed, pattern(rng))


def in_a_room(placed: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return blend(placed, room(rng))


def in_a_frame(placed: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    rgb, alpha = blend(placed, gradient(rng) if rng.random() < 0.5 else room(rng))
    mat, line = (int(rng.integers(6, 24)), int(rng.integers(0, 5)))
    inner = np.asarray(
        Image.fromarray(rgb.clip(0, 255).astype(np.uint8)).resize((SIDE - 2 * (mat + line),) * 2)
    )
    framed = np.empty((SIDE, SIDE, 3))
    framed[...] = 255 if rng.random() < 0.5 else color(rng, 0, 90)
    framed[mat : SIDE - mat, mat : SIDE - mat] = color(rng, 0, 90)
    edge = mat + line
    framed[edge:-edge, edge:-edge] = inner
    mask = np.zeros((SIDE, SIDE))
    mask[edge:-edge, edge:-edge] = np.asarray(
        Image.fromarray(alpha.astype(np.float32)).resize((SIDE - 2 * edge,) * 2)
    )
    return framed, mask


def with_soft_shadow(placed: np.ndarray, rng: np.random.Generator):
    ground = np.full((SIDE, SIDE, 3), color(rng, 170, 250))
    return blend(placed, shaded(ground, placed, 7.0, rng.uniform(0.3, 0.6)))


def with_hard_shadow(placed: np.ndarray, rng: np.random.Generator):
    ground = np.full((SIDE, SIDE, 3), color(rng, 170, 250))
    return blend(placed, shaded(ground, placed, 0.7, rng.uniform(0.3, 0.6)))


def room_with_shadow(placed: np.ndarray, rng: np.random.Generator):
    rgb, alpha = blend(placed, shaded(room(rng), placed, 5.0, 0.5))
    return blurred(rgb, 1.0), alpha


def compressed(placed: np.ndarray, rng: np.random.Generator):
    rgb, alpha = blend(placed, pattern(rng) if rng.random() < 0.5 else gradient(rng))
    return jpeg(blurred(rgb, 0.7), int(rng.integers(20, 50))), alpha


KINDS: dict[str, Painter] = {
    "gradient": on_gradient,
    "noise": on_noise,
    "clouds": on_clouds,
    "pattern": on_pattern,
    "room": in_a_room,
    "frame": in_a_frame,
    "soft shadow": with_soft_shadow,
    "hard shadow": with_hard_shadow,
    "room with shadow": room_with_shadow,
    "compressed": compressed,
}
