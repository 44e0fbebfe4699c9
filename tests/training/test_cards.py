"""Cards and credits of finetuned weights; those of exports are tested with the command."""

from pathlib import Path

import pytest

from g3pt.preparation.inputs import MeshRef
from g3pt.training.cards import finetuned_card, finetuned_credits

SUMMARY = {
    "name": "mine",
    "base": {"name": "g3pt-small", "sha256": "abc"},
    "meshes": {"trained": 2, "held_out": 1, "split": "1 of 3 meshes"},
    "new_words": [],
    "steps": 7,
}
REFS = [
    MeshRef(id="a", location="a.glb", licence="MIT", details={"attribution": "Ada"}),
    MeshRef(id="b", location="b.glb", licence="MIT", details={"attribution": "Ada"}),
    MeshRef(id="c", location="c.glb"),
]


def card(base: Path | None) -> str:
    return finetuned_card(
        SUMMARY, REFS, what="all weights", table=["| set |"], picture="sheet.png", base=base
    )


def test_a_card_ends_with_that_of_the_weights_it_came_from(tmp_path: Path) -> None:
    alone = card(tmp_path)
    assert alone == card(None)
    assert "g3pt-small (SHA-256 abc), all weights trained for 7 steps." in alone
    assert "Licences of the meshes: MIT (2), unknown (1)." in alone
    assert "New words: none." in alone
    (tmp_path / "README.md").write_text("# Old\n\n## Figures\n")
    assert card(tmp_path).endswith("Its figures are theirs.\n\n### Old\n\n#### Figures\n")
    assert card(tmp_path).startswith(alone.rstrip("\n"))


def test_credits_name_authors_before_those_of_the_weights(tmp_path: Path) -> None:
    own = "# Whose meshes were finetuned on\n\n- Ada: 2, MIT\n- not named: 1, unknown\n"
    assert finetuned_credits(REFS, tmp_path) == own
    (tmp_path / "ATTRIBUTION.md").write_text("# Others\n")
    assert finetuned_credits(REFS, tmp_path) == own + "\n# Others\n"


@pytest.mark.parametrize("name", ["README.md", "ATTRIBUTION.md"])
def test_texts_of_others_are_read_within_a_limit(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(ValueError, match=rf"{name}: has 1073741824 bytes, expected at most"):
        card(tmp_path)
        finetuned_credits(REFS, tmp_path)
