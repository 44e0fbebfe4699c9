"""`g3pt doctor` sees what is there and says what is not."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest


@pytest.fixture
def doctor(monkeypatch):
    from g3pt.cli import doctor

    monkeypatch.setattr(doctor, "published_recipes", lambda: ["tokenizer-tiny-smoke"])
    return doctor


def named(findings, name: str):
    return next(finding for finding in findings if finding.name == name)


def test_every_library_that_the_tests_run_with_is_found(doctor) -> None:
    finding = named(list(doctor._libraries()), "libraries")

    assert finding.status == "ok"
    assert finding.values["torch"] == metadata.version("torch")


def test_a_missing_extra_comes_with_the_line_that_installs_it(doctor, monkeypatch) -> None:
    monkeypatch.setattr(doctor, "requirements", lambda: {"": [], "hub": ["no-such-package-g3pt"]})

    (finding,) = doctor._extras()

    assert finding.status == "note"
    assert "no-such-package-g3pt" in finding.detail
    assert finding.advice == "pip install 'g3pt[hub]'"


def test_a_missing_library_is_a_problem(doctor, monkeypatch) -> None:
    monkeypatch.setattr(doctor, "requirements", lambda: {"": ["torch", "no-such-package-g3pt"]})

    (finding,) = doctor._libraries()

    assert finding.status == "problem"
    assert finding.advice == "pip install no-such-package-g3pt"


def test_an_examination_that_fails_does_not_hide_the_others(doctor, monkeypatch) -> None:
    def broken():
        raise OSError("no such thing")

    monkeypatch.setattr(doctor, "EXAMINATIONS", {"broken": broken, "python": doctor._python})

    broken_finding, python_finding = doctor.examine()

    assert (broken_finding.name, broken_finding.status) == ("broken", "problem")
    assert "no such thing" in broken_finding.detail
    assert python_finding.status == "ok"


def test_free_memory_and_disk_are_positive(doctor) -> None:
    memory, disk = doctor._memory_and_disk()

    assert disk.values["total_bytes"] >= disk.values["free_bytes"] > 0
    if memory.status == "ok":  # some systems do not say
        assert memory.values["free_bytes"] > 0


def test_damaged_weights_are_a_problem(doctor, monkeypatch, tmp_path: Path) -> None:
    from g3pt.models.weights import places

    folder = tmp_path / "some-weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(places, "bundled_root", lambda: tmp_path)

    (finding,) = doctor._weights()

    assert (finding.name, finding.status) == ("weights some-weights", "problem")


def test_costs_of_recipes_are_found_only_when_they_are_asked_for() -> None:
    code = """
import sys
from g3pt.cli.main import main
code = main(["doctor", "--json"])
sys.exit(code or any(name in sys.modules for name in ("g3pt.training.cost", "g3pt.recipes")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr[-2000:]
    names = {row["name"] for row in json.loads(done.stdout)["findings"]}
    assert {"python", "libraries", "processor"} <= names
    assert not any(name.startswith("recipe") for name in names)


def test_all_findings_are_json_and_lines_of_text(doctor) -> None:
    findings = doctor.examine(recipes=True)
    assert named(findings, "recipe tokenizer-tiny-smoke").status == "ok"

    told = json.loads(json.dumps(doctor.as_json(findings)))

    assert [row["name"] for row in told["findings"]] == [finding.name for finding in findings]
    assert told["ok"] == all(finding.status != "problem" for finding in findings)
    assert all(finding.detail in doctor.as_text(findings) for finding in findings)


def test_a_recipe_that_does_not_fit_says_so(doctor, monkeypatch) -> None:
    monkeypatch.setattr(doctor, "device_memory", lambda: 1000)

    (finding,) = doctor._recipes()

    assert finding.status == "note"
    assert "does not fit" in finding.detail
    assert finding.values["memory_bytes"] > 1000
