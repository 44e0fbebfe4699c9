"""All conditions of one CAR: encode what is there, put a learned null where nothing is.

Legend: B batch, I prefix tokens, D width of CAR, E width of an encoder.
"""

from typing import assert_never

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from g3pt.models.conditioning.contract import (
    ConditionBatch,
    ConditionOutput,
    concatenate_tokens,
)
from g3pt.models.conditioning.image import ImageConditionConfig, ImageEncoder
from g3pt.models.conditioning.label import ClassConditionConfig, ClassEncoder
from g3pt.models.conditioning.text import TextConditionConfig, TextEncoder

ConditionConfig = ImageConditionConfig | TextConditionConfig | ClassConditionConfig


def build_encoder(config: ConditionConfig) -> nn.Module:
    """Build the encoder of a condition: raw input -> `ConditionOutput` of `config.width`."""
    match config:
        case ImageConditionConfig():
            return ImageEncoder(config)
        case TextConditionConfig():
            return TextEncoder(config)
        case ClassConditionConfig():
            return ClassEncoder(config)
        case _:
            assert_never(config)


class Condition(nn.Module):
    """One condition at the width of CAR, with its learned null.

    The null is a single token, whatever the number of tokens that it stands for: the
    others of a dropped row are marked as unseen, so that a dropped row and an absent
    input are the same to CAR.
    """

    def __init__(self, config: ConditionConfig, dim: int) -> None:
        super().__init__()
        self.encoder = build_encoder(config)
        self.to_tokens = nn.Linear(config.width, dim)
        self.to_vector = nn.Linear(config.width, dim)
        self.null_token = nn.Parameter(torch.randn(dim) * 0.02)
        self.null_vector = nn.Parameter(torch.randn(dim) * 0.02)

    def null(self, batch_size: int) -> ConditionOutput:
        """What CAR reads where the condition is absent."""
        return ConditionOutput(
            self.null_token.expand(batch_size, 1, -1), self.null_vector.expand(batch_size, -1)
        )

    def forward(self, raw: Tensor, dropped_B: Bool[Tensor, " B"] | None = None) -> ConditionOutput:
        """Encode a raw input, with the null in dropped rows, which cost nothing."""
        if dropped_B is None:
            return self._encode(raw)
        kept_K = (~dropped_B).nonzero().squeeze(1)
        null = self.null(len(raw))
        if len(kept_K) == 0:
            return null
        kept = self._encode(raw[kept_K])
        null = null.pad_to(kept.tokens_BID.shape[1])
        dtype = kept.tokens_BID.dtype
        return ConditionOutput(
            null.tokens_BID.to(dtype).index_copy(0, kept_K, kept.tokens_BID),
            null.vector_BD.to(dtype).index_copy(0, kept_K, kept.vector_BD.to(dtype)),
            null.valid_or_all.index_copy(0, kept_K, kept.valid_or_all),
        )

    def _encode(self, raw: Tensor) -> ConditionOutput:
        encoded = self.encoder(raw)
        return ConditionOutput(
            self.to_tokens(encoded.tokens_BID), self.to_vector(encoded.vector_BD), encoded.valid_BI
        )


class Conditioner(nn.Module):
    """The conditions that a CAR was built with, in one prefix and one vector."""

    def __init__(self, configs: tuple[ConditionConfig, ...], dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.conditions = nn.ModuleDict({config.kind: Condition(config, dim) for config in configs})
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
        outputs = [base]
        inputs = _inputs_by_kind(batch)
        for kind, (raw, _) in inputs.items():
            if raw is not None and kind not in self.conditions:
                known = ", ".join(self.conditions) or "none"
                raise ValueError(f"this model has no {kind} condition; it knows: {known}")
        for kind, condition in self.conditions.items():
            assert isinstance(condition, Condition)
            raw, dropped_B = inputs[kind]
            outputs.append(
                condition.null(batch.batch_size) if raw is None else condition(raw, dropped_B)
            )
        return concatenate_tokens(outputs)


def _inputs_by_kind(batch: ConditionBatch) -> dict[str, tuple[Tensor | None, Tensor | None]]:
    return {
        "image": (batch.images_B3SS, batch.images_dropped_B),
        "text": (batch.text_ids_BN, batch.text_dropped_B),
        "class": (batch.labels_B, batch.labels_dropped_B),
    }
