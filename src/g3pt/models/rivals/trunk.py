"""The transformer that both rivals share: latents attend to one another and to the condition.

Conditions enter as in CAR. Their tokens precede the latents and run through the same blocks. They
attend only to one another, so they need to run only once per shape. Their vector modulates the
norms.

Legend: B batch, L latents, D width, I condition tokens, H heads, Y blocks.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from g3pt.arguments import MAX_DEPTH, MAX_WIDTH, MLP_RATIOS, check_ranges
from g3pt.models.conditioning.contract import ConditionBatch, ConditionOutput
from g3pt.models.conditioning.encoders import ConditionConfig, Conditioner
from g3pt.nn.attention import KeyValues
from g3pt.nn.blocks import AdaLn, GatedBlock
from g3pt.nn.scale_attention import plan_attention


@dataclass(frozen=True, kw_only=True, slots=True)
class TrunkConfig:
    """Blocks and conditions; each rival adds its input and output layers."""

    depth: int = 8
    width: int = 256
    num_heads: int = 4
    mlp_ratio: float = 4.0

    conditions: tuple[ConditionConfig, ...] = ()
    """The conditions of the model, at most one each of pictures, text, points and class. Empty
    builds an unconditional model."""

    def __post_init__(self) -> None:
        check_ranges(
            self, "model", depth=(0, MAX_DEPTH), width=(1, MAX_WIDTH), mlp_ratio=MLP_RATIOS
        )
        if self.num_heads < 1 or self.width % self.num_heads:
            raise ValueError(
                f"model.width {self.width} is not divisible by num_heads {self.num_heads}"
            )
        slots = [condition.slot for condition in self.conditions]
        if len(set(slots)) != len(slots):
            raise ValueError(f"model.conditions tells the same thing twice: {slots}")


@dataclass(frozen=True)
class TrunkContext:
    """An encoded condition, as the blocks read it."""

    keys_values: tuple[KeyValues, ...]
    """Keys and values of the condition tokens, one per block."""

    vector_BD: Float[Tensor, "B D"]

    valid_BI: Bool[Tensor, "B I"] | None = None
    """False at padding tokens, which attention must not see; None if there are none."""


class Trunk(nn.Module):
    """Blocks over latents, preceded by the condition tokens."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        dim = config.width
        self.conditioner = Conditioner(config.conditions, dim)
        self.ada_ln = AdaLn(dim, config.depth)
        self.blocks = nn.ModuleList(
            GatedBlock(dim, config.num_heads, mlp_ratio=config.mlp_ratio, closed=True)
            for _ in range(config.depth)
        )

    def encode_condition(self, condition: ConditionBatch) -> TrunkContext:
        """Run the condition tokens through the blocks; absent conditions become their nulls."""
        encoded: ConditionOutput = self.conditioner(condition)
        modulation = self.ada_ln(encoded.vector_BD)
        x_BID = encoded.tokens_BID
        if x_BID.shape[1] == 0:
            return TrunkContext((), encoded.vector_BD)
        attend = plan_attention((x_BID.shape[1],), valid_BI=encoded.valid_BI)
        kept: list[KeyValues] = []

        def keep(own: KeyValues) -> KeyValues:
            kept.append(own)
            return own

        for layer, block in enumerate(self.blocks):
            x_BID = block(x_BID, modulation[layer].to(x_BID.dtype), attend, keep)
        return TrunkContext(tuple(kept), encoded.vector_BD, encoded.valid_BI)

    def forward(
        self,
        x_BLD: Float[Tensor, "B L D"],
        context: TrunkContext,
        vector_BD: Float[Tensor, "B D"] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Transform the latents; `vector_BD` is added to the vector of the condition."""
        own_BD = context.vector_BD if vector_BD is None else context.vector_BD + vector_BD
        modulation = self.ada_ln(own_BD).to(x_BLD.dtype)
        num_seen = context.keys_values[0].keys_BHMD.shape[2] if context.keys_values else 0
        attend = plan_attention((x_BLD.shape[1],), first_key=num_seen, valid_BI=context.valid_BI)
        for layer, block in enumerate(self.blocks):
            behind = partial(_behind, context.keys_values[layer]) if num_seen else None
            x_BLD = block(x_BLD, modulation[layer], attend, behind)
        return x_BLD


def _behind(context: KeyValues, own: KeyValues) -> KeyValues:
    """Concatenate keys and values of a condition with those of the latents."""
    return KeyValues(
        torch.cat([context.keys_BHMD, own.keys_BHMD], dim=2),
        torch.cat([context.values_BHMD, own.values_BHMD], dim=2),
    )


def concatenate_contexts(first: TrunkContext, second: TrunkContext) -> TrunkContext:
    """Concatenate two batches along the batch dim, padding the shorter conditions."""
    if not first.keys_values:
        return TrunkContext((), torch.cat([first.vector_BD, second.vector_BD]))
    parts = (first, second)
    lengths = [part.keys_values[0].keys_BHMD.shape[2] for part in parts]
    longest = max(lengths)

    def joined(tensors: tuple[Tensor, ...]) -> Tensor:
        return torch.cat([F.pad(t, (0, 0, 0, longest - t.shape[2])) for t in tensors])

    keys_values = tuple(
        KeyValues(
            joined((one.keys_BHMD, other.keys_BHMD)), joined((one.values_BHMD, other.values_BHMD))
        )
        for one, other in zip(first.keys_values, second.keys_values, strict=True)
    )
    valid = [
        F.pad(
            torch.ones(len(part.vector_BD), length, dtype=torch.bool, device=part.vector_BD.device)
            if part.valid_BI is None
            else part.valid_BI,
            (0, longest - length),
        )
        for part, length in zip(parts, lengths, strict=True)
    ]
    all_count = lengths[0] == lengths[1] and all(part.valid_BI is None for part in parts)
    return TrunkContext(
        keys_values,
        torch.cat([first.vector_BD, second.vector_BD]),
        None if all_count else torch.cat(valid),
    )
