"""Progress of a job as it is told: a small mesh of every scale, and how far the meshing is."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g3pt.generation.field import ShapeField
from g3pt.generation.pipeline import G3PT
from g3pt.generation.results import ScaleEvent, tokens_event
from g3pt.geometry.isosurface import extract_surface
from g3pt.geometry.mesh import TriangleMesh, largest_components, write_mesh
from g3pt.models.g3t import TokenPyramid

if TYPE_CHECKING:
    from g3pt.app.work import Bench

PREVIEW_RESOLUTION = 32
PREVIEW_BASE = 16
"""Grid cells per axis of the small meshes, and of the grid that finds their surface. They take a
tenth of the queries of a mesh at 128 cells, so that the first is there at once."""
MIN_SHARE = 0.01
"""Loose parts of small meshes below this share of the whole area are dropped."""
PAUSE_SECONDS = 0.2
"""Between two events about the same mesh."""
BASE_QUERIES, USUAL_QUERIES = 40_000, 7.0
"""A mesh is expected to take so many queries, and the second number times the squared resolution.
Shapes differ; percents stop at 99 until the mesh is there."""


class Progress:
    """Turns the events of a pipeline into events of a job, and ends a job that is not wanted."""

    def __init__(self, bench: "Bench", folder: Path) -> None:
        self._bench = bench
        self._folder = folder
        self._started = time.perf_counter()
        self._said = 0.0
        self._percent = 0

    def say(self, event: str, data: dict[str, Any]) -> None:
        """Tell an event with the seconds since the start of the job.

        Raises:
            UnwantedError: if the job is not wanted any more.
        """
        seconds = round(time.perf_counter() - self._started, 3)
        self._bench.event(event, {**data, "seconds": seconds})

    def listener(self, pipeline: G3PT, *, resolution: int, previews: bool):
        """The `on_scale` of a request.

        Args:
            pipeline: makes the small meshes.
            resolution: grid cells per axis of the final meshes.
            previews: whether small meshes are wanted.
        """

        def listen(event: ScaleEvent) -> None:
            match event.stage:
                case "tokens":
                    self._scale(pipeline, event, previews=previews)
                case "mesh":
                    self._meshing(event, resolution)
                case "color":
                    self.say("color", {"shape": event.first, "shapes": event.total})

        return listen

    def tokenized(self, tokens: TokenPyramid) -> None:
        """Tell that a shape has its tokens.

        Raises:
            UnwantedError: if the job is not wanted any more.
        """
        self.say("scale", _told(tokens_event(tokens)))

    def _scale(self, pipeline: G3PT, event: ScaleEvent, *, previews: bool) -> None:
        tokens, told = event.tokens[0], _told(event)
        if previews and event.first == 0:
            self._bench.check()
            mesh = small_mesh(pipeline, tokens)
            told |= {"faces": len(mesh.faces), "preview": not mesh.is_empty}
            if not mesh.is_empty:
                write_mesh(self._folder / f"preview-{event.scale + 1}.glb", mesh)
        self.say("scale", told)

    def _meshing(self, event: ScaleEvent, resolution: int) -> None:
        now = time.perf_counter()
        if now - self._said < PAUSE_SECONDS:
            self._bench.check()
            return
        self._said = now
        expected = BASE_QUERIES + USUAL_QUERIES * resolution**2
        share = min(0.99, event.queries / expected)
        percent = int(100 * (min(event.first, event.total - 1) + share) / event.total)
        self._percent = max(self._percent, percent)  # coarser meshes begin to count anew
        told = {"mesh": event.first, "meshes": event.total, "queries": event.queries}
        self.say("mesh", {**told, "percent": self._percent})


def _told(event: ScaleEvent) -> dict[str, Any]:
    """How far the tokens of shapes are."""
    return {
        "scale": event.scale + 1,
        "scales": event.num_scales,
        "tokens": event.tokens[0].num_tokens,
        "first": event.first,
        "samples": event.total,
    }


def small_mesh(pipeline: G3PT, tokens: TokenPyramid) -> TriangleMesh:
    """A mesh of the first scales that is made quickly; parts below a base cell may be missing."""
    field = ShapeField.from_tokens(pipeline.tokenizer, tokens.indices)
    mesh = extract_surface(field, resolution=PREVIEW_RESOLUTION, base_resolution=PREVIEW_BASE).mesh
    return mesh if mesh.is_empty else largest_components(mesh, keep=None, min_share=MIN_SHARE)
