"""Two processes learn what one does from the same global batch."""

import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

PROGRAM = """
import sys
import torch
from pathlib import Path
rank, size, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
sys.path.insert(0, sys.argv[4])
from toy import ToyTask
from g3pt.training.loop import TrainConfig, train
from g3pt.training.optim import AdamWConfig
if size > 1:
    store = torch.distributed.FileStore(str(folder.parent / "store"), size)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
config = TrainConfig(
    steps=8, log_every=1, eval_every=4, checkpoint_every=4, accumulation=2 // size, threads=1,
    device="cpu",
)
train(ToyTask(batch_size=8), optim=AdamWConfig(lr=5e-3), config=config, run_dir=folder)
if size > 1:
    torch.distributed.destroy_process_group()
"""


def start(size, folder):
    here = str(Path(__file__).parent)
    return [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(rank), str(size), str(folder), here])
        for rank in range(size)
    ]


@pytest.mark.distributed
def test_two_processes_equal_one_with_the_same_global_batch(tmp_path):
    from g3pt.training.tracking import read_metrics

    folders = {1: tmp_path / "one", 2: tmp_path / "two"}
    processes = [process for size, folder in folders.items() for process in start(size, folder)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0, 0]
    one, two = (
        [
            {key: value for key, value in line.items() if not key.startswith(("sec", "steps_"))}
            for line in read_metrics(folder / "metrics.jsonl")
        ]
        for folder in folders.values()
    )
    assert [line["kind"] for line in one] == [line["kind"] for line in two]
    # Both add two halves, once in a process and once between two: the same sum of two floats.
    assert one == two
    weights = [load_file(f / "checkpoints/step-8/model.safetensors") for f in folders.values()]
    assert all(
        (weights[0][name] == weights[1][name]).all() for name in weights[0] if name != "count"
    )


UNEVEN = """
import sys
import torch
from g3pt.training.distributed import World
rank, store = int(sys.argv[1]), torch.distributed.FileStore(sys.argv[2], 2)
torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
both, one, none = (torch.nn.Parameter(torch.zeros(3)) for _ in range(3))
both.grad = torch.ones(3)
if rank == 1:
    one.grad = torch.ones(3)
World.current().sum_gradients([one, none, both])
assert one.grad.tolist() == [1, 1, 1] and none.grad is None and both.grad.tolist() == [2, 2, 2]
torch.distributed.destroy_process_group()
"""


@pytest.mark.distributed
def test_gradients_that_one_process_lacks_are_summed_all_the_same(tmp_path):
    store = str(tmp_path / "store")
    command = [sys.executable, "-c", UNEVEN]
    processes = [subprocess.Popen([*command, str(rank), store]) for rank in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
