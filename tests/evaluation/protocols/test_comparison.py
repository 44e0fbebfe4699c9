"""Sides of every kind on the same objects."""

from pathlib import Path

import numpy as np
import pytest

from g3pt.evaluation.objects import list_objects
from g3pt.evaluation.protocols.comparison import compare_on_objects, spread_objects
from g3pt.evaluation.protocols.sides import WeightsSide, as_png, open_side, read_png
from g3pt.evaluation.report.comparison import comparison_sheet
from g3pt.evaluation.run import local_engine
from g3pt.models.sampling import Sampling


@pytest.fixture(scope="module")
def objects():
    return list_objects("procedural", limit=1)


@pytest.mark.parametrize(
    ("name", "tasks"),
    [
        ("car", ("image", "text", "reconstruction")),
        ("flow", ("image", "reconstruction")),
        ("regressor", ("image",)),
        ("points", ("points", "reconstruction")),
    ],
)
def test_weights_can_do_what_they_hold_models_for(folders, name: str, tasks: tuple):
    assert open_side(WeightsSide(weights=str(folders[name])), []).tasks == tasks


@pytest.mark.parametrize(
    ("a", "b", "task"),
    [
        ("car", "regressor", "image"),
        ("flow", "regressor", "image"),
        ("points", "points", "points"),
        ("flow", "car", "reconstruction"),
    ],
)
def test_systems_of_different_kinds_are_compared(
    folders, objects, tiny_settings, a: str, b: str, task: str
):
    sides = [WeightsSide(weights=str(folders[name]), num_steps=2) for name in (a, b)]
    found = compare_on_objects((sides[0], sides[1]), objects, tiny_settings, tasks=(task,))
    assert {row["task"] for row in found.report["rows"]} == {task}
    assert found.report["counts"] == {"objects": 1, "left_out": 0, "problems": 0}
    assert comparison_sheet(found).shape[1] > 3 * 224


def test_sides_without_a_common_task_are_refused(folders, objects, tiny_settings):
    sides = [WeightsSide(weights=str(folders[name])) for name in ("regressor", "points")]
    with pytest.raises(ValueError, match="no task in common: r can do image; p can do points"):
        compare_on_objects((sides[0], sides[1]), objects, tiny_settings)


def test_different_tokenizers_are_compared_without_being_asked_to(folders, objects, tiny_settings):
    sides = [WeightsSide(weights=str(folders[name]), num_steps=2) for name in ("flow", "car")]
    found = compare_on_objects((sides[0], sides[1]), objects, tiny_settings)
    assert {row["task"] for row in found.report["rows"]} == {"image", "reconstruction"}


def test_a_rerun_with_other_settings_is_refused(folders, objects, tiny_settings, tmp_path: Path):
    same = WeightsSide(weights=str(folders["regressor"]))
    compare_on_objects((same, same), objects, tiny_settings, out=tmp_path)
    other = WeightsSide(weights=str(folders["regressor"]), sampling=Sampling(guidance=2.0))
    with pytest.raises(ValueError, match=r"b: holds another evaluation"):
        compare_on_objects((same, other), objects, tiny_settings, out=tmp_path)


def test_processes_do_not_change_the_numbers(folders, tiny_settings):
    side = WeightsSide(weights=str(folders["regressor"]))
    two = list_objects("procedural", limit=2)
    alone, shared = (
        compare_on_objects((side, side), two, tiny_settings, engine=local_engine(workers)).report
        for workers in (1, 2)
    )
    assert alone["objects"] == shared["objects"]


def test_the_sheet_goes_from_the_greatest_loss_to_the_greatest_gain():
    differences = {"a": 0.1, "b": -0.3, "c": 0.4, "d": 0.0, "e": 0.2}
    rows = [
        {"id": name, "task": task, "iou_difference": sign * value}
        for task, sign in (("image", 1), ("text", -1))
        for name, value in differences.items()
    ]
    assert spread_objects(rows, 3) == ["b", "a", "c"]
    assert spread_objects(rows, 9) == ["b", "d", "a", "e", "c"]


def test_pictures_are_kept_as_they_are():
    picture = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    assert np.array_equal(read_png(as_png(picture)), picture)
