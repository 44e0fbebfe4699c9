"""The data types of conditions, from raw inputs to what CAR reads.

A `ConditionBatch` holds the raw conditions of a batch of shapes. Any of them may be absent, for all
shapes (None) or for some (a mask). Prompts and training fill it, and encoders read it. Every
encoder gives tokens for the prefix and one vector for AdaLN (`ConditionOutput`).

Legend: B batch, V views, I prefix tokens, N text tokens, L latents, C tokenizer channels,
D width, E and F widths of encoders, G places of a picture's grid (all, or along a side), P channels
of the frozen network that an encoder reads as well, S and Z picture sides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, assert_never

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

Slot = Literal["image", "text", "points", "class"]
"""Kinds of conditions; a model has at most one of each."""


@dataclass(frozen=True)
class ConditionOutput:
    """A condition as CAR reads it."""

    tokens_BID: Float[Tensor, "B I D"]
    """Prefix tokens; there may be none."""

    vector_BD: Float[Tensor, "B D"]
    """The vector that AdaLN and the start token read."""

    valid_BI: Bool[Tensor, "B I"] | None = None
    """False at padding tokens, which attention must not see; None if there are none."""

    def pad_to(self, num_tokens: int) -> "ConditionOutput":
        """Append masked tokens until there are `num_tokens`."""
        missing = num_tokens - self.tokens_BID.shape[1]
        if missing == 0:
            return self
        return replace(
            self,
            tokens_BID=F.pad(self.tokens_BID, (0, 0, 0, missing)),
            valid_BI=F.pad(self.valid_or_all, (0, missing), value=False),
        )

    def repeat(self, num: int) -> "ConditionOutput":
        """Repeat each row `num` times; the copies of a row are adjacent."""
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
        """`valid_BI`, as a mask of ones if it is None."""
        if self.valid_BI is not None:
            return self.valid_BI
        return torch.ones(self.tokens_BID.shape[:2], dtype=torch.bool, device=self.vector_BD.device)


def concatenate_tokens(outputs: Sequence[ConditionOutput]) -> ConditionOutput:
    """Join several conditions of one batch: concatenate the prefixes, add the vectors."""
    every_token_counts = all(output.valid_BI is None for output in outputs)
    return ConditionOutput(
        torch.cat([output.tokens_BID for output in outputs], dim=1),
        torch.stack([output.vector_BD for output in outputs]).sum(dim=0),
        None
        if every_token_counts
        else torch.cat([output.valid_or_all for output in outputs], dim=1),
    )


def concatenate_batches(outputs: Sequence[ConditionOutput]) -> ConditionOutput:
    """Concatenate several batches along the batch dim, padding the shorter prefixes."""
    longest = max(output.tokens_BID.shape[1] for output in outputs)
    padded = [output.pad_to(longest) for output in outputs]
    every_token_counts = all(output.valid_BI is None for output in padded)
    return ConditionOutput(
        torch.cat([output.tokens_BID for output in padded]),
        torch.cat([output.vector_BD for output in padded]),
        None if every_token_counts else torch.cat([output.valid_or_all for output in padded]),
    )


_DROPPED = {
    "image": "images_dropped_B",
    "text": "text_dropped_B",
    "points": "points_dropped_B",
    "class": "labels_dropped_B",
}
"""The mask of each slot."""
_FIELDS = {
    "image": (
        "pictures_BSS4",
        "guess_pictures_BZZ4",
        "guess_features_BGGP",
        "num_views_B",
        "image_features_BIE",
        "image_summary_BE",
        "picture_features_BGGP",
    ),
    "text": ("text_ids_BN", "text_features_BNE", "text_summary_BE"),
    "points": ("points_BN3", "normals_BN3", "point_latents_BLC"),
    "class": ("labels_B",),
}
"""The other fields of each slot."""


@dataclass(frozen=True, kw_only=True)
class ConditionBatch:
    """Raw conditions of B shapes. A field is None if no shape of the batch has it.

    A `*_dropped_B` mask marks shapes whose condition is dropped: they get the learned null,
    whatever their row holds. `*_features` hold what a frozen encoder gives for the pictures or
    ids, computed earlier.
    """

    batch_size: int

    pictures_BSS4: UInt8[Tensor, "B *V S S 4"] | None = None
    """Pictures as straight-alpha RGBA bytes, with a dim for the V views of each shape if there are
    several. Encoders convert them to floats (`pixels.py`)."""

    guess_pictures_BZZ4: UInt8[Tensor, "B Z Z 4"] | None = None
    """The picture, or the first of several, at the resolution that the first guess reads; None if
    `pictures_BSS4` has that resolution."""

    guess_features_BGGP: Float[Tensor, "B G_guess G_guess P"] | None = None
    """Features of the frozen EfficientNet for `guess_pictures_BZZ4`; None computes them."""

    num_views_B: Int[Tensor, " B"] | None = None
    """Number of valid views of each shape, which come first among the V; None if all are valid."""

    text_ids_BN: Int[Tensor, "B N"] | None = None
    """Ids from the tokenizer of the text condition, padded."""

    points_BN3: Float[Tensor, "B N_visible 3"] | None = None
    normals_BN3: Float[Tensor, "B N_visible 3"] | None = None
    """Visible points and their normals, unit frame. No model reads them directly: `read_points`
    replaces them by latents."""

    point_latents_BLC: Float[Tensor, "B L C"] | None = None
    """Latents of the visible points, from the frozen encoder of stage 1."""

    labels_B: Int[Tensor, " B"] | None = None
    """Class numbers."""

    image_features_BIE: Float[Tensor, "B *V I E"] | None = None
    image_summary_BE: Float[Tensor, "B *V E"] | None = None
    """Tokens and vector of the pictures from a frozen encoder; both or neither are given."""

    picture_features_BGGP: Float[Tensor, "B G G P"] | None = None
    """Features of the frozen EfficientNet (`frozen_features`) for the pretrained image condition
    and for the first guess. The pictures are given as well. None computes the features."""

    text_features_BNE: Float[Tensor, "B N F"] | None = None
    text_summary_BE: Float[Tensor, "B F"] | None = None
    """Tokens and vector of the texts from a frozen encoder; both or neither are given."""

    images_dropped_B: Bool[Tensor, " B"] | None = None
    text_dropped_B: Bool[Tensor, " B"] | None = None
    points_dropped_B: Bool[Tensor, " B"] | None = None
    labels_dropped_B: Bool[Tensor, " B"] | None = None

    @property
    def num_views(self) -> int | None:
        """V; None if pictures and features have no dim of views."""
        if self.image_features_BIE is not None:
            return self.image_features_BIE.shape[1] if self.image_features_BIE.ndim == 4 else None
        pictures = self.pictures_BSS4
        return None if pictures is None or pictures.ndim == 4 else pictures.shape[1]

    def raw(self, slot: Slot) -> Tensor | None:
        """The raw input of a slot, as its encoder reads it; None if no shape has one.

        Views of a shape are adjacent rows.

        Raises:
            ValueError: if there are points without latents from stage 1.
        """
        match slot:
            case "image":
                pictures = self.pictures_BSS4
                if pictures is None or pictures.ndim == 4:
                    return pictures
                return pictures.flatten(0, 1)
            case "text":
                return self.text_ids_BN
            case "points":
                if self.points_BN3 is not None:
                    raise ValueError(
                        "points are read by the encoder of a tokenizer first (`read_points`); "
                        "this model has none"
                    )
                return self.point_latents_BLC
            case "class":
                return self.labels_B
            case _:
                assert_never(slot)

    def features(self, slot: Slot) -> ConditionOutput | None:
        """Features of a slot that were computed earlier; views of a shape are adjacent rows."""
        tokens_BIE, summary_BE = {
            "image": (self.image_features_BIE, self.image_summary_BE),
            "text": (self.text_features_BNE, self.text_summary_BE),
        }.get(slot, (None, None))
        if tokens_BIE is None or summary_BE is None:
            assert tokens_BIE is summary_BE, "features are tokens and a vector"
            return None
        if tokens_BIE.ndim == 4:
            return ConditionOutput(tokens_BIE.flatten(0, 1), summary_BE.flatten(0, 1))
        return ConditionOutput(tokens_BIE, summary_BE)

    def dropped(self, slot: Slot) -> Bool[Tensor, " B"] | None:
        """True for shapes whose condition is dropped; None if none are."""
        return getattr(self, _DROPPED[slot])

    def has(self, slot: Slot) -> bool:
        """Whether any shape of the batch has this condition."""
        return self.raw(slot) is not None or self.features(slot) is not None

    def alone(self, slot: Slot) -> "ConditionBatch":
        """The same batch with this condition only."""
        kept = {name: getattr(self, name) for name in (*_FIELDS[slot], _DROPPED[slot])}
        return ConditionBatch(batch_size=self.batch_size, **kept)

    def drop(self, masks: Mapping[str, Tensor | None]) -> "ConditionBatch":
        """The same batch with these masks of dropped shapes, by slot."""
        return replace(self, **{_DROPPED[slot]: mask for slot, mask in masks.items()})

    def without_conditions(self) -> "ConditionBatch":
        """Give the unconditional batch of the same size."""
        return ConditionBatch(batch_size=self.batch_size)

    def rows(self, chosen_K: Int[Tensor, " K"]) -> "ConditionBatch":
        """The conditions of the chosen rows, in that order; a row may be chosen repeatedly."""
        taken = {name: value[chosen_K.to(value.device)] for name, value in self._tensors().items()}
        return ConditionBatch(batch_size=len(chosen_K), **taken)

    def repeat(self, num: int) -> "ConditionBatch":
        """Repeat each shape's conditions `num` times; the copies of a shape are adjacent."""
        return self.rows(torch.arange(self.batch_size).repeat_interleave(num))

    def to(self, device: torch.device | str) -> "ConditionBatch":
        """Move all tensors to a device."""
        moved = {name: value.to(device) for name, value in self._tensors().items()}
        return replace(self, **moved)

    def _tensors(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
