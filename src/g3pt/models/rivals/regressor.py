"""The regression rival of Table 1: one pass from a picture to a field.

It belongs to the family of LRM. Learned latents attend to the tokens of the condition and become
the input of a field decoder. A picture has one answer; nothing is sampled. The decoder is of the
same kind as the tokenizer's, so fields are evaluated and meshed in the same way.

Legend: B batch, L latents, D width, C decoder channels, Q query points.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from g3pt.models.conditioning.contract import ConditionBatch
from g3pt.models.cvq import FieldDecoderConfig, OccupancyDecoder
from g3pt.models.rivals.trunk import Trunk, TrunkConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressorConfig(TrunkConfig):
    """Transformer from conditions to latents, and the decoder that reads them."""

    decoder: FieldDecoderConfig = field(default_factory=FieldDecoderConfig)
    """Field decoder; the transformer computes its latents."""


class Regressor(nn.Module):
    """Condition to an occupancy field."""

    def __init__(self, config: RegressorConfig) -> None:
        super().__init__()
        self.config = config
        decoder = config.decoder
        self.queries_LD = nn.Parameter(torch.randn(decoder.num_latents, config.width) * 0.02)
        self.trunk = Trunk(config)
        self.norm = nn.LayerNorm(config.width)
        self.to_decoder = nn.Linear(config.width, decoder.dim)
        self.decoder = OccupancyDecoder(decoder, num_scales=1)

    def shape_memory(self, condition: ConditionBatch) -> Float[Tensor, "B L C"]:
        """Compute once per shape what the query points attend to."""
        context = self.trunk.encode_condition(condition)
        queries_BLD = self.queries_LD.expand(condition.batch_size, -1, -1)
        latents_BLC = self.to_decoder(self.norm(self.trunk(queries_BLD, context)))
        scales_B = torch.ones(condition.batch_size, dtype=torch.int64, device=latents_BLC.device)
        return self.decoder.memory(latents_BLC.float(), scales_B)

    def occupancy(
        self, memory: Float[Tensor, "B L C"], queries_BQ3: Float[Tensor, "B Q 3"]
    ) -> Float[Tensor, "B Q"]:
        """Occupancy logits, positive inside; query points of the unit frame."""
        return self.decoder(memory, queries_BQ3)

    def forward(
        self, condition: ConditionBatch, queries_BQ3: Float[Tensor, "B Q 3"]
    ) -> Float[Tensor, "B Q"]:
        """Occupancy logits from the raw conditions: `shape_memory`, then `occupancy`."""
        return self.occupancy(self.shape_memory(condition), queries_BQ3)
