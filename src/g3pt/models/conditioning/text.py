"""Text encoder trained from scratch: a small transformer over words and bytes.

Words may also have a frozen vector that describes their meaning (`word_vectors.py`).

Legend: B batch, N text tokens, E encoder width.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from g3pt.arguments import MAX_DEPTH, MAX_WIDTH, MLP_RATIOS, check_ranges
from g3pt.models.conditioning.contract import ConditionOutput
from g3pt.models.conditioning.vocabulary import PADDING, TextTokenizer
from g3pt.models.conditioning.word_vectors import (
    BUNDLED_SHA256,
    load_table,
    load_vectors,
    mean_vectors,
)
from g3pt.nn.blocks import SelfAttentionBlock


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConditionConfig:
    """A sentence about the shape, encoded by a transformer that is trained with CAR."""

    kind: Literal["text"] = "text"
    slot: ClassVar[Literal["text"]] = "text"

    vocabulary: tuple[str, ...] = ()
    """Words with an id of their own, lower-cased. Others are spelled in bytes or looked up in the
    table."""

    words: Literal["learned", "distilled"] = "learned"
    """`distilled`: a frozen table of some ten thousand words adds a vector of meaning to each word.
    Words outside the vocabulary get the vectors of similar words in the table."""

    table_sha256: str = BUNDLED_SHA256
    """SHA-256 of the file of the table. The file comes with g3pt, not with the weights of a
    model."""

    max_tokens: int = 48
    """Most ids of a text; longer texts are cut."""

    depth: int = 2
    width: int = 192
    num_heads: int = 3
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        check_ranges(self, "text", max_tokens=(2, 2**16), depth=(0, MAX_DEPTH))
        check_ranges(self, "text", width=(1, MAX_WIDTH), mlp_ratio=MLP_RATIOS)
        if len(set(self.vocabulary)) != len(self.vocabulary):
            raise ValueError("text.vocabulary holds a word twice")
        if self.num_heads < 1 or self.width % self.num_heads:
            raise ValueError(
                f"text.width {self.width} is not divisible by num_heads {self.num_heads}"
            )

    def build_tokenizer(self) -> TextTokenizer:
        """Give the tokenizer of this vocabulary.

        Raises:
            FileNotFoundError, ValueError: if words are distilled and this installation lacks the
                table, or has another one.
        """
        table = load_table(self.table_sha256) if self.words == "distilled" else None
        return TextTokenizer(self.vocabulary, self.max_tokens, table)


class TextEncoder(nn.Module):
    """Token ids to one token each; the vector is the mean over those that are not padding.

    The table of words is not part of this module: it is neither trained nor stored with it.
    """

    def __init__(self, config: TextConditionConfig) -> None:
        """Build the trained part.

        Raises:
            FileNotFoundError, ValueError: as `TextConditionConfig.build_tokenizer`.
        """
        super().__init__()
        self.config = config
        self.num_ids = config.build_tokenizer().num_ids
        self.embedding = nn.Embedding(self.num_ids, config.width)
        self.from_table = None
        if config.words == "distilled":
            dim = load_table(config.table_sha256).dim
            self.from_table = nn.Linear(dim, config.width, bias=False)
            # The vectors have length 1, so their projection is as large as a learned embedding.
            nn.init.normal_(self.from_table.weight, std=0.02)
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
            ValueError: if a text has more than `max_tokens` ids.
        """
        num_tokens = ids_BN.shape[1]
        if num_tokens > self.config.max_tokens:
            raise ValueError(
                f"the text encoder reads at most {self.config.max_tokens} ids, got {num_tokens}"
            )
        valid_BN = ids_BN != PADDING
        tokens_BNE = self._embed(ids_BN) + self.positions[:num_tokens]
        for block in self.blocks:
            tokens_BNE = block(tokens_BNE, mask=valid_BN[:, None, None, :])
        tokens_BNE = self.norm(tokens_BNE)
        return ConditionOutput(tokens_BNE, _masked_mean(tokens_BNE, valid_BN), valid_BN)

    def _embed(self, ids_BN: Int[Tensor, "B N"]) -> Float[Tensor, "B N E"]:
        """Sum of the learned embedding of each id and its projected vector in the table."""
        if self.from_table is None:
            return self.embedding(ids_BN)
        own_BN, weight = ids_BN % self.num_ids, self.from_table.weight
        learned_BNE = self.embedding(own_BN) * (own_BN != PADDING).unsqueeze(-1)
        vectors_RW = load_vectors(self.config.table_sha256, weight.device, weight.dtype)
        return learned_BNE + self.from_table(mean_vectors(ids_BN // self.num_ids, vectors_RW))


def _masked_mean(tokens_BNE: Float[Tensor, "B N E"], valid_BN: Tensor) -> Float[Tensor, "B E"]:
    weights_BN1 = valid_BN.unsqueeze(-1).to(tokens_BNE.dtype)
    return (tokens_BNE * weights_BN1).sum(dim=1) / weights_BN1.sum(dim=1).clamp(min=1)
