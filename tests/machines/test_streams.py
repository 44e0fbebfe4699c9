"""Streams, names, memory, clocks and signals: one line that says what is wrong, the right code."""

import os
import subprocess
import sys

import pytest

BROKEN_PIPE = "import os; r, w = os.pipe(); os.close(r); os.dup2(w, {})"


RESULTS = {
    "render": "cube.png",
    "tokenize": "cube.g3t",
    "reconstruct": "cube.glb",
    "evaluate": "scores/report.md",
    "prepare": "shards/index.json",
    "vary": "cube.glb",
    "mix": "cube.glb",
    "complete": "cube.glb",
    "compare": "compared/report.md",
    "gallery": "results/figure5-smoke.md",
    "torture": "kept/tokens-0/shape.g3t",
}
"""Commands -> a file that each has written before it says so."""


@pytest.mark.parametrize("words", [*RESULTS, "--help", "tokenize --help"])
def test_a_full_disk_behind_stdout_is_told(machine, command, tmp_path, words):
    argv = command(words, tmp_path) if words in RESULTS else words.split()
    ended = machine.g3pt(*argv, out="/dev/full")
    assert (ended.code, ended.last) == (1, "g3pt: standard output: No space left on device")
    assert words not in RESULTS or (tmp_path / RESULTS[words]).is_file()


@pytest.mark.parametrize("words", [*RESULTS, "--help", "tokenize --help", "doctor"])
def test_a_reader_who_has_had_enough_is_told_nothing(machine, command, tmp_path, words):
    argv = command(words, tmp_path) if words in RESULTS else words.split()
    ended = machine.g3pt(*argv, first=BROKEN_PIPE.format(1))
    assert ended.code == 1 and not ended.last.startswith("g3pt")
    assert words not in RESULTS or (tmp_path / RESULTS[words]).is_file()


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("render", "full"),
        ("render", "pipe"),
        ("render", "closed"),
        ("train", "pipe"),
        ("finetune", "closed"),
        ("reproduce", "full"),
    ],
)
def test_notes_that_nobody_can_read_do_not_end_the_work(machine, command, tmp_path, name, broken):
    how = {
        "full": {"err": "/dev/full"},
        "pipe": {"first": BROKEN_PIPE.format(2)},
        "closed": {"closed": [2]},
    }[broken]
    ended = machine.g3pt(*command(name, tmp_path), **how)
    assert ended.code == 0 and str(tmp_path) in ended.out


def test_a_closed_stdout_takes_no_file_for_itself(machine, command, tmp_path):
    ended = machine.g3pt(*command("tokenize", tmp_path), closed=[0, 1, 2])
    assert ended.code == 0
    assert (tmp_path / "cube.g3t").read_bytes()[:4] == b"\x89G3T"


def test_wrong_flags_keep_their_code_whatever_the_streams(machine):
    for how in ({"err": "/dev/full"}, {"closed": [1, 2]}, {"first": BROKEN_PIPE.format(2)}):
        assert machine.g3pt("render", "--nothing", **how).code == 2


# --- names and letters -----------------------------------------------------------------------

NAMES = ("new\nline", "a" * 240, os.fsdecode(b"sur\xff"), "ünd 🎉", "-dash", "color\x1b[31m")


@pytest.mark.parametrize("name", NAMES)
def test_files_may_have_any_name(machine, given, tmp_path, name):
    mesh = tmp_path / f"{name}.obj"
    mesh.write_bytes((given["GIVEN"] / "cube.obj").read_bytes())
    written = tmp_path / f"{name}.png"
    ended = machine.g3pt("render", mesh, "-o", written, "--size", "16")
    assert ended.code == 0 and written.is_file(), ended.err
    assert sorted(tmp_path.iterdir()) == sorted((mesh, written))


@pytest.mark.parametrize("name", NAMES[1:3])
@pytest.mark.parametrize(
    "words", ["vary --keep 1", "mix --keep 1 --text red", "complete --survivors 1"]
)
def test_shapes_that_are_varied_may_have_any_name(machine, given, tmp_path, words, name):
    mesh, written = tmp_path / f"{name}.obj", tmp_path / f"{name}.glb"
    mesh.write_bytes((given["GIVEN"] / "cube.obj").read_bytes())
    command, *flags = words.split()
    inputs = [mesh] * (2 if command == "mix" else 1)
    more = ("-o", written, "--resolution", "16", "--weights", given["TINY"])
    ended = machine.g3pt(command, *inputs, *flags, *more)
    assert ended.code == 0 and sorted(tmp_path.iterdir()) == sorted((mesh, written)), ended.err


def test_meshes_that_are_learnt_from_and_compared_may_have_any_name(machine, given, tmp_path):
    meshes = tmp_path / os.fsdecode(b"own\xff\nmeshes")
    meshes.mkdir()
    originals = sorted(given["MESHES"].iterdir())
    for name, original in zip(NAMES[1:], originals, strict=False):
        (meshes / f"{name}.ply").write_bytes(original.read_bytes())
    weights = ("--weights", given["TINY"], "--device", "cpu")
    few = ("--warps", "2", "--steps", "2", "--rank", "2", "--threads", "1")
    ended = machine.g3pt("finetune", meshes, "-o", tmp_path / "mine", *weights, *few)
    assert ended.code == 0, ended.err
    sides = (given["TINY"], tmp_path / "mine")
    tasks = ("--data", meshes, "--task", "image", "--quick", "-o", tmp_path / "compared")
    ended = machine.g3pt("compare", *sides, *tasks, *weights)
    assert ended.code == 0, ended.err


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_a_message_stays_on_its_line(machine, tmp_path, name):
    ended = machine.g3pt("render", tmp_path / f"{name}.obj", "-o", tmp_path / "a.png")
    assert ended.code == 2 and ended.err.count("\n") == 1 and ended.last.isprintable()
    assert ended.last.endswith(".obj: no such mesh")


@pytest.mark.parametrize(
    "argv",
    [
        ("render", "{}.obj", "-o", "a.png"),
        ("render", "GIVEN/cube.obj", "-o", "{}.png"),
        ("tokenize", "GIVEN/cube.obj", "-o", "{}/a.g3t"),
        ("tokenize", "GIVEN/cube.obj", "-o", "a.g3t", "--weights", "{}"),
        ("prepare", "GIVEN", "{}"),
        ("train", "tokenizer-tiny-smoke", "--run", "{}"),
        ("vary", "GIVEN/cube.obj", "--keep", "1", "-o", "{}.glb"),
        ("mix", "GIVEN/cube.obj", "{}.g3t", "--keep", "1", "-o", "a.glb"),
        ("complete", "GIVEN/cube.obj", "-o", "{}.glb"),
        ("compare", "TINY", "TINY", "--data", "GIVEN", "-o", "{}"),
        ("finetune", "MESHES", "-o", "{}"),
        ("reproduce", "table3b", "--scale", "smoke", "--runs", "{}"),
        ("torture", "--keep", "{}"),
    ],
)
def test_a_name_of_300_letters_is_wrong_input(machine, given, tmp_path, argv):
    argv = [word.format("b" * 300) for word in argv]
    for key, value in given.items():
        argv = [word.replace(key, str(value)) for word in argv]
    ended = machine.g3pt(*argv, folder=str(tmp_path))
    assert ended.code == 2 and ended.last.endswith("File name too long")
    assert "b" * 300 in ended.last and list(tmp_path.iterdir()) == []


def fresh(*argv, **environment):
    """A command in a process that Python starts anew: the locale is settled at its start."""
    return subprocess.run(
        [sys.executable, "-m", "g3pt.cli.main", *map(str, argv)],
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        check=False,
    )


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii:strict"},
    ],
)
def test_letters_that_the_locale_lacks_are_escaped(given, tmp_path, locale):
    mesh = tmp_path / os.fsdecode("mésh".encode() + b"\xff.obj")
    mesh.write_bytes((given["GIVEN"] / "cube.obj").read_bytes())
    done = fresh("render", mesh, "-o", tmp_path / "é.png", "--size", "16", **locale)
    assert done.returncode == 0 and (tmp_path / "é.png").is_file(), done.stderr
    assert done.stdout.isascii() and b".png" in done.stdout


def test_a_sentence_is_understood_without_a_locale_and_refused_if_it_is_no_text(given, tmp_path):
    from g3pt.cli.options import readable

    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    argv = ["generate", "--text", "ein röter Krug", "--resolution", "16", "--json"]
    done = fresh(*argv, "-o", tmp_path / "a.glb", "--weights", given["TINY"], **locale)
    assert done.returncode == 0, done.stderr
    assert readable(os.fsdecode("Krüge".encode())) == "Krüge"
    with pytest.raises(ValueError, match=r"--text .*: expected text in UTF-8"):
        readable("a \udcff")


# --- homes, networks, memory, clocks ---------------------------------------------------------


def test_no_home_is_needed(machine, command, tmp_path):
    lonely = "import os, pwd\npwd.getpwuid = lambda uid: {}[uid]"
    without = {name: None for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "USER")}
    ended = machine.g3pt(*command("generate", tmp_path), env=without, first=lonely)
    assert ended.code == 0, ended.err
    ended = machine.g3pt("serve", "--port", "0", env=without, first=lonely)
    assert ended.code == 2 and ended.last == (
        "g3pt: there is no home folder here; name a place with --folder or XDG_STATE_HOME"
    )
    assert machine.g3pt("serve", "--help", env=without, first=lonely).code == 0


def test_no_network_is_needed_and_weights_of_the_hub_say_so(machine, command, tmp_path):
    if machine.without_mounts:
        pytest.skip(machine.without_mounts)  # this machine has its own network together with them
    assert machine.g3pt(*command("tokenize", tmp_path)).code == 0
    argv = command("tokenize", tmp_path)
    argv[-1] = "hub:nobody/nothing"
    ended = machine.g3pt(*argv, env={"HF_HUB_OFFLINE": "1"})
    assert ended.code == 2 and "the hub does not give these weights" in ended.last


@pytest.mark.parametrize("name", ["generate", "vary", "mix", "complete"])
def test_little_memory_is_told_and_leaves_nothing(machine, command, tmp_path, name):
    little = (
        "import resource\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "most = pages * resource.getpagesize() + (4 << 20)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (most, most))"
    )
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("this system does not say how much memory a process has")
    argv = command(name, tmp_path, "--resolution", "512")
    ended = machine.g3pt(*argv, first=little)
    assert ended.code == 1 and "memory" in ended.last.lower(), ended.err
    assert list(tmp_path.iterdir()) == []


def test_files_of_the_future_and_a_clock_set_back_change_nothing(machine, command, tmp_path):
    back = "import time; real = time.time; time.time = lambda n=iter(range(10**9)): 1e6 - next(n)"
    assert machine.g3pt(*command("many", tmp_path)).code == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.tar")}
    for path in tmp_path.rglob("*"):
        os.utime(path, (4e9, 4e9))
    ended = machine.g3pt(*command("many", tmp_path), first=back)
    assert ended.code == 0 and "nothing was left to do" in ended.out
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.tar")} == before


# --- requests to stop ------------------------------------------------------------------------

AT_THE_WRITING = (
    "import os\n"
    "def fsync(number, real=os.fsync):\n"
    "    os.kill(os.getpid(), 15)\n"
    "    real(number)\n"
    "os.fsync = fsync"
)


@pytest.mark.parametrize(
    "name",
    [
        *("generate", "textured", "tokenize", "reconstruct", "render", "stock", "export"),
        *("vary", "mix", "complete", "gallery"),
    ],
)
def test_whatever_is_asked_to_stop_leaves_nothing_half_written(machine, command, tmp_path, name):
    ended = machine.g3pt(*command(name, tmp_path), first=AT_THE_WRITING)
    assert (ended.code, ended.last) == (75, "g3pt: stopped by SIGTERM: start it again")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert machine.g3pt(*command(name, tmp_path)).code == 0


@pytest.mark.parametrize(
    ("name", "advice"),
    [("compare", "start it again"), ("finetune", "--resume goes on"), ("reproduce", "")],
)
def test_whatever_keeps_what_it_has_done_says_how_to_go_on(
    machine, command, tmp_path, name, advice
):
    # Not with the first file: that says what the work is, and only then it can go on.
    later = AT_THE_WRITING.replace(
        "    os.kill", "    seen.append(number)\n    if len(seen) == 4: os.kill"
    ).replace("import os\n", "import os\nseen = []\n")
    ended = machine.g3pt(*command(name, tmp_path), first=later)
    assert ended.code == 75 and ended.last.startswith("g3pt: stopped by ")
    assert ended.last.endswith(advice)
    assert not [path for path in tmp_path.rglob("*") if ".tmp" in path.name]


@pytest.mark.parametrize(
    ("whom", "advice"), [("os.getpid()", "start it again"), ("workers[0].pid", "")]
)
def test_rows_that_are_trained_side_by_side_stop_together(machine, command, tmp_path, whom, advice):
    """The signal comes to the first process alone or to a worker, when both rows have begun."""
    soon = (
        "import multiprocessing, os, pathlib, threading, time\n"
        f"place = pathlib.Path({str(tmp_path)!r})\n"
        "def stop():\n"
        "    while len(list(place.glob('runs/smoke/*/recipe.json'))) < 2:\n"
        "        time.sleep(0.01)\n"
        "    workers = multiprocessing.active_children()\n"
        "    (place / 'workers').write_text(' '.join(str(each.pid) for each in workers))\n"
        f"    os.kill({whom}, 15)\n"
        "threading.Thread(target=stop, daemon=True).start()"
    )
    ended = machine.g3pt(*command("reproduce", tmp_path, "--workers", "2"), first=soon)
    assert ended.code == 75 and ended.last.startswith("g3pt: stopped by ")
    assert ended.last.endswith(advice)
    assert "Traceback" not in ended.err
    workers = [int(word) for word in (tmp_path / "workers").read_text().split()]
    assert len(workers) == 2
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


def test_a_request_to_stop_after_the_work_comes_too_late(machine, command, tmp_path):
    late = "import atexit, os; atexit.register(lambda: os.kill(os.getpid(), 15))"
    assert machine.g3pt(*command("render", tmp_path), first=late).code == 0


def test_a_server_that_is_asked_to_stop_has_ended_well(machine, given, tmp_path):
    pytest.importorskip("uvicorn", reason="needs the extra `app`")
    soon = (
        "import os, signal, threading, uvicorn\n"
        "def begun(self, *more, real=uvicorn.Server.startup, **named):\n"
        "    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "    return real(self, *more, **named)\n"
        "uvicorn.Server.startup = begun"
    )
    argv = ["serve", "--port", "0", "--folder", tmp_path / "jobs", "--weights", given["TINY"]]
    ended = machine.g3pt(*argv, first=soon)
    assert ended.code == 0, ended.err


# --- agents ----------------------------------------------------------------------------------

HELLO = (
    b'{"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": '
    b'"2025-06-18", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}}\n'
)
"""What an agent says first."""
LISTENING = (
    "import os\n"
    "r, w = os.pipe()\n"
    "os.dup2(r, 0); os.dup2(w, 200); os.close(r); os.close(w)\n"  # stdin stays open
    f"os.write(200, {HELLO!r})\n"
)


@pytest.mark.parametrize("number", [2, 15])
def test_a_server_of_agents_that_is_asked_to_stop_does_not_wait_for_them(machine, given, number):
    pytest.importorskip("mcp", reason="needs the extra `mcp`")
    answered = (
        "import threading, time\n"
        "def stop():\n"
        "    while not os.fstat(said).st_size:\n"
        "        time.sleep(0.01)\n"
        f"    os.kill(os.getpid(), {number})\n"
        "said = os.dup(1)\n"
        "threading.Thread(target=stop, daemon=True).start()"
    )
    argv = ["mcp", "--server", "http://127.0.0.1:9", "--weights", given["TINY"]]
    ended = machine.g3pt(*argv, first=LISTENING + answered)
    assert (ended.code, ended.err) == (0, "")
    assert '"serverInfo"' in ended.out


@pytest.mark.parametrize("how", ["full", "pipe"])
def test_an_agent_that_cannot_be_answered_is_given_up(machine, given, how):
    pytest.importorskip("mcp", reason="needs the extra `mcp`")
    first = LISTENING + (BROKEN_PIPE.format(1) if how == "pipe" else "")
    argv = ["mcp", "--server", "http://127.0.0.1:9", "--weights", given["TINY"]]
    ended = machine.g3pt(*argv, first=first, **({"out": "/dev/full"} if how == "full" else {}))
    told = "g3pt: standard output: No space left on device" if how == "full" else ""
    assert (ended.code, ended.last) == (1, told)


def test_an_agent_that_goes_ends_its_server(machine, given):
    pytest.importorskip("mcp", reason="needs the extra `mcp`")
    ended = machine.g3pt("mcp", "--weights", given["TINY"], closed=[0])
    assert (ended.code, ended.out, ended.err) == (0, "", "")
