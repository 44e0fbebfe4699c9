"""What conditions look like on their way into CAR.

Every condition encoder gives tokens for the prefix and one vector for AdaLN
(`ConditionOutput`); a `ConditionBatch` holds the raw inputs of a batch, any of which may be
absent, for all shapes (None) or for some (a mask).

Legend: B batch, V views, I prefix tokens, N text tokens, L latents, C tokenizer channels,
D width, E and F widths of encoders, G places of a picture's grid (all, or along a side), P channels
of a network beside an encoder, S picture side, Z another one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, assert_never

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

Slot = Literal["image", "text", "points", "class"]
"""What a condition tells about the shape; a model has one condition of each at most."""


@dataclass(frozen=True)
class ConditionOutput:
    """A condition as CAR reads it."""

    tokens_BID: Float[Tensor, "B I D"]
    """Prefix tokens; there may be none."""

    vector_BD: Float[Tensor, "B D"]
    """What AdaLN and the start token read."""

    valid_BI: Bool[Tensor, "B I"] | None = None
    """False at tokens that must not be seen (padding); None when all count."""

    def pad_to(self, num_tokens: int) -> "ConditionOutput":
        """Append unseen tokens until there are `num_tokens`."""
        missing = num_tokens - self.tokens_BID.shape[1]
        if missing == 0:
            return self
        return replace(
            self,
            tokens_BID=F.pad(self.tokens_BID, (0, 0, 0, missing)),
            valid_BI=F.pad(self.valid_or_all, (0, missing), value=False),
        )

    def repeat(self, num: int) -> "ConditionOutput":
        """Repeat each row `num` times, copies side by side."""
        if num == 1:
            return self
        repeated = {
            name: value.repeat_interleave(num, dim=0)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **repeated)

    @property
    def valid_or_all(self) -> Bool[Tensor, "B I"]:
        """`valid_BI` written out."""
        if self.valid_BI is not None:
            return self.valid_BI
        return torch.ones(self.tokens_BID.shape[:2], dtype=torch.bool, device=self.vector_BD.device)


def concatenate_tokens(outputs: Sequence[ConditionOutput]) -> ConditionOutput:
    """Put the prefixes of several conditions of one batch after one another, sum the vectors."""
    every_token_counts = all(output.valid_BI is None for output in outputs)
    return ConditionOutput(
        torch.cat([output.tokens_BID for output in outputs], dim=1),
        torch.stack([output.vector_BD for output in outputs]).sum(dim=0),
        None
        if every_token_counts
        else torch.cat([output.valid_or_all for output in outputs], dim=1),
    )


def concatenate_batches(outputs: Sequence[ConditionOutput]) -> ConditionOutput:
    """Put several batches after one another, padding the shorter prefixes."""
    longest = max(output.tokens_BID.shape[1] for output in outputs)
    padded = [output.pad_to(longest) for output in outputs]
    every_token_counts = all(output.valid_BI is None for output in padded)
    return ConditionOutput(
        torch.cat([output.tokens_BID for output in padded]),
        torch.cat([output.vector_BD for output in padded]),
        None if every_token_counts else torch.cat([output.valid_or_all for output in padded]),
    )


@dataclass(frozen=True)
class ConditionInput:
    """What one condition reads of a batch, in R rows: B shapes times the views of each.

    Views of a shape are rows side by side. Either what a user gives (`raw`), or what a frozen
    encoder made of it earlier (`features`).
    """

    raw: Tensor | None
    features: ConditionOutput | None = None
    beside: Float[Tensor, "R G G P"] | None = None
    """What a frozen network made of `raw` earlier, for an encoder that reads both."""
    dropped_B: Bool[Tensor, " B"] | None = None
    num_views: int = 1
    """Rows of each shape."""
    num_views_B: Int[Tensor, " B"] | None = None
    """How many of them count, the first ones; None when all do."""

    def shapes(self, kept_K: Int[Tensor, " K"]) -> "ConditionInput":
        """The rows of some shapes alone, none of them dropped."""

        def take(rows: Tensor) -> Tensor:
            return rows.unflatten(0, (-1, self.num_views))[kept_K].flatten(0, 1)

        features = self.features
        if features is not None:
            features = ConditionOutput(take(features.tokens_BID), take(features.vector_BD))
        return ConditionInput(
            raw=None if self.raw is None else take(self.raw),
            features=features,
            beside=None if self.beside is None else take(self.beside),
            num_views=self.num_views,
            num_views_B=None if self.num_views_B is None else self.num_views_B[kept_K],
        )


@dataclass(frozen=True, kw_only=True)
class ConditionBatch:
    """Raw conditions of B shapes. None: nobody in the batch has it.

    A `*_dropped_B` mask marks shapes that have to do without although the batch holds
    something in their row: they are fed the learned null. `*_features` stand in for what a
    frozen encoder would make of pictures or ids: the same numbers, computed earlier.
    """

    batch_size: int

    pictures_BSS4: UInt8[Tensor, "B *V S S 4"] | None = None
    """Pictures as straight-alpha RGBA bytes; V views of each shape where there are several. An
    encoder turns them into what it reads (`pixels.py`)."""

    guess_pictures_BZZ4: UInt8[Tensor, "B Z Z 4"] | None = None
    """The picture, or the first of several, at the side that the first guess reads; None where that
    is `pictures_BSS4`."""

    num_views_B: Int[Tensor, " B"] | None = None
    """How many of the V views each shape has, the first ones; None when all have all."""

    text_ids_BN: Int[Tensor, "B N"] | None = None
    """Token ids of the text condition's tokenizer, padded."""

    point_latents_BLC: Float[Tensor, "B L C"] | None = None
    """What the frozen encoder of stage 1 made of visible points (`encode_points`)."""

    labels_B: Int[Tensor, " B"] | None = None
    """Class numbers."""

    image_features_BIE: Float[Tensor, "B *V I E"] | None = None
    image_summary_BE: Float[Tensor, "B *V E"] | None = None
    """Tokens and vector of the pictures; given together."""

    picture_features_BGGP: Float[Tensor, "B G G P"] | None = None
    """What the frozen EfficientNet made of the pictures, which are given as well
    (`frozen_features`), for the condition of that name and for the first guess; None computes
    it."""

    text_features_BNE: Float[Tensor, "B N F"] | None = None
    text_summary_BE: Float[Tensor, "B F"] | None = None
    """Tokens and vector of the texts; given together."""

    images_dropped_B: Bool[Tensor, " B"] | None = None
    text_dropped_B: Bool[Tensor, " B"] | None = None
    points_dropped_B: Bool[Tensor, " B"] | None = None
    labels_dropped_B: Bool[Tensor, " B"] | None = None

    def input_of(self, slot: Slot) -> ConditionInput | None:
        """What the condition of a slot reads; None if nobody in the batch has it."""
        match slot:
            case "image":
                return self._images()
            case "text":
                features = _features(self.text_features_BNE, self.text_summary_BE)
                given = ConditionInput(self.text_ids_BN, features, dropped_B=self.text_dropped_B)
            case "points":
                given = ConditionInput(self.point_latents_BLC, dropped_B=self.points_dropped_B)
            case "class":
                given = ConditionInput(self.labels_B, dropped_B=self.labels_dropped_B)
            case _:
                assert_never(slot)
        return None if given.raw is None and given.features is None else given

    def _images(self) -> ConditionInput | None:
        raw, tokens, vector = self.pictures_BSS4, self.image_features_BIE, self.image_summary_BE
        num_views = 1
        if raw is not None and raw.ndim == 5:
            num_views, raw = raw.shape[1], raw.flatten(0, 1)
        if tokens is not None and vector is not None and tokens.ndim == 4:
            num_views, tokens, vector = tokens.shape[1], tokens.flatten(0, 1), vector.flatten(0, 1)
        features = _features(tokens, vector)
        if raw is None and features is None:
            return None
        return ConditionInput(
            raw,
            features,
            beside=self.picture_features_BGGP,
            dropped_B=self.images_dropped_B,
            num_views=num_views,
            num_views_B=self.num_views_B,
        )

    def without_conditions(self) -> "ConditionBatch":
        """Give the unconditional batch of the same size."""
        return ConditionBatch(batch_size=self.batch_size)

    def rows(self, chosen_K: Int[Tensor, " K"]) -> "ConditionBatch":
        """The conditions of some shapes, as often as they are named."""
        taken = {name: value[chosen_K.to(value.device)] for name, value in self._tensors().items()}
        return ConditionBatch(batch_size=len(chosen_K), **taken)

    def repeat(self, num: int) -> "ConditionBatch":
        """Repeat each shape's conditions `num` times, copies side by side."""
        return self.rows(torch.arange(self.batch_size).repeat_interleave(num))

    def to(self, device: torch.device | str) -> "ConditionBatch":
        """Move all tensors to a device."""
        moved = {name: value.to(device) for name, value in self._tensors().items()}
        return replace(self, **moved)

    def _tensors(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}


def _features(tokens_BIE: Tensor | None, vector_BE: Tensor | None) -> ConditionOutput | None:
    if tokens_BIE is None or vector_BE is None:
        assert tokens_BIE is vector_BE, "features are tokens and a vector"
        return None
    return ConditionOutput(tokens_BIE, vector_BE)
