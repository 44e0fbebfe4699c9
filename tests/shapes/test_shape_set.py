"""What a selection takes of a set, and what is said where it takes nothing."""

from typing import Any

import pytest


def row(split: str = "train", licence: str = "unknown", error: float = 0.0) -> dict[str, Any]:
    return {"split": split, "licence": licence, "quality": {"label_error": error}}


def test_licences_are_asked_only_of_a_set_that_names_some():
    from g3pt.shapes.shape_set import Selection, SelectionError, selected

    with pytest.raises(SelectionError, match=r"is under CC0-1\.0; there are unknown"):
        selected("set", [row(), row()], Selection(licences=("CC0-1.0",)))
    open_ones = Selection(licences=("CC0-1.0",), own_sets=True)
    assert selected("set", [row(), row()], open_ones) == [0, 1]
    assert selected("set", [row(), row(licence="CC0-1.0")], open_ones) == [1]


@pytest.mark.parametrize(
    ("rows", "asked", "sentence"),
    [
        (
            [row(), row()],
            {"split": "val"},
            "set: none of its 2 shapes is of split val; there are train (2)",
        ),
        (
            [row(split=""), row()],
            {"split": "val"},
            "set: none of its 2 shapes is of split val; there are no split (1), train (1)",
        ),
        (
            [row(licence="MIT"), row(licence="CC0-1.0", split="val"), row()],
            {"split": "train", "licences": ("CC0-1.0", "MIT-0")},
            "set: none of its 3 shapes is under CC0-1.0, MIT-0; there are MIT (1), unknown (1)",
        ),
        (
            [row(error=0.5)],
            {"split": "train", "flagged": False},
            "set: none of its 1 shapes is of split train and not flagged for its quality",
        ),
        ([], {}, "set: holds no shapes"),
    ],
)
def test_a_selection_of_nothing_says_what_there_is(
    rows: list[dict[str, Any]], asked: dict[str, Any], sentence: str
):
    from g3pt.shapes.shape_set import Selection, SelectionError, selected

    with pytest.raises(SelectionError) as error:
        selected("set", rows, Selection(**asked))
    assert str(error.value) == sentence


def test_what_is_left_out_for_its_licence_is_counted():
    from g3pt.shapes.shape_set import Selection, licences_note

    open_ones = Selection(licences=("CC0-1.0",), own_sets=True)
    free, other = row(licence="CC0-1.0"), row(licence="CC-BY-4.0")
    assert licences_note("set", [free], open_ones) is None
    assert licences_note("set", [other], Selection()) is None
    assert licences_note("set", [free, other, other], open_ones) == (
        "set: 2 of its 3 shapes are left out for their licence: CC-BY-4.0 (2)"
    )
    assert licences_note("set", [row(), row()], open_ones) == (
        "set: none of its 2 shapes names a licence, they are taken as yours"
    )
