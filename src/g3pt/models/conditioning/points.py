"""A partial point cloud as a condition, read by the frozen encoder of stage 1.

The encoder belongs to the tokenizer, so it is neither held nor stored here. Code that builds a
batch calls `encode_points` with the tokenizer.

Legend: B batch, N surface points, L latents, C tokenizer channels.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from g3pt.arguments import MAX_POINTS, MAX_WIDTH, check_ranges
from g3pt.models.conditioning.contract import ConditionBatch, ConditionOutput
from g3pt.models.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class PointsConditionConfig:
    """Points with normals of the visible part of the surface, in the unit frame of the whole."""

    kind: Literal["points"] = "points"
    slot: ClassVar[Literal["points"]] = "points"

    num_points: int = 2048
    """Number of points that are read, drawn from the visible ones."""

    width: int = 192
    """Channels of the tokenizer; a run takes them from its tokenizer."""

    def __post_init__(self) -> None:
        check_ranges(self, "points", num_points=(1, MAX_POINTS), width=(1, MAX_WIDTH))


@torch.no_grad()
def encode_points(
    tokenizer: Tokenizer,
    points_BN3: Float[Tensor, "B N 3"],
    normals_BN3: Float[Tensor, "B N 3"],
) -> Float[Tensor, "B L C"]:
    """Latents of visible points, for `ConditionBatch.point_latents_BLC`."""
    with torch.autocast(points_BN3.device.type, enabled=False):
        return tokenizer.encode(points_BN3, normals_BN3)


def read_points(batch: ConditionBatch, tokenizer: Tokenizer) -> ConditionBatch:
    """Replace visible points by their latents; on a CPU, drop points that are masked for all."""
    points_BN3, normals_BN3 = batch.points_BN3, batch.normals_BN3
    if points_BN3 is None or normals_BN3 is None:
        return batch
    dropped_B = batch.points_dropped_B
    everyone = False
    if dropped_B is not None and dropped_B.device.type == "cpu":
        everyone = bool(dropped_B.all())  # to know it, the host would wait for another device
    latents_BLC = None if everyone else encode_points(tokenizer, points_BN3, normals_BN3)
    return replace(batch, points_BN3=None, normals_BN3=None, point_latents_BLC=latents_BLC)


class LatentsEncoder(nn.Module):
    """Latents of stage 1, unchanged, as tokens; the vector is their mean."""

    def __init__(self, config: PointsConditionConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, latents_BLC: Float[Tensor, "B L C"]) -> ConditionOutput:
        """Return the latents as tokens.

        Raises:
            ValueError: if they do not have the configured width.
        """
        if latents_BLC.shape[-1] != self.config.width:
            raise ValueError(
                f"the points condition reads latents of {self.config.width} channels, got "
                f"{latents_BLC.shape[-1]}: encode the points with the tokenizer of this model"
            )
        return ConditionOutput(latents_BLC, latents_BLC.mean(dim=1))
