"""Sentences through the frozen text encoder of CLIP.

Legend: B batch, N text tokens, E encoder width.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from g3pt.models.conditioning.contract import ConditionOutput
from g3pt.models.conditioning.frozen import (
    check_source,
    import_transformers,
    load_frozen,
    source_arguments,
)

CLIP_LARGE = "hub:openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41"
"""The text tower of CLIP ViT-L/14: 12 layers, 768 wide, MIT."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipConditionConfig:
    """A sentence about the shape, encoded by CLIP's text tower, which stays frozen."""

    kind: Literal["clip"] = "clip"
    slot: ClassVar[Literal["text"]] = "text"

    source: str = CLIP_LARGE
    """A folder that holds the model and its tokenizer, or `hub:OWNER/NAME@COMMIT`."""

    max_tokens: int = 77
    """Every text is padded or cut to this number of tokens; it must be the model's."""

    width: int = 768
    """Width of the model's output."""

    def __post_init__(self) -> None:
        check_source(self.kind, self.source)
        if self.max_tokens < 2:
            raise ValueError(f"clip.max_tokens must be at least 2, got {self.max_tokens}")

    def build_tokenizer(self) -> "ClipTokenizer":
        """Give the tokenizer that belongs to the model; its files are read at first use."""
        return ClipTokenizer(self.source, self.max_tokens)


class ClipTokenizer:
    """CLIP's own tokenizer, with the interface of `TextTokenizer`."""

    def __init__(self, source: str, max_tokens: int) -> None:
        self.source = source
        self.max_tokens = max_tokens

    def encode(
        self,
        text: str,
        *,
        spelled_share: float = 0.0,
        table_share: float = 0.0,
        rng: random.Random | None = None,
    ) -> list[int]:
        """Turn one text into exactly `max_tokens` ids.

        The shares have no effect: this vocabulary covers all words already.
        """
        del spelled_share, table_share, rng
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of several texts, each padded or cut to `max_tokens`."""
        encoded = _load_tokenizer(self.source)(
            list(texts), padding="max_length", truncation=True, max_length=self.max_tokens
        )
        return encoded["input_ids"]


@lru_cache(maxsize=4)
def _load_tokenizer(source: str) -> Any:
    transformers = import_transformers("clip")
    name, arguments = source_arguments("clip", source)
    return transformers.CLIPTokenizer.from_pretrained(name, **arguments)


class ClipEncoder(nn.Module):
    """Ids to the tokens of the last layer; the vector is the one at the end of the text.

    Padding is not masked, as in other generators that read CLIP.
    """

    def __init__(self, config: ClipConditionConfig) -> None:
        super().__init__()
        self.config = config

    @torch.no_grad()
    def forward(self, ids_BN: Int[Tensor, "B N"]) -> ConditionOutput:
        """Encode ids of the config's tokenizer.

        Raises:
            ImportError: if transformers is not installed.
            ValueError: if the ids or the model do not have the configured sizes.
        """
        config = self.config
        if ids_BN.shape[1] != config.max_tokens:
            raise ValueError(
                f"the clip condition reads {config.max_tokens} ids a text, got {ids_BN.shape[1]}"
            )
        output = load_frozen("clip", config.source).to(ids_BN.device)(input_ids=ids_BN)
        tokens_BNE: Float[Tensor, "B N E"] = output.last_hidden_state
        if tokens_BNE.shape[-1] != config.width:
            raise ValueError(
                f"{config.source}: expected {config.width} channels, got {tokens_BNE.shape[-1]}: "
                "set clip.width to that of the model"
            )
        return ConditionOutput(tokens_BNE, output.pooler_output)
