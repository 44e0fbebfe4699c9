"""Cross-scale querying (Eq. 3-4) and the residual loop."""

import pytest
import torch

from g3pt.models.cqt import CqtConfig, CrossScaleQuerying
from g3pt.models.quantizers import LfqConfig, LfqQuantizer
from g3pt.models.tokenizer import residual_pyramid


def build(**changes):
    torch.manual_seed(0)
    config = CqtConfig(scale_lengths=(1, 4, 16), **changes)
    cqt = CrossScaleQuerying(config, 16, 32, 2)
    return cqt, LfqQuantizer(LfqConfig(num_bits=6), 32, (0.25, 0.5, 1.0))


@pytest.mark.parametrize("keys", ["slot", "content"])
@pytest.mark.parametrize("share_weights", [True, False])
def test_residual_plus_upsampled_sum_restores_input(keys, share_weights):
    cqt, quantizer = build(keys=keys, share_weights=share_weights)
    cqt.mean_LC.normal_()
    latents = torch.randn(2, 16, 32)
    out = residual_pyramid(cqt, quantizer, latents, 3)
    # float32 rounding of three subtractions
    torch.testing.assert_close(out.summed_BLC + out.residual_BLC, latents, atol=1e-5, rtol=0)


def test_truncating_scales_never_changes_coarser_tokens():
    cqt, quantizer = build()
    latents = torch.randn(2, 16, 32)
    full = residual_pyramid(cqt, quantizer, latents, 3)
    part = residual_pyramid(cqt, quantizer, latents, 2)
    assert torch.equal(part.indices_BT, full.indices_BT[:, :5])
    assert torch.equal(part.summed_BLC, full.prefixes[1])


def test_scale_dropout_sums_only_the_kept_scales_of_each_sample():
    cqt, quantizer = build()
    out = residual_pyramid(
        cqt, quantizer, torch.randn(3, 16, 32), 3, keep_B=torch.tensor([1, 2, 3])
    )
    for sample, prefix in enumerate(out.prefixes):
        torch.testing.assert_close(out.summed_BLC[sample], prefix[sample])


def test_equation_3_starts_as_block_average():
    cqt, _ = build()
    block_constant = torch.randn(2, 4, 32).repeat_interleave(4, dim=1)
    pooled = cqt.down(1, block_constant)
    similarity = torch.cosine_similarity(pooled[:, :, None], block_constant[:, None, ::4], dim=-1)
    assert torch.equal(similarity.argmax(dim=-1), torch.arange(4).expand(2, 4))


def test_equation_4_tells_the_tokens_of_a_scale_apart():
    cqt, _ = build()
    codes = torch.randn(1, 4, 32)
    swapped = codes[:, [1, 0, 2, 3]]
    assert not torch.allclose(cqt.up(1, codes), cqt.up(1, swapped), atol=1e-3)


def test_content_keys_cannot_tell_the_order_of_a_scale():
    cqt, _ = build(keys="content")
    codes = torch.randn(1, 4, 32)
    torch.testing.assert_close(cqt.up(1, codes), cqt.up(1, codes.flip(1)))


def test_first_scale_carries_the_running_mean():
    cqt, _ = build()
    codes = torch.randn(1, 1, 32)
    before = cqt.up(0, codes)
    cqt.mean_LC.fill_(3.0)
    torch.testing.assert_close(cqt.up(0, codes), before + 3.0)


def test_running_mean_approaches_the_mean_of_the_batches():
    cqt, _ = build(center_rate=0.5)
    latents = torch.ones(2, 16, 32)
    for _ in range(20):
        cqt.track_mean(latents)
    torch.testing.assert_close(cqt.mean_LC, torch.ones(16, 32))
    off, _ = build(center=False)
    off.track_mean(latents)
    assert off.mean_LC.abs().max() == 0


def test_scales_must_increase_and_fit_the_latents():
    with pytest.raises(ValueError, match="strictly increase"):
        CqtConfig(scale_lengths=(4, 4))
    with pytest.raises(ValueError, match="more than the 16 latents"):
        CrossScaleQuerying(CqtConfig(scale_lengths=(1, 32)), 16, 32, 2)
