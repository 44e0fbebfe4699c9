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


def test_without_a_terminal_progress_is_logged(tracking, caplog):
    display = tracking.ProgressDisplay("run", start=0.0)
    with caplog.at_level(logging.INFO):
        display.advance(0.5)
        display.report(10, {"loss": 0.25})
    display.close()
    assert "step 10  loss 0.25" in caplog.text
