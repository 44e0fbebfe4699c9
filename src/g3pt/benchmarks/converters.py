"""Ways to tell inside from outside, ours and those of other packages, tried in a child process.

Other packages may hang or crash on a mesh, and the threads they use are fixed when they are
loaded. So everything is measured in a child process: one thread, one object after the other, each
under a time limit. Unit frame; N points.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import TimeoutError
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from g3pt.benchmarks.analytic import RESOLUTION, analytic_solid, ball, label_error
from g3pt.benchmarks.rows import missing_package
from g3pt.geometry.mesh import TriangleMesh, to_unit, unit_frame_of
from g3pt.geometry.sampling import sample_surface, sample_volume
from g3pt.preparation.inputs import MeshRef
from g3pt.shapes.queries import near_queries, volume_queries
from g3pt.shapes.stored import PrepareConfig, positions, quantize_positions, query_key

Label = Callable[[TriangleMesh, Float64[np.ndarray, "N 3"]], Bool[np.ndarray, " N"]]
"""Builds whatever it needs of a mesh and tells which points are inside."""

GRID = 128
"""Nodes per axis of mesh2sdf's grid: its own default."""
GRID_LEVEL = 2.0 / GRID
"""How far from the mesh mesh2sdf lays its closed surface: what its manual recommends."""
WATERTIGHT_RESOLUTION = 20_000
"""Leaves of the octree of `make_mesh_watertight`: its own default."""

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "IGL_NUM_THREADS",
)


@dataclass(frozen=True, slots=True)
class Converter:
    """A way to label points, and the package it comes from."""

    module: str
    distribution: str
    load: Callable[[], Label]
    """Imports the package."""

    def missing(self) -> str:
        """Why it cannot be tried; empty if it can."""
        return missing_package(self.module, self.distribution, "bench")


def _load_solid() -> Label:
    from g3pt.geometry.solid import Solid

    return lambda mesh, points: Solid.from_mesh(mesh, RESOLUTION).contains(points)


def _load_mesh2sdf() -> Label:
    """What lies deeper in the interpolated grid than mesh2sdf's surface lies outside the mesh.

    The plain sign of the grid would call a whole layer around every mesh inside.
    """
    import mesh2sdf  # pyright: ignore[reportMissingImports]
    from scipy import ndimage

    def label(mesh: TriangleMesh, points: np.ndarray) -> np.ndarray:
        field = mesh2sdf.compute(mesh.vertices, mesh.faces, GRID, fix=True, level=GRID_LEVEL)
        nodes = (points.T + 1) * (GRID / 2)
        values: np.ndarray = ndimage.map_coordinates(field, nodes, order=1, mode="nearest")
        return values < -GRID_LEVEL

    return label


def _load_watertight() -> Label:
    import point_cloud_utils  # pyright: ignore[reportMissingImports]

    package: Any = point_cloud_utils

    def label(mesh: TriangleMesh, points: np.ndarray) -> np.ndarray:
        vertices, faces = package.make_mesh_watertight(
            mesh.vertices, mesh.faces, WATERTIGHT_RESOLUTION, seed=0
        )
        winding = package.triangle_soup_fast_winding_number(
            vertices, faces, points.astype(vertices.dtype)
        )
        return np.abs(winding) > 0.5

    return label


OURS = "g3pt"

CONVERTERS: dict[str, Converter] = {
    OURS: Converter("g3pt", "g3pt", _load_solid),
    "mesh2sdf": Converter("mesh2sdf", "mesh2sdf", _load_mesh2sdf),
    "point-cloud-utils": Converter("point_cloud_utils", "point-cloud-utils", _load_watertight),
}


# --- in the child --------------------------------------------------------------------------


@cache
def _ready(converter: str) -> Label:
    """A converter that has been used once, so that no import is timed."""
    label = CONVERTERS[converter].load()
    label(ball(0.1, subdivisions=2), sample_volume(100, np.random.default_rng(0)))
    return label


def time_labels(converter: str, ref: MeshRef, config: PrepareConfig) -> float:
    """Processor seconds from a mesh in memory to the labels of a prepared object's queries."""
    label = _ready(converter)
    source = ref.read()
    mesh = to_unit(source, unit_frame_of(source))
    queries = _queries(mesh, ref.id, config)
    began = time.process_time()
    label(mesh, queries)
    return time.process_time() - began


def _queries(mesh: TriangleMesh, name: str, config: PrepareConfig) -> Float64[np.ndarray, "N 3"]:
    key = query_key(name, config.seed)
    surface = sample_surface(mesh, config.num_points, np.random.default_rng(config.seed))
    points = quantize_positions(surface.points)
    size = config.near_group_size
    near = [
        near_queries(key, np.arange(group * size, (group + 1) * size), points, sigma)
        for group, sigma in enumerate(config.near_sigmas)
    ]
    volume = volume_queries(key, np.arange(config.num_volume_queries))
    return positions(np.concatenate([volume, *near])).astype(np.float64)


def measure_label_error(converter: str, solid: str, num: int) -> float:
    """Share of wrong labels of an analytic solid (see `analytic.label_error`)."""
    label, truth = _ready(converter), analytic_solid(solid)
    return label_error(truth, lambda points: label(truth.mesh, points), num)


# --- around the child ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one call gave, or why it gave nothing."""

    value: Any = None
    problem: str = ""


def run_limited(
    function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], seconds: float
) -> Iterator[Outcome]:
    """Call a function with each tuple of arguments, one after the other, in one child process.

    Args:
        function: importable by its name.
        calls: arguments of every call.
        seconds: time limit of each; who exceeds it costs only this call.
    """
    from pebble import ProcessExpired

    from g3pt.work.engines import Limits, child_pool

    with _one_thread(), child_pool(1, Limits(seconds=seconds)) as pool:
        for arguments in calls:
            future = pool.schedule(_call, args=(function, arguments), timeout=seconds)
            try:
                yield Outcome(future.result())
            except TimeoutError:
                yield Outcome(problem=f"took longer than {seconds:g} seconds")
            except ProcessExpired as error:
                yield Outcome(problem=f"its process died with exit code {error.exitcode}")
            except Exception as error:  # whatever a converter does, the others must go on
                yield Outcome(problem=" ".join(f"{type(error).__name__}: {error}".split())[:300])


def _call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    os.dup2(2, 1)  # compiled code may print, and stdout belongs to the result
    return function(*arguments)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Children that start in the block use one thread each."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
