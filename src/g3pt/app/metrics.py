"""Numbers for Prometheus, read when they are asked for."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from g3pt.app.jobs import Jobs


class Metrics:
    """What a server counts."""

    def __init__(self, jobs: Jobs) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Jobs(jobs))
        self.answers = Counter(
            "g3pt_http_answers", "Answers by method and status", ["method", "status"],
            registry=self._registry,
        )  # fmt: skip

    def text(self) -> bytes:
        """All numbers in the text format of Prometheus."""
        return generate_latest(self._registry)


class _Jobs(Collector):
    """Numbers about jobs, workers and the process."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        """All metrics with their present values."""
        jobs = self._jobs
        stored = GaugeMetricFamily("g3pt_jobs", "Jobs by state", labels=["status"])
        for status, num in sorted(jobs.store.counts().items()):
            stored.add_metric([status], num)
        yield stored
        ended = CounterMetricFamily(
            "g3pt_jobs_ended", "Jobs that ended since the start", labels=["kind", "status"]
        )
        for (kind, status), num in sorted(jobs.ended.items()):
            ended.add_metric([kind, status], num)
        yield ended
        seconds = CounterMetricFamily("g3pt_job_seconds", "Seconds that jobs ran", labels=["kind"])
        for kind, value in sorted(jobs.seconds.items()):
            seconds.add_metric([kind], value)
        yield seconds
        for name, engine in (("worker", jobs.engine), ("helper", jobs.quick)):
            state = engine.state()
            for metric, text, value in (
                ("queued", "Tasks that wait", state.queued),
                ("ready", "Processes that are ready", state.ready),
                ("busy", "Processes that do a task", state.busy),
            ):
                yield _gauge(f"g3pt_{name}_{metric}", text, value)
            restarts = CounterMetricFamily(f"g3pt_{name}_restarts", "Processes replaced")
            restarts.add_metric([], state.restarts)
            yield restarts
        yield _gauge("g3pt_threads", "Threads of the server", threading.active_count())
        if (files := Path("/proc/self/fd")).is_dir():
            yield _gauge("g3pt_open_files", "Open files of the server", len(os.listdir(files)))
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            memory = pages * os.sysconf("SC_PAGE_SIZE")
            yield _gauge("g3pt_memory_bytes", "Resident memory of the server", memory)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
