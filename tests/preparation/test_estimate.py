from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from g3pt.preparation.build import ShardsConfig, build_shards
from g3pt.preparation.estimate import Estimate, estimate_work
from g3pt.preparation.sources import ProceduralSourceConfig
from g3pt.preparation.worker import ObjectTask
from g3pt.shapes.stored import PrepareConfig, ViewsConfig
from g3pt.work.engines import Engine, InlineEngine, Limits
from g3pt.work.tasks import TaskResult

CONFIG = ShardsConfig(
    source=ProceduralSourceConfig(num=60),
    prepare=PrepareConfig(num_points=256, num_volume_queries=256, num_near_queries=384),
    views=ViewsConfig(num_views=1, size=32, supersample=1),
)


class FakeEngine(Engine):
    """Every object takes as long as its seed says; every fifth is refused, or takes too long."""

    limits = Limits(seconds=100.0, cpu_seconds=80.0)

    def __init__(self, code: str = "broken", every: int = 5) -> None:
        self.code, self.every = code, every
        self.seen: list[int] = []

    def run(self, tasks: Iterable[ObjectTask]) -> Iterator[TaskResult]:
        for task in tasks:
            seed = task.ref.seed
            self.seen.append(seed)
            if seed % self.every == 0:
                yield task.refuse("worker", self.code, "as told")
            else:
                stages = {"label": 1.0, "render": seed / 30}
                yield TaskResult(task.number, {"id": task.ref.id}, bytes(1000), stages)


def estimate(engine: Engine, **options) -> Estimate:
    return estimate_work(CONFIG, engine, workers=4, **options)


def test_of_a_source_that_was_drawn_whole_everything_is_known():
    engine = FakeEngine()

    found = estimate(engine, num_samples=100)

    kept = [seed for seed in range(60) if seed % 5]
    spent = sum(1.0 + seed / 30 for seed in kept)
    assert sorted(engine.seen) == list(range(60))
    assert (found.num_objects, found.num_sampled) == (60, 60)
    assert found.seconds.low == found.seconds.high == pytest.approx(spent / 4)
    assert found.core_hours.value == pytest.approx(spent / 3600)
    assert found.refused.low == found.refused.value == found.refused.high == 12
    assert found.stages == pytest.approx({"label": 48 / 60, "render": sum(kept) / 30 / 60})


def test_a_few_objects_give_an_interval_around_the_truth():
    truth = estimate(FakeEngine(), num_samples=60)

    inside = []
    for seed in range(40):
        found = estimate(FakeEngine(), seed=seed, num_samples=20)
        assert found.num_sampled == 20
        inside.append(
            [
                found.seconds.low <= truth.seconds.value <= found.seconds.high,
                found.refused.low <= truth.refused.value <= found.refused.high,
                found.bytes.low <= truth.bytes.value <= found.bytes.high,
            ]
        )
    # Two standard errors hold in 95 of 100 for bell-shaped costs; these are not quite.
    assert np.mean(inside, axis=0).min() > 0.85


def test_objects_come_from_everywhere_and_the_same_ones_again():
    first, second, other = FakeEngine(), FakeEngine(), FakeEngine()
    estimate(first, num_samples=6)
    estimate(second, num_samples=6)
    estimate(other, num_samples=6, seed=1)

    assert first.seen == second.seen != other.seen
    assert len(set(first.seen)) == 6


@pytest.mark.parametrize(("code", "cost"), [("timeout", 100.0), ("cpu_time", 80.0)])
def test_objects_that_hit_a_limit_cost_that_limit(code, cost):
    found = estimate(FakeEngine(code, every=1), num_samples=60)

    assert found.seconds.value == pytest.approx(60 * cost / 4)


def test_where_none_of_the_few_was_refused_some_may_be():
    found = estimate(FakeEngine(every=1000), num_samples=10, seed=3)

    assert found.refused.value == found.refused.low == 0
    assert 0 < found.refused.high < 60


def test_the_bytes_are_those_that_are_written_and_nothing_is_written_before(tmp_path):
    config = replace(CONFIG, source=ProceduralSourceConfig(num=6))

    found = estimate_work(config, InlineEngine(), num_samples=6, workers=1)
    assert list(tmp_path.iterdir()) == []
    build_shards(config, tmp_path / "set")

    shards = [*(tmp_path / "set").glob("shard-*")]
    written = sum(file.stat().st_size for file in shards)
    # The end of the archive, and where a sample lies, are not counted.
    assert found.bytes.value == pytest.approx(written, abs=10_240 + 6 * 100)


def test_numbers_that_are_not_positive_are_refused():
    with pytest.raises(ValueError, match="workers of at least 1, got -1 and 4"):
        estimate(FakeEngine(), num_samples=-1)


@pytest.mark.parametrize(("num", "sampled"), [(1, 1), (8, 1), (24, 3), (60, 8), (4000, 20)])
def test_asking_takes_an_eighth_of_the_work_at_most(num, sampled):
    config = replace(CONFIG, source=ProceduralSourceConfig(num=num))
    heard: list[tuple[int, int]] = []

    found = estimate_work(
        config, FakeEngine(), workers=1, on_progress=lambda *state: heard.append(state)
    )

    assert (found.num_objects, found.num_sampled) == (num, sampled)
    assert heard == [(done, sampled) for done in range(sampled + 1)]
