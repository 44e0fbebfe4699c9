"""Stage 1: point encoder (Eq. 2), cross-scale quantization, occupancy decoder (Eq. 5).

Legend: B batch, N surface points, Q query points, L latents, T tokens of all scales end to
end, C tokenizer channels.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from g3pt.models.cqt import CqtConfig, CrossScaleQuerying, PyramidOutput
from g3pt.models.quantizers import LfqConfig, LfqQuantizer
from g3pt.nn.blocks import CrossAttentionBlock, SelfAttentionBlock
from g3pt.nn.embeddings import FourierEmbedding


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerConfig:
    """Cross-scale vector quantization of shapes (Sec. 3.2)."""

    kind: Literal["cvq"] = "cvq"

    num_latents: int = 128
    """Latent queries L."""

    dim: int = 192
    """Channels C of encoder, codes and decoder."""

    num_heads: int = 3

    encoder_layers: int = 2
    """Self-attention layers after the one that reads the points."""

    decoder_layers: int = 4
    """Self-attention layers before the one that answers the queries."""

    mlp_ratio: float = 4.0
    query_mlp_ratio: float = 2.0
    """Width of the MLP behind the last cross-attention, once for every query point."""

    num_octaves: int = 8
    """Octaves of the Fourier embedding."""

    query_init: Literal["anchors", "random"] = "anchors"
    """Latent queries start as embedded positions, spatial neighbours beside each other, or
    as noise."""

    cqt: CqtConfig = field(default_factory=CqtConfig)
    quantizer: LfqConfig = field(default_factory=LfqConfig)

    def __post_init__(self) -> None:
        if self.dim % self.num_heads:
            raise ValueError(f"dim {self.dim} is not divisible by num_heads {self.num_heads}")
        if self.cqt.scale_lengths[-1] > self.num_latents:
            raise ValueError(
                f"cqt.scale_lengths ends at {self.cqt.scale_lengths[-1]}, above "
                f"num_latents {self.num_latents}"
            )


def anchor_points(num_points: int) -> Float[Tensor, "N 3"]:
    """Well-spread positions of the unit frame, neighbours in space close in order (Morton)."""
    points = torch.quasirandom.SobolEngine(3).draw(num_points) * 1.8 - 0.9
    cells = ((points + 1) * 512).long().clamp(0, 1023)
    code = torch.zeros(num_points, dtype=torch.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return points[code.argsort()]


class PointEncoder(nn.Module):
    """Z = CrossAttn(Lat, PosEmb(X)) and self-attention (Eq. 2)."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        dim, heads = config.dim, config.num_heads
        self.embedding = FourierEmbedding(config.num_octaves)
        self.point_projection = nn.Linear(self.embedding.dim + 3, dim)
        self.read = CrossAttentionBlock(dim, heads, mlp_ratio=config.mlp_ratio)
        self.blocks = nn.ModuleList(
            SelfAttentionBlock(dim, heads, mlp_ratio=config.mlp_ratio)
            for _ in range(config.encoder_layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.queries_LC = nn.Parameter(torch.randn(config.num_latents, dim) * 0.02)
        if config.query_init == "anchors":
            anchors = anchor_points(config.num_latents)[None]
            with torch.no_grad():
                self.queries_LC.copy_(self._embed(anchors, torch.zeros_like(anchors))[0])

    def _embed(self, points_BN3: Tensor, normals_BN3: Tensor) -> Tensor:
        return self.point_projection(
            torch.cat([self.embedding(points_BN3), normals_BN3.float()], dim=-1)
        )

    def forward(
        self, points_BN3: Float[Tensor, "B N 3"], normals_BN3: Float[Tensor, "B N 3"]
    ) -> Float[Tensor, "B L C"]:
        """Read a point cloud of the unit frame, in any order, into L latents."""
        points_BNC = self._embed(points_BN3, normals_BN3)
        latents_BLC = self.queries_LC.expand(len(points_BN3), -1, -1)
        latents_BLC = self.read(latents_BLC, points_BNC)
        for block in self.blocks:
            latents_BLC = block(latents_BLC)
        return self.norm(latents_BLC).float()


class OccupancyDecoder(nn.Module):
    """Occ(p) = CrossAttn(PosEmb(p), SelfAttn(sum of upsampled features)) (Eq. 5).

    Two halves: `memory` runs once a shape, `forward` once a query point. The number of
    scales behind the sum is told to the decoder by a learned vector, so that coarse
    prefixes can be decoded without taking from the full pyramid.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        dim, heads = config.dim, config.num_heads
        self.slots_LC = nn.Parameter(torch.randn(config.num_latents, dim) * 0.02)
        self.prefix_embedding = nn.Parameter(torch.zeros(config.cqt.num_scales, dim))
        self.blocks = nn.ModuleList(
            SelfAttentionBlock(dim, heads, mlp_ratio=config.mlp_ratio)
            for _ in range(config.decoder_layers)
        )
        self.embedding = FourierEmbedding(config.num_octaves)
        self.query_projection = nn.Linear(self.embedding.dim, dim)
        self.answer = CrossAttentionBlock(dim, heads, mlp_ratio=config.query_mlp_ratio)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 1)

    def memory(
        self, summed_BLC: Float[Tensor, "B L C"], num_scales_B: Int[Tensor, " B"]
    ) -> Float[Tensor, "B L C"]:
        """Self-attention over the latents of a shape."""
        prefix_BC = self.prefix_embedding[num_scales_B - 1]
        x_BLC = summed_BLC + self.slots_LC + prefix_BC[:, None]
        for block in self.blocks:
            x_BLC = block(x_BLC)
        return x_BLC

    def forward(
        self, memory_BLC: Float[Tensor, "B L C"], queries_BQ3: Float[Tensor, "B Q 3"]
    ) -> Float[Tensor, "B Q"]:
        """Occupancy logits of query points of the unit frame, positive inside."""
        queries_BQC = self.query_projection(self.embedding(queries_BQ3))
        answers_BQC = self.answer(queries_BQC, memory_BLC)
        return self.head(self.norm(answers_BQC)).squeeze(-1).float()


class Tokenizer(nn.Module):
    """A point cloud to tokens from coarse to fine, and tokens to an occupancy field."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = PointEncoder(config)
        # A block mean of b independent unit latents has a magnitude of b**-0.5.
        gains = [(length / config.num_latents) ** 0.5 for length in config.cqt.scale_lengths]
        self.quantizer = LfqQuantizer(config.quantizer, config.dim, gains)
        self.cqt = CrossScaleQuerying(config.cqt, config.num_latents, config.dim, config.num_heads)
        self.decoder = OccupancyDecoder(config)

    @property
    def scale_lengths(self) -> tuple[int, ...]:
        """Tokens per scale, coarsest first."""
        return self.config.cqt.scale_lengths

    @property
    def num_bits(self) -> int:
        """Bits per token."""
        return self.config.quantizer.num_bits

    def encode(
        self, points_BN3: Float[Tensor, "B N 3"], normals_BN3: Float[Tensor, "B N 3"]
    ) -> Float[Tensor, "B L C"]:
        """Latents Z before quantization (Eq. 2)."""
        return self.encoder(points_BN3, normals_BN3)

    def quantize(
        self,
        latents_BLC: Float[Tensor, "B L C"],
        *,
        num_scales: int | None = None,
        keep_B: Int[Tensor, " B"] | None = None,
        bypass: bool = False,
    ) -> PyramidOutput:
        """Residual quantization over the scales; see `CrossScaleQuerying.pyramid`."""
        return self.cqt.pyramid(
            latents_BLC, self.quantizer, num_scales=num_scales, keep_B=keep_B, bypass=bypass
        )

    @torch.no_grad()
    def tokenize(
        self,
        points_BN3: Float[Tensor, "B N 3"],
        normals_BN3: Float[Tensor, "B N 3"],
        num_scales: int | None = None,
    ) -> Int[Tensor, "B T"]:
        """Vocabulary indices of all scales end to end, coarsest first."""
        return self.quantize(self.encode(points_BN3, normals_BN3), num_scales=num_scales).indices_BT

    def num_scales_of(self, num_tokens: int) -> int:
        """Number of whole scales that `num_tokens` make.

        Raises:
            ValueError: if the tokens end inside a scale.
        """
        total = 0
        for scale, length in enumerate(self.scale_lengths):
            total += length
            if total == num_tokens:
                return scale + 1
        raise ValueError(
            f"{num_tokens} tokens do not end with a scale; scale lengths are {self.scale_lengths}"
        )

    def decode_indices(self, indices_BT: Int[Tensor, "B T"]) -> Float[Tensor, "B L C"]:
        """Sum of the upsampled features of the scales that the tokens cover."""
        num_scales = self.num_scales_of(indices_BT.shape[1])
        parts = indices_BT.split(list(self.scale_lengths[:num_scales]), dim=1)
        upsampled = [
            self.cqt.up(scale, self.quantizer.embed(part, scale)).float()
            for scale, part in enumerate(parts)
        ]
        return torch.stack(upsampled).sum(dim=0)

    def shape_memory(
        self,
        summed_BLC: Float[Tensor, "B L C"],
        num_scales: int | Int[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B L C"]:
        """Once a shape: what the queries attend to; `num_scales` are in the sum (default all)."""
        if num_scales is None:
            num_scales = self.config.cqt.num_scales
        if isinstance(num_scales, int):
            num_scales = torch.full((len(summed_BLC),), num_scales, device=summed_BLC.device)
        return self.decoder.memory(summed_BLC, num_scales)

    def occupancy(
        self, memory_BLC: Float[Tensor, "B L C"], queries_BQ3: Float[Tensor, "B Q 3"]
    ) -> Float[Tensor, "B Q"]:
        """Occupancy logits, positive inside; query points of the unit frame."""
        return self.decoder(memory_BLC, queries_BQ3)
