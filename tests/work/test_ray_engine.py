import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from g3pt.preparation import build
from g3pt.preparation.build import ShardsConfig, build_shards
from g3pt.preparation.sources import MeshRef, ProceduralSourceConfig, list_shapes
from g3pt.preparation.worker import ObjectTask
from g3pt.shapes.stored import PrepareConfig, ViewsConfig
from g3pt.work import ray_engine
from g3pt.work.engines import Limits, ProcessEngine
from g3pt.work.ray_engine import MAX_ATTEMPTS, UNPREPARED, RayEngine, connect
from g3pt.work.tasks import TaskResult

HOSTILE = """
import os, signal
from g3pt.preparation.sources import MeshRef

class Bomb(MeshRef):
    def read(self, on_note=None):
        os.kill(os.getpid(), signal.SIGKILL)

class Sleeper(MeshRef):
    def read(self, on_note=None):
        signal.pause()
"""
LIMITS = Limits(seconds=20.0)
PREPARE = PrepareConfig(
    num_points=256, num_volume_queries=256, num_near_queries=384, solid_resolution=32
)
VIEWS = ViewsConfig(num_views=1, size=32, supersample=1)
CONFIG = ShardsConfig(
    source=ProceduralSourceConfig(num=16), prepare=PREPARE, views=VIEWS, samples_per_shard=8
)


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A module of objects that kill or hang whoever reads them, importable in every process."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    (folder / "hostile_objects.py").write_text(HOSTILE)
    monkeypatch.syspath_prepend(str(folder))
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    import hostile_objects

    yield hostile_objects
    del sys.modules["hostile_objects"]


@pytest.fixture
def refs(hostile, mesh_folder, monkeypatch):
    """Sixteen procedural shapes, three meshes, one that is none, a bomb; what a source lists."""
    meshes = ("cube", "slab", "pole", "broken")
    listed = [
        *list_shapes(CONFIG.source),
        *(MeshRef(id=f"{name}.glb", location=str(mesh_folder / f"{name}.glb")) for name in meshes),
        hostile.Bomb(id="bomb", location="nowhere"),
    ]
    monkeypatch.setattr(build, "list_shapes", lambda _: listed)
    return listed


def files_of(out: Path) -> dict[str, bytes]:
    names = ("shard-*", "index.json", "quarantine.jsonl")
    return {file.name: file.read_bytes() for name in names for file in sorted(out.glob(name))}


@pytest.mark.distributed
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves sockets to the collector
def test_a_cluster_that_loses_a_node_writes_the_same_bytes(hostile, cluster, refs, tmp_path):
    expected = build_shards(CONFIG, tmp_path / "here", engine=ProcessEngine(1, LIMITS))

    def kill_a_node(progress):
        if progress.done == 5:
            cluster.remove_node(cluster.second, allow_graceful=False)

    with RayEngine(cluster.address, LIMITS) as engine:
        report = build_shards(CONFIG, tmp_path / "there", engine=engine, on_progress=kill_a_node)
        sleeper = hostile.Sleeper(id="sleeper", location="nowhere")
        short = RayEngine(cluster.address, Limits(seconds=2.0))
        (late,) = short.run([ObjectTask(0, sleeper, PREPARE, VIEWS)])

    assert (report.prepared, report.refused) == (expected.prepared, expected.refused) == (19, 2)
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")
    assert b'"killed"' in files_of(tmp_path / "there")["quarantine.jsonl"]
    assert late.row["code"] == "timeout"


def task(number: int) -> ObjectTask:
    return ObjectTask(number, list_shapes(CONFIG.source)[number], PREPARE, VIEWS)


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class FakeRay:
    """As much of Ray as an engine asks for; `answer(number, copy)` gives a result or an error."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, answer):
        self.answer, self.sent, self.cancelled = answer, [], []

    def is_initialized(self):
        return True

    def remote(self, **_):
        return lambda _function: SimpleNamespace(remote=self.send)

    def send(self, task, _limits):
        copy = (task.number, sum(number == task.number for number, _ in self.sent))
        self.sent.append(copy)
        return copy

    def cluster_resources(self):
        return {"CPU": 2.0}

    def wait(self, copies, num_returns, timeout):
        ready = [copy for copy in copies if self.answer(*copy) is not None]
        return ready[:num_returns], []

    def get(self, copy, timeout):
        answer = self.answer(*copy)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def cancel(self, copy, force):
        self.cancelled.append(copy)


@pytest.fixture
def make_engine(monkeypatch):
    """An engine on a cluster that answers as it is told."""

    def make(answer, limits=LIMITS) -> tuple[RayEngine, FakeRay]:
        ray = FakeRay(answer)
        monkeypatch.setattr(ray_engine, "import_ray", lambda local: ray)
        return RayEngine("auto", limits), ray

    return make


def test_every_task_comes_back_once(make_engine):
    engine, ray = make_engine(lambda number, _: TaskResult(number, {}))
    results = list(engine.run(map(task, range(10))))

    assert sorted(result.number for result in results) == list(range(10))
    assert len(ray.sent) == 10


def test_an_object_whose_node_dies_is_handed_out_again_and_given_up_in_the_end(make_engine):
    def answer(number, copy):
        if number == 3 or (number == 1 and copy == 0):
            return RayError("the node is dead")
        return TaskResult(number, {})

    engine, ray = make_engine(answer)
    results = engine.run(map(task, range(5)))

    refused = {result.number: result.row.get("code") for result in results}
    assert refused == {0: None, 1: None, 2: None, 3: "lost", 4: None}
    assert ray.sent.count((1, 1)) == 1
    assert len([copy for copy in ray.sent if copy[0] == 3]) == MAX_ATTEMPTS


def test_a_late_object_is_handed_out_twice_and_its_first_result_counts(make_engine):
    def answer(number, copy):
        return TaskResult(number, {"copy": copy}) if copy == 1 else None

    engine, ray = make_engine(answer, Limits(seconds=0.01))
    results = engine.run([task(7)])

    assert [result.row for result in results] == [{"copy": 1}]
    assert (7, 0) in ray.cancelled


def test_workers_without_g3pt_stop_the_run(make_engine):
    engine, _ = make_engine(lambda *_: RayTaskError("no module named g3pt"))

    with pytest.raises(ValueError, match="same version of it on every node, got: no module"):
        list(engine.run([task(0)]))


def test_whoever_stops_early_takes_back_what_is_out(make_engine):
    engine, ray = make_engine(lambda number, _: TaskResult(number, {}) if not number else None)
    results = engine.run(map(task, range(12)))
    next(results)
    results.close()

    assert sorted(ray.cancelled) == [(number, 0) for number in range(1, 6)]


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(ImportError, match=r"pip install g3pt\[cluster\]"):
        RayEngine()


def test_a_child_that_dies_between_two_objects_of_a_worker_costs_none():
    import hazards

    def run(ref):
        return ray_engine.run_limited(ObjectTask(0, ref, PREPARE, VIEWS), LIMITS)

    try:
        assert run(hazards.DyingLater(id="first", location="")).row["code"] == "broken"
        time.sleep(2.0)  # until its process is gone
        assert run(hazards.Telling(id="second", location="")).row["code"] == "told"
    finally:
        ray_engine._children.cache_clear()


class LateRay:
    """Stands for the module while a server for clients is not ready the first few times."""

    def __init__(self, says, times):
        self.says, self.left, self.asked = says, times, 0

    def init(self, **_):
        self.asked += 1
        if self.left:
            self.left -= 1
            raise ConnectionError(self.says)

    def shutdown(self):
        pass


@pytest.mark.parametrize(
    ("says", "times", "asked"),
    [
        (f"{UNPREPARED} from server: its agent does not answer", 2, 3),
        (f"{UNPREPARED} from server: its agent does not answer", 9, 4),
        ("nobody listens", 1, 1),
    ],
)
def test_a_server_for_clients_that_is_not_ready_is_asked_again(monkeypatch, says, times, asked):
    monkeypatch.setattr(ray_engine, "CLIENT_PAUSE", 0.0)
    late = LateRay(says, times)
    if asked > times:
        connect(late, "ray://127.0.0.1:1")
    else:
        with pytest.raises(ConnectionError, match=r"expected a Ray cluster at 'ray://127"):
            connect(late, "ray://127.0.0.1:1")
    assert late.asked == asked
