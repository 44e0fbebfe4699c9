"""The notebook of the examples runs from its first cell to its last."""

import re
from pathlib import Path

import pytest

from pages import ROOT

TOUR = ROOT / "examples" / "tour.ipynb"


def test_the_tour_runs_as_it_stands(tmp_path: Path) -> None:
    from g3pt.models.weights.places import bundled_weights

    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    if not bundled_weights():
        pytest.skip("this checkout has no bundled weights")
    for name in ("images", "meshes"):
        (tmp_path / name).symlink_to(ROOT / "examples" / name)
    notebook = nbformat.read(TOUR, as_version=4)
    shown = [outputs_of(cell) for cell in notebook.cells]
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert [outputs_of(cell) for cell in notebook.cells] == shown


def outputs_of(cell: dict) -> list[str]:
    """What a cell shows: printed lines without their digits, of pictures only that there is one."""
    outputs = cell.get("outputs", [])
    return [
        re.sub(r"\d", "", one.text) if "text" in one else min(one.data).partition("/")[0]
        for one in outputs
    ]
