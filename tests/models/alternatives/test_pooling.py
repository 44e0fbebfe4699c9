"""Scales by pooling along the sequence."""

import torch
import torch.nn.functional as F

from g3pt.models.alternatives.pooling import PoolingConfig, PoolingResampling


def resampling(share: float = 0.5) -> PoolingResampling:
    torch.manual_seed(0)
    config = PoolingConfig(
        num_latents=8, dim=4, num_heads=1, scale_lengths=(1, 4, 8), residual_share=share
    )
    return PoolingResampling(config)


def test_down_is_the_mean_of_equal_stretches():
    latents = torch.randn(2, 8, 4)
    torch.testing.assert_close(resampling().down(1, latents), latents.unflatten(1, (4, 2)).mean(2))
    torch.testing.assert_close(resampling().down(2, latents), latents)


def test_up_without_convolution_is_interpolation():
    codes = torch.randn(2, 4, 4)
    expected = F.interpolate(codes.transpose(1, 2), 8, mode="linear").transpose(1, 2)
    torch.testing.assert_close(resampling(share=0.0).up(1, codes), expected)


def test_up_keeps_a_constant_where_the_convolution_is_the_identity():
    pooling = resampling()
    with torch.no_grad():
        pooling.convolutions[1].weight.zero_()
        pooling.convolutions[1].weight[:, :, 1] = torch.eye(4)
        pooling.convolutions[1].bias.zero_()
    codes = torch.randn(1, 1, 4).expand(1, 4, 4)
    torch.testing.assert_close(pooling.up(1, codes), codes[:, :1].expand(1, 8, 4))


def test_the_mean_comes_back_with_the_first_scale_alone():
    pooling = resampling()
    zero = torch.zeros(1, 1, 4)
    without = pooling.up(0, zero)
    later = pooling.up(1, torch.zeros(1, 4, 4))
    pooling.mean_LC += 1.0
    torch.testing.assert_close(pooling.up(0, zero), without + 1.0)
    torch.testing.assert_close(pooling.up(1, torch.zeros(1, 4, 4)), later)
