"""The diffusion rival of Table 1: rectified flow over the latents of the KL-VAE.

It belongs to the family of 3DShape2VecSet and CLAY. A shape is a set of narrow Gaussian latents
(`alternatives/kl.py`), and a transformer turns noise into such a set along straight paths
(Liu et al. 2022, Lipman et al. 2022). Time runs from 0 (noise) to 1 (a shape).

Legend: B batch, L latents, E channels of the narrow latent, D width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from g3pt.models.conditioning.contract import ConditionBatch
from g3pt.models.rivals.trunk import Trunk, TrunkConfig, TrunkContext


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowConfig(TrunkConfig):
    """Transformer that gives the velocity of noisy latents."""

    num_latents: int = 128
    """Number of latents of the KL tokenizer."""

    latent_dim: int = 64
    """Channels of its narrow latents."""


class TimeEmbedding(nn.Module):
    """Sines and cosines of the time through a small MLP."""

    frequencies: Tensor

    def __init__(self, dim: int, num_frequencies: int = 64) -> None:
        super().__init__()
        # The argument is 1000 t, as in diffusion models: wavelengths from 2 pi / 1000 to 20 pi.
        powers = torch.arange(num_frequencies) / num_frequencies
        self.register_buffer("frequencies", 1000 * 10_000.0**-powers, persistent=False)
        self.expand = nn.Linear(2 * num_frequencies, dim)
        self.contract = nn.Linear(dim, dim)

    def forward(self, time_B: Float[Tensor, " B"]) -> Float[Tensor, "B D"]:
        """Embed times in [0, 1]."""
        angles = time_B.float()[:, None] * self.frequencies
        return self.contract(F.silu(self.expand(torch.cat([angles.sin(), angles.cos()], dim=-1))))


class Flow(nn.Module):
    """Velocity of every latent at a time, given the condition.

    It works on normalised latents: each channel has the mean of the training latents subtracted
    and is divided by their standard deviation (`set_statistics`), so that data have the spread of
    the noise.
    """

    shift_E: Tensor
    scale_E: Tensor

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.width
        self.input_projection = nn.Linear(config.latent_dim, dim)
        self.positions = nn.Parameter(torch.randn(config.num_latents, dim) * 0.02)
        self.time = TimeEmbedding(dim)
        self.trunk = Trunk(config)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, config.latent_dim)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("shift_E", torch.zeros(config.latent_dim))
        self.register_buffer("scale_E", torch.ones(config.latent_dim))

    @torch.no_grad()
    def set_statistics(self, mean_E: Float[Tensor, " E"], deviation_E: Float[Tensor, " E"]) -> None:
        """Keep the mean and the standard deviation of each channel of the training latents.

        Raises:
            ValueError: if a channel never changes.
        """
        if not bool((deviation_E > 0).all()):
            raise ValueError(
                "latent statistics: a channel of the training latents is constant; the KL weight "
                "of the tokenizer is too high, or too few shapes were looked at"
            )
        self.shift_E.copy_(mean_E)
        self.scale_E.copy_(deviation_E)

    def normalize(self, latents_BLE: Float[Tensor, "B L E"]) -> Float[Tensor, "B L E"]:
        """Normalise latents of the tokenizer per channel."""
        return (latents_BLE - self.shift_E) / self.scale_E

    def denormalize(self, normalized_BLE: Float[Tensor, "B L E"]) -> Float[Tensor, "B L E"]:
        """Undo `normalize`."""
        return normalized_BLE * self.scale_E + self.shift_E

    def encode_condition(self, condition: ConditionBatch) -> TrunkContext:
        """Encode the condition once, for all steps of the sampler."""
        return self.trunk.encode_condition(condition)

    def forward(
        self,
        noisy_BLE: Float[Tensor, "B L E"],
        time_B: Float[Tensor, " B"],
        condition: ConditionBatch | TrunkContext,
    ) -> Float[Tensor, "B L E"]:
        """Velocity at a point of the path, in float32.

        Args:
            noisy_BLE: normalised latents at that point.
            time_B: time from 0 (noise) to 1 (a shape).
            condition: raw conditions, or the output of `encode_condition`.
        """
        if isinstance(condition, ConditionBatch):
            condition = self.encode_condition(condition)
        embedded_BLD = self.input_projection(noisy_BLE)
        x_BLD = embedded_BLD + self.positions.to(embedded_BLD.dtype)
        x_BLD = self.trunk(x_BLD, condition, self.time(time_B))
        return self.head(self.norm(x_BLD)).float()


def straight_path(
    noise_BLE: Float[Tensor, "B L E"],
    data_BLE: Float[Tensor, "B L E"],
    time_B: Float[Tensor, " B"],
) -> Float[Tensor, "B L E"]:
    """Point at a time on the straight line from noise to data; its velocity is data - noise."""
    return torch.lerp(noise_BLE, data_BLE, time_B[:, None, None])


def velocity_errors(
    velocity_BLE: Float[Tensor, "B L E"],
    noise_BLE: Float[Tensor, "B L E"],
    data_BLE: Float[Tensor, "B L E"],
) -> Float[Tensor, " B"]:
    """Mean squared distance of each shape's velocity from that of its straight path."""
    return (velocity_BLE - (data_BLE - noise_BLE)).square().mean(dim=(1, 2))


def logit_normal(standard_B: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Times from standard normal numbers; most lie mid-path, where the velocity is hardest."""
    return torch.sigmoid(standard_B)


def gaussian_sample(
    mean: Float[Tensor, "*B"], log_variance: Float[Tensor, "*B"], standard: Float[Tensor, "*B"]
) -> Float[Tensor, "*B"]:
    """Sample of N(mean, variance), made from standard normal numbers."""
    return mean + (0.5 * log_variance).exp() * standard
