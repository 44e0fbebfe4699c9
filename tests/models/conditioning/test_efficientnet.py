import hashlib

import pytest
import torch
import torch.nn.functional as F

from g3pt.models.conditioning.efficientnet import STAGES, EfficientNetLite0, SameConv
from g3pt.models.conditioning.efficientnet_conversion import SOURCE_SHA256, convert, folded
from g3pt.models.conditioning.efficientnet_weights import (
    BUNDLED_SHA256,
    bundled_file,
    check_bundled,
    load_efficientnet,
)

CPU = torch.device("cpu")


def published_weights() -> dict[str, torch.Tensor]:
    """Random values under the names and sizes of the published file."""
    torch.manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}

    def add(layer, norm, width, channels, kernel):
        fan_in = channels * kernel**2
        tensors[f"{layer}.weight"] = torch.randn(width, channels, kernel, kernel) / fan_in**0.5
        tensors[f"{norm}.weight"] = torch.rand(width) + 0.5
        tensors[f"{norm}.bias"] = torch.randn(width) * 0.1
        tensors[f"{norm}.running_mean"] = torch.randn(width) * 0.1
        tensors[f"{norm}.running_var"] = torch.rand(width) + 0.5

    add("_conv_stem", "_bn0", 32, 3, 3)
    channels, number = 32, 0
    for stage in STAGES:
        for _ in range(stage.num_blocks):
            name, hidden = f"_blocks.{number}", channels * stage.expansion
            if stage.expansion > 1:
                add(f"{name}._expand_conv", f"{name}._bn0", hidden, channels, 1)
            add(f"{name}._depthwise_conv", f"{name}._bn1", hidden, 1, stage.kernel)
            add(f"{name}._project_conv", f"{name}._bn2", stage.width, hidden, 1)
            channels, number = stage.width, number + 1
    return tensors


def unfolded_features(tensors, pixels):
    """The slow twin: convolutions and batch norms apart, padding by hand."""

    def layer(x, convolution, norm, stride=1):
        weight = tensors[f"{convolution}.weight"]
        kernel, side = weight.shape[-1], x.shape[-1]
        padding = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        before, after = padding // 2, padding - padding // 2
        x = F.pad(x, (before, after, before, after))
        x = F.conv2d(x, weight, stride=stride, groups=x.shape[1] // weight.shape[1])
        mean, variance, gain, shift = (
            tensors[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, variance, gain, shift, eps=1e-3)

    x = F.relu6(layer((pixels * 255 - 127) / 128, "_conv_stem", "_bn0", 2))
    seen, number = [], 0
    for stage in STAGES:
        for block in range(stage.num_blocks):
            name, before = f"_blocks.{number}", x
            stride = stage.stride if block == 0 else 1
            if stage.expansion > 1:
                x = F.relu6(layer(x, f"{name}._expand_conv", f"{name}._bn0"))
            x = F.relu6(layer(x, f"{name}._depthwise_conv", f"{name}._bn1", stride))
            x = layer(x, f"{name}._project_conv", f"{name}._bn2")
            x = x + before if x.shape == before.shape else x
            number += 1
        seen.append(x)
    return seen[4], seen[6]


@torch.no_grad()
def test_folded_batch_norms_change_nothing():
    tensors = published_weights()
    network = EfficientNetLite0().eval()
    network.load_state_dict(folded(tensors))
    pixels = torch.rand(2, 3, 64, 64)
    found = network(pixels)
    fine, coarse = unfolded_features(tensors, pixels)
    assert found.fine_BFGG.shape == (2, 112, 4, 4) and found.coarse_BCHH.shape == (2, 320, 2, 2)
    # sixteen blocks in float32
    torch.testing.assert_close(found.fine_BFGG, fine, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.coarse_BCHH, coarse, rtol=1e-3, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(("kernel", "before"), [(3, 0), (5, 1)])
def test_the_odd_pixel_of_padding_is_at_the_end(kernel, before):
    conv = SameConv(1, 1, kernel, stride=2)
    conv.weight.zero_()[0, 0, before, before] = 1
    conv.bias.zero_()
    picture = torch.rand(1, 1, 8, 8)
    assert torch.equal(conv(picture), picture[:, :, ::2, ::2])


def test_the_bundled_file_is_the_one_that_configs_name():
    assert hashlib.sha256(bundled_file().read_bytes()).hexdigest() == BUNDLED_SHA256
    card = (bundled_file().parent / "README.md").read_text(encoding="utf-8")
    assert BUNDLED_SHA256 in card and SOURCE_SHA256 in card and "Apache-2.0" in card


def test_another_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=f"trained with another picture network.*{BUNDLED_SHA256}"):
        check_bundled("0" * 64)
    (tmp_path / "other.pth").write_bytes(b"other")
    with pytest.raises(ValueError, match=f"expected {SOURCE_SHA256}"):
        convert(tmp_path / "other.pth", tmp_path / "out.safetensors")


@torch.no_grad()
def test_a_picture_is_more_like_its_mirror_image_than_like_another():
    network = load_efficientnet(BUNDLED_SHA256, CPU)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    height, width = torch.meshgrid(*[torch.linspace(-1, 1, 128)] * 2, indexing="ij")
    disc = ((height - 0.1) ** 2 + (width + 0.3) ** 2 < 0.3).float()
    bars = (torch.sin(40 * width) > 0).float() * (height.abs() < 0.2)
    pictures = 1 - torch.stack([disc, disc.flip(1), bars])[:, None].expand(-1, 3, -1, -1)
    seen = F.normalize(network(pictures).coarse_BCHH.mean(dim=(2, 3)), dim=1)
    likeness = seen @ seen.T
    assert likeness[0, 1] > 0.8 > 0.5 > likeness[0, 2]
