"""Tables in a clean folder: real meshes are optional, all else is looked for first."""

from dataclasses import replace

import pytest

from g3pt.reproduce.catalogue import EXPERIMENTS
from g3pt.reproduce.experiments import with_sets_that_are_there
from g3pt.reproduce.series import run_series, take_stock_of
from g3pt.reproduce.table1 import table1
from g3pt.reproduce.tables import table3b
from g3pt.reproduce.unseen import unseen
from g3pt.reproduce.unseen_series import run_unseen


@pytest.fixture(autouse=True)
def _clean_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("scale", ["toy", "small"])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_table_can_start_in_a_clean_folder(name, scale, tmp_path):
    experiment, left_out = with_sets_that_are_there(EXPERIMENTS[name](scale))
    assert experiment.evaluation
    said = take_stock_of(experiment, tmp_path / "runs")
    assert all("expected a folder of meshes at meshes" in line for line in left_out)
    assert any("prepared from" in line for line in said)


def test_rows_are_measured_without_real_meshes_where_there_are_none():
    experiment, (line,) = with_sets_that_are_there(table1("toy"))
    assert [one.name for one in experiment.evaluation] == ["pictures-procedural", "pictures-unseen"]
    assert line.startswith("pictures-meshes: rows are measured without this set")


def test_a_set_that_is_not_optional_is_missed():
    experiment = table1("toy")
    *others, meshes = experiment.evaluation
    needed = replace(experiment, evaluation=(*others, replace(meshes, optional=False)))
    with pytest.raises(FileNotFoundError, match="expected a folder of meshes"):
        with_sets_that_are_there(needed)


def test_what_a_row_reads_is_looked_for_before_anything_is_made(tmp_path):
    experiment = table3b("smoke")
    variant = experiment.variants[1]
    run = replace(variant.run, initial="runs/nowhere")
    rows = (experiment.variants[0], replace(variant, run=run))
    with pytest.raises(FileNotFoundError, match="initial: runs/nowhere"):
        run_series(replace(experiment, variants=rows, claims=()), tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_the_table_of_the_unseen_names_what_it_needs_before_it_records(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        run_unseen(unseen("toy"), tmp_path / "runs")
    for words in (
        "cache/meshes-train.safetensors",
        "--stock",
        "yardsticks --make cache/yardsticks",
    ):
        assert words in str(error.value)
    assert list(tmp_path.iterdir()) == []
