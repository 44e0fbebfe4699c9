"""What preparing a source will cost, from a few of its objects: nothing is written.

One object of eight is prepared, 20 at most, so that asking takes a fraction of the work. They are
drawn evenly: the source, in order of ids, is cut into as many stretches as objects are wanted, and
one of each is drawn. Costs of foreign meshes differ by orders of magnitude, so every
total comes with a rough interval: the mean plus and minus two standard errors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from g3pt.preparation.build import ShardsConfig
from g3pt.preparation.engines import Engine, Limits
from g3pt.preparation.sources import ShapeRef, list_shapes
from g3pt.preparation.worker import ObjectResult, ObjectTask
from g3pt.shapes.shards import as_lines

SHARE = 8
"""One object of so many is prepared to find out."""
MAX_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Range:
    """A total over the whole source."""

    value: float
    low: float
    """Two standard errors below; at least what the drawn objects alone came to."""
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What a source will cost."""

    num_objects: int
    num_sampled: int
    """Objects that were prepared to find out."""
    workers: int
    seconds: Range
    """On the wall, with so many workers."""
    core_hours: Range
    bytes: Range
    """On disk, when all is done."""
    refused: Range
    """Objects that cannot be used."""
    stages: dict[str, float]
    """Mean seconds of an object by stage of the work."""


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
        config: what would be prepared.
        engine: who does the work; its limits count for objects that hit them.
        num_samples: how many objects; 0 is one of `SHARE`, `MAX_SAMPLES` at most.
        workers: how many objects are going to be worked on at a time.
        seed: seeds the choice of objects.
        on_progress: hears how many objects are done, and of how many, before the first one too.

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
    results: list[ObjectResult] = []
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
    """One of each of `num` stretches of equal length; all if there are no more."""
    edges = np.linspace(0, len(refs), min(num, len(refs)) + 1).astype(int)
    rng = np.random.default_rng(seed)
    return [refs[i] for i in rng.integers(edges[:-1], edges[1:])]


def _seconds_of(result: ObjectResult, limits: Limits | None) -> float:
    """Worker time; a child process that was ended did not tell, but used up its limit."""
    if limits is not None and result.row.get("code") == "timeout":
        return limits.seconds
    if limits is not None and result.row.get("code") == "cpu_time":
        return limits.cpu_seconds
    return sum(result.seconds.values())


def _total(values: Sequence[float], num_objects: int) -> Range:
    """The sum over all objects, two standard errors either way."""
    drawn = np.asarray(values, dtype=np.float64)
    spread = drawn.std(ddof=1) if len(drawn) > 1 else drawn[0]
    # Nothing is left to guess where all objects were drawn.
    unseen = np.sqrt(max(1 - len(drawn) / num_objects, 0.0))
    error = float(2 * spread / np.sqrt(len(drawn)) * unseen) * num_objects
    value = float(drawn.mean()) * num_objects
    return Range(value, max(value - error, float(drawn.sum())), value + error)


def _share(refused: Sequence[bool], num_objects: int) -> Range:
    """How many are refused; the interval of Wilson (1927), which holds for none and for all."""
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


def _stages(results: Sequence[ObjectResult]) -> dict[str, float]:
    names = dict.fromkeys(name for result in results for name in result.seconds)
    return {
        name: sum(result.seconds.get(name, 0.0) for result in results) / len(results)
        for name in names
    }
