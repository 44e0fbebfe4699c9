"""All conditions of one CAR: encode those that are given, use learned nulls for the others.

Legend: B batch, V views, I prefix tokens, G places of a picture, D width of CAR, E width of an
encoder.
"""

from typing import assert_never, get_args

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from g3pt.models.conditioning.clip import ClipConditionConfig, ClipEncoder
from g3pt.models.conditioning.contract import (
    ConditionBatch,
    ConditionOutput,
    Slot,
    concatenate_tokens,
)
from g3pt.models.conditioning.dinov2 import DinoConditionConfig, DinoEncoder
from g3pt.models.conditioning.image import ImageConditionConfig, ImageEncoder
from g3pt.models.conditioning.label import ClassConditionConfig, ClassEncoder
from g3pt.models.conditioning.points import LatentsEncoder, PointsConditionConfig
from g3pt.models.conditioning.pretrained import (
    PretrainedImageConditionConfig,
    PretrainedImageEncoder,
)
from g3pt.models.conditioning.text import TextConditionConfig, TextEncoder

GridConfig = ImageConditionConfig | PretrainedImageConditionConfig
"""Conditions whose encoder is trained and reads pictures as a grid of places."""
PictureConfig = GridConfig | DinoConditionConfig
"""Conditions that read pictures."""
SentenceConfig = TextConditionConfig | ClipConditionConfig
"""Conditions that read sentences."""
FrozenConfig = DinoConditionConfig | ClipConditionConfig
"""Conditions whose encoder is frozen, so that its features can be computed once."""
ConditionConfig = PictureConfig | SentenceConfig | PointsConditionConfig | ClassConditionConfig


def build_encoder(config: ConditionConfig) -> nn.Module:
    """Build the encoder of a condition: raw input -> `ConditionOutput` of `config.width`."""
    match config:
        case ImageConditionConfig():
            return ImageEncoder(config)
        case PretrainedImageConditionConfig():
            return PretrainedImageEncoder(config)
        case DinoConditionConfig():
            return DinoEncoder(config)
        case TextConditionConfig():
            return TextEncoder(config)
        case ClipConditionConfig():
            return ClipEncoder(config)
        case PointsConditionConfig():
            return LatentsEncoder(config)
        case ClassConditionConfig():
            return ClassEncoder(config)
        case _:
            assert_never(config)


class Condition(nn.Module):
    """One condition at the width of CAR, with its learned null.

    By default the null is a single token. In a dropped row the remaining places are masked, so
    that CAR sees no difference between a dropped row and an absent input. With
    `null="repeated"` it fills all places of a picture, in dropped rows and for absent inputs
    alike.
    """

    def __init__(self, config: ConditionConfig, dim: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config)
        self.to_tokens = nn.Linear(config.width, dim)
        self.to_vector = nn.Linear(config.width, dim)
        self.null_token = nn.Parameter(torch.randn(dim) * 0.02)
        self.null_vector = nn.Parameter(torch.randn(dim) * 0.02)
        self.max_views = config.max_views if isinstance(config, PictureConfig) else 1
        self.view_embedding = None
        self.num_repeated = 0
        if isinstance(config, GridConfig) and config.null == "repeated":
            self.num_repeated = config.num_tokens
        if self.max_views > 1:
            self.view_embedding = nn.Parameter(torch.randn(self.max_views, dim) * 0.02)

    def null(self, batch_size: int) -> ConditionOutput:
        """The learned null, which CAR reads if the condition is absent."""
        return ConditionOutput(
            self.null_token.expand(batch_size, self.num_repeated or 1, -1),
            self.null_vector.expand(batch_size, -1),
        )

    def forward(self, given: ConditionBatch) -> ConditionOutput:
        """Encode this condition of a batch, with the null in dropped rows.

        Raises:
            ValueError: if there are more views of a shape than the model was built for.
        """
        slot, dropped_B = self.config.slot, given.dropped(self.config.slot)
        if not given.has(slot):
            return self.null(given.batch_size)
        given = given.alone(slot)
        if dropped_B is None:
            return self._encode(given)
        # To count the kept rows, the host would have to wait for any device but its own.
        if self.num_repeated or dropped_B.device.type != "cpu":
            return self._overwrite(self._encode(given), dropped_B)
        return self._encode_kept(given, dropped_B)

    def _overwrite(
        self, encoded: ConditionOutput, dropped_B: Bool[Tensor, " B"]
    ) -> ConditionOutput:
        """Put the null into dropped rows; shapes do not depend on which are dropped."""
        null = self.null(len(dropped_B))
        if not self.num_repeated:
            null = null.pad_to(encoded.tokens_BID.shape[1])
        dropped_B1, dropped_B11 = dropped_B[:, None], dropped_B[:, None, None]
        tokens_BID, vector_BD = encoded.tokens_BID, encoded.vector_BD
        return ConditionOutput(
            torch.where(dropped_B11, null.tokens_BID.to(tokens_BID.dtype), tokens_BID),
            torch.where(dropped_B1, null.vector_BD.to(vector_BD.dtype), vector_BD),
            None
            if self.num_repeated
            else torch.where(dropped_B1, null.valid_or_all, encoded.valid_or_all),
        )

    def _encode_kept(self, given: ConditionBatch, dropped_B: Bool[Tensor, " B"]) -> ConditionOutput:
        """Encode only the rows that are kept; dropped ones get the null, padded and masked."""
        kept_K = (~dropped_B).nonzero().squeeze(1)
        null = self.null(len(dropped_B))
        if len(kept_K) == 0:
            return null
        kept = self._encode(given.rows(kept_K))
        null = null.pad_to(kept.tokens_BID.shape[1])
        dtype = kept.tokens_BID.dtype
        return ConditionOutput(
            null.tokens_BID.to(dtype).index_copy(0, kept_K, kept.tokens_BID),
            null.vector_BD.to(dtype).index_copy(0, kept_K, kept.vector_BD.to(dtype)),
            null.valid_or_all.index_copy(0, kept_K, kept.valid_or_all),
        )

    def _encode(self, given: ConditionBatch) -> ConditionOutput:
        num_views = given.num_views or 1
        if num_views > self.max_views:
            raise ValueError(
                f"this model reads at most {self.max_views} pictures of a shape, got {num_views}"
            )
        dtype = self.to_tokens.weight.dtype
        encoded = given.features(self.config.slot)
        if encoded is None:
            encoded = self._features(given, dtype)
        projected = ConditionOutput(
            self.to_tokens(encoded.tokens_BID.to(dtype)),
            self.to_vector(encoded.vector_BD.to(dtype)),
            encoded.valid_BI,
        )
        if self.view_embedding is None:
            return projected
        return self._join_views(projected, num_views, given.num_views_B)

    def _features(self, given: ConditionBatch, dtype: torch.dtype) -> ConditionOutput:
        """Run the encoder in `dtype`; frozen encoders run in float32."""
        raw = given.raw(self.config.slot)
        assert raw is not None, "neither an input nor its features"
        if isinstance(self.encoder, PretrainedImageEncoder) and self.encoder.reads_features:
            return self.encoder(raw, given.picture_features_BGGP)
        own = not isinstance(self.config, FrozenConfig)
        return self.encoder(raw.to(dtype) if own and raw.is_floating_point() else raw)

    def _join_views(
        self, views: ConditionOutput, num_views: int, num_views_B: Int[Tensor, " B"] | None
    ) -> ConditionOutput:
        """One prefix per shape: its views in the order given, each with an embedding of its index.

        The vector is the mean over the views.
        """
        assert self.view_embedding is not None
        marks_V1D = self.view_embedding[:num_views, None]
        tokens_BVID = views.tokens_BID.unflatten(0, (-1, num_views))
        tokens_BVID = tokens_BVID + marks_V1D.to(tokens_BVID.dtype)
        vector_BVD = views.vector_BD.unflatten(0, (-1, num_views))
        if num_views_B is None:
            return ConditionOutput(tokens_BVID.flatten(1, 2), vector_BVD.mean(dim=1))
        numbers_V = torch.arange(num_views, device=num_views_B.device)
        counts_BV = numbers_V < num_views_B[:, None]
        weights_BV1 = (counts_BV / num_views_B[:, None]).unsqueeze(-1).to(vector_BVD.dtype)
        return ConditionOutput(
            tokens_BVID.flatten(1, 2),
            (vector_BVD * weights_BV1).sum(dim=1),
            counts_BV.repeat_interleave(tokens_BVID.shape[2], dim=1),
        )


class Conditioner(nn.Module):
    """Joins all conditions of a CAR into one prefix and one vector."""

    def __init__(self, configs: tuple[ConditionConfig, ...], dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.conditions = nn.ModuleDict({config.slot: Condition(config, dim) for config in configs})
        self.base_vector = nn.Parameter(torch.zeros(dim))

    def forward(self, batch: ConditionBatch) -> ConditionOutput:
        """Encode a batch.

        Raises:
            ValueError: if the batch holds a condition that this model was not built with.
        """
        device = self.base_vector.device
        base = ConditionOutput(
            torch.zeros(batch.batch_size, 0, self.dim, device=device),
            self.base_vector.expand(batch.batch_size, -1),
        )
        for slot in get_args(Slot):
            if slot not in self.conditions and batch.has(slot):
                known = ", ".join(self.conditions) or "none"
                raise ValueError(f"this model has no {slot} condition; it knows: {known}")
        outputs = [base]
        outputs += [condition(batch) for condition in self.conditions.values()]
        return concatenate_tokens(outputs)
