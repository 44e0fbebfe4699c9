"""The process that holds up all others is named, and nobody else."""

import signal
import subprocess
import sys
import threading
import time

import pytest
import torch.distributed as dist

from g3pt.training.distributed import World
from g3pt.training.watch import HUNG, Beat, Judge, Watch, _own_connection


def beat(rank, count, place, moves=0, **more):
    return Beat(rank, f"host-{rank}", 100 + rank, count, *place, moves=moves, **more)


def test_beats_come_back_from_their_text():
    one = beat(3, 7, (12, "compute"), moves=40, is_done=True)
    assert Beat.decode(one.encode()) == one


def test_the_one_that_is_behind_is_named_and_those_that_wait_for_it_are_not():
    judge = Judge(10.0)
    for now in range(0, 10, 2):
        beats = [beat(0, now, (5, "compute")), beat(1, now, (5, "batch"))]
        assert not judge.complaint(beats, now)
    found = judge.complaint([beat(0, 11, (5, "compute")), beat(1, 11, (5, "batch"))], 10.5)
    assert found == ("rank 1 (process 101 on host-1): in step 6 (batch) for 10 s, the others wait")


def test_one_that_gives_no_sign_of_life_is_named_wherever_it_is():
    judge = Judge(10.0)
    for now in range(0, 12, 2):
        found = judge.complaint([beat(0, now, (5, "compute")), beat(1, 1, (0, "outside"))], now)
        assert not found or now > 10
    assert judge.complaint([beat(0, 50, (5, "compute")), beat(1, 1, (0, "outside"))], 11.0) == (
        "rank 1 (process 101 on host-1): no sign of life for 10 s"
    )


def test_slow_steps_evaluations_and_those_that_are_done_are_left_alone():
    judge = Judge(10.0)
    for now in range(0, 100, 5):
        beats = [
            beat(0, now, (now, "compute"), moves=now),  # gets on
            beat(1, now, (now, "outside"), moves=3),  # evaluates
            beat(2, 9, (now, "batch"), is_done=True),
        ]
        assert not judge.complaint(beats, now)


def test_the_whole_place_is_named_if_all_hang_at_it():
    judge = Judge(1.0)
    judge.complaint([beat(rank, 1, (2, "update")) for rank in range(2)], 0.0)
    found = judge.complaint([beat(rank, 2, (2, "update")) for rank in range(2)], 2.0)
    assert found.startswith("rank 0 (process 100 on host-0), rank 1 (")
    assert found.endswith("in step 3 (update) for 1 s, all are there")


def test_one_process_is_not_watched():
    before = threading.active_count()
    watch = Watch(World(), 0.1, leave=lambda code: pytest.fail("left"))
    watch.at(1, "batch")
    time.sleep(0.3)
    assert threading.active_count() == before
    watch.close()


def test_one_whose_machine_is_cut_off_leaves_by_itself(caplog):
    program = """if True:
        import time, torch.distributed as dist
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        print(store.port, flush=True)
        time.sleep(300)"""
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    codes = []
    try:
        store = dist.TCPStore("127.0.0.1", int(holder.stdout.readline()))
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)
        _own_connection().set("1", beat(1, 1, (0, "outside"), is_done=True).encode())
        watch = Watch(World(0, 2), 3.0, leave=codes.append)
        time.sleep(2)
        assert not codes
        holder.send_signal(signal.SIGSTOP)  # as if no packet came through
        deadline = time.monotonic() + 60
        while not codes and time.monotonic() < deadline:
            time.sleep(0.05)
        watch.close()
    finally:
        holder.kill()
        holder.communicate()
        dist.destroy_process_group()
    assert codes == [HUNG]
    assert "store of the process group gave no answer for 3 s. Rank 0 leaves" in caplog.text
