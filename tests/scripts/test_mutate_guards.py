"""A guard that no test misses is found, and one that a test needs is not blamed."""

import subprocess
import sys
from pathlib import Path

import pytest

from loaded_files import load_file

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "mutate_guards.py"

pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="an installed package has no scripts")

GUARDED = """\
def half(x, y):
    if x < 0 or x > 9:
        raise ValueError("é" * 3)
    try:
        return x / y
    except ZeroDivisionError as error:
        raise ValueError("y") from error
    if x:
        return 1
    else:
        raise KeyError
"""


@pytest.fixture(scope="module")
def script():
    return load_file(SCRIPT)


def test_each_guard_and_each_of_its_alternatives_is_taken_away_once(script):
    found = {mutant.guard: mutant.source for mutant in script.mutants(GUARDED)}

    assert len(found) == 5
    assert "if ((x < 0 or x > 9) and False):" in found["if x < 0 or x > 9"]
    assert "if ((x < 0) and False) or x > 9:" in found["... or x < 0"]
    assert "if x < 0 or ((x > 9) and False):" in found["... or x > 9"]
    assert "as error:\n        raise\n" in found["raise ValueError('y') from error"]
    assert found["raise KeyError"].endswith("else:\n        pass\n")


def test_a_guard_that_no_test_misses_is_named(tmp_path: Path) -> None:
    test = tmp_path / "test_file.py"
    test.write_text(
        "import pytest\n"
        "from pathlib import Path\n"
        "from g3pt.models.weights.bundled import check_file\n"
        "def test_it():\n"
        "    with pytest.raises(FileNotFoundError, match='reinstall'):\n"
        "        check_file(Path('none'), '', field='f', what='w')\n"
    )
    module = "models/weights/bundled.py"
    command = [sys.executable, str(SCRIPT), "--modules", module, "--tests", str(test)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)

    assert done.returncode == 1, done.stdout + done.stderr
    assert f"killed   {module}:38: if not path.is_file()" in done.stdout
    assert f"no test misses {module}:40: if (found :=" in done.stdout
    assert "2 mutants, 1 killed" in done.stdout
