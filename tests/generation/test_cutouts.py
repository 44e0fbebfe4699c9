"""What decides where the object is, and what is said about it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from g3pt.generation.border import frame_around, plain_border, shadow_candidate
from g3pt.generation.cutouts import find_object, own_range
from g3pt.generation.pictures import PictureError, at_own_size, cut_out, prepare_picture
from g3pt.generation.regions import box_overlap, largest_object, without_strays
from generation.test_pictures import SIZE, disc, over, overlap

WHITE = (255, 255, 255)


def square_mask(size: int, low: int, high: int) -> np.ndarray:
    mask = np.zeros((size, size), dtype=np.uint8)
    mask[low:high, low:high] = 255
    return mask


# --- alpha ---------------------------------------------------------------------------------


def test_faint_alpha_counts_by_its_own_range() -> None:
    faint = disc()
    faint[..., 3] = faint[..., 3] // 255 * 120
    cut = cut_out(Image.fromarray(faint))
    assert cut.cutout.method == "alpha"
    assert np.array_equal(cut.rgba[..., 3], disc()[..., 3])


def test_alpha_that_is_faint_everywhere_hides_nothing() -> None:
    picture = np.asarray(over(disc(), WHITE).convert("RGBA")).copy()
    picture[..., 3] = 100
    found = find_object(picture)
    assert found.method == "border"
    assert overlap(found.rgba[..., 3], disc()[..., 3]) > 0.98


def test_a_stray_opaque_pixel_does_not_shrink_the_object() -> None:
    stray = disc()
    stray[3, 197] = (255, 255, 255, 255)
    prepared = prepare_picture(Image.fromarray(stray), SIZE)
    assert np.array_equal(prepared.rgba, prepare_picture(Image.fromarray(disc()), SIZE).rgba)
    assert prepared.cutout.box == cut_out(Image.fromarray(disc())).cutout.box


def test_a_stray_opaque_pixel_does_not_hide_that_the_alpha_is_faint() -> None:
    alpha = disc()[..., 3] // 255 * 120
    alpha[3, 197] = 255
    assert own_range(alpha)[110, 90] == 255


def test_small_parts_within_an_object_are_no_strays() -> None:
    mask = np.zeros((100, 100), dtype=bool)
    mask[10:90, 10:30] = mask[80:90, 10:90] = True
    mask[50, 60] = True  # inside the box of the rest
    assert without_strays(mask)[50, 60]
    mask[50, 92] = mask[50, 98] = True
    assert without_strays(mask)[50, 92]  # the tip of something, close to the rest
    assert not without_strays(mask)[50, 98]


def test_several_objects_that_an_alpha_channel_shows_are_kept_and_said() -> None:
    both = np.hstack([disc(), disc(radius=30.0)])
    cut = cut_out(Image.fromarray(both))
    assert np.array_equal(cut.rgba, both)
    assert cut.cutout.warnings == (
        "several objects: 2 of them, all of them are taken, as the alpha says",
    )


# --- masks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [200, 50, 600])
def test_a_mask_decides_at_any_size_of_the_same_proportions(size: int) -> None:
    busy = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    mask = Image.fromarray(disc()[..., 3]).resize((size, size))
    cut = cut_out(busy, mask=mask)
    assert cut.cutout.method == "mask"
    assert cut.cutout.box == pytest.approx((50, 70, 130, 150), abs=3)
    assert overlap(cut.rgba[..., 3], disc()[..., 3]) > 0.95


def test_the_alpha_channel_of_a_mask_counts_if_it_hides_something() -> None:
    mask = np.zeros((200, 200, 4), dtype=np.uint8)  # black all over
    mask[..., 3] = disc()[..., 3]
    picture = over(disc(), (90, 120, 90))
    assert overlap(cut_out(picture, mask=mask).rgba[..., 3], disc()[..., 3]) > 0.99


def test_what_alpha_hides_stays_hidden_under_a_mask() -> None:
    cut = cut_out(Image.fromarray(disc()), mask=square_mask(200, 0, 110))
    assert not cut.rgba[111:, :, 3].any()
    assert (cut.rgba[..., 3] <= disc()[..., 3]).all()


def test_a_mask_of_other_proportions_is_refused(tmp_path: Path) -> None:
    Image.new("L", (300, 200), 255).save(tmp_path / "mask.png")
    over(disc(), WHITE).save(tmp_path / "mug.png")
    with pytest.raises(PictureError, match=r"mask\.png: 300 x 200 .*mug\.png with 200 x 200"):
        cut_out(tmp_path / "mug.png", mask=tmp_path / "mask.png")


def test_a_mask_that_marks_nothing_is_refused() -> None:
    with pytest.raises(PictureError, match="the mask marks nothing that is visible"):
        cut_out(over(disc(), WHITE), mask=square_mask(200, 0, 0))


def test_mask_and_whole_picture_exclude_each_other() -> None:
    with pytest.raises(PictureError, match="cannot both"):
        cut_out(over(disc(), WHITE), mask=square_mask(200, 0, 100), whole_picture=True)


def test_a_picture_that_was_cut_out_before_takes_no_mask() -> None:
    cut = cut_out(over(disc(), WHITE))
    assert prepare_picture(cut, SIZE).cutout == cut.cutout
    with pytest.raises(PictureError, match="found before"):
        prepare_picture(cut, SIZE, mask=square_mask(200, 0, 100))


# --- a plain border ------------------------------------------------------------------------


def with_shadow(ground: int = 235, strength: float = 0.5) -> np.ndarray:
    """A red disc whose flat shadow lies to the right of its foot."""
    y, x = np.mgrid[:200, :200] + 0.5
    inside = (((x - 150) / 60) ** 2 + ((y - 145) / 12) ** 2) < 1
    picture = np.full((200, 200, 3), float(ground))
    picture[inside] *= strength
    return np.asarray(over(disc(), picture))


def test_a_shadow_on_the_ground_is_not_the_object() -> None:
    found = find_object(np.asarray(Image.fromarray(with_shadow()).convert("RGBA")))
    assert overlap(found.rgba[..., 3], disc()[..., 3]) > 0.93


def test_a_shadow_is_searched_where_it_can_be() -> None:
    colors = with_shadow().astype(np.float32)
    border = plain_border(colors)
    mask = border.difference > border.tolerance
    candidate = shadow_candidate(colors, border, mask)
    assert candidate[145, 190] and not candidate[110, 90]
    upside_down = shadow_candidate(colors[::-1], plain_border(colors[::-1]), mask[::-1])
    assert not upside_down.any()  # above the object: it hangs in the air


def test_what_has_detail_is_no_shadow() -> None:
    colors = with_shadow().astype(np.float32)
    stripes = (np.arange(200) // 2 % 2)[:, None, None] * 40.0
    ground = plain_border(colors)
    mask = ground.difference > ground.tolerance
    colors[mask] -= np.broadcast_to(stripes, colors.shape)[mask]
    assert not shadow_candidate(colors, ground, mask).any()


@pytest.mark.parametrize(("certainty", "is_left_out"), [(1.0, True), (0.7, False)])
def test_the_shadow_of_a_grey_object_is_left_out_if_the_network_is_sure(
    certainty: float, is_left_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grey disc has the colour of the ground in shade: it is one region with its shadow."""
    grey = disc()
    grey[grey[..., 3] > 0, :3] = 110
    picture = np.array(with_shadow())
    picture[grey[..., 3] > 0] = 110
    seen = (grey[..., 3] / 255 * certainty).astype(np.float32)
    monkeypatch.setattr("g3pt.generation.cutouts.object_share", lambda _: seen)
    score = overlap(cut_out(picture).rgba[..., 3], grey[..., 3])
    assert (score > 0.97) == is_left_out, score


def test_the_lower_half_of_a_region_that_reaches_up_may_be_shadow() -> None:
    colors = with_shadow().astype(np.float32)
    colors[10:70, 20:160] = colors[70:138, 60:120] = 110.0  # a grey sign that stands in its shadow
    border = plain_border(colors)
    candidate = shadow_candidate(colors, border, border.difference > border.tolerance)
    assert candidate[145, 190]
    assert not candidate[:80].any()


@pytest.mark.parametrize("line", [0, 3])
def test_a_frame_around_a_picture_is_not_the_object(line: int) -> None:
    inner = np.asarray(over(disc(), (150, 190, 160)))
    framed = np.full((240 + 2 * line, 240 + 2 * line, 3), 255, dtype=np.uint8)
    framed[20:-20, 20:-20] = 20
    framed[20 + line : 220 + line, 20 + line : 220 + line] = inner
    cut = cut_out(framed)
    true = np.pad(disc()[..., 3], 20 + line)
    assert overlap(cut.rgba[..., 3], true) > 0.95
    assert cut.rgba.shape[:2] == framed.shape[:2]


def test_a_rectangle_far_from_the_edge_is_no_picture_in_a_frame() -> None:
    crate = np.full((200, 200, 3), 255, dtype=np.float32)
    crate[60:150, 40:170] = (150, 100, 60)
    assert frame_around(crate) is None
    cut = cut_out(crate.astype(np.uint8))
    assert cut.cutout.box == (40, 60, 170, 150)


def test_before_an_even_background_what_the_network_misses_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A network that loses the middle of an object, as it did with a row of columns."""
    cut_off = disc(center=(20, 110), radius=60.0)  # else the border decides alone
    seen = (cut_off[..., 3] / 255).astype(np.float32)
    seen[90:130, :60] = 0
    monkeypatch.setattr("g3pt.generation.cutouts.object_share", lambda _: seen)
    cut = cut_out(over(cut_off, WHITE))
    assert cut.cutout.method == "border"
    assert overlap(cut.rgba[..., 3], cut_off[..., 3]) > 0.98


@pytest.mark.parametrize(
    ("right", "certainty"),
    [
        (slice(110, 160), 1.0),  # the network is sure
        (slice(30, 160), 0.75),  # it is not, but the outline before the border is weaker still
    ],
)
def test_what_differs_from_an_uneven_border_but_is_no_object_is_left_to_the_network(
    right: slice, certainty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bright patch of the floor, as before a studio's lamp."""
    seen = (disc()[..., 3] / 255 * certainty).astype(np.float32)
    monkeypatch.setattr("g3pt.generation.cutouts.object_share", lambda _: seen)
    ground = np.full((200, 200, 3), 170.0) + np.linspace(-15, 15, 200)[:, None, None]
    ground[140:175, right] += 14.0
    cut = cut_out(over(disc(), ground))
    assert cut.cutout.method == "network"
    assert overlap(cut.rgba[..., 3], disc()[..., 3]) > 0.97


# --- what is said --------------------------------------------------------------------------


def test_an_object_that_leaves_the_picture_is_told() -> None:
    cut = cut_out(over(disc(center=(10, 110)), WHITE))
    assert cut.cutout.warnings == ("cut off at the left edge",)
    assert cut_out(over(disc(), WHITE)).cutout.warnings == ()


def test_an_alpha_channel_cropped_to_its_object_is_not_cut_off() -> None:
    box = np.full((60, 60, 4), 255, dtype=np.uint8)
    box[:8, :8, 3] = 0
    assert cut_out(Image.fromarray(box)).cutout.warnings == ()


def test_a_very_small_object_is_told_in_pixels_of_the_given_picture() -> None:
    cut = cut_out(Image.fromarray(disc(1600, center=(800, 800), radius=16.0)))
    (warning,) = cut.cutout.warnings
    assert warning.startswith("very small: 3")
    assert cut.cutout.box == pytest.approx((784, 784, 816, 816), abs=2)


def test_a_very_dark_object_is_told() -> None:
    dark = disc()
    dark[..., :3] //= 10
    (warning,) = cut_out(over(dark, WHITE)).cutout.warnings
    assert warning.startswith("very dark")


def test_the_report_is_json() -> None:
    import json

    cutout = cut_out(over(disc(center=(10, 110)), WHITE)).cutout
    told = json.loads(json.dumps(cutout.to_json()))
    assert set(told) == {"method", "box", "confidence", "warnings"}
    assert (told["method"], told["box"]) == ("border", list(cutout.box))
    assert 0.8 < told["confidence"] <= 1


def test_a_large_picture_is_given_back_at_its_own_size() -> None:
    large = over(disc(1500, center=(700, 800), radius=300.0), WHITE)
    cut = cut_out(large)
    whole = at_own_size(large, cut)
    assert whole.shape == (1500, 1500, 4)
    assert max(cut.rgba.shape) == 1024
    assert overlap(whole[..., 3], disc(1500, center=(700, 800), radius=300.0)[..., 3]) > 0.99
    assert np.array_equal(whole[800, 700], (200, 40, 30, 255))


# --- regions -------------------------------------------------------------------------------


def blocks(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((100, 100), dtype=bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask


def test_of_two_blocks_the_larger_is_the_object() -> None:
    kept, number = largest_object(blocks((5, 40, 35, 80), (55, 20, 95, 80)))
    assert number == 2
    assert np.array_equal(kept, blocks((55, 20, 95, 80)))


def test_parts_close_together_are_one_object() -> None:
    lamp = blocks((30, 10, 70, 50), (40, 52, 60, 90), (72, 20, 76, 30))
    kept, number = largest_object(lamp)
    assert number == 1
    assert np.array_equal(kept, lamp)


def test_twins_side_by_side_are_two_objects_even_if_close() -> None:
    kept, number = largest_object(blocks((5, 30, 49, 80), (51, 30, 95, 80)))
    assert number == 2
    assert kept.sum() == 44 * 50


def test_a_pebble_far_away_is_left_out_without_a_word() -> None:
    kept, number = largest_object(blocks((5, 10, 60, 90), (90, 85, 95, 90)))
    assert number == 1
    assert np.array_equal(kept, blocks((5, 10, 60, 90)))


def test_boxes_overlap_as_rectangles_do() -> None:
    whole, half = blocks((0, 0, 40, 40)), blocks((20, 0, 40, 40))
    assert box_overlap(whole, half) == pytest.approx(0.5)
    assert box_overlap(whole, blocks((60, 60, 70, 70))) == 0
    assert box_overlap(whole, blocks()) == 0
