"""Quantization on one scale, where every latent is a token: for VQ-VAE, triplane and volume.

Legend: B batch, L latents, C channels.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from g3pt.models.tokenizer import DiscreteTokenizer, Resampling


class SingleScale(Resampling):
    """The identity as a resampling, with a running mean like that of the CQT."""

    def __init__(self, num_latents: int, dim: int, *, center: bool, center_rate: float) -> None:
        super().__init__()
        self._rate = center_rate if center else 0.0
        self.register_buffer("mean_LC", torch.zeros(num_latents, dim))

    def down(self, scale: int, features_BLC: Float[Tensor, "B L C"]) -> Float[Tensor, "B L C"]:
        """Return the latents unchanged."""
        return features_BLC

    def up(self, scale: int, codes_BTC: Float[Tensor, "B L C"]) -> Float[Tensor, "B L C"]:
        """Return the codes with the running mean added."""
        return codes_BTC + self.mean_LC

    def track_mean(self, latents_BLC: Float[Tensor, "B L C"]) -> None:
        """Move the running mean of every latent towards this batch; called while training."""
        if self._rate:
            self.mean_LC.lerp_(latents_BLC.detach().float().mean(dim=0), self._rate)


class SingleScaleTokenizer(DiscreteTokenizer):
    """Every latent is a token. The kinds differ in encoder and decoder."""

    identity: SingleScale

    @property
    def scale_lengths(self) -> tuple[int, ...]:
        """One scale: all latents."""
        return (self.config.num_latents,)

    @property
    def resampling(self) -> Resampling:
        """The identity: latents and tokens are the same."""
        return self.identity

    def bottleneck(self) -> tuple[nn.Module, ...]:
        """The quantizer."""
        return self.identity, self.quantizer
