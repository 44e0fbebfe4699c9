import pytest

from g3pt.generation.color_words import COLOR_WORDS, color_of_sentence
from g3pt.procedural.builder import PALETTE


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
    named = color_of_sentence(text)
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
def test_a_colour_of_a_part_or_none_colours_nothing(text: str) -> None:
    assert color_of_sentence(text) is None


def test_shades_lie_between_the_colour_and_black_or_white() -> None:
    plain, dark, light = (color_of_sentence(f"a {word}red box") for word in ("", "dark ", "light "))
    assert plain and dark and light
    assert all(d < p < w for d, p, w in zip(dark.rgb, plain.rgb, light.rgb, strict=True))
    assert max(light.rgb) <= 255 and min(dark.rgb) >= 0


def test_all_colours_of_captions_are_known_and_look_alike() -> None:
    for word, rgb in PALETTE.items():
        assert max(abs(a - b) for a, b in zip(rgb, COLOR_WORDS[word], strict=True)) < 16
