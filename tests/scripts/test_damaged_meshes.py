"""The damage is what its name says."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from g3pt.geometry.mesh import is_closed, read_mesh, volume

SCRIPT = Path(__file__).parents[2] / "scripts" / "damaged_meshes.py"


@pytest.mark.skipif(not SCRIPT.is_file(), reason="an installed package has no scripts")
def test_every_damage_of_the_ball_is_what_its_name_says(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path / "out"), "--num", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    paths = (tmp_path / "out").iterdir()
    meshes = {path.stem.removeprefix("ball-"): read_mesh(path) for path in paths}
    faces = {name: len(mesh.faces) for name, mesh in meshes.items()}
    volumes = {name: volume(mesh) / volume(meshes["clean"]) for name, mesh in meshes.items()}
    hollow = (1 - 0.08 / 0.9) ** 3
    expected = {"inverted": -1, "duplicated": 0, "overlapping": 1.512}
    expected |= {"hollow": 1 + hollow, "hollow-reversed": 1 - hollow}
    for name, share in expected.items():
        assert volumes[name] == pytest.approx(share, abs=0.01)  # 96 cells do not quite make balls
    assert faces["duplicated"] == 2 * faces["clean"]
    assert is_closed(meshes["clean"]) and not is_closed(meshes["turned"])
    # Half a metre apart, where 32-bit floats are.
    assert set(np.unique(meshes["far-off"].vertices[:, 2] % 0.5)) == {0.0}
