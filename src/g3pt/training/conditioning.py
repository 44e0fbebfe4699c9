"""What a generator is told in a step of training: which conditions each sample has to do without.

Shared by everything that is trained on conditions, so that all learn from the same ones.

Legend: B batch, N text tokens, S picture side.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from g3pt.data.batch import ConditionedBatch
from g3pt.models.conditioning import (
    ConditionBatch,
    ConditionConfig,
    PictureConfig,
    SentenceConfig,
)
from g3pt.models.conditioning.vocabulary import pad_ids
from g3pt.training.task import Part

VALIDATION_MODES = ("all", "image", "text", "class", "none")


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionLossConfig:
    """What a generator has to do without while it is trained."""

    dropout: float = 0.1
    """Chance that a sample loses all its conditions, for guidance (Sec. 4.2)."""
    single_share: float = 0.9
    """Share of batches that keep just one kind of condition, where there are several."""
    image_preference: float = 0.5
    """Chance that it is the picture."""
    spelled_share: float = 0.03
    """Chance of a known word to be spelled in bytes, so that unknown words mean something."""

    def __post_init__(self) -> None:
        check_shares(self, "dropout", "single_share", "image_preference", "spelled_share")


def check_shares(config: object, *names: str) -> None:
    """Refuse what is no share.

    Raises:
        ValueError: naming the field.
    """
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"loss.{name} must be in [0, 1], got {getattr(config, name)}")


@dataclass(frozen=True)
class GivenConditions:
    """What the samples of a batch are told."""

    text_ids_BN: Tensor
    dropped: Mapping[str, Tensor | None]
    """By kind of condition: True where a sample must do without; None where nobody must."""


class ConditionDrawer:
    """The conditions of a model, from the batches of its training to what it reads."""

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
        """Ways of asking that `only` knows and that differ."""
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
    ) -> GivenConditions:
        """Decide what is dropped; `rng` belongs to the step and decides for its global batch."""
        drops, span = self.draw_drops(rng, batch_size), part.slice(batch_size)
        spelling = random.Random(f"{self._seed}/{step}/{part.index}/{part.count}")
        return GivenConditions(
            text_ids_BN=self._encode(batch.captions, self._loss.spelled_share, spelling),
            dropped=mark_missing({kind: drop[span] for kind, drop in drops.items()}, batch),
        )

    def draw_drops(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """What each sample of the global batch must do without, before looking at what it has.

        Samples lose everything one by one, but keep a single kind batch by batch: a kind that no
        row holds takes one token of the prefix instead of as many as it has.
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
        return {kind: torch.from_numpy(nothing_B | (single and kind != chosen)) for kind in kinds}

    def give_all(self, batch: ConditionedBatch) -> GivenConditions:
        """Drop nothing that a sample has."""
        kept = torch.zeros(len(batch.ids), dtype=torch.bool, device=batch.has_image_B.device)
        return GivenConditions(
            text_ids_BN=self._encode(batch.captions, 0.0, random.Random(0)).to(kept.device),
            dropped=mark_missing(dict.fromkeys(self._kinds, kept), batch),
        )

    def synthetic(
        self, batch_size: int, device: torch.device | str
    ) -> tuple[ConditionedBatch, GivenConditions]:
        """Conditions of the right sizes and no meaning, none dropped."""
        image, text = self._kinds.get("image"), self._kinds.get("text")
        side = image.image_size if isinstance(image, PictureConfig) else 1
        num_words = text.max_tokens if isinstance(text, SentenceConfig) else 1
        ones = torch.ones(batch_size, dtype=torch.int64, device=device)
        batch = ConditionedBatch(
            images_B3SS=torch.zeros(batch_size, 3, side, side, device=device),
            has_image_B=torch.ones(batch_size, dtype=torch.bool, device=device),
            view_B=ones,
            captions=("",) * batch_size,
            labels_B=ones * 0,
            ids=("",) * batch_size,
        )
        text_ids_BN = ones[:, None].expand(-1, num_words).contiguous()
        return batch, GivenConditions(text_ids_BN, dict.fromkeys(self._kinds))

    def _encode(self, captions: Sequence[str], spelled_share: float, rng: random.Random) -> Tensor:
        if self._words is None:
            return torch.zeros(len(captions), 1, dtype=torch.int64)
        rows = [self._words.encode(c, spelled_share=spelled_share, rng=rng) for c in captions]
        return torch.tensor(pad_ids(rows))


def condition_batch(batch: ConditionedBatch, given: GivenConditions) -> ConditionBatch:
    """What the model reads."""
    dropped = given.dropped
    return ConditionBatch(
        batch_size=len(batch.ids),
        images_B3SS=batch.images_B3SS if "image" in dropped else None,
        text_ids_BN=given.text_ids_BN if "text" in dropped else None,
        labels_B=batch.labels_B.clamp(min=0) if "class" in dropped else None,
        images_dropped_B=dropped.get("image"),
        text_dropped_B=dropped.get("text"),
        labels_dropped_B=dropped.get("class"),
    )


def mark_missing(
    dropped: Mapping[str, Tensor], batch: ConditionedBatch
) -> dict[str, Tensor | None]:
    """Drop what a sample does not have, too."""
    device = batch.has_image_B.device
    absent = {
        "image": ~batch.has_image_B,
        "text": torch.tensor([not caption for caption in batch.captions], device=device),
        "class": batch.labels_B < 0,
    }
    return {kind: drop | absent[kind] for kind, drop in dropped.items()}


def only(given: GivenConditions, mode: str) -> GivenConditions:
    """A single condition left, or `all` of them, or `none`."""
    if mode == "all":
        return given
    rows = given.text_ids_BN
    everyone_B = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    dropped = {kind: drop if kind == mode else everyone_B for kind, drop in given.dropped.items()}
    return replace(given, dropped=dropped)
