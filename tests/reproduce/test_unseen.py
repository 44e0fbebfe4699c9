"""The table `unseen` at smoke size, from recordings to the report."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from g3pt.config import from_json, to_json
from g3pt.recipes.pools import spread_families
from g3pt.reproduce.unseen import unseen
from g3pt.reproduce.unseen_report import write_unseen
from g3pt.reproduce.unseen_series import ROW_FILE, finished_rows, run_unseen
from g3pt.training.kinds.stream import StreamRun


@pytest.fixture(scope="module")
def table(tiny_weights: Path):
    """All rows with an untrained tokenizer."""
    return replace(unseen("smoke"), tokenizer=str(tiny_weights))


@pytest.fixture(scope="module")
def root(table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "unseen-smoke"
    run_unseen(table, folder)
    return folder


def test_rows_are_measured_by_the_yardsticks(table, root: Path):
    rows = finished_rows(table, root)
    names = ["all-field", "all-pretrained", "families-6", "nearest_picture"]
    assert [row["name"] for row in rows] == names
    assert [one["set"] for one in rows[0]["rows"]] == ["known", "unseen"]
    answers = {"tokens", "sample", "consensus_of_2"}
    guesses = ({"guess"}, {"guess"}, set())
    for row, guess in zip(rows, guesses, strict=False):
        assert set(row["rows"][0]["iou"]) == answers | guess
    assert [row["distinct"] for row in rows[:3]] == [32, 32, 8]


def test_finished_rows_are_taken_as_they_are(table, root: Path):
    before = {file: file.stat().st_mtime_ns for file in root.rglob(ROW_FILE)}
    run_unseen(table, root)
    assert {file: file.stat().st_mtime_ns for file in root.rglob(ROW_FILE)} == before


def test_a_folder_of_another_recipe_is_refused(table, root: Path):
    with pytest.raises(ValueError, match="was trained by another recipe"):
        run_unseen(replace(table, steps=3), root)


def test_the_report_names_every_row_and_says_what_is_missing(table, root: Path, tmp_path: Path):
    files = write_unseen(table, finished_rows(table, root), tmp_path)
    text = files[0].read_text(encoding="utf-8")
    for label in ("+ pretrained, dropout", "6 families", "nearest picture of: grammar, families"):
        assert label in text
    assert "Not complete" not in text
    more = replace(table, rows=(*table.rows, replace(table.rows[0], name="later")))
    later = write_unseen(more, finished_rows(more, root), tmp_path)[0]
    assert "1 runs are not finished" in later.read_text(encoding="utf-8")
    written = json.loads(files[2].read_text(encoding="utf-8"))
    assert len(written["rows"]) == 4
    trained = [one for row in written["rows"] for one in row.get("rows", ())]
    assert trained
    assert all("ids" not in one["objects"] for one in trained)
    assert {name: len(ids) for name, ids in written["ids"].items()} == {
        one["set"]: len(one["objects"]["ce"]) for one in trained
    }


def test_rows_of_other_objects_are_not_put_side_by_side(table, root: Path, tmp_path: Path):
    first, *others = (json.loads(json.dumps(row)) for row in finished_rows(table, root))
    first["rows"][0]["objects"]["ids"][0] = "another"
    with pytest.raises(ValueError, match=f"{others[0]['name']}: was measured on other objects of"):
        write_unseen(table, [first, *others], tmp_path)


def test_objects_that_cannot_be_trusted_are_left_out_of_the_report(
    table, root: Path, tmp_path: Path
):
    rows = finished_rows(table, root)
    for row in rows[:2]:
        row["rows"].append({**row["rows"][0], "set": "real_flagged"})
    text = write_unseen(table, rows, tmp_path)[0].read_text(encoding="utf-8")
    assert "flagged ones left out" in text
    assert "real_flagged" not in text


def test_toy_rows_differ_in_what_they_are_named_for():
    table = unseen("toy")
    runs = [table.run(row, seed, Path("runs")) for row in table.rows for seed in row.seeds]
    assert len({run.name for run in runs}) == len(runs)
    for run in runs:
        assert from_json(StreamRun, to_json(run)) == run
    first = [table.run(row, 0, Path("runs")) for row in table.rows]
    assert len({str(replace(run, name="")) for run in first}) == len(first)


def test_few_families_are_unlike_one_another_and_more_hold_them():
    assert len(set(spread_families(6))) == 6
    assert set(spread_families(6)) <= set(spread_families(12)) <= set(spread_families(24))
