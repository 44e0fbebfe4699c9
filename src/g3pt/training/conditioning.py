"""Conditions of a training step, and which of them are dropped for each sample.

All models that are trained on conditions share this, so that all learn from the same ones.

Legend: B batch, N text tokens, S picture side.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from g3pt.models.conditioning import (
    ClipConditionConfig,
    ConditionBatch,
    ConditionConfig,
    DinoConditionConfig,
    GridConfig,
    PictureConfig,
    PointsConditionConfig,
    PretrainedImageConditionConfig,
    SentenceConfig,
    Slot,
    TextConditionConfig,
)
from g3pt.models.conditioning.pretrained import NUM_FEATURES, PLACE_SIDE
from g3pt.models.conditioning.vocabulary import pad_ids
from g3pt.shapes.batch import ConditionedBatch
from g3pt.training.task import Part

VALIDATION_MODES = ("all", "image", "text", "points", "class", "none")


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionLossConfig:
    """How conditions are dropped and captions encoded in training."""

    dropout: float = 0.1
    """Chance that a sample loses all its conditions, for guidance (Sec. 4.2)."""
    image_dropout: float = 0.0
    """Chance that a sample loses its pictures, independent of its other conditions. The next three
    fields are the same for text, points and class."""
    text_dropout: float = 0.0
    points_dropout: float = 0.0
    class_dropout: float = 0.0
    single_share: float = 0.9
    """Share of batches that keep just one kind of condition, for models with several."""
    image_preference: float = 0.5
    """Chance that this kind is the picture."""
    spelled_share: float = 0.03
    """Chance that a known word is spelled in bytes, so that the model learns to read unknown
    words."""
    table_share: float = 0.3
    """Chance that only the table of word vectors represents a known word, if the model has a table
    (`words="distilled"`). It always represents unknown words."""

    def __post_init__(self) -> None:
        check_shares(self, "dropout", "single_share", "image_preference")
        check_shares(self, "spelled_share", "table_share")
        check_shares(self, *(f"{slot}_dropout" for slot in get_args(Slot)))


def check_shares(config: object, *names: str) -> None:
    """Check that fields of a config are shares, within [0, 1].

    Raises:
        ValueError: if one is not; the message names the field.
    """
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"loss.{name} must be in [0, 1], got {getattr(config, name)}")


class ConditionDrawer:
    """Turns training batches into the conditions that a model reads."""

    def __init__(
        self, conditions: Sequence[ConditionConfig], loss: ConditionLossConfig, *, seed: int
    ) -> None:
        self._kinds = {condition.slot: condition for condition in conditions}
        self._loss = loss
        self._seed = seed
        text = self._kinds.get("text")
        self._words = text.build_tokenizer() if isinstance(text, SentenceConfig) else None

    @property
    def modes(self) -> tuple[str, ...]:
        """Modes of `only` that differ for this model."""
        kinds = self._kinds if len(self._kinds) > 1 else {}
        return tuple(mode for mode in VALIDATION_MODES if mode in ("all", "none", *kinds))

    def draw(
        self,
        batch: ConditionedBatch,
        rng: np.random.Generator,
        *,
        step: int,
        part: Part,
        batch_size: int,
    ) -> ConditionBatch:
        """Give the conditions of a part of a batch, with masks of what is dropped.

        `rng` belongs to the step and draws for its global batch.

        Raises:
            ValueError: if the model reads points and the batch holds none.
        """
        drops, span = self.draw_drops(rng, batch_size), part.slice(batch_size)
        spelling = random.Random(f"{self._seed}/{step}/{part.index}/{part.count}")
        return self._tell(batch, {kind: drop[span] for kind, drop in drops.items()}, spelling)

    def draw_drops(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """Masks of dropped conditions over the global batch, whether or not a sample has them.

        Whether everything is dropped is drawn per sample. Which single kind is kept is drawn per
        batch: a kind that no row holds takes one prefix token instead of its full length.
        """
        config, kinds = self._loss, list(self._kinds)
        nothing_B = rng.random(size) < config.dropout
        single = rng.random() < config.single_share and len(kinds) > 1
        prefers_image, pick = rng.random() < config.image_preference, rng.random()
        others = [kind for kind in kinds if kind != "image"]
        if "image" in kinds and (prefers_image or not others):
            chosen = "image"
        else:
            chosen = others[int(pick * len(others))] if others else ""
        # A separate random stream, so that the other draws of the step do not depend on it.
        (own,) = rng.spawn(1)
        lost = {slot: own.random(size) < getattr(config, f"{slot}_dropout") for slot in kinds}
        return {
            slot: torch.from_numpy(nothing_B | lost[slot] | (single and slot != chosen))
            for slot in kinds
        }

    def give_all(self, batch: ConditionedBatch) -> ConditionBatch:
        """Give all conditions that a sample has; nothing is dropped."""
        kept = torch.zeros(len(batch.ids), dtype=torch.bool)
        return self._tell(batch, dict.fromkeys(self._kinds, kept), None)

    def _tell(
        self, batch: ConditionedBatch, drops: Mapping[str, Tensor], rng: random.Random | None
    ) -> ConditionBatch:
        """The conditions of the batch that the model reads; `rng` draws how words are encoded."""
        sees, hears = "image" in drops, "text" in drops and any(batch.captions)
        feels = "points" in drops
        if feels and batch.points_BN3 is None:
            raise ValueError(
                "the model has a points condition and the batch holds no points: set "
                "data.num_visible_points"
            )
        told = ConditionBatch(
            batch_size=len(batch.ids),
            pictures_BSS4=batch.pictures_BSS4 if sees else None,
            num_views_B=batch.num_views_B if sees else None,
            image_features_BIE=batch.image_features_BIE if sees else None,
            image_summary_BE=batch.image_summary_BE if sees else None,
            picture_features_BGGP=batch.picture_features_BGGP if sees else None,
            text_ids_BN=self._encode(batch, rng) if hears else None,
            text_features_BNE=batch.text_features_BNE if hears else None,
            text_summary_BE=batch.text_summary_BE if hears else None,
            points_BN3=batch.points_BN3 if feels else None,
            normals_BN3=batch.normals_BN3 if feels else None,
            labels_B=batch.labels_B.clamp(min=0) if "class" in drops else None,
        )
        return told.drop(mark_missing(drops, batch))

    def synthetic(
        self, batch_size: int, device: torch.device | str, *, guess_side: int | None = None
    ) -> ConditionBatch:
        """Placeholder conditions of the right sizes, none dropped.

        Frozen encoders are left out: their features can be cached.

        Args:
            batch_size: number of shapes.
            device: device of the tensors.
            guess_side: side of the pictures that a first guess reads.
        """
        image, text = self._kinds.get("image"), self._kinds.get("text")
        points = self._kinds.get("points")

        def zeros(*sizes: int) -> Tensor:
            return torch.zeros(batch_size, *sizes, device=device)

        fields: dict[str, Tensor] = {}
        views = (
            (image.max_views,) if isinstance(image, PictureConfig) and image.max_views > 1 else ()
        )
        if isinstance(image, DinoConditionConfig):
            fields["image_features_BIE"] = zeros(*views, image.num_tokens, image.width)
            fields["image_summary_BE"] = zeros(*views, image.width)
        if isinstance(text, ClipConditionConfig):
            fields["text_features_BNE"] = zeros(text.max_tokens, text.width)
            fields["text_summary_BE"] = zeros(text.width)
        if isinstance(points, PointsConditionConfig):
            fields["points_BN3"] = fields["normals_BN3"] = zeros(points.num_points, 3)
        # The guess shrinks pictures larger than it reads, and then computes its own features.
        side = max(image.image_size if isinstance(image, GridConfig) else 1, guess_side or 1)
        read = isinstance(image, PretrainedImageConditionConfig) and image.features != "own"
        if read or guess_side == side:
            places = side // PLACE_SIDE
            fields["picture_features_BGGP"] = zeros(places, places, NUM_FEATURES)
        if isinstance(text, TextConditionConfig):
            fields["text_ids_BN"] = zeros(text.max_tokens).long() + 1
        if "class" in self._kinds:
            fields["labels_B"] = zeros().long()
        if image is not None:
            fields["pictures_BSS4"] = zeros(*views, side, side, 4).to(torch.uint8)
        return ConditionBatch(batch_size=batch_size, **fields)

    def _encode(self, batch: ConditionedBatch, rng: random.Random | None) -> Tensor | None:
        """Ids of the captions; None if the batch holds their features."""
        if self._words is None or batch.text_features_BNE is not None:
            return None
        shares = (self._loss.spelled_share, self._loss.table_share)
        rows = [
            self._words.encode(each, spelled_share=shares[0], table_share=shares[1], rng=rng)
            for each in batch.captions
        ]
        return torch.tensor(pad_ids(rows), device=batch.has_image_B.device)


def mark_missing(dropped: Mapping[str, Tensor], batch: ConditionedBatch) -> dict[str, Tensor]:
    """Mark conditions that a sample does not have as dropped, too."""
    device = batch.has_image_B.device
    absent = {
        "image": ~batch.has_image_B,
        "text": torch.tensor([not caption for caption in batch.captions], device=device),
        "points": torch.zeros_like(batch.has_image_B),
        "class": batch.labels_B < 0,
    }
    return {kind: drop.to(device) | absent[kind] for kind, drop in dropped.items()}


def only(batch: ConditionBatch, mode: str) -> ConditionBatch:
    """The batch with a single condition, `all` of them, or `none`."""
    match mode:
        case "all":
            return batch
        case "none":
            return batch.without_conditions()
        case "image" | "text" | "points" | "class":
            return batch.alone(mode)
        case _:
            raise ValueError(f"mode {mode}: expected one of {', '.join(VALIDATION_MODES)}")
