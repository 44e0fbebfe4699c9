import re
import subprocess
import sys
import time

import pytest

from g3pt import __version__
from g3pt.cli.main import COMMANDS, main
from g3pt.cli.options import WorkError, working
from g3pt.training.signals import Stopped


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


def test_no_command_shows_the_help_and_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: g3pt" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"g3pt {__version__}\n"


def test_an_unknown_command_exits_2_with_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generte"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "generte" in captured.err and "generate" in captured.err


def test_help_comes_without_loading_torch() -> None:
    code = (
        "import sys, g3pt.cli.main as cli; cli.main(['--help']);"
        "cli.main(['generate', '--help']); sys.exit('torch' in sys.modules)"
    )
    started = time.monotonic()
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"g3pt {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"train"}))
def test_every_command_takes_the_common_flags(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main([command, *(["meshes"] if command == "evaluate" else []), "--help"])
    out = capsys.readouterr().out
    assert all(flag in out for flag in ("--weights", "--device", "--seed", "--json"))


def code_of_failing(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a command that ends with an error."""

    def fail(arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr("g3pt.cli.render.main", fail)
    return main(["render"])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("a mesh\nwithout faces"), 2),
        (FileNotFoundError("x.glb: no such mesh"), 2),
        (WorkError("the disk is full"), 1),
        (RuntimeError("out of memory"), 1),
        (KeyboardInterrupt(), 130),
        (Stopped("stopped by SIGTERM"), 75),
    ],
)
def test_errors_become_an_exit_code_and_one_line(
    error: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert code_of_failing(error, monkeypatch) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("g3pt: ") and captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("loop"), "unexpected KeyError: 'loop'; G3PT_TRACEBACK=1 shows where"),
        (KeyError(""), "unexpected KeyError: ''; G3PT_TRACEBACK=1 shows where"),
        (AssertionError(), "unexpected AssertionError; G3PT_TRACEBACK=1 shows where"),
        (TypeError("a\nb"), "unexpected TypeError: a b; G3PT_TRACEBACK=1 shows where"),
        (RecursionError("deep"), "unexpected RecursionError: deep; G3PT_TRACEBACK=1 shows where"),
    ],
)
def test_an_error_that_nobody_foresaw_is_told_as_that(
    error: Exception,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert code_of_failing(error, monkeypatch) == 1
    assert capsys.readouterr().err == f"g3pt: {said}\n"
    with pytest.raises(WorkError, match=f"^extracting: {re.escape(said)}$"):
        with working("extracting"):
            raise error


def test_a_value_error_of_the_work_is_not_the_users_fault() -> None:
    with pytest.raises(WorkError, match="extracting: ValueError: field gave NaN"):
        with working("extracting"):
            raise ValueError("field gave NaN")


def test_a_traceback_is_shown_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("G3PT_TRACEBACK", "1")
    assert main(["render", "nowhere.glb", "-o", "x.png"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_the_installed_command_exits_with_the_code() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "g3pt.cli.main", "render", "nowhere.glb", "-o", "x.png"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == "g3pt: nowhere.glb: no such mesh\n"
