import pytest

from g3pt.generation.color_words import COLOR_WORDS, NamedColor, colors_of_sentence
from g3pt.procedural.builder import PALETTE


def whole_of(text: str) -> NamedColor | None:
    return colors_of_sentence(text).whole


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a red chair with black legs", "red"),
        ("a chair, painted Blue", "blue"),
        ("a red and white lighthouse", "red"),
        ("A DARK GREEN vase", "dark green"),
        ("a grey-green pot", "grey"),
        ("a wooden table", "wooden"),
        ("a yellow lamp and a black cable", "yellow"),
    ],
)
def test_the_first_colour_of_the_whole_is_taken(text: str, words: str) -> None:
    named = whole_of(text)
    assert named is not None and named.words == words


@pytest.mark.parametrize(
    "text",
    [
        "a tall bottle",
        "a small house with a red roof",
        "a chair whose legs are black",
        "a table having a white top",
        "a hundred credits",
        "a lamp and its red cable",
        "a cart and four brown wheels",
        "",
    ],
)
def test_a_colour_of_a_part_or_none_does_not_colour_the_whole(text: str) -> None:
    assert whole_of(text) is None


def test_shades_lie_between_the_colour_and_black_or_white() -> None:
    plain, dark, light = (whole_of(f"a {word}red box") for word in ("", "dark ", "light "))
    assert plain and dark and light
    assert all(d < p < w for d, p, w in zip(dark.rgb, plain.rgb, light.rgb, strict=True))
    assert max(light.rgb) <= 255 and min(dark.rgb) >= 0


def test_all_colours_of_captions_are_known_and_look_alike() -> None:
    for word, rgb in PALETTE.items():
        assert max(abs(a - b) for a, b in zip(rgb, COLOR_WORDS[word], strict=True)) < 16


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a red chair with black legs", [("legs", "black", "lower")]),
        ("a small house with a dark red roof", [("roof", "dark red", "upper")]),
        (
            "a lamp with a white round shade and a black pole",
            [("shade", "white", "upper"), ("pole", "black", "lower")],
        ),
        ("a blue mug with a red handle", []),
        ("a red roof", []),
        ("a chair with legs", []),
    ],
)
def test_colours_of_parts_that_height_can_tell_are_found(text: str, parts: list) -> None:
    found = colors_of_sentence(text).parts
    assert [(one.part, one.color.words, one.end) for one in found] == parts
