"""Losses of stage 1, as pure functions in float32; the heads of CAR have their own.

Legend: B batch, Q query points, L latents, C channels, K bits.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def occupancy_loss(
    logits_BQ: Float[Tensor, "B Q"],
    occupancy_BQ: Bool[Tensor, "B Q"],
    near_BQ: Bool[Tensor, "B Q"],
    near_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """BCE on volume queries + `near_weight` x BCE on near-surface queries (means apart)."""
    losses_BQ = F.binary_cross_entropy_with_logits(
        logits_BQ.float(), occupancy_BQ.float(), reduction="none"
    )
    near = near_BQ.float()
    volume_mean = (losses_BQ * (1 - near)).sum() / (1 - near).sum().clamp(min=1)
    near_mean = (losses_BQ * near).sum() / near.sum().clamp(min=1)
    return volume_mean + near_weight * near_mean


def latent_loss(
    prefixes: Sequence[Float[Tensor, "B L C"]],
    latents_BLC: Float[Tensor, "B L C"],
    *,
    variance_floor: float = 0.2,
) -> Float[Tensor, ""]:
    """Mean over scales of the squared error of each prefix sum against the latents.

    The latents are detached: pulling the encoder towards its codes collapses them. The
    error is relative to the variance across shapes, floored because dividing by a
    vanishing variance diverges (docs/deviations.md).
    """
    target_BLC = latents_BLC.detach().float()
    variance = target_BLC.var(dim=0, unbiased=False).mean().clamp(min=variance_floor)
    errors = [F.mse_loss(prefix.float(), target_BLC) for prefix in prefixes]
    return torch.stack(errors).mean() / variance


def commitment_loss(projected: Sequence[Float[Tensor, "B _ K"]]) -> Float[Tensor, ""]:
    """Squared distance of the bit features from their signs, mean over scales."""
    return torch.stack([(z - z.detach().sign()).square().mean() for z in projected]).mean()


def entropy_loss(
    projected: Sequence[Float[Tensor, "B _ K"]], *, sharpness: float = 4.0
) -> Float[Tensor, ""]:
    """Entropy per sample minus entropy of the pooled bit, bits taken as independent."""

    def entropy(p: Tensor) -> Tensor:
        p = p.clamp(1e-6, 1 - 1e-6)
        return -(p * p.log2() + (1 - p) * (1 - p).log2())

    terms = []
    for z in projected:
        p = torch.sigmoid(sharpness * z)
        terms.append(entropy(p).mean() - entropy(p.mean(dim=0)).mean())
    return torch.stack(terms).mean()
