"""The metrics file reads as if the run had never been interrupted."""

import logging

import pytest


@pytest.fixture
def tracking():
    from g3pt.training import tracking

    return tracking


def write(tracking, path, steps, resume_step=0):
    file = tracking.MetricsFile(path, resume_step=resume_step)
    for step in steps:
        file.write("train", step, loss=1 / step)
    file.close()


def test_lines_after_the_resumed_step_are_forgotten(tracking, tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(tracking, path, range(1, 8))
    write(tracking, path, range(5, 10), resume_step=4)
    assert [line["step"] for line in tracking.read_metrics(path)] == list(range(1, 10))
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_line_cut_by_a_crash_is_dropped_with_a_warning(tracking, tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    write(tracking, path, range(1, 4))
    path.write_text(path.read_text()[:-5])
    with caplog.at_level(logging.WARNING):
        write(tracking, path, [3], resume_step=2)
    assert [line["step"] for line in tracking.read_metrics(path)] == [1, 2, 3]


def test_numbers_keep_every_digit(tracking, tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(tracking, path, [3, 7])
    assert [line["loss"] for line in tracking.read_metrics(path)] == [1 / 3, 1 / 7]


@pytest.mark.parametrize(
    ("by_clock", "over", "words"),
    [
        (False, "", "step 10 of 40  loss 0.25  2 steps/s  90 s left"),
        (True, "", "step 10 of about 40  loss 0.25  2 steps/s  90 s left"),
        (False, "scales 1-2 of 4", "loss 0.25 over scales 1-2 of 4  2 steps/s"),
    ],
)
def test_a_line_of_the_log_has_total_time_left_and_scales(tracking, caplog, by_clock, over, words):
    display = tracking.ProgressDisplay("run", start=0.0, by_clock=by_clock)
    now = tracking.Standing(step=10, progress=0.25, elapsed=30.0, loss=0.25, over=over, rate=2.0)
    with caplog.at_level(logging.INFO):
        display.advance(0.25)
        display.report(now)
    display.close()
    assert words in caplog.text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (99, "99 s"),
        (100, "1.7 min"),
        (7199, "120 min"),
        (9000, "2.5 h"),
        (86_400, "24 h"),
        (1e6, "12 days"),
        (1e9, "11,574 days"),
    ],
)
def test_durations_are_told_in_a_fitting_unit(tracking, seconds, words):
    assert tracking.duration(seconds) == words


def test_lines_that_are_no_records_are_dropped(tmp_path, caplog):
    from g3pt.training.tracking import read_metrics

    path = tmp_path / "metrics.jsonl"
    path.write_text('[1]\n{"kind": "train"}\n' + "[" * 100_000 + '\n{"kind": "train", "step": 3}\n')
    assert [line["step"] for line in read_metrics(path)] == [3]
    assert len(caplog.records) == 3
