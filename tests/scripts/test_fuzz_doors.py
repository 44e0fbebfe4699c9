"""Coverage-guided fuzzing: templates, what an input is, and when a promise is broken."""

import subprocess
import sys
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest

from g3pt.torture.catalogue import DOORS
from g3pt.torture.doors import Door, Hostile
from loaded_files import load_file

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz_doors.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="an installed package has no scripts")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_file(SCRIPT)


class Letters(Door):
    """Files of letters with a companion, and one error that it does not own."""

    name = "letters"
    promise = "letters are read"
    errors = (ValueError,)

    def write(self, folder, rng):
        number = int(rng.integers(100))
        (folder / "set").mkdir()
        (folder / "set" / "letters.txt").write_text("abc"[: number % 4])
        (folder / "set" / "count.txt").write_text(str(number % 4))
        return Hostile(folder / "set", "")

    def enter(self, path):
        letters = (path / "letters.txt").read_text()
        if "x" in letters:
            raise KeyError("x")
        if letters.isdigit():
            raise ValueError(f"{path}: digits")


def test_single_files_are_templates_by_their_ending(script):
    templates, seeds = script.written_inputs(DOORS["pictures"], 60, 0)
    assert 4 <= len(templates) <= 12
    assert {template.changed.split(".")[0] for template in templates} == {"input"}
    assert all(template.changed == template.entered for template in templates)
    assert not any(template.files for template in templates)
    assert {seed[0] for seed in seeds} == set(range(len(templates)))


def test_every_file_of_a_folder_is_changed_beside_the_others(script, tmp_path: Path):
    door = Letters()
    templates, seeds = script.written_inputs(door, 40, 0)
    assert {template.changed for template in templates} == {"set/letters.txt", "set/count.txt"}
    assert {template.entered for template in templates} == {"set"}
    for seed in seeds:
        script.try_input(door, templates, seed, tmp_path / "trial")
    place = [template.changed for template in templates].index("set/letters.txt")
    script.try_input(door, templates, bytes([place]) + b"12", tmp_path / "trial")  # is refused
    assert (tmp_path / "trial/set/letters.txt").read_bytes() == b"12"
    assert (tmp_path / "trial/set/count.txt").read_bytes() in (b"0", b"1", b"2", b"3")
    with pytest.raises(script.BrokenPromiseError, match=r"letters: foreign error: set/letters.txt"):
        script.try_input(door, templates, bytes([place]) + b"axb", tmp_path / "trial")


def test_what_a_door_writes_keeps_its_promises(script, tmp_path: Path):
    door = DOORS["tokens"]
    templates, seeds = script.written_inputs(door, 60, 0)
    assert len(seeds) > 20
    for seed in seeds:
        script.try_input(door, templates, seed, tmp_path / "trial")


def test_it_says_what_to_install(script, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fuzz_doors.py", "tokens"])
    monkeypatch.setattr(script.util, "find_spec", lambda _name: None)
    assert script.main() == 1
    assert "pip install atheris" in capsys.readouterr().err


@pytest.mark.skipif(
    util.find_spec("atheris") is None,
    reason="atheris is not installed: pip install atheris==3.0.0",
)
def test_a_short_run_looks_for_new_code(tmp_path: Path):
    command = [sys.executable, str(SCRIPT), "tokens", "--seconds", "5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "stat::number_of_executed_units" in done.stderr
    first = int(done.stdout.split(" first inputs")[0].split()[-1])
    assert len(list((tmp_path / "cache/fuzz/tokens").iterdir())) > first
    assert not list((tmp_path / "cache/fuzz/broken").iterdir())
