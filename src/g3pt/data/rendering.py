"""Renders the pictures of a shape cache, resumably.

View 0 is the canonical three-quarter camera; view k > 0 is a random camera that belongs to the
shape and k alone, so more views or more shapes can be added later without touching what is there.
A shape's done flag is set after its pixels, so a stopped run goes on where it was.

Every picture is framed by its silhouette (`geometry.framing`), as users' pictures are: those do
not show how far away their camera stood, so no picture of training may do so either.
"""

import logging
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from g3pt.data.cache import ShapeCache
from g3pt.data.prepare import labels_at, positions, shape_seed
from g3pt.data.sources import ShapeError, SourceShape, open_source
from g3pt.data.views import VIEW_SIZE, view_files
from g3pt.geometry.framing import frame_object
from g3pt.geometry.render import Camera, canonical_camera, random_cameras

ELEVATIONS = (-20.0, 70.0)
"""Random cameras stand between these, in degrees: people rarely take pictures from below."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewsConfig:
    """Which pictures to make."""

    num_views: int = 2
    """Views a shape; the first is the canonical one."""
    limit: int = 0
    """Only the first so many shapes; 0 makes all."""
    render_size: int = 192
    """Side of the drawing that the stored picture is cut from: the bounding sphere fits into it,
    the object fills about two thirds, so that there is one ray a stored pixel or a little more."""


def view_camera(shape_id: str, view: int) -> Camera:
    """The camera of one view of one shape."""
    if view == 0:
        return canonical_camera()
    rng = np.random.default_rng([*shape_seed(shape_id, 0), view])
    return random_cameras(1, rng, elevations=ELEVATIONS)[0]


def render_views(
    cache: ShapeCache,
    config: ViewsConfig,
    *,
    workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Make the pictures that are asked for and not there yet.

    Args:
        cache: the shapes; their source must still be at hand.
        config: which views of which shapes.
        workers: processes; 1 works in this one.
        on_progress: called with the shapes handled so far and their total.

    Returns:
        How many shapes could not be rendered; the reasons are logged.
    """
    rows = np.arange(min(config.limit or len(cache), len(cache)))
    missing = np.zeros(len(rows), dtype=bool)
    for view in range(config.num_views):
        _, done_file = _create(cache, view)
        missing |= np.load(done_file)[cache.slots[rows]] == 0
    waiting, failed, handled = rows[missing], 0, int((~missing).sum())
    for failures, size in _run(cache.path, config, waiting, workers):
        failed, handled = failed + failures, handled + size
        if on_progress is not None:
            on_progress(handled, len(rows))
    return failed


def _create(cache: ShapeCache, view: int) -> tuple[Path, Path]:
    """Make the arrays of one view, sparse and all undone, unless they exist."""
    pixels, done = view_files(cache.path, view)
    if not done.is_file():
        shape = (cache.num_slots, VIEW_SIZE, VIEW_SIZE, 4)
        np.lib.format.open_memmap(pixels, mode="w+", dtype=np.uint8, shape=shape).flush()
        temporary = done.with_name(f".{done.name}.tmp.npy")
        np.save(temporary, np.zeros(cache.num_slots, np.uint8))
        temporary.replace(done)
    return pixels, done


def _run(
    path: Path, config: ViewsConfig, waiting: np.ndarray, workers: int
) -> Iterator[tuple[int, int]]:
    parts = [waiting[first : first + 64] for first in range(0, len(waiting), 64)]
    work = partial(_render_part, path, config)
    if workers <= 1:
        yield from map(work, parts)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        try:
            yield from pool.map(work, parts)
        finally:
            pool.shutdown(cancel_futures=True)


def _render_part(path: Path, config: ViewsConfig, rows: np.ndarray) -> tuple[int, int]:
    cache = ShapeCache(path)
    source = open_source(cache.config.source)
    files = [view_files(path, view) for view in range(config.num_views)]
    pictures = [np.load(pixels, mmap_mode="r+") for pixels, _ in files]
    flags = [np.load(done, mmap_mode="r+") for _, done in files]
    failed = 0
    for row in rows:
        slot, shape_id = int(cache.slots[row]), cache.shapes[row]["id"]
        wanted = [view for view in range(config.num_views) if not flags[view][slot]]
        try:
            shape = source.load(slot)
            _check_unchanged(shape, cache, slot)
            scene = shape.scene()
            for view in wanted:
                camera = view_camera(shape_id, view)
                # Filtered by the resampling of the framing, not by the renderer.
                picture = scene.render(camera, size=config.render_size, supersample=1)
                pictures[view][slot] = frame_object(picture, VIEW_SIZE)
        except Exception as error:  # one shape without pictures must not end the run
            logger.warning("%s not rendered: %s: %s", shape_id, type(error).__name__, error)
            failed += 1
            continue
        for view in wanted:
            pictures[view].flush()
            flags[view][slot] = 1
            flags[view].flush()
    return failed, len(rows)


def _check_unchanged(shape: SourceShape, cache: ShapeCache, slot: int) -> None:
    """Refuse to draw a shape that is no longer the one whose labels are stored."""
    if not shape.is_quick_to_query:
        return
    places = np.arange(0, cache.prepare.num_near_queries, 16)
    stored = labels_at(cache.near_inside[slot], places)
    now = shape.contains(positions(cache.near[slot][places]))
    if np.mean(stored != now) > 0.01:  # rounding differs between machines, shapes do not
        raise ShapeError("the shape has changed since its cache was built")
