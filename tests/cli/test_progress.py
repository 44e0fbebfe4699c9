"""Lines about progress where stderr is not a terminal."""

from types import ModuleType, SimpleNamespace

import pytest

from g3pt.cli import progress


def set_clock(monkeypatch: pytest.MonkeyPatch, module: ModuleType, *times: float) -> None:
    """Give a module its own clock; the clock of other threads goes on."""
    now = iter(times)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(now)))


def test_a_line_tells_the_time_left_in_a_fitting_unit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_clock(monkeypatch, progress, 0.0, 20.0, 40.0)
    shown = progress.Steps(None)
    for done in (0, 4, 7):
        shown.show("objects", done, 10)
    assert capsys.readouterr().err.splitlines() == [
        "objects 0/10",
        "objects 4/10, 30 s left",
        "objects 7/10, 17 s left",
    ]


def test_the_time_left_of_a_job_is_told_once_it_is_known(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from g3pt.training import ingredients

    set_clock(monkeypatch, ingredients, 0.0, 0.0, 6.0, 12.0)
    told = ingredients._Progress("cache: shapes")
    with caplog.at_level("INFO"):
        for done in (0, 1, 600):
            told(done, 1600)
    assert [record.getMessage() for record in caplog.records] == [
        "cache: shapes 0 of 1600",
        "cache: shapes 1 of 1600",
        "cache: shapes 600 of 1600, 20 s left",
    ]


def test_what_an_earlier_run_did_does_not_shorten_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_clock(monkeypatch, progress, 0.0, 20.0)
    shown = progress.Steps(None)
    for done in (90, 92):
        shown.show("objects", done, 100)
    assert capsys.readouterr().err.splitlines() == ["objects 90/100", "objects 92/100, 80 s left"]
