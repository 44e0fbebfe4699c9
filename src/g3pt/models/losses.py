"""Losses of stage 1, and of the first guess of stage 2, as pure functions in float32.

The losses of CAR are in its heads (`heads.py`).

Legend: B batch, Q query points, L latents, C channels, T tokens, K bits, P = T K.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from g3pt.models.quantizers import unpack_bits


def occupancy_loss(
    logits_BQ: Float[Tensor, "B Q"],
    occupancy_BQ: Bool[Tensor, "B Q"],
    near_BQ: Bool[Tensor, "B Q"],
    near_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """BCE on volume queries + `near_weight` x BCE on near-surface queries (separate means)."""
    losses_BQ = F.binary_cross_entropy_with_logits(
        logits_BQ.float(), occupancy_BQ.float(), reduction="none"
    )
    return _by_group(losses_BQ, near_BQ, near_weight)


@torch.no_grad()
def truncated_distances(
    queries_BQ3: Float[Tensor, "B Q 3"],
    points_BN3: Float[Tensor, "B N 3"],
    normals_BN3: Float[Tensor, "B N 3"],
    inside_BQ: Bool[Tensor, "B Q"],
    truncation: float,
) -> Float[Tensor, "B Q"]:
    """Signed distances over `truncation`, clipped to [-1, 1], positive inside.

    Each surface point stands for a disc in its tangent plane, whose radius is the mean distance
    between neighbouring points. The distance is that to the disc of the nearest point. The sign
    comes from the labels, which are exact.

    Args:
        queries_BQ3: query points of the unit frame.
        points_BN3: points on the surface.
        normals_BN3: their normals.
        inside_BQ: exact labels.
        truncation: distance that becomes 1, in unit-frame lengths.
    """
    nearest_BQ1 = torch.cdist(queries_BQ3, points_BN3).argmin(dim=-1)[..., None]
    offset_BQ3 = queries_BQ3 - points_BN3.gather(1, nearest_BQ1.expand(-1, -1, 3))
    normal_BQ3 = F.normalize(normals_BN3, dim=-1).gather(1, nearest_BQ1.expand(-1, -1, 3))
    along_BQ = (offset_BQ3 * normal_BQ3).sum(dim=-1)
    across_BQ = (offset_BQ3 - along_BQ[..., None] * normal_BQ3).norm(dim=-1)
    beyond_BQ = (across_BQ - _spacing(points_BN3)[:, None]).clamp(min=0)
    distance_BQ = torch.hypot(along_BQ, beyond_BQ)
    signed_BQ = torch.where(inside_BQ, distance_BQ, -distance_BQ)
    return (signed_BQ / truncation).clamp(-1.0, 1.0)


def _spacing(points_BN3: Float[Tensor, "B N 3"]) -> Float[Tensor, " B"]:
    """Mean distance of a point to the nearest other one."""
    nearest_two_BN2 = torch.cdist(points_BN3, points_BN3).topk(2, dim=-1, largest=False).values
    return nearest_two_BN2[..., 1].mean(dim=-1)


def distance_loss(
    logits_BQ: Float[Tensor, "B Q"],
    targets_BQ: Float[Tensor, "B Q"],
    near_BQ: Bool[Tensor, "B Q"],
    near_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """L1 between tanh of the logits and truncated distances, averaged as in `occupancy_loss`."""
    losses_BQ = (logits_BQ.float().tanh() - targets_BQ.float()).abs()
    return _by_group(losses_BQ, near_BQ, near_weight)


def soft_iou_loss(
    logits_BQ: Float[Tensor, "B Q"],
    occupancy_BQ: Bool[Tensor, "B Q"],
    volume_BQ: Bool[Tensor, "B Q"],
) -> Float[Tensor, ""]:
    """One minus the soft IoU of predicted probabilities over volume queries, mean over shapes.

    Added to BCE, it keeps an uncertain shape from vanishing: where nothing is certain, predicting
    that every point is empty gives the best BCE and the worst IoU.
    """
    inside_BQ = logits_BQ.float().sigmoid() * volume_BQ
    wanted_BQ = occupancy_BQ.float() * volume_BQ
    shared_B = (inside_BQ * wanted_BQ).sum(dim=1)
    united_B = (inside_BQ + wanted_BQ).sum(dim=1) - shared_B
    return (1 - (shared_B + 0.5) / (united_B + 0.5)).mean()


def sign_loss(
    guess_BTK: Float[Tensor, "B T K"], indices_BT: Int[Tensor, "B T"], root_PP: Float[Tensor, "P P"]
) -> Float[Tensor, ""]:
    """Squared error of the features that guessed signs decode to, relative to their squared norm.

    Args:
        guess_BTK: expected signs of bits.
        indices_BT: the true tokens.
        root_PP: maps signs to features of the same norm (`guess.metric_root`), P = T K.

    Returns:
        The error; a guess of zeros has 1.
    """
    goal_BP = unpack_bits(indices_BT, guess_BTK.shape[-1]).flatten(1).float() * 2 - 1
    off_BP = (guess_BTK.flatten(1).float() - goal_BP) @ root_PP
    size = (goal_BP @ root_PP).square().mean().clamp(min=1e-6)
    return off_BP.square().mean() / size


def _by_group(
    losses_BQ: Float[Tensor, "B Q"], near_BQ: Bool[Tensor, "B Q"], near_weight: float
) -> Float[Tensor, ""]:
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

    The latents are detached, because pulling the encoder towards its codes collapses them. The
    error is divided by the variance across shapes. The variance has a floor, because dividing
    by a vanishing variance diverges (docs/deviations.md).
    """
    target_BLC = latents_BLC.detach().float()
    variance = target_BLC.var(dim=0, unbiased=False).mean().clamp(min=variance_floor)
    errors = [F.mse_loss(prefix.float(), target_BLC) for prefix in prefixes]
    return torch.stack(errors).mean() / variance


def commitment_loss(projected: Sequence[Float[Tensor, "B _ K"]]) -> Float[Tensor, ""]:
    """Squared distance of the bit features from their signs, mean over scales."""
    return torch.stack([(z - z.detach().sign()).square().mean() for z in projected]).mean()


def consistency_loss(
    projected: Sequence[Float[Tensor, "B _ K"]],
    again: Sequence[Float[Tensor, "B _ K"]],
    margin: float,
) -> Float[Tensor, ""]:
    """How far bits of a second draw of points fall short of keeping the signs of the first.

    A bit loses nothing once its feature is on the side of the first draw's sign by the margin.

    Args:
        projected: bit features of the first draw, which set the signs.
        again: those of the second, given the first one's coarser tokens
            (`DiscreteTokenizer.project_given`).
        margin: distance from the sign's edge that is asked for.

    Returns:
        Mean over scales of the mean shortfall of a bit.
    """
    pairs = zip(projected, again, strict=True)
    return torch.stack([(margin - z.detach().sign() * a).relu().mean() for z, a in pairs]).mean()


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
