"""The loop learns, and neither interruption nor cutting the batch changes what it learns."""

import logging
from dataclasses import replace

import pytest
import torch
from toy import ToyTask


@pytest.fixture
def run(tmp_path):
    from g3pt.training.config import TrainConfig
    from g3pt.training.loop import train
    from g3pt.training.optim import AdamWConfig, MuonConfig, ScheduleConfig

    def start(task, *, name="run", resume=False, optim="adamw", **config):
        schedule = ScheduleConfig(warmup_steps=5)
        cls = {"adamw": AdamWConfig, "muon": MuonConfig}[optim]
        defaults = {"steps": 30, "log_every": 1, "eval_every": 0, "checkpoint_every": 10}
        return train(
            task,
            optim=cls(lr=5e-3, schedule=schedule),
            config=TrainConfig(**{**defaults, **config}),
            run_dir=tmp_path / name,
            resume=resume,
        )

    return start


def losses(result):
    from g3pt.training.tracking import read_metrics

    records = read_metrics(result.run / "metrics.jsonl")
    return {r["step"]: r["loss"] for r in records if r["kind"] == "train"}


def weights(task):
    return torch.cat([p.detach().flatten() for p in task.module.parameters()])


@pytest.mark.parametrize("optim", ["adamw", "muon"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_loss_goes_down(run, optim, precision):
    result = run(ToyTask(), optim=optim, precision=precision, steps=150)
    history = losses(result)
    assert history[150] < 0.5 * history[1]
    assert result.finished


@pytest.mark.parametrize("optim", ["adamw", "muon"])
def test_a_resumed_run_equals_one_that_never_stopped(run, optim):
    whole, first, second = ToyTask(dropout=0.2), ToyTask(dropout=0.2), ToyTask(dropout=0.2)
    expected = losses(run(whole, name="whole", optim=optim))

    class KilledError(Exception):
        pass

    def die(step, visit):
        if step == 24:
            raise KilledError

    first.poison = die
    with pytest.raises(KilledError):
        run(first, name="parts", optim=optim)
    resumed = run(second, name="parts", optim=optim, resume=True)
    assert losses(resumed) == expected
    assert torch.equal(weights(whole), weights(second))
    assert sorted(second.visits) == list(range(20, 30))


def test_resuming_past_a_damaged_checkpoint_changes_nothing(run, caplog):
    whole, second = ToyTask(dropout=0.2), ToyTask(dropout=0.2)
    expected = losses(run(whole, name="whole"))
    folder = run(ToyTask(dropout=0.2), name="parts", steps=30).run / "checkpoints"
    newest = folder / "step-30" / "optimizer.safetensors"
    newest.write_bytes(newest.read_bytes()[:-8])
    resumed = run(second, name="parts", resume=True)
    assert "falling back" in caplog.text
    assert min(second.visits) == 20
    assert losses(resumed) == expected
    assert torch.equal(weights(whole), weights(second))


def test_a_longer_run_goes_on_from_a_finished_one(run):
    run(ToyTask(), steps=10)
    task = ToyTask()
    result = run(task, steps=15, resume=True)
    assert (result.step, sorted(task.visits)) == (15, list(range(10, 15)))


def test_a_window_cut_by_a_checkpoint_logs_the_same_mean(run):
    expected = losses(run(ToyTask(), name="whole", log_every=7, checkpoint_every=5))
    from g3pt.training.checkpoint import discard_after

    folder = run(ToyTask(), name="again", log_every=7, checkpoint_every=5, keep_checkpoints=9).run
    discard_after(folder / "checkpoints", 10)
    assert losses(run(ToyTask(), name="again", log_every=7, resume=True)) == expected


def test_accumulation_equals_one_big_batch(run):
    big, small = ToyTask(batch_size=12), ToyTask(batch_size=12)
    run(big, name="big", steps=8)
    run(small, name="small", steps=8, accumulation=4)
    # Sums in another order: float32 rounding, carried through eight Adam steps.
    torch.testing.assert_close(weights(big), weights(small), rtol=1e-4, atol=1e-5)


def test_a_batch_that_does_not_divide_is_refused(run):
    with pytest.raises(ValueError, match="does not divide into 3 equal parts"):
        run(ToyTask(batch_size=8), accumulation=3)


def test_slices_are_those_of_all_processes_together(run):
    from g3pt.training.config import TrainConfig

    by_slices = run(ToyTask(batch_size=12), name="slices", steps=8, slices=4, accumulation=3)
    by_pieces = run(ToyTask(batch_size=12), name="pieces", steps=8, accumulation=4)
    assert losses(by_slices) == losses(by_pieces)
    config = TrainConfig(slices=12, accumulation=5)
    assert [config.pieces(processes) for processes in (1, 2, 12)] == [12, 6, 1]
    with pytest.raises(ValueError, match=r"train.slices is 12, which 5 processes cannot share"):
        config.pieces(5)
    with pytest.raises(ValueError, match=r"train.slices must not be negative, got -1"):
        TrainConfig(slices=-1)


def test_a_run_is_not_overwritten_without_resume(run):
    run(ToyTask(), steps=3)
    with pytest.raises(FileExistsError, match="resume"):
        run(ToyTask(), steps=3)


def test_one_bad_step_is_skipped_and_leaves_no_trace(run):
    from g3pt.training.tracking import read_metrics

    task = ToyTask(poison=lambda step, visit: step == 12)
    result = run(task, steps=20)
    skipped = [r for r in read_metrics(result.run / "metrics.jsonl") if r["kind"] == "skipped"]
    assert [(r["step"], r["samples"][0]) for r in skipped] == [(13, "sample-0")]
    assert sorted(losses(result)) == [s for s in range(1, 21) if s != 13]
    assert torch.isfinite(weights(task)).all()
    assert task.module.count == 19


def test_repeated_bad_steps_roll_back_to_the_checkpoint_and_go_on(run):
    from g3pt.training.tracking import read_metrics

    task = ToyTask(poison=lambda step, visit: step in (14, 15, 16))
    result = run(task, steps=25)
    (rollback,) = [r for r in read_metrics(result.run / "metrics.jsonl") if r["kind"] == "rollback"]
    assert (rollback["to"], rollback["lr_scale"]) == (10, 0.5)
    assert task.visits[14] == 1 and task.visits[13] == 2
    assert result.step == 25 and torch.isfinite(weights(task)).all()


@pytest.fixture
def late(monkeypatch):
    """This processor is treated as a GPU: its numbers are looked at from time to time."""
    monkeypatch.setattr("g3pt.training.loop._LATE_DEVICES", {"cpu"})


POISONS = {
    "none": (),
    "one": (12,),
    "last": (28, 29),
    "first": (0,),
    "rollback": (14, 15, 16),
    "two rollbacks": (14, 15, 16, 17, 18, 19),
    "over a checkpoint": (18, 19, 20),
}


@pytest.mark.parametrize("steps", POISONS.values(), ids=POISONS)
@pytest.mark.parametrize("optim", ["adamw", "muon"])
def test_looking_late_changes_nothing(run, late, monkeypatch, optim, steps):
    from g3pt.training.tracking import read_metrics

    def poison(step, visit):
        return step in steps

    looked, ends, tensors = [], [], []
    for name, devices in (("late", {"cpu"}), ("at once", set())):
        monkeypatch.setattr("g3pt.training.loop._LATE_DEVICES", devices)
        task = ToyTask(dropout=0.2, poison=poison)
        result = run(task, name=name, optim=optim, log_every=15, eval_every=30, check_every=4)
        records = [
            {key: value for key, value in record.items() if "second" not in key}
            for record in read_metrics(result.run / "metrics.jsonl")
        ]
        looked.append([r for r in records if r["kind"] != "evaluation"])
        ends.append((result.step, float(task.module.count)))
        tensors.append((weights(task), result.metrics["error"]))
    assert looked[0] == looked[1]
    assert ends[0] == ends[1]
    assert torch.equal(tensors[0][0], tensors[1][0])
    # the average is computed with other operations
    assert tensors[0][1] == pytest.approx(tensors[1][1], rel=1e-4)


def test_the_host_waits_for_no_number_between_two_looks(run, late, monkeypatch):
    from g3pt.training.loop import _Loop

    waits, steps = [], []
    for name in ("tolist", "item", "cpu", "numpy", "__bool__", "__float__", "__int__"):
        asked = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor,
            name,
            lambda *args, asked=asked, **kw: waits.append(steps[-1]) or asked(*args, **kw),
        )
    step = _Loop.step

    def watched(loop, progress):
        steps.append(loop.state.step)
        step(loop, progress)
        steps.append(-1)

    monkeypatch.setattr(_Loop, "step", watched)
    steps.append(-1)
    run(ToyTask(), steps=16, log_every=16, checkpoint_every=16, check_every=5, prefetch=False)
    # after five steps, five more, five more, and at the end
    assert sorted(set(waits) - {-1}) == [4, 9, 14, 15]


def test_a_hopeless_run_gives_up_with_advice(run):
    from g3pt.training.loop import TrainingDivergedError

    with pytest.raises(TrainingDivergedError, match=r"lower optim\.lr"):
        run(ToyTask(poison=lambda step, visit: step > 3), steps=60)


def test_the_clock_ends_a_run_and_drives_its_schedule(run):
    from g3pt.training.tracking import read_metrics

    result = run(ToyTask(), steps=0, minutes=0.01, log_every=10)
    records = read_metrics(result.run / "metrics.jsonl")
    assert result.finished
    assert records[-1]["progress"] >= 1
    assert 0.6 <= records[-1]["seconds"] < 5
    assert records[-1]["lr"] < 0.2 * max(r["lr"] for r in records)


def test_the_log_tells_steps_in_all_time_left_and_what_the_loss_is_over(run, caplog):
    class Scaled(ToyTask):
        def loss(self, batch, *, step, progress):
            output = super().loss(batch, step=step, progress=progress)
            return replace(output, over="scale 1 of 2" if progress < 0.5 else "all 2 scales")

    with caplog.at_level(logging.INFO):
        run(Scaled(), steps=8, log_every=4)
        run(Scaled(), name="clock", steps=0, minutes=0.005, log_every=1)
    first, last, *by_clock = [r.getMessage() for r in caplog.records if "steps/s" in r.msg % r.args]
    assert first.startswith("step 4 of 8  loss ") and " over scale 1 of 2  " in first
    assert last.startswith("step 8 of 8  loss ") and " over all 2 scales  " in last
    assert first.endswith(" left") and last.endswith("  0 s left")
    assert by_clock[0].startswith("step 1 of about ") and "of about 1 " not in by_clock[0]


def test_evaluation_sees_the_average_and_gives_the_weights_back(run):
    task = ToyTask()
    seen = []
    task.evaluate = lambda step, progress: seen.append(weights(task).clone()) or {"x": 1.0}
    with_evaluation = run(task, name="a", eval_every=10)
    plain = ToyTask()
    run(plain, name="b")
    assert torch.equal(weights(task), weights(plain))
    assert len(seen) == 3 and not torch.equal(seen[-1], weights(task))
    assert with_evaluation.metrics == {"x": 1.0}


class Worsening(ToyTask):
    """Its evaluations get worse after the second one."""

    def evaluate(self, step, progress):
        return {"score": -abs(step - 4)}


def test_a_run_ends_when_what_it_keeps_has_not_improved(run):
    result = run(
        Worsening(), steps=30, eval_every=2, checkpoint_every=2, keep_best="score", patience=3
    )
    assert (result.step, result.finished) == (10, True)
    again = run(
        Worsening(), steps=30, eval_every=2, checkpoint_every=2, keep_best="score", patience=3,
        resume=True,
    )  # fmt: skip
    assert again.step == 10
    longer = run(Worsening(), name="no-patience", steps=12, eval_every=2, keep_best="score")
    assert longer.step == 12


def test_the_initial_state_is_kept_if_nothing_is_better(run):
    from g3pt.training.checkpoint import load_newest_checkpoint

    task = ToyTask()
    task.evaluate = lambda step, progress: {"score": -step}
    before = weights(task).clone()
    kept = {"eval_every": 2, "keep_best": "score", "patience": 2}
    result = run(task, steps=30, **kept)
    assert result.step == 4
    best = load_newest_checkpoint(result.run / "best")
    assert best.step == 0
    names = [name for name, _ in task.module.named_parameters()]
    found = torch.cat([best.tensors["model"][name].flatten() for name in names])
    assert torch.equal(found, before)


def test_patience_without_what_it_waits_for_is_refused(run):
    with pytest.raises(ValueError, match=r"train\.patience"):
        run(ToyTask(), patience=2)


def test_one_process_shares_nothing_and_says_so(run, caplog):
    plain, alone = ToyTask(), ToyTask()
    run(plain, name="plain", steps=3)
    run(alone, name="alone", steps=3, engine="fsdp")
    assert "nobody to share weights with" in caplog.text
    assert torch.equal(weights(plain), weights(alone))


def test_a_watch_with_less_than_no_patience_is_refused(run):
    with pytest.raises(ValueError, match=r"train\.hang_seconds must not be negative, got -1"):
        run(ToyTask(), hang_seconds=-1.0)
