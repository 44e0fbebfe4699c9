"""Any number of processes, with either engine, learn what one does; losing some loses nothing."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from g3pt.training.tracking import read_metrics

pytestmark = pytest.mark.distributed
HERE = Path(__file__).parent
CLOCKS = ("seconds", "steps_per_second")


def start(check, size, folder, *arguments):
    """Start a program of `worker.py` on several processes."""
    return [
        subprocess.Popen(
            [sys.executable, HERE / "worker.py", check, str(rank), str(size), folder, *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(size)
    ]


def finish(processes, *, timeout=600.0):
    """Exit codes and outputs, by rank."""
    outputs = [process.communicate(timeout=timeout)[0] for process in processes]
    return [process.returncode for process in processes], outputs


def run_all(check, size, folder, *arguments):
    codes, outputs = finish(start(check, size, folder, *arguments))
    assert codes == [0] * size, "\n".join(outputs)


@pytest.fixture(scope="module")
def runs(trained, tmp_path_factory):
    """Folder of the same trainings on one, two and four processes."""
    import worker

    folder = tmp_path_factory.mktemp("equal")
    run_all("equal", 4, folder, trained)  # two processes go on with what four began
    run_all("equal", 2, folder, trained)
    worker.toy_run(folder / "toy-auto-1", 1)
    worker.toy_run(folder / "muon-auto-1", 1, optim=worker.MuonConfig, steps=worker.SHORT)
    worker.toy_run(folder / "compiled-auto-1", 1, steps=worker.SHORT)  # its twin: not compiled
    worker.toy_run(folder / "bf16-auto-1", 1, precision="bf16", steps=worker.SHORT)
    worker.kinds(1, folder, trained, engine="auto")
    assert worker.toy_run(folder / "chain", 1, resume=True).finished
    return folder


def records(folder, kind, steps=None):
    return [
        {key: value for key, value in line.items() if key not in CLOCKS}
        for line in read_metrics(folder / "metrics.jsonl")
        if line["kind"] == kind and line["step"] <= (steps or line["step"])
    ]


def assert_same(one, other, *, rtol=0.0, atol=1e-6):
    """Same steps and same numbers; those of one process may go on for longer."""
    (last, *_) = records(other, "train")[::-1]
    for kind in ("train", "evaluation"):
        ours, theirs = records(one, kind, last["step"]), records(other, kind)
        assert [each["step"] for each in ours] == [each["step"] for each in theirs]
        for a, b in zip(ours, theirs, strict=True):
            assert a.keys() == b.keys()
            if kind == "train":
                assert b["loss"] == pytest.approx(a["loss"], rel=rtol, abs=atol)
    return last["step"]


@pytest.mark.parametrize(("engine", "size"), [("auto", 2), ("auto", 4), ("fsdp", 2)])
@pytest.mark.parametrize("name", ["toy", "tokenizer", "car"])
def test_processes_have_the_losses_of_one(runs, name, engine, size):
    steps = assert_same(runs / f"{name}-auto-1", runs / f"{name}-{engine}-{size}")
    assert steps == (50 if name == "toy" else 10)


def test_no_tensor_is_lost_and_unused_parameters_stay_as_they_were(runs):
    for engine, size in (("auto", 2), ("auto", 4), ("fsdp", 2)):
        for kind in ("model", "ema", "optimizer"):
            one, many = (
                load_file(runs / name / "checkpoints" / "step-50" / f"{kind}.safetensors")
                for name in ("toy-auto-1", f"toy-{engine}-{size}")
            )
            assert one.keys() == many.keys()
            assert not any("never" in name for name in one) or kind != "optimizer"
            for name in ("rare.weight", "late.bias", "narrow.weight", "widen.weight"):
                names = {"optimizer": (f"exp_avg/{name}", f"exp_avg_sq/{name}", f"step/{name}")}
                for each in names.get(kind, (name,)):
                    # Adam divides by the size of the gradient, and so enlarges its rounding.
                    torch.testing.assert_close(many[each], one[each], rtol=1e-4, atol=1e-5)


def test_muon_on_shards_learns_what_it_learns_on_whole_matrices(runs):
    # The iteration multiplies small singular values, which may be rounding, by 3.4 five times.
    assert assert_same(runs / "muon-auto-1", runs / "muon-fsdp-2", atol=1e-4) == 10


def test_bfloat16_shards_differ_by_rounding(runs):
    # Eight bits; norms have bfloat16 weights on shards only.
    assert assert_same(runs / "bf16-auto-1", runs / "bf16-fsdp-2", rtol=2e-2, atol=0) == 10


@pytest.mark.parametrize("engine", ["auto", "fsdp"])
def test_compiled_blocks_learn_the_same_on_several_processes(runs, engine):
    assert assert_same(runs / "compiled-auto-1", runs / f"compiled-{engine}-2") == 10


def test_four_processes_stop_two_go_on_sharded_and_one_ends_it(runs):
    whole, chain = runs / "toy-auto-1", runs / "chain"
    assert assert_same(whole, chain) == 50
    tensors = [load_file(f / "checkpoints/step-50/model.safetensors") for f in (whole, chain)]
    for name in ("narrow.weight", "rare.weight", "mean"):
        torch.testing.assert_close(tensors[0][name], tensors[1][name], rtol=1e-4, atol=1e-5)


def test_each_process_measures_its_share_and_all_get_the_numbers_of_one(runs, trained):
    import worker

    one = worker.evaluations(trained)
    assert {"iou/2", "usage", "residual/0"} < one["tokenizer"].keys() and "ce/all" in one["car"]
    for size in (2, 4):
        for rank in range(size):
            many = json.loads((runs / f"evaluations-{size}-{rank}.json").read_text())
            for kind, metrics in one.items():
                assert many[kind] == pytest.approx(metrics, rel=1e-5, abs=1e-6)


def test_a_rank_that_hangs_is_named_and_all_leave(tmp_path):
    begun = time.monotonic()
    codes, outputs = finish(start("hang", 2, tmp_path), timeout=120)
    assert 0 not in codes and 70 in codes
    said = [line for line in "".join(outputs).splitlines() if "train.hang_seconds" in line]
    assert said and all("rank 1 (process" in line for line in said)
    assert all("step 6 (batch) for 2 s, the others wait" in line for line in said)
    assert time.monotonic() - begun < 60


def launch(command, *, timeout=600.0):
    """Run a program of these tests that starts processes itself; give its errors."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert process.returncode == 0, process.stderr
    return process.stderr


def assert_nothing_was_lost(whole, killed):
    """Same records and the same bytes at the end."""
    for kind in ("train", "evaluation"):
        assert records(whole, kind) == records(killed, kind)
    for kind in ("model", "ema", "optimizer"):
        a, b = ((f / f"checkpoints/step-50/{kind}.safetensors") for f in (whole, killed))
        assert a.read_bytes() == b.read_bytes(), kind
    assert not list((killed / "checkpoints").glob(".tmp-*"))


def test_a_process_that_has_done_its_work_ends_well():
    if not hasattr(os, "sched_setscheduler"):
        pytest.skip("the threads of a process have no priorities of their own here")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    said = launch([*command, HERE / "worker.py", "ended"])
    assert "terminate called" not in said


def test_torchrun_goes_on_after_any_rank_was_killed(runs, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts=3"]
    said = launch([*command, "--nproc-per-node=2", HERE / "worker.py", "killed", tmp_path])
    assert said.count("exitcode: -9") == 2, said
    assert_nothing_was_lost(runs / "toy-auto-2", tmp_path / "killed")


@pytest.mark.slow
def test_twenty_deaths_at_random_moments_lose_nothing(runs, tmp_path):
    launch([sys.executable, HERE / "killing.py", tmp_path])
    deaths = json.loads((tmp_path / "deaths.json").read_text())
    assert [death["code"] for death in deaths] == [-9] * 20
    assert {death["rank"] for death in deaths} == {0, 1}
    assert sum(death["in_save"] for death in deaths) >= 3
    assert len({death["step"] for death in deaths}) >= 5
    assert_nothing_was_lost(runs / "toy-auto-2", tmp_path / "often-killed")
