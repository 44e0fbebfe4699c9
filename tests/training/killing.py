"""A program that trains on two processes, one of which dies at twenty random moments.

`python killing.py FOLDER` trains `FOLDER/often-killed`, with a new start after each death, and
tells in `FOLDER/deaths.json` where the processes were. They are forked from this one, which has
imported torch and started no threads: imports would take most of the time of a start.
"""

import json
import multiprocessing
import random
import sys
import time
from multiprocessing.connection import wait
from pathlib import Path

import torch
import torch._dynamo  # DDP needs it, and it takes as long as all else
import worker

from g3pt.training.distributed import World

DEATHS, EVERY, SIZE = 20, 3, 2
AIMS = ("start", "save", "step", "save", "step")
FORK = multiprocessing.get_context("fork")


def train_as(rank, run, store, reached):
    """Train as one of the processes, telling the parent which step it is in."""

    def tell(step, visit):
        if rank == 0:
            reached.value = step
        return False

    store = torch.distributed.FileStore(str(store), SIZE)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=SIZE)
    worker.toy_run(run, SIZE, poison=tell, resume=True, checkpoint_every=EVERY)
    World.current().part_ways()


def start(run, attempt):
    """Start both processes; return them and the number that says where they are."""
    reached = FORK.Value("i", -1)
    store = run.parent / f"store-{attempt}"
    processes = [
        FORK.Process(target=train_as, args=(rank, run, store, reached)) for rank in range(SIZE)
    ]
    for process in processes:
        process.start()
    return processes, reached


def until(processes, condition):
    """Wait for something to happen while the processes train."""
    while not condition():
        assert not wait([each.sentinel for each in processes], timeout=0.001), "ended by itself"


def let_steps_pass(processes, reached, steps):
    """Wait until so many steps after the first one of this start."""
    until(processes, lambda: reached.value >= 0)
    goal = reached.value + steps
    until(processes, lambda: reached.value >= goal)


def half_saved(run, process):
    """Whether this process has left, or is writing, half a checkpoint."""
    return any((run / "checkpoints").glob(f".tmp-step-*-{process.pid}"))


def kill_once(run, attempt, rng):
    """Let one process die, and tell where it was."""
    processes, reached = start(run, attempt)
    aim = AIMS[attempt % len(AIMS)]
    victim = 0 if aim == "save" else rng.randrange(SIZE)  # rank 0 saves
    if aim == "start":
        time.sleep(rng.uniform(0, 0.1))
    elif aim == "step":
        let_steps_pass(processes, reached, rng.randrange(2 * EVERY))
        time.sleep(rng.uniform(0, 0.03))
    else:
        if attempt >= len(AIMS):  # the first ones die while the very first state is saved
            let_steps_pass(processes, reached, EVERY - 1)
        until(processes, lambda: half_saved(run, processes[0]))
        time.sleep(rng.uniform(0, 0.003))
    processes[victim].kill()
    processes[victim].join()
    code = processes[victim].exitcode
    for process in processes:  # as a launcher ends the others
        process.kill()
        process.join()
    in_save = half_saved(run, processes[0])
    return {"rank": victim, "code": code, "step": reached.value, "in_save": in_save}


def main():
    folder = Path(sys.argv[1])
    run, rng = folder / "often-killed", random.Random(17)
    deaths = [kill_once(run, attempt, rng) for attempt in range(DEATHS)]
    (folder / "deaths.json").write_text(json.dumps(deaths))
    processes, _ = start(run, DEATHS)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * SIZE


if __name__ == "__main__":
    main()
