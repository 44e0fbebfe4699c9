import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra `app`")


def command(folder: Path, *flags: object) -> list[str]:
    told = (sys.executable, "-m", "g3pt.cli.main", "serve", "--port", 0, "--folder", folder, *flags)
    return [str(part) for part in told]


@contextlib.contextmanager
def served(weights: Path, folder: Path, *flags: object):
    """`g3pt serve` as a program of its own, and what it says first."""
    command = [sys.executable, "-m", "g3pt.cli.main", "serve", "--port", 0, "--folder", folder]
    told = [str(part) for part in (*command, "--weights", weights, "--json", *flags)]
    with subprocess.Popen(
        told, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        try:
            assert program.stdout is not None
            line = program.stdout.readline()
            yield program, json.loads(line) if line else {}
        finally:
            program.kill()


def children(pid: int) -> list[int]:
    """Processes below one, as far as this system tells."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == pid:
                found += [int(path.parent.name), *children(int(path.parent.name))]
    return found


def test_a_server_says_where_it_is_and_ends_with_everything_it_started(
    tiny_weights: Path, tmp_path: Path
) -> None:
    from g3pt.app.client import Client, UnreachableError

    if not Path("/proc/self/stat").is_file():
        pytest.skip("this system does not list processes")
    with served(tiny_weights, tmp_path) as (program, said):
        client = Client(said["address"])
        end = time.monotonic() + 60
        while True:
            try:
                client.wait(client.submit(text="a mug", resolution=16))
                break
            except UnreachableError:
                assert time.monotonic() < end
                time.sleep(0.1)
        workers = children(program.pid)
        assert len(workers) >= 3  # a worker, a helper, and what starts them
        other = [
            sys.executable,
            "-m",
            "g3pt.cli.main",
            "serve",
            "--port",
            "0",
            "--folder",
            tmp_path,
        ]
        second = subprocess.run(
            [str(part) for part in other], capture_output=True, text=True, timeout=60
        )
        assert (second.returncode, "is held by another server" in second.stderr) == (2, True)
        job = client.submit(text="a mug", resolution=256, num=16)
        os.kill(program.pid, signal.SIGKILL)
        end = time.monotonic() + 20
        while left := [pid for pid in workers if Path(f"/proc/{pid}").exists()]:
            zombies = [pid for pid in left if ") Z " in Path(f"/proc/{pid}/stat").read_text()]
            if zombies == left:
                break
            assert time.monotonic() < end, left
            time.sleep(0.1)
    assert job


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--port", 99999), "--port"),
        (("--host", "203.0.113.7"), "--host 203.0.113.7"),
        (("--workers", 0), "--workers must be at least 1"),
        (("--token", "short"), "--token needs 8 to 200"),
        (("--deadline", 0), "--deadline must be above 0"),
        (("--replica-gpus", 1), "--replica-gpus is about replicas: give --engine ray"),
        (("--engine", "ray", "--up-seconds", -1), "--up-seconds must not be negative"),
        (
            ("--engine", "ray", "--workers", 3, "--max-replicas", 2),
            "--max-replicas must be at least workers, 3, got 2",
        ),
    ],
)
def test_what_cannot_be_served_is_wrong_input(tmp_path, capsys, flags, message) -> None:
    from g3pt.cli.main import main

    given = [str(part) for part in ("serve", "--port", 0, "--folder", tmp_path / "x", *flags)]
    code = main(given)

    assert code == 2
    assert message in capsys.readouterr().err


def test_open_shows_the_page_in_a_browser_once_it_is_served(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.name != "posix":
        pytest.skip("the browser of this test is a shell script")
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(
        f'#!/bin/sh\n{sys.executable} -c "import sys, urllib.request as r; '
        f'print(sys.argv[1], r.urlopen(sys.argv[1]).status)" "$1" > {opened}.part\n'
        f"mv {opened}.part {opened}\n"
    )
    browser.chmod(0o700)
    monkeypatch.setenv("BROWSER", str(browser))
    with served(tiny_weights, tmp_path / "jobs", "--open") as (_, said):
        end = time.monotonic() + 60
        while not opened.exists() and time.monotonic() < end:
            time.sleep(0.1)

    assert opened.read_text().split() == [said["address"], "200"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--weights", "g3pt-smal"), "g3pt-smal: there is no such weights folder"),
        (("--also", "g3pt-smal"), "g3pt-smal: there is no such weights folder"),
        (("--weights", "EMPTY"), "holds neither weights"),
        (("--adapter", "EMPTY"), "holds no adapter, there is no adapter.json"),
    ],
)
def test_weights_that_are_not_there_are_told_before_the_server_starts(
    tmp_path: Path, flags: tuple[str, str], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    flags = tuple(str(tmp_path / "empty") if flag == "EMPTY" else flag for flag in flags)
    ended = subprocess.run(
        command(tmp_path / "jobs", *flags), capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2 and said in ended.stderr
    assert ended.stdout == "" and not (tmp_path / "jobs").exists()
