"""A fixed set of held-out shapes in memory, and measurements of a tokenizer on it.

Legend: B shapes, N surface points, Q query points, L latents, C channels, T tokens.
"""

import logging
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from g3pt.arguments import MAX_SEED, check_ranges
from g3pt.models.token_statistics import scale_statistics
from g3pt.models.tokenizer import Tokenizer
from g3pt.shapes.shape_set import VALIDATION, Selection
from g3pt.shapes.shards import ShardSet
from g3pt.shapes.stored import MAX_STORED, normals, positions
from g3pt.training.distributed import World

LOGGER = logging.getLogger(__name__)

DEAD_BITS = 0.2
"""Bit entropy, in bits, below which a scale counts as dying."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationConfig:
    """Held-out shapes that are evaluated during training."""

    shards: str = ""
    """Folder of prepared shapes; empty switches validation off."""
    selection: Selection = VALIDATION
    """Which of its shapes are evaluated."""
    num_shapes: int = 128
    """Most shapes that are evaluated, spread evenly over the selection."""
    num_points: int = 2048
    num_volume_queries: int = 4096
    num_near_queries: int = 2048
    """Number of queries from the group nearest to the surface."""
    batch_size: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(
            self,
            "validation",
            num_shapes=(0, MAX_STORED),
            num_points=(1, MAX_STORED),
            num_volume_queries=(0, MAX_STORED),
            num_near_queries=(0, MAX_STORED),
            batch_size=(1, MAX_STORED),
            seed=(0, MAX_SEED),
        )


@dataclass(frozen=True)
class ValidationShapes:
    """Tensors of this process's share of the held-out shapes, in the unit frame."""

    world: World
    """The processes that have the other shares."""
    num_shapes: int
    """Number of shapes of all processes."""
    points_BN3: Tensor
    normals_BN3: Tensor
    volume_BQ3: Tensor
    volume_inside_BQ: Tensor
    near_BQ3: Tensor
    near_inside_BQ: Tensor


def load_validation(config: ValidationConfig, world: World) -> ValidationShapes:
    """Load this process's share of the subset that `config` describes; the same every time."""
    part = ShardSet(config.shards, config.selection)
    stored = part.prepare
    num_shapes = min(config.num_shapes, len(part))
    rows = [round(row) for row in np.linspace(0, len(part) - 1, num_shapes).tolist()]
    narrowest = int(np.argmin(stored.near_sigmas))
    volume_numbers = np.arange(min(config.num_volume_queries, stored.num_volume_queries))
    near_numbers = np.arange(min(config.num_near_queries, stored.near_group_size))
    near_numbers = near_numbers + narrowest * stored.near_group_size
    columns: dict[str, list[np.ndarray]] = defaultdict(list)
    for row in [rows[number] for number in world.own_rows(num_shapes)]:
        rng = np.random.default_rng((config.seed, 4, row))
        points, directions = part.draw_surface(row, min(config.num_points, stored.num_points), rng)
        volume, volume_inside = part[row].volume(volume_numbers)
        near, near_inside = part[row].near(near_numbers, stored.near_sigmas[narrowest])
        columns["points_BN3"].append(positions(points))
        columns["normals_BN3"].append(normals(directions))
        columns["volume_BQ3"].append(positions(volume))
        columns["volume_inside_BQ"].append(volume_inside != 0)
        columns["near_BQ3"].append(positions(near))
        columns["near_inside_BQ"].append(near_inside != 0)
    return ValidationShapes(
        world=world,
        num_shapes=num_shapes,
        **{name: torch.from_numpy(np.stack(parts)) for name, parts in columns.items()},
    )


@torch.no_grad()
def measure_tokenizer(
    tokenizer: Tokenizer, shapes: ValidationShapes, *, batch_size: int = 16, bypass: bool = False
) -> dict[str, float]:
    """IoU after every prefix of scales, near-surface accuracy, and the health of the tokens.

    Every process measures its share of the shapes; all get the numbers of all shapes.

    Keys end in `/S` for scale S. `residual/S` is the energy left after scale S, as a share of
    the energy of the centred latents.
    """
    device = next(tokenizer.parameters()).device
    num_scales = tokenizer.num_scales
    ious: list[Tensor] = []
    accuracies: list[Tensor] = []
    residuals: list[Tensor] = []
    indices: list[Tensor] = []
    for first in range(0, len(shapes.points_BN3), batch_size):
        part = slice(first, first + batch_size)
        latents_BLC = tokenizer.encode(
            shapes.points_BN3[part].to(device), shapes.normals_BN3[part].to(device)
        )
        pyramid = tokenizer.quantize(latents_BLC, bypass=bypass)
        truth = shapes.volume_inside_BQ[part].to(device)
        queries = shapes.volume_BQ3[part].to(device)
        prefix_ious = []
        for scale, prefix_BLC in enumerate(pyramid.prefixes):
            memory_BLC = tokenizer.shape_memory(prefix_BLC, scale + 1)
            prefix_ious.append(_iou(tokenizer.occupancy(memory_BLC, queries) > 0, truth))
            if scale + 1 == num_scales:
                near = tokenizer.occupancy(memory_BLC, shapes.near_BQ3[part].to(device)) > 0
                agrees = near == shapes.near_inside_BQ[part].to(device)
                accuracies.append(agrees.float().mean(dim=1))
        ious.append(torch.stack(prefix_ious, dim=1))
        residuals.append(_residual_energy(tokenizer, latents_BLC, pyramid.prefixes))
        indices.append(pyramid.indices_BT.cpu())
    iou_BS, accuracy_B, residual_BS, indices_BT = (
        shapes.world.gather_rows(torch.cat(each), shapes.num_shapes)
        for each in (ious, accuracies, residuals, indices)
    )
    iou_S, residual_S = (each.mean(dim=0).tolist() for each in (iou_BS, residual_BS))
    metrics = {"iou": iou_S[-1], "near_accuracy": float(accuracy_B.mean())}
    for scale in range(num_scales):
        metrics[f"iou/{scale}"] = iou_S[scale]
        metrics[f"residual/{scale}"] = residual_S[scale]
    if not tokenizer.num_bits:
        return metrics
    metrics["usage"] = scale_statistics(indices_BT, tokenizer.num_bits).usage
    for scale, part in enumerate(indices_BT.split(list(tokenizer.scale_lengths), dim=1)):
        health = scale_statistics(part, tokenizer.num_bits)
        metrics[f"usage/{scale}"] = health.usage
        metrics[f"perplexity/{scale}"] = health.perplexity
        metrics[f"bit_entropy/{scale}"] = health.bit_entropy
    return metrics


def warn_of_dying_scales(metrics: dict[str, float], num_scales: int) -> list[str]:
    """Log and return warnings about unhealthy values in the metrics of `measure_tokenizer`."""
    found: list[str] = []
    for scale in range(num_scales):
        entropy = metrics[f"bit_entropy/{scale}"]
        if entropy < DEAD_BITS:
            found.append(
                f"scale {scale}: its bits die (entropy {entropy:.2f} across shapes, expected "
                f"above {DEAD_BITS}); lower loss.latent_weight or lengthen loss.warmup_share"
            )
        if scale and metrics[f"residual/{scale}"] > metrics[f"residual/{scale - 1}"]:
            found.append(
                f"scale {scale}: the residual grows, from {metrics[f'residual/{scale - 1}']:.3f} "
                f"to {metrics[f'residual/{scale}']:.3f}; raise loss.latent_weight"
            )
    for message in found:
        LOGGER.warning("%s", message)
    return found


def _iou(predicted_BQ: Tensor, truth_BQ: Tensor) -> Float[Tensor, " B"]:
    union = (predicted_BQ | truth_BQ).sum(dim=1)
    return (predicted_BQ & truth_BQ).sum(dim=1) / union.clamp(min=1)


def _residual_energy(
    tokenizer: Tokenizer, latents_BLC: Tensor, prefixes: tuple[Tensor, ...]
) -> Float[Tensor, "B S"]:
    centred = (latents_BLC - tokenizer.latent_mean).square().mean(dim=(1, 2)).clamp(min=1e-12)
    left = [(latents_BLC - prefix).square().mean(dim=(1, 2)) for prefix in prefixes]
    return torch.stack(left, dim=1) / centred[:, None]
