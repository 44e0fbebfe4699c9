"""One scale: the latents are the tokens. What VQ-VAE, triplane and volume quantise with.

Legend: B batch, L latents, C channels.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from g3pt.models.tokenizer import DiscreteTokenizer, Resampling


class SingleScale(nn.Module):
    """The identity in place of a resampling, with the running mean that the CQT keeps too."""

    mean_LC: Tensor

    def __init__(self, num_latents: int, dim: int, *, center: bool, center_rate: float) -> None:
        super().__init__()
        self._rate = center_rate if center else 0.0
        self.register_buffer("mean_LC", torch.zeros(num_latents, dim))

    def down(self, scale: int, features_BLC: Float[Tensor, "B L C"]) -> Float[Tensor, "B L C"]:
        """Latents as they are."""
        return features_BLC

    def up(self, scale: int, codes_BTC: Float[Tensor, "B L C"]) -> Float[Tensor, "B L C"]:
        """Codes as they are, the mean given back."""
        return codes_BTC + self.mean_LC

    def track_mean(self, latents_BLC: Float[Tensor, "B L C"]) -> None:
        """Move the running mean of every latent towards this batch; called while training."""
        if self._rate:
            self.mean_LC.lerp_(latents_BLC.detach().float().mean(dim=0), self._rate)


class SingleScaleTokenizer(DiscreteTokenizer):
    """Every latent is a token; encoder and decoder are what the kinds differ in."""

    identity: SingleScale

    @property
    def scale_lengths(self) -> tuple[int, ...]:
        """One scale: all latents."""
        return (self.config.num_latents,)

    @property
    def resampling(self) -> Resampling:
        """None to speak of: the identity."""
        return self.identity

    def bottleneck(self) -> tuple[nn.Module, ...]:
        """The quantizer."""
        return self.identity, self.quantizer
