"""KL-regularised latents (Table 2), as in 3DShape2VecSet and CLAY: no tokens.

Legend: B batch, L latents, C channels, E channels of the narrow latent.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from g3pt.arguments import MAX_WIDTH, check_ranges
from g3pt.models.cvq import LatentSetConfig, OccupancyDecoder, PointEncoder
from g3pt.models.tokenizer import PyramidOutput, Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class KlConfig(LatentSetConfig):
    """VAE of a latent set: a narrow Gaussian for every latent."""

    kind: Literal["kl"] = "kl"

    latent_dim: int = 64
    """Channels of the narrow latent (64 in CLAY, 32 in 3DShape2VecSet)."""

    def __post_init__(self) -> None:
        LatentSetConfig.__post_init__(self)
        check_ranges(self, "", latent_dim=(1, MAX_WIDTH))


class KlTokenizer(Tokenizer):
    """Latent set, Gaussian, occupancy decoder."""

    no_mean_LC: Tensor

    def __init__(self, config: KlConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = PointEncoder(config)
        self.to_moments = nn.Linear(config.dim, 2 * config.latent_dim)
        self.from_latent = nn.Linear(config.latent_dim, config.dim)
        self.decoder = OccupancyDecoder(config, num_scales=1)
        self.register_buffer("no_mean_LC", torch.zeros(1, config.dim), persistent=False)

    @property
    def scale_lengths(self) -> tuple[int, ...]:
        """One scale: all latents."""
        return (self.config.num_latents,)

    @property
    def num_bits(self) -> int:
        """0: the latents are continuous."""
        return 0

    @property
    def latent_mean(self) -> Tensor:
        """Zeros: no running mean is kept."""
        return self.no_mean_LC

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """One number for every channel of the narrow latents."""
        return (self.config.num_latents, self.config.latent_dim)

    def track_mean(self, latents_BLC: Float[Tensor, "B L C"]) -> None:
        """Does nothing: the loss already pulls the Gaussians to the origin."""

    def bottleneck(self) -> tuple[nn.Module, ...]:
        """The maps to and from the Gaussian."""
        return self.to_moments, self.from_latent

    def moments(
        self, latents_BLC: Float[Tensor, "B L C"]
    ) -> tuple[Float[Tensor, "B L E"], Float[Tensor, "B L E"]]:
        """Mean and log-variance of every narrow latent."""
        mean_BLE, log_variance_BLE = self.to_moments(latents_BLC.float()).chunk(2, dim=-1)
        return mean_BLE, log_variance_BLE.clamp(-30.0, 20.0)

    def expand(self, narrow_BLE: Float[Tensor, "B L E"]) -> Float[Tensor, "B L C"]:
        """Map narrow latents, encoded or sampled, to what the decoder reads."""
        return self.from_latent(narrow_BLE).float()

    def quantize(
        self,
        latents_BLC: Float[Tensor, "B L C"],
        *,
        num_scales: int | None = None,
        keep_B: Int[Tensor, " B"] | None = None,
        bypass: bool = False,
        noise: Float[Tensor, "B L E"] | None = None,
    ) -> PyramidOutput:
        """Draw from N(mean, variance) of every latent, or take the mean without `noise`.

        There is one scale and no sign, so the other arguments change nothing.
        """
        mean_BLE, log_variance_BLE = self.moments(latents_BLC)
        drawn_BLE = mean_BLE
        if noise is not None:
            drawn_BLE = mean_BLE + (0.5 * log_variance_BLE).exp() * noise
        summed_BLC = self.expand(drawn_BLE)
        return PyramidOutput(
            summed_BLC=summed_BLC,
            prefixes=(summed_BLC,),
            residual_BLC=latents_BLC.float() - summed_BLC,
            indices_BT=torch.zeros(
                len(latents_BLC), 0, dtype=torch.int64, device=latents_BLC.device
            ),
            projected=(),
            divergence=gaussian_divergence(mean_BLE, log_variance_BLE),
        )


def require_gaussian(tokenizer: Tokenizer, name: str) -> KlTokenizer:
    """Return the tokenizer, narrowed to a type whose latents are Gaussians.

    Raises:
        ValueError: if it quantises. The message says by `name` where the tokenizer comes from.
    """
    if not isinstance(tokenizer, KlTokenizer):
        raise ValueError(
            f"{name}: a flow runs over the latents of a tokenizer of kind 'kl', this one is of "
            f"kind {tokenizer.config.kind!r}"
        )
    return tokenizer


def gaussian_divergence(
    mean: Float[Tensor, "*B E"], log_variance: Float[Tensor, "*B E"]
) -> Float[Tensor, ""]:
    """KL(N(mean, variance) || N(0, 1)), mean over all numbers (Kingma & Welling 2014)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).mean()
