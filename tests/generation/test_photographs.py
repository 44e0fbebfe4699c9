"""The cut-out judged on sixty photographs whose object is known, and on backgrounds without one."""

import numpy as np
import pytest

from composites import (
    KINDS,
    PER_KIND,
    SIDE,
    Composite,
    composite,
    drawn,
    gradient,
    noise,
    pattern,
    place,
    room,
    with_hard_shadow,
    with_soft_shadow,
)
from g3pt.generation.pictures import CutPicture, PictureError, cut_out
from g3pt.generation.pixels import open_picture


def overlap(cut: CutPicture, alpha: np.ndarray) -> float:
    found, true = cut.rgba[..., 3] >= 128, alpha >= 0.5
    return float((found & true).sum() / (found | true).sum())


@pytest.fixture(scope="module")
def judged() -> dict[str, tuple[float, CutPicture]]:
    """Name of each picture -> IoU of its cut-out with the truth."""
    scores = {}
    for one in (composite(kind, turn) for kind in KINDS for turn in range(PER_KIND)):
        cut = cut_out(one.rgb)
        scores[one.name] = (overlap(cut, one.alpha), cut)
    return scores


def test_sixty_photographs_are_cut_out_well_in_the_mean(judged) -> None:
    scores = [score for score, _ in judged.values()]
    assert len(scores) == 60
    assert np.mean(scores) >= 0.9


def test_nine_of_ten_photographs_are_cut_out_well(judged) -> None:
    assert sum(score >= 0.8 for score, _ in judged.values()) >= 0.9 * len(judged)


def test_no_photograph_is_cut_out_badly_without_a_word(judged) -> None:
    silent = {
        name: score
        for name, (score, cut) in judged.items()
        if score < 0.5 and not cut.cutout.warnings
    }
    assert silent == {}


def test_no_kind_of_background_is_cut_out_badly_throughout(judged) -> None:
    means = {
        kind: np.mean([score for name, (score, _) in judged.items() if name.startswith(kind)])
        for kind in KINDS
    }
    assert min(means.values()) >= 0.85, means


@pytest.mark.parametrize(
    ("family", "turn", "cast", "seed"),
    [("chair", 1, with_soft_shadow, 1010), ("bottle", 0, with_hard_shadow, 1004)],
)
def test_an_object_in_one_region_with_its_shadow_is_cut_out_without_it(
    family, turn, cast, seed
) -> None:
    rng = np.random.default_rng(seed)
    rgb, alpha = cast(place(drawn(family, turn), rng), rng)
    cut = cut_out(rgb.clip(0, 255).round().astype(np.uint8))
    found, true = cut.rgba[..., 3] >= 128, alpha >= 0.5
    assert (found & true).sum() / (found | true).sum() > 0.9


def test_the_box_is_that_of_the_object(judged) -> None:
    one = composite("room", 1)
    rows, columns = np.nonzero(one.alpha >= 0.5)
    box = judged[one.name][1].cutout.box
    true = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert np.abs(np.subtract(box, true)).max() <= 5


@pytest.mark.parametrize(
    ("drawn", "seeds"),
    # In the rooms 2 and 16 the network half believes in a corner and in a skirting board. Stripes
    # like those of pattern 22 differ from a plain border and touch the edge.
    [(room, (0, 1, 2, 16)), (noise, (0, 1)), (pattern, (0, 12, 22)), (gradient, (0, 1))],
)
def test_a_background_without_an_object_is_refused(drawn, seeds: tuple[int, ...]) -> None:
    for seed in seeds:
        ground = drawn(np.random.default_rng(seed)).clip(0, 255).astype(np.uint8)
        with pytest.raises(PictureError, match=r"nothing stands out|no object in it"):
            cut_out(ground)


def plain_room(floor: tuple[int, int, int] = (150, 110, 80)) -> np.ndarray:
    """A wall and a floor, each of one colour."""
    ground = np.empty((SIDE, SIDE, 3), dtype=np.uint8)
    ground[:] = (205, 210, 215)
    ground[240:] = floor
    return ground


def test_a_wall_and_a_floor_of_one_colour_each_are_no_object() -> None:
    with pytest.raises(PictureError, match="nothing stands out"):
        cut_out(plain_room())
    cut = cut_out(before(plain_room(), composite("gradient", 1)))
    assert overlap(cut, composite("gradient", 1).alpha) > 0.9


def before(ground: np.ndarray, one: Composite) -> np.ndarray:
    """The object of a composite before another background."""
    share = one.alpha[..., None]
    return (share * one.rgb + (1 - share) * ground).round().astype(np.uint8)


def test_the_larger_of_two_objects_is_taken_and_said() -> None:
    small, large = (composite("gradient", turn) for turn in (3, 1))
    both = np.concatenate([before(plain_room(), one) for one in (large, small)], axis=1)
    cut = cut_out(both)
    assert overlap(cut, np.hstack([large.alpha, 0 * small.alpha])) > 0.85
    assert "several objects: 2 of them, the largest is taken" in cut.cutout.warnings


def test_an_object_before_a_wall_that_is_cut_off_is_told() -> None:
    one = composite("room", 4)
    rows, columns = np.nonzero(one.alpha >= 0.5)
    cut = cut_out(one.rgb[:, : (columns.min() + columns.max()) // 2].copy())
    assert cut.cutout.warnings == ("cut off at the right edge",)
    assert rows.any()


def test_the_network_is_not_asked_where_a_plain_border_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ask(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("g3pt.generation.cutouts.object_share", ask)
    one = composite("gradient", 1)
    assert cut_out(before(np.full((SIDE, SIDE, 3), 255, np.uint8), one)).cutout.method == "border"
    with pytest.raises(AssertionError, match="was asked"):
        cut_out(composite("room", 1).rgb)


def test_colours_at_the_edge_are_those_of_the_object() -> None:
    """The background, which is mixed into the outermost pixels, is left out of them."""
    one = composite("gradient", 5)  # without a hole, which the network would fill
    green = np.zeros((SIDE, SIDE, 3), np.uint8)
    green[..., 1] = np.where(np.indices((SIDE, SIDE)).sum(0) // 24 % 2, 255, 215)
    cut = cut_out(before(green, one))
    assert cut.cutout.method == "network"
    shown = cut.rgba[..., 3] > 0
    excess = cut.rgba[..., 1].astype(int) - cut.rgba[..., [0, 2]].max(axis=-1)
    assert np.quantile(excess[shown], 0.99) < 40


def test_a_picture_before_the_network_keeps_its_size() -> None:
    one = composite("room", 1)
    wide = np.pad(one.rgb, ((0, 0), (40, 60), (0, 0)), mode="edge")
    cut = cut_out(open_picture(wide))
    assert cut.rgba.shape == (SIDE, SIDE + 100, 4)
