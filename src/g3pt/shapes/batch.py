"""Batches that training reads: torch tensors in the unit frame.

B batch, N surface points, Q query points, T tokens of all scales laid end to end, K bits,
S picture side.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

ConditionedT = TypeVar("ConditionedT", bound="ConditionedBatch")


@dataclass(frozen=True, kw_only=True)
class TokenizerBatch:
    """One step of tokenizer training (Sec. 3.2, Eq. 5)."""

    points_BN3: Float[Tensor, "B N 3"]
    """Surface points, unit frame."""
    normals_BN3: Float[Tensor, "B N 3"]
    """Outward normals of these points, unit length up to 8-bit rounding."""
    queries_BQ3: Float[Tensor, "B Q 3"]
    """Query points in [-1, 1]^3: volume queries first, then near-surface ones."""
    occupancy_BQ: Float[Tensor, "B Q"]
    """1 inside, 0 outside."""
    near_BQ: Bool[Tensor, "B Q"]
    """True for near-surface queries."""
    ids: tuple[str, ...]
    """Id of the shape of each row."""
    again_points_BN3: Float[Tensor, "B N 3"] | None = None
    """Other surface points of the same shapes; None if not asked for."""
    again_normals_BN3: Float[Tensor, "B N 3"] | None = None
    """Outward normals of these."""

    def first(self, num: int) -> "TokenizerBatch":
        """Only the first rows."""
        rows = {name: tensor[:num] for name, tensor in self._tensors().items()}
        return replace(self, ids=self.ids[:num], **rows)

    def to(self, device: torch.device | str) -> "TokenizerBatch":
        """The same batch on another device."""
        moved = {
            name: tensor.to(device, non_blocking=True) for name, tensor in self._tensors().items()
        }
        return replace(self, **moved)

    def _tensors(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}


@dataclass(frozen=True, kw_only=True)
class ConditionedBatch:
    """Conditions of a generator for each shape: pictures, captions, labels, visible points."""

    pictures_BSS4: UInt8[Tensor, "B *V S S 4"] | None
    """Pictures as straight-alpha RGBA bytes, zeros where there is none, with V views of each shape
    if the config asks for several. None if their features are given instead."""
    has_image_B: Bool[Tensor, " B"]
    """False where the shape has no picture (its image condition must be the learned null)."""
    view_B: Int[Tensor, " B"]
    """Number of the view shown; 0 is the canonical camera, -1 means no picture."""
    captions: tuple[str, ...]
    """One sentence for each shape; empty if it has none."""
    labels_B: Int[Tensor, " B"]
    """Index of the shape's family in the dataset's `classes`, -1 when it is not one of them."""
    ids: tuple[str, ...]
    """Id of the shape of each row."""
    num_views_B: Int[Tensor, " B"] | None = None
    """Number of valid views of each shape; they come first. At least 1."""
    image_features_BIE: Float[Tensor, "B *V I E"] | None = None
    image_summary_BE: Float[Tensor, "B *V E"] | None = None
    """Cached summary vectors of the pictures from a frozen encoder; None without a cache."""
    picture_features_BGGP: Float[Tensor, "B G G P"] | None = None
    """Features of the pictures from a frozen network, for encoders that read both."""
    text_features_BNE: Float[Tensor, "B N F"] | None = None
    text_summary_BE: Float[Tensor, "B F"] | None = None
    """Cached summary vectors of the captions from a frozen encoder; None without a cache."""
    points_BN3: Float[Tensor, "B N_visible 3"] | None = None
    """Surface points of the visible part of each shape, unit frame; None if not asked for."""
    normals_BN3: Float[Tensor, "B N_visible 3"] | None = None
    """Their outward normals."""

    def to(self: ConditionedT, device: torch.device | str) -> ConditionedT:
        """The same batch on another device."""
        tensors = {key: value for key, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(
            self, **{key: value.to(device, non_blocking=True) for key, value in tensors.items()}
        )


@dataclass(frozen=True, kw_only=True)
class CarBatch(ConditionedBatch):
    """One step of generator training: tokens and their conditions (Eq. 6)."""

    indices_BT: Int[Tensor, "B T"]
    """Token indices of all scales, coarsest first."""
    margins_BTK: UInt8[Tensor, "B T K"] | None = None
    """How far every bit of the tokens was from flipping; None if not asked for."""
    queries_BQ3: Float[Tensor, "B Q 3"] | None = None
    """Query points in [-1, 1]^3, for generators whose first guess also learns from the field."""
    inside_BQ: Bool[Tensor, "B Q"] | None = None
    """Their labels."""
    near_BQ: Bool[Tensor, "B Q"] | None = None
    """True for those near the surface."""
