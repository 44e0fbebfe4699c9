"""A first guess of the whole shape, regressed from the condition; CAR reads what it leaves open.

Ours, not the paper's (docs/deviations.md). Tokens are signs, so two like shapes may share few of
them, and a model of tokens has to see a kind of shape to name its tokens. The sum of the upsampled
features is smooth in the shape: regressing it carries over to kinds that were never seen. So the
condition is first turned into such a sum, the mean of what may come, and CAR is shown, at every
scale, what quantising that guess would make of the scale: down(e_s, guess - known).

Legend: B batch, M context tokens, L latents, C tokenizer channels, W width of the guess.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from g3pt.nn.blocks import CrossAttentionBlock, SelfAttentionBlock


@dataclass(frozen=True, kw_only=True, slots=True)
class GuessConfig:
    """Learned latents that gather a shape from the tokens of the condition."""

    num_latents: int = 128
    """Latents L of the tokenizer."""

    depth: int = 3
    """Times that the latents read the condition and then one another."""

    width: int = 256
    num_heads: int = 4
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        if self.depth < 1 or self.width % self.num_heads:
            raise ValueError(
                "guess needs depth >= 1 and a width that num_heads divides, got "
                f"{self.depth}, {self.width} and {self.num_heads}"
            )


class Guess(nn.Module):
    """Condition tokens to the sum of the upsampled features of all scales."""

    def __init__(self, config: GuessConfig, *, channels: int) -> None:
        super().__init__()
        self.config = config
        width, heads = config.width, config.num_heads
        self.queries_LW = nn.Parameter(torch.randn(config.num_latents, width) * 0.02)
        self.read = nn.ModuleList(
            CrossAttentionBlock(width, heads, mlp_ratio=0, normalize_qk=True)
            for _ in range(config.depth)
        )
        self.mix = nn.ModuleList(
            SelfAttentionBlock(width, heads, mlp_ratio=config.mlp_ratio, normalize_qk=True)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)
        self.to_features = nn.Linear(width, channels, bias=False)
        self.mean_LC = nn.Parameter(torch.zeros(config.num_latents, channels))
        nn.init.zeros_(self.to_features.weight)

    @torch.no_grad()
    def start_from(self, mean_LC: Float[Tensor, "L C"]) -> None:
        """Begin with the tokenizer's mean of every latent: the guess that knows nothing."""
        self.mean_LC.copy_(mean_LC)

    def forward(
        self,
        context_BMW: Float[Tensor, "B M W"],
        valid_BM: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B L C"]:
        """Give float32 features, ready for `Tokenizer.shape_memory`.

        Args:
            context_BMW: what is known of the shape.
            valid_BM: False at tokens that must not be seen; None when all count.
        """
        mask = None if valid_BM is None else valid_BM[:, None, None]
        x_BLW = self.queries_LW.to(context_BMW.dtype).expand(len(context_BMW), -1, -1)
        for read, mix in zip(self.read, self.mix, strict=True):
            x_BLW = mix(read(x_BLW, context_BMW, mask))
        return self.to_features(self.norm(x_BLW)).float() + self.mean_LC.float()
