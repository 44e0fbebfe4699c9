"""KL-regularised latents."""

import torch
from torch.distributions import Normal, kl_divergence

from g3pt.models.alternatives.kl import KlConfig, KlTokenizer, gaussian_divergence


def tokenizer() -> KlTokenizer:
    torch.manual_seed(0)
    config = KlConfig(
        num_latents=4, dim=16, num_heads=2, encoder_layers=1, decoder_layers=1, latent_dim=3
    )
    return KlTokenizer(config)


def test_a_unit_gaussian_has_no_divergence():
    assert float(gaussian_divergence(torch.zeros(2, 3), torch.zeros(2, 3))) == 0.0


def test_the_divergence_is_that_of_torch_distributions():
    mean, log_variance = torch.randn(5, 7), torch.randn(5, 7)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).mean()
    # float32 sums of 35 numbers
    torch.testing.assert_close(
        gaussian_divergence(mean, log_variance), expected, atol=1e-6, rtol=1e-5
    )


def test_noise_spreads_the_latents_and_none_takes_their_mean():
    model = tokenizer()
    latents = torch.randn(1, 4, 16).expand(4096, -1, -1)
    noise = torch.randn(4096, *model.noise_shape)
    with torch.no_grad():
        drawn = model.quantize(latents, noise=noise).summed_BLC
        mean = model.quantize(latents[:1]).summed_BLC
    assert float(drawn.std(dim=0).mean()) > 0.1
    # standard error of 4096 draws with a deviation near 1
    torch.testing.assert_close(drawn.mean(dim=0), mean[0], atol=0.08, rtol=0)


def test_there_are_no_tokens():
    model = tokenizer()
    coded = model.quantize(torch.randn(2, 4, 16))
    assert coded.indices_BT.shape == (2, 0)
    assert model.num_bits == 0
    assert coded.divergence is not None
