import re

import numpy as np


def _slice_components(shape, height):
    """Separate pieces of the solid in a horizontal slice."""
    from scipy import ndimage

    axis = (np.arange(200) + 0.5) / 100 - 1
    x, z = np.meshgrid(axis, axis, indexing="ij")
    points = np.stack([x, np.full_like(x, height), z], axis=-1).reshape(-1, 3)
    return ndimage.label(shape.contains(points).reshape(200, 200))[1]


def _stated(shape, singular, plural):
    from g3pt.procedural.captions import NUMBER_WORDS

    for part in shape.facts.parts:
        if match := re.fullmatch(rf"(\w+) (?:{singular}|{plural})", part):
            numbers = dict(zip(NUMBER_WORDS, range(13), strict=True)) | {"a": 1, "an": 1}
            if match[1] in numbers:
                return numbers[match[1]]
    return None


def test_stated_numbers_of_legs_are_found_in_a_slice_above_the_ground():
    from g3pt.procedural import make_shape

    checked = 0
    for family in ("stool", "table", "chair", "animal"):
        for seed in range(15):
            shape = make_shape(seed, family)
            stated = _stated(shape, "leg", "legs")
            if stated is None or shape.facts.nouns[0] == "elephant":
                continue  # an elephant's trunk may reach the ground
            assert _slice_components(shape, -shape.extents[1] / 2 + 0.06) == stated, shape.id
            checked += 1
    assert checked > 40


def test_stated_numbers_of_wheels_touch_the_ground():
    from g3pt.procedural import make_shape

    for family in ("car", "truck"):
        for seed in range(15):
            shape = make_shape(seed, family)
            stated = _stated(shape, "wheel", "wheels")
            assert _slice_components(shape, -shape.extents[1] / 2 + 0.02) == stated, shape.id


def test_size_words_follow_from_the_bounding_box():
    from g3pt.procedural import FAMILIES, make_shape
    from g3pt.procedural.captions import TYPICAL_PROPORTIONS

    for family in FAMILIES:
        steep_of = {"tall": [], "low": [], "": []}
        for seed in range(12):
            shape = make_shape(seed, family)
            steep = shape.extents[1] / max(shape.extents[0], shape.extents[2])
            word = next((word for word in ("tall", "low") if word in shape.size_words), "")
            steep_of[word].append(steep)
        low, high = TYPICAL_PROPORTIONS[family][:2]
        assert all(steep > high for steep in steep_of["tall"])
        assert all(steep < low for steep in steep_of["low"])
        assert all(low <= steep <= high for steep in steep_of[""])


def test_named_main_colour_is_seen_on_the_surface():
    from g3pt.procedural import FAMILIES, make_shape
    from g3pt.procedural.builder import PALETTE

    rng = np.random.default_rng(0)
    names, values = list(PALETTE), np.array(list(PALETTE.values()), float)
    for family in FAMILIES:
        shape = make_shape(3, family)
        paint = shape.facts.paint
        nearest = names[int(np.linalg.norm(values - paint.rgb, axis=1).argmin())]
        assert nearest == paint.name
        seen = shape.color_at(shape.sample_surface(600, rng).points)
        assert np.mean(np.all(seen == paint.rgb, axis=1)) > 0.04, shape.id
        for _, accent in shape.facts.accents:
            assert np.any(np.all(shape.arrays.colors == accent.rgb, axis=1)), shape.id


def test_captions_start_with_the_right_article_and_name_the_family():
    from g3pt.procedural import FAMILIES, make_shape

    for family in FAMILIES:
        for variant in range(8):
            shape = make_shape(variant, family)
            text = shape.caption(variant)
            assert any(noun in text for noun in shape.facts.nouns)
            assert not re.search(r"\ba (?=[aeio])", text.replace("a one", "")), text
            assert not re.search(r"\ban (?=[^aeiou])", text), text
            assert "  " not in text


def test_variants_differ_and_a_variant_repeats():
    from g3pt.procedural import make_shape

    shape = make_shape(4, "chair")
    assert shape.caption(3) == shape.caption(3)
    assert len({shape.caption(variant) for variant in range(20)}) >= 5
    assert isinstance(shape.caption(np.random.default_rng(0)), str)
