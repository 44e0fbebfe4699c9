"""U2-Net-P: its blocks against plain formulas, and the bundled file."""

import hashlib

import pytest
import torch
import torch.nn.functional as F

from g3pt.models.cutout import (
    BUNDLED_SHA256,
    U2NetP,
    UBlock,
    bundled_file,
    load_u2netp,
)

CPU = torch.device("cpu")


def layer(x, conv, dilation=1):
    return F.relu(F.conv2d(x, conv.weight, conv.bias, padding=dilation, dilation=dilation))


@torch.no_grad()
def test_a_block_of_depth_four_is_the_published_one() -> None:
    """RSU-4 of Qin et al. 2020, Fig. 2, written out."""
    torch.manual_seed(0)
    block = UBlock(8, 4)
    x = torch.randn(2, 8, 33, 20)  # an odd side: pooling rounds up

    entered = layer(x, block.enter)
    one = layer(entered, block.down[0])
    two = layer(F.max_pool2d(one, 2, ceil_mode=True), block.down[1])
    three = layer(F.max_pool2d(two, 2, ceil_mode=True), block.down[2])
    four = layer(three, block.down[3], 2)
    up = layer(torch.cat([four, three], 1), block.up[2])
    up = layer(torch.cat([F.interpolate(up, two.shape[2:], mode="bilinear"), two], 1), block.up[1])
    up = layer(torch.cat([F.interpolate(up, one.shape[2:], mode="bilinear"), one], 1), block.up[0])

    torch.testing.assert_close(block(x), up + entered)


@torch.no_grad()
def test_a_flat_block_is_dilated_instead_of_pooled() -> None:
    torch.manual_seed(0)
    block = UBlock(8, 4, dilations=(1, 2, 4, 8))
    x = torch.randn(1, 8, 20, 20)

    passed = [entered := layer(x, block.enter)]
    for conv, dilation in zip(block.down, (1, 2, 4, 8), strict=True):
        passed.append(layer(passed[-1], conv, dilation))
    up = passed[4]
    for number, dilation in ((2, 4), (1, 2), (0, 1)):
        up = layer(torch.cat([up, passed[number + 1]], 1), block.up[number], dilation)

    torch.testing.assert_close(block(x), up + entered)


def test_the_network_has_as_many_parameters_as_the_published_one() -> None:
    # Of the ONNX file: weights and biases of 119 convolutions, batch norms folded in.
    network = U2NetP()
    assert sum(isinstance(part, torch.nn.Conv2d) for part in network.modules()) == 119
    assert sum(one.numel() for one in network.parameters()) == 1_125_485


def test_the_bundled_file_is_the_one_that_is_named_and_small() -> None:
    data = bundled_file().read_bytes()
    assert hashlib.sha256(data).hexdigest() == BUNDLED_SHA256
    assert len(data) <= 1_300_000
    card = bundled_file().with_name("README.md").read_text()
    assert BUNDLED_SHA256 in card and "Apache-2.0" in card


def test_loading_leaves_the_random_state_and_gives_the_same_object() -> None:
    load_u2netp.cache_clear()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    network = load_u2netp(CPU)
    assert torch.rand(1) == expected
    assert load_u2netp(CPU) is network
    assert not any(one.requires_grad for one in network.parameters())


def test_another_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("g3pt.models.cutout.BUNDLED_SHA256", "0" * 64)
    load_u2netp.cache_clear()
    with pytest.raises(ValueError, match="cut-out network"):
        load_u2netp(CPU)


@torch.no_grad()
def test_a_disc_on_a_ground_stands_out() -> None:
    y, x = torch.meshgrid(torch.arange(320.0), torch.arange(320.0), indexing="ij")
    inside = (x - 150).hypot(y - 170) < 80
    pixels = torch.where(inside, torch.tensor([0.8, 0.2, 0.1])[:, None, None], 0.7)[None]
    seen = load_u2netp(CPU)(pixels)[0] > 0.5
    assert (seen & inside).sum() / (seen | inside).sum() > 0.95
