"""The sheet of procedural families is drawn."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "scripts" / "procedural_gallery.py"


@pytest.mark.skipif(not SCRIPT.is_file(), reason="an installed package has no scripts")
def test_the_gallery_is_a_sheet_with_an_uneven_last_row(tmp_path: Path) -> None:
    path = tmp_path / "gallery.png"
    command = [sys.executable, str(SCRIPT), str(path), "--columns", "2", "--size", "32"]
    command += ["--families", "mug", "bowl", "bolt"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    with Image.open(path) as picture:
        assert picture.width > 64
        assert picture.convert("L").getextrema()[0] < 200
