"""Programs that tests start once for each process: `python worker.py CHECK RANK SIZE FOLDER ...`.

To import torch takes seconds, so that a program makes several checks.
"""

import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy import UnevenTask

from g3pt.training import compilation
from g3pt.training.config import TrainConfig
from g3pt.training.distributed import OtherRankError, World
from g3pt.training.engines import build_engine
from g3pt.training.loop import train
from g3pt.training.optim import AdamWConfig, MuonConfig
from g3pt.training.task import Part

SLICES = 4
"""Slices of a step, however many processes there are."""
STEPS, SHORT = 50, 10


def settings(size, **changes):
    defaults = {
        "steps": STEPS, "log_every": 1, "eval_every": 25, "checkpoint_every": 10, "threads": 1,
        "device": "cpu", "accumulation": SLICES // size,
    }  # fmt: skip
    return TrainConfig(**{**defaults, **changes})


def toy_run(folder, size, *, optim=AdamWConfig, poison=None, resume=False, **changes):
    """Train the toy, of whose parameters every slice uses others."""
    task = UnevenTask(batch_size=8, dropout=0.1)
    task.poison = poison or task.poison
    config = settings(size, **changes)
    return train(task, optim=optim(lr=5e-3), config=config, run_dir=folder, resume=resume)


def asked_to_stop(rank, *, by, at, number):
    """Send a signal to one rank of several while it computes a step."""

    def poison(step, visit):
        if (rank, step) == (by, at):
            os.kill(os.getpid(), number)
        return False

    return poison


# -- equal --------------------------------------------------------------------------------------


def equal(rank, size, folder, trained):
    """Trainings that end as those of one process do."""
    exchange(rank, size)
    accumulating()
    other_files(rank, size, folder)
    text = json.dumps(evaluations(trained))
    (folder / f"evaluations-{size}-{rank}.json").write_text(text)
    engines = ("auto", "fsdp") if size == 2 else ("auto",)
    for engine in engines:
        toy_run(folder / f"toy-{engine}-{size}", size, engine=engine)
        kinds(size, folder, trained, engine=engine)
    if size == 4:
        poison = asked_to_stop(rank, by=3, at=19, number=signal.SIGUSR1)
        assert not toy_run(folder / "chain", size, poison=poison).finished
    else:
        orthogonal_shards()
        compilation._BACKEND = "eager"  # blocks are traced; no compiler is needed
        for engine in engines:
            toy_run(folder / f"compiled-{engine}-2", size, engine=engine, steps=SHORT, compile=True)
        toy_run(folder / "muon-fsdp-2", size, engine="fsdp", optim=MuonConfig, steps=SHORT)
        toy_run(folder / "bf16-fsdp-2", size, engine="fsdp", precision="bf16", steps=SHORT)
        poison = asked_to_stop(rank, by=1, at=39, number=signal.SIGTERM)
        again = toy_run(folder / "chain", size, poison=poison, resume=True, engine="fsdp")
        assert (again.step, again.finished) == (40, False)


def kinds(size, folder, trained, *, engine, steps=SHORT):
    """Smoke runs of both stages; AdamW, since Muon multiplies rounding."""
    import smoke

    from g3pt.training.start import start

    for name, make in (("tokenizer", smoke.tokenizer_run), ("car", smoke.car_run)):
        config = settings(size, engine=engine, steps=steps, eval_every=5)
        run = replace(make(trained), train=config, optim=AdamWConfig(lr=1e-3))
        start(run, folder / f"{name}-{engine}-{size}")


def evaluations(trained):
    """Evaluations of finished runs, by name."""
    from g3pt.training.runs import load_run
    from g3pt.training.start import complete, open_task
    from g3pt.training.trained import load_trained

    found = {}
    for name in ("tokenizer", "car"):
        run, tokenizer = complete(load_run(trained / name))
        task = open_task(run, tokenizer)
        task.module.load_state_dict(load_trained(trained / name).state_dict())
        found[name] = dict(task.evaluate(4, 1.0))
    return found


def other_files(rank, size, folder):
    """Machines with other shapes, or without the run folder, are refused."""
    from g3pt.training.start import _require_shared

    task = UnevenTask(batch_size=8, seed=rank // (size - 1))
    with pytest.raises(ValueError, match=f"order of samples: ranks {size - 1} of {size} differ"):
        train(task, optim=AdamWConfig(), config=settings(size), run_dir=folder / f"other-{size}")
    if rank == 0:
        (folder / f"config-{size}-0").write_text("{}")
    others = ", ".join(map(str, range(1, size)))
    with pytest.raises(ValueError, match=f"ranks {others} of {size} differ"):
        _require_shared(folder / f"config-{size}-{rank}", World.current())


def accumulating():
    """Only the last slice of a step exchanges gradients."""
    world, task = World.current(), UnevenTask(batch_size=8)
    engine = build_engine(task, "auto", world, bfloat16=False)
    batch = task.batch(0, Part(world.rank, world.size))
    for last in (False, True):
        with engine.piece(last=last):
            engine.run(batch, step=1, progress=0.9).loss.backward()
        gradient = task.module.narrow.weight.grad.tolist()
        assert (gradient == world.share(gradient)) == (last or world.speaks)


def exchange(rank, size):
    """What processes tell each other."""
    world = World.current()
    assert world.decide(0.25 + rank, rank == size - 1) == (0.25, True)
    assert world.share({"a": [rank, 0.1]}) == {"a": [0, 0.1]}
    assert world.share_tensors({"t": torch.full((2, 1), float(rank))})["t"].tolist() == [[0], [0]]
    for count in (1, size, 2 * size + 1):
        rows = torch.tensor([[float(row)] for row in world.own_rows(count)])
        assert world.gather_rows(rows, count).flatten().tolist() == list(range(count))
    buffers = [torch.full((2,), float(rank)), torch.tensor(2.0 * rank)]
    world.average(buffers)
    assert [each.flatten()[0].item() for each in buffers] == [(size - 1) / 2, size - 1]
    with pytest.raises(ValueError, match=f"order: ranks {size - 1} of {size} differ from rank 0"):
        world.require_same("order", str(rank == size - 1))

    def fails():
        raise FileNotFoundError("only rank 0 looks")

    with pytest.raises(OtherRankError if rank else FileNotFoundError):
        world.lead(fails)
    assert world.lead(lambda: rank) == rank


def orthogonal_shards():
    """Rows of orthogonalised matrices, some with fewer rows than processes."""
    from torch.distributed.device_mesh import init_device_mesh

    from g3pt.training.muon import orthogonalized_all, orthogonalized_shards

    mesh = init_device_mesh("cpu", (2,))
    generator = torch.Generator().manual_seed(0)
    shapes = [(5, 7), (1, 3), (8, 2), (6, 6), (3, 4)]
    matrices = [torch.randn(shape, generator=generator) for shape in shapes]
    rank, empty = mesh.get_local_rank(), torch.zeros(0, 3)
    chunks = [[*m.chunk(2), empty[:, : m.shape[1]]][rank] for m in matrices]
    found = orthogonalized_shards(chunks, [m.shape[0] for m in matrices], mesh)
    for result, whole in zip(found, orthogonalized_all(matrices), strict=True):
        expected = [*whole.chunk(2), empty[:, : whole.shape[1]]][rank]
        assert torch.equal(result, expected.to(result.dtype))


# -- failures -----------------------------------------------------------------------------------


def hang(rank, size, folder):
    """Rank 1 hangs while it builds a batch."""
    import logging

    logging.basicConfig()

    class Hanging(UnevenTask):
        def batch(self, step, part):
            if rank == 1 and step == 5:
                time.sleep(600)
            return super().batch(step, part)

    config = settings(size, hang_seconds=2.0, prefetch=False)
    train(Hanging(batch_size=8), optim=AdamWConfig(), config=config, run_dir=folder / "hang")


def killed(folder):
    """Started by torchrun; dies of SIGKILL at another moment after every restart."""
    import threading

    from g3pt.training.launch import process_group

    attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    with process_group("cpu") as world:
        poison = None
        if attempt == 0:
            poison = asked_to_stop(world.rank, by=1, at=23, number=signal.SIGKILL)
        elif attempt == 1 and world.rank == 0:
            threading.Thread(target=_die_in_a_save, args=(folder / "killed",), daemon=True).start()
        toy_run(folder / "killed", world.size, poison=poison, resume=True, checkpoint_every=4)


def _die_in_a_save(run):
    while not any((run / "checkpoints").glob(".tmp-step-3*")):
        time.sleep(0.0005)
    os.kill(os.getpid(), signal.SIGKILL)


def ended():
    """Started by torchrun; the threads of gloo come last wherever others want the processor."""
    from g3pt.training.launch import process_group

    with process_group("cpu"):
        torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 3))
        mine, slow = {min(os.sched_getaffinity(0))}, 0
        for thread in map(int, os.listdir("/proc/self/task")):
            os.sched_setaffinity(thread, mine)
            if "gloo_runloop" in Path(f"/proc/self/task/{thread}/comm").read_text():
                os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
                slow += 1
        assert slow, "gloo has no threads of its own"


def main():
    check, *arguments = sys.argv[1:]
    if check == "killed":
        killed(Path(arguments[0]))
        return
    if check == "ended":
        ended()
        return
    rank, size, folder = int(arguments[0]), int(arguments[1]), Path(arguments[2])
    store = torch.distributed.FileStore(str(folder / f"store-{check}-{size}"), size)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
    globals()[check](rank, size, folder, *map(Path, arguments[3:]))
    World.current().part_ways()


if __name__ == "__main__":
    main()
