"""What happens to pictures, one thing at a time."""

import pytest
import torch

from g3pt.stream.augmentation import (
    Augmentation,
    augment,
    random_lights,
    random_patterns,
)
from g3pt.stream.drawing import PLAIN, studio_lights

SHARES = (
    *("light", "gloss", "pattern", "frame", "shadow", "edge"),
    *("color", "grey", "blur", "noise", "few_colors"),
)
NUM, SIDE = 24, 40


def only(name: str = "", **strengths: float) -> Augmentation:
    """Nothing but one thing, always."""
    return Augmentation(**{share: float(share == name) for share in SHARES}, **strengths)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def pictures():
    """A coloured square each, centred, with random colours inside."""
    made = torch.zeros(NUM, SIDE, SIDE, 4, dtype=torch.uint8)
    colors = torch.randint(40, 216, (NUM, 20, 20, 3), generator=chance())
    made[:, 10:30, 10:30, :3] = colors.to(torch.uint8)
    made[:, 10:30, 10:30, 3] = 255
    return made


def change(config: Augmentation, pictures: torch.Tensor) -> torch.Tensor:
    return augment(config, pictures, chance(1))


def test_nothing_happens_to_pictures_where_nothing_is_to_happen(pictures):
    assert torch.equal(change(only(), pictures), pictures)


def test_the_same_generator_does_the_same(pictures):
    config = Augmentation()
    assert torch.equal(change(config, pictures), change(config, pictures))
    assert not torch.equal(change(config, pictures), augment(config, pictures, chance(2)))


@pytest.mark.parametrize("name", ["color", "grey", "noise", "few_colors"])
def test_changes_of_colour_leave_the_silhouette_alone(pictures, name):
    changed = change(only(name), pictures)
    assert torch.equal(changed[..., 3], pictures[..., 3])
    inside = pictures[..., 3] > 0
    assert (changed != pictures)[inside].any()


def test_grey_pictures_have_the_luma_of_the_coloured_ones(pictures):
    inside = pictures[..., 3] > 0
    grey = change(only("grey"), pictures)[inside][:, :3].float()
    luma = pictures[inside][:, :3].float() @ torch.tensor([0.299, 0.587, 0.114])
    assert (grey - luma[:, None]).abs().max() <= 0.51  # rounding


def test_few_colours_are_few(pictures):
    inside = pictures[..., 3] > 0
    changed = change(only("few_colors"), pictures)
    assert all(len(one[seen].unique()) <= 25 for one, seen in zip(changed, inside, strict=True))


def test_edges_become_tighter_or_wider_by_a_pixel(pictures):
    alpha = change(only("edge"), pictures)[..., 3].float() / 255
    areas = alpha.sum((1, 2))
    assert (areas < 400).any()
    assert (areas > 400).any()
    assert areas.min() >= 18**2
    assert areas.max() <= 22**2 + 1
    assert (alpha[:, 11:29, 11:29] == 1).all()


def test_shadows_lie_below_and_beside_the_object_and_are_dark(pictures):
    changed = change(only("shadow"), pictures)
    inside = pictures[..., 3] > 0
    assert torch.equal(changed[inside], pictures[inside])
    left = changed[..., 3].float() * ~inside
    assert left[:, 26:].sum() > 4 * left[:, :22].sum()
    assert changed[..., :3][(left > 24)].max() <= 80


def test_frames_shift_scale_and_turn_a_little(pictures):
    alpha = change(only("frame"), pictures)[..., 3].float() / 255
    line = torch.arange(SIDE) + 0.5
    areas = alpha.sum((1, 2))
    middle = torch.stack([(alpha.sum(d) * line).sum(1) / areas for d in (1, 2)], 1)
    assert (middle - SIDE / 2).abs().max() <= 0.06 * SIDE + 0.1
    assert (middle - SIDE / 2).abs().max() > 0.5
    assert areas.min() < 380
    assert areas.max() > 420


def test_blur_softens_the_edge_and_keeps_the_sum(pictures):
    changed = change(only("blur", blur_width=0.05), pictures)
    alpha = changed[..., 3].float() / 255
    soft = ((alpha > 0.02) & (alpha < 0.98)).float().mean()
    assert soft > 0.05
    assert (alpha.sum((1, 2)) - 400).abs().max() < 2  # rounding to bytes


def test_lights_and_patterns_come_as_often_as_asked_for():
    none = random_lights(only(), 50, chance())
    for ours, studio in zip(
        vars(none).values(), vars(studio_lights(50, "cpu")).values(), strict=True
    ):
        assert torch.equal(ours, studio)
    assert (random_patterns(only(), 50, chance()).kinds_V == PLAIN).all()
    lights = random_lights(Augmentation(light=0.5, gloss=0.5), 2000, chance())
    other = (lights.keys_V3 != studio_lights(2000, "cpu").keys_V3).any(1)
    assert 0.45 < other.float().mean() < 0.55
    assert 0.2 < (lights.glosses_V > 0).float().mean() < 0.3
    kinds = random_patterns(Augmentation(pattern=0.6), 2000, chance()).kinds_V
    assert [0.15 < (kinds == kind).float().mean() < 0.25 for kind in (1, 2, 3)] == [True] * 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"blur": 1.5}, r"augmentation\.blur is a share"),
        ({"pattern_lengths": (0.5, 0.1)}, "must be positive and increasing"),
        ({"scale": 1.0}, r"scale must lie in \[0, 1\)"),
        ({"fewest_levels": 1}, "at least 2, got 1"),
    ],
)
def test_wrong_settings_are_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**wrong)
