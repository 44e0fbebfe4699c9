"""Text encoder trained from scratch: a small transformer over words and bytes.

Legend: B batch, N text tokens, E encoder width.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from g3pt.models.conditioning.contract import ConditionOutput
from g3pt.models.conditioning.vocabulary import PADDING, TextTokenizer
from g3pt.nn.blocks import SelfAttentionBlock


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConditionConfig:
    """A sentence about the shape, encoded by a transformer that is trained with CAR."""

    kind: Literal["text"] = "text"
    slot: ClassVar[Literal["text"]] = "text"

    vocabulary: tuple[str, ...] = ()
    """Words known as a whole, lower-cased; all others are spelled in bytes."""

    max_tokens: int = 48
    """Longer texts are cut."""

    depth: int = 2
    width: int = 192
    num_heads: int = 3
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        if len(set(self.vocabulary)) != len(self.vocabulary):
            raise ValueError("text.vocabulary holds a word twice")
        if self.max_tokens < 2:
            raise ValueError(f"text.max_tokens must be at least 2, got {self.max_tokens}")
        if self.width % self.num_heads:
            raise ValueError(
                f"text.width {self.width} is not divisible by num_heads {self.num_heads}"
            )

    def build_tokenizer(self) -> TextTokenizer:
        """Give the tokenizer of this vocabulary."""
        return TextTokenizer(self.vocabulary, self.max_tokens)


class TextEncoder(nn.Module):
    """Token ids to as many tokens; the vector is the mean over those that are not padding."""

    def __init__(self, config: TextConditionConfig) -> None:
        super().__init__()
        self.config = config
        num_ids = config.build_tokenizer().num_ids
        self.embedding = nn.Embedding(num_ids, config.width)
        self.positions = nn.Parameter(torch.randn(config.max_tokens, config.width) * 0.02)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(
            SelfAttentionBlock(
                config.width, config.num_heads, mlp_ratio=config.mlp_ratio, normalize_qk=True
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, ids_BN: Int[Tensor, "B N"]) -> ConditionOutput:
        """Encode ids of the config's tokenizer, padded with zeros.

        Raises:
            ValueError: if there are more ids a text than `max_tokens`.
        """
        num_tokens = ids_BN.shape[1]
        if num_tokens > self.config.max_tokens:
            raise ValueError(
                f"the text encoder reads at most {self.config.max_tokens} ids, got {num_tokens}"
            )
        valid_BN = ids_BN != PADDING
        tokens_BNE = self.embedding(ids_BN) + self.positions[:num_tokens]
        for block in self.blocks:
            tokens_BNE = block(tokens_BNE, mask=valid_BN[:, None, None, :])
        tokens_BNE = self.norm(tokens_BNE)
        return ConditionOutput(tokens_BNE, _masked_mean(tokens_BNE, valid_BN), valid_BN)


def _masked_mean(tokens_BNE: Float[Tensor, "B N E"], valid_BN: Tensor) -> Float[Tensor, "B E"]:
    weights_BN1 = valid_BN.unsqueeze(-1).to(tokens_BNE.dtype)
    return (tokens_BNE * weights_BN1).sum(dim=1) / weights_BN1.sum(dim=1).clamp(min=1)
