"""Whatever a preparation dies of, and whenever: started again, it ends in the same bytes."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import trimesh

from progress import num_done

NUM_MESHES = 24
NUM_KILLS = 20

SCRIPT = """
import sys

from g3pt.preparation.build import build_shards
from g3pt.work.engines import ProcessEngine
from g3pt.shapes.stored import PrepareConfig
from g3pt.preparation.build import ShardsConfig
from g3pt.preparation.sources import FolderSourceConfig
from g3pt.shapes.stored import ViewsConfig

if __name__ == "__main__":
    config = ShardsConfig(
        source=FolderSourceConfig(path=sys.argv[1]),
        prepare=PrepareConfig(
            num_points=64, num_volume_queries=64, num_near_queries=48, solid_resolution=32
        ),
        views=ViewsConfig(num_views=0, size=16, supersample=1),
        samples_per_shard=5,
    )
    build_shards(config, sys.argv[2], engine=ProcessEngine(2))
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts a preparation of many small meshes, some of them bad, as the leader of a group."""

    folder = tmp_path_factory.mktemp("kills")
    (folder / "meshes").mkdir()
    rng = np.random.default_rng(0)
    for number in range(NUM_MESHES):
        body = trimesh.creation.box(extents=rng.uniform(0.5, 2.0, 3))
        body.export(folder / "meshes" / f"box-{number:02d}.ply")
    for number in (3, 14):
        (folder / "meshes" / f"box-{number:02d}.ply").write_bytes(b"no mesh")
    (folder / "prepare.py").write_text(SCRIPT)

    def start(out):
        command = [sys.executable, str(folder / "prepare.py"), str(folder / "meshes"), str(out)]
        return subprocess.Popen(command, start_new_session=True)

    return start


def num_alive(group):
    """Processes of a group that are not dead."""
    alive = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, found = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        alive += int(found) == group and state not in "ZX"
    return alive


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_twenty_kills_at_any_moment_change_no_byte_and_leave_no_process(
    start, tmp_path, deliverables
):
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "killed"
    assert start(undisturbed).wait(timeout=300) == 0
    rng = np.random.default_rng(20)
    groups = []
    for number in range(NUM_KILLS):
        process = start(out)
        groups.append(process.pid)
        if number % 2:  # while it starts, or soon after
            time.sleep(rng.uniform(0.0, 1.0))
        else:  # at work
            enough = min(num_done(out) + int(rng.integers(1, 4)), NUM_MESHES)
            while num_done(out) < enough and process.poll() is None:
                time.sleep(0.005)
            time.sleep(rng.uniform(0.0, 0.05))
        process.kill()
        process.wait()
    assert start(out).wait(timeout=300) == 0
    assert deliverables(out) == deliverables(undisturbed)
    end = time.monotonic() + 60
    while any(map(num_alive, groups)):
        assert time.monotonic() < end, "children have outlived their run"
        time.sleep(0.1)


class KilledError(BaseException):
    """Stands for the end of the process."""


class Writes:
    """Counts the changes that a run makes to names of files, and ends it at one of them."""

    def __init__(self, monkeypatch, end_at, *, after):
        self.count, self.end_at, self.after = 0, end_at, after
        for owner, name in (
            (Path, "replace"),
            (Path, "unlink"),
            (Path, "mkdir"),
            (os, "link"),
            (shutil, "rmtree"),
        ):
            monkeypatch.setattr(owner, name, self._ending(getattr(owner, name)))

    def _ending(self, change):
        def changed(*arguments, **options):
            self.count += 1
            if self.count > self.end_at:  # a dead process changes nothing
                raise KilledError
            if self.count == self.end_at and not self.after:
                raise KilledError
            result = change(*arguments, **options)
            if self.count == self.end_at:
                raise KilledError
            return result

        return changed


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_run_that_ends_at_any_change_of_a_file_goes_on_to_the_same_bytes(
    folder_config, folder_shards, tmp_path, deliverables, monkeypatch, after
):
    from g3pt.preparation.build import build_shards
    from g3pt.work.engines import Engine

    results = {}

    class Remembering(Engine):
        def run(self, tasks):
            for task in tasks:
                if task.ref.id not in results:
                    results[task.ref.id] = task.run()
                yield results[task.ref.id]

    expected = deliverables(folder_shards.path)
    build_shards(folder_config, tmp_path / "first", engine=Remembering())
    for end_at in range(1, 1000):
        out = tmp_path / f"ends-at-{end_at}"
        with monkeypatch.context() as patch:
            Writes(patch, end_at, after=after)
            try:
                build_shards(folder_config, out, engine=Remembering())
                break
            except KilledError:
                pass
        build_shards(folder_config, out, engine=Remembering())
        assert deliverables(out) == expected, f"after an end at change {end_at}"
        shutil.rmtree(out)
    assert 30 < end_at < 200
