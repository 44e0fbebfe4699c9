"""Estimates the cost of preparing a source from a sample of its objects; nothing is written.

One object of eight is prepared, 20 at most, so that an estimate takes a fraction of the work. The
sample is stratified: the source, in order of ids, is cut into intervals of equal length, and one
object of each is drawn. Costs of foreign meshes differ by orders of magnitude, so every total comes
with a rough interval: the mean plus and minus two standard errors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from g3pt.preparation.build import ShardsConfig
from g3pt.preparation.sources import ShapeRef, list_shapes
from g3pt.preparation.worker import ObjectTask
from g3pt.shapes.shards import as_lines
from g3pt.work.engines import Engine, Limits
from g3pt.work.tasks import TaskResult

SHARE = 8
"""One object of this many is sampled."""
MAX_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Range:
    """A total over the whole source."""

    value: float
    low: float
    """Two standard errors below the total, at least the cost of the sample itself."""
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Estimated cost of preparing a source."""

    num_objects: int
    num_sampled: int
    """Number of objects in the sample."""
    workers: int
    seconds: Range
    """Wall-clock time with the given number of workers."""
    core_hours: Range
    bytes: Range
    """Bytes on disk of the finished set."""
    refused: Range
    """Number of objects that will be refused."""
    stages: dict[str, float]
    """Mean seconds per object by stage."""


def estimate_work(
    config: ShardsConfig,
    engine: Engine,
    *,
    num_samples: int = 0,
    workers: int,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Estimate:
    """Prepare a few objects and extrapolate to the whole source.

    Args:
        config: config of the set.
        engine: runs the tasks; an object that exceeds its limits counts as having used them up.
        num_samples: size of the sample; 0 takes one object of `SHARE`, at most `MAX_SAMPLES`.
        workers: number of workers of the planned run.
        seed: seeds the choice of objects.
        on_progress: called with the number of objects done and their total, also before the first.

    Raises:
        FileNotFoundError, ValueError: if there is no such source, or a count is not positive.
    """
    if num_samples < 0 or workers < 1:
        raise ValueError(
            "an estimate needs num_samples of at least 0 and workers of at least 1, got "
            f"{num_samples} and {workers}"
        )
    refs = sorted(list_shapes(config.source), key=lambda ref: ref.id)
    drawn = _spread(refs, num_samples or min(MAX_SAMPLES, -(-len(refs) // SHARE)), seed)
    tasks = [
        ObjectTask(number, ref, config.prepare, config.views) for number, ref in enumerate(drawn)
    ]
    hear = on_progress or (lambda done, total: None)
    hear(0, len(tasks))
    results: list[TaskResult] = []
    for result in engine.run(tasks):
        results.append(result)
        hear(len(results), len(tasks))
    limits = getattr(engine, "limits", None)
    seconds = _total([_seconds_of(result, limits) for result in results], len(refs))
    sizes = [len(result.data) + len(as_lines([result.row]).encode()) for result in results]
    return Estimate(
        num_objects=len(refs),
        num_sampled=len(results),
        workers=workers,
        seconds=_scaled(seconds, 1 / workers),
        core_hours=_scaled(seconds, 1 / 3600),
        bytes=_total(sizes, len(refs)),
        refused=_share([result.is_refused for result in results], len(refs)),
        stages=_stages(results),
    )


def _spread(refs: Sequence[ShapeRef], num: int, seed: int) -> list[ShapeRef]:
    """One random item of each of `num` intervals of equal length; all if there are no more."""
    edges = np.linspace(0, len(refs), min(num, len(refs)) + 1).astype(int)
    rng = np.random.default_rng(seed)
    return [refs[i] for i in rng.integers(edges[:-1], edges[1:])]


def _seconds_of(result: TaskResult, limits: Limits | None) -> float:
    """Worker time of an object; a terminated child process counts with its full limit."""
    if limits is not None and result.row.get("code") == "timeout":
        return limits.seconds
    if limits is not None and result.row.get("code") == "cpu_time":
        return limits.cpu_seconds
    return sum(result.seconds.values())


def _total(values: Sequence[float], num_objects: int) -> Range:
    """Estimated sum over all objects, plus and minus two standard errors."""
    drawn = np.asarray(values, dtype=np.float64)
    spread = drawn.std(ddof=1) if len(drawn) > 1 else drawn[0]
    # The sum is exact if all objects were sampled.
    unseen = np.sqrt(max(1 - len(drawn) / num_objects, 0.0))
    error = float(2 * spread / np.sqrt(len(drawn)) * unseen) * num_objects
    value = float(drawn.mean()) * num_objects
    return Range(value, max(value - error, float(drawn.sum())), value + error)


def _share(refused: Sequence[bool], num_objects: int) -> Range:
    """Estimated number refused, with the interval of Wilson (1927), valid also for none and all."""
    count, num = sum(refused), len(refused)
    if num == num_objects:
        return Range(count, count, count)
    middle = (count + 2) / (num + 4)
    error = 2 * (count * (num - count) / num + 1) ** 0.5 / (num + 4)
    return Range(
        count / num * num_objects,
        max((middle - error) * num_objects, count),
        min((middle + error) * num_objects, num_objects - (num - count)),
    )


def _scaled(total: Range, factor: float) -> Range:
    return Range(total.value * factor, total.low * factor, total.high * factor)


def _stages(results: Sequence[TaskResult]) -> dict[str, float]:
    names = dict.fromkeys(name for result in results for name in result.seconds)
    return {
        name: sum(result.seconds.get(name, 0.0) for result in results) / len(results)
        for name in names
    }
