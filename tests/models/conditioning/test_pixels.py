import torch

from conditions import draw_pictures
from g3pt.models.conditioning.pixels import num_channels, read_pixels


def test_colours_are_mixed_with_white_by_their_alpha():
    picture = torch.tensor(
        [[[0, 0, 0, 255], [10, 20, 30, 255]], [[0, 0, 0, 0], [0, 255, 0, 51]]], dtype=torch.uint8
    )
    pixels = read_pixels(picture[None], alpha=False)[0] * 255
    assert pixels.shape == (3, 2, 2)
    # float32 has 24 bits
    torch.testing.assert_close(pixels[:, 0, 0], torch.tensor([0.0, 0, 0]))
    torch.testing.assert_close(pixels[:, 0, 1], torch.tensor([10.0, 20, 30]))
    torch.testing.assert_close(pixels[:, 1, 0], torch.tensor([255.0, 255, 255]))
    torch.testing.assert_close(pixels[:, 1, 1], torch.tensor([204.0, 255, 204]))


def test_alpha_comes_behind_colours_that_do_not_change():
    pictures = draw_pictures(2, 8)
    with_alpha, without = (read_pixels(pictures, alpha=alpha) for alpha in (True, False))
    assert with_alpha.shape[1] == num_channels(alpha=True)
    assert without.shape[1] == num_channels(alpha=False)
    assert torch.equal(with_alpha[:, :3], without)
    assert torch.equal(with_alpha[:, 3] * 255, pictures[..., 3].float())


def test_a_white_object_on_white_is_seen_by_its_alpha_alone():
    empty = torch.zeros(1, 8, 8, 4, dtype=torch.uint8)
    white = torch.full_like(empty, 255)
    assert torch.equal(read_pixels(empty, alpha=False), read_pixels(white, alpha=False))
    assert not torch.equal(read_pixels(empty, alpha=True), read_pixels(white, alpha=True))
