"""SIGTERM saves and leaves; what is resumed is what would have come."""

import os
import signal

import pytest
import torch
from toy import ToyTask


@pytest.fixture
def run(tmp_path):
    from g3pt.training.config import TrainConfig
    from g3pt.training.loop import train
    from g3pt.training.optim import AdamWConfig

    def start(task, name, *, resume=False):
        config = TrainConfig(steps=20, checkpoint_every=50, eval_every=0, log_every=3)
        return train(
            task, optim=AdamWConfig(), config=config, run_dir=tmp_path / name, resume=resume
        )

    return start


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_saves_after_the_step_and_resuming_changes_nothing(run, number):
    whole, first, second = ToyTask(), ToyTask(), ToyTask()
    run(whole, "whole")

    def poison(step, visit):
        if step == 7:
            os.kill(os.getpid(), number)
        return False

    first.poison = poison
    before = signal.getsignal(number)
    stopped = run(first, "parts")
    assert (stopped.finished, stopped.step) == (False, 8)
    assert [path.name for path in stopped.checkpoints] == ["step-8", "step-0"]
    assert signal.getsignal(number) == before
    finished = run(second, "parts", resume=True)
    assert finished.finished
    for a, b in zip(whole.module.parameters(), second.module.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_second_interrupt_ends_it_at_once():
    from g3pt.training.signals import StopSignals

    with pytest.raises(KeyboardInterrupt), StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_work_that_may_end_anywhere_ends_at_once_and_hears_one_signal(number):
    from g3pt.training.signals import Stopped, stop_at_once

    before, cleaned = signal.getsignal(number), []
    with pytest.raises(Stopped, match=f"stopped by {number.name}: the same command goes on"):
        with stop_at_once():
            try:
                os.kill(os.getpid(), number)
                pytest.fail("went on")
            except Exception:
                pytest.fail("taken for an error of one object")
            finally:
                os.kill(os.getpid(), number)
                cleaned.append(True)
    assert cleaned and signal.getsignal(number) == before
