"""Stage 1: point encoder (Eq. 2), cross-scale quantization, occupancy decoder (Eq. 5).

Legend: B batch, N surface points, Q query points, L latents, C tokenizer channels.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from g3pt.arguments import MAX_DEPTH, MAX_WIDTH, MLP_RATIOS, check_ranges
from g3pt.models.cqt import CqtConfig, CrossScaleQuerying
from g3pt.models.quantizers import LfqConfig, LfqQuantizer
from g3pt.models.tokenizer import DiscreteTokenizer, FieldDecoder, Resampling
from g3pt.nn.blocks import CrossAttentionBlock, SelfAttentionBlock
from g3pt.nn.embeddings import FourierEmbedding

MAX_LATENTS = 2**20
MAX_OCTAVES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldDecoderConfig:
    """Decoder of an unordered set of latents to a field (Eq. 5)."""

    num_latents: int = 128
    """Latent queries L."""

    dim: int = 192
    """Channels C of encoder, codes and decoder."""

    num_heads: int = 3

    decoder_layers: int = 4
    """Self-attention layers before the one that answers the queries."""

    mlp_ratio: float = 4.0
    query_mlp_ratio: float = 2.0
    """Width of the MLP after the last cross-attention, which runs for every query point."""

    num_octaves: int = 8
    """Octaves of the Fourier embedding."""

    local_gain: float = 1.4
    """Strength with which, at initialisation, latents attend to the points near their anchors and
    query points to the latents near them (`Attention.look_alike`); 0 starts at random."""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            "",
            num_latents=(1, MAX_LATENTS),
            dim=(1, MAX_WIDTH),
            decoder_layers=(0, MAX_DEPTH),
            mlp_ratio=MLP_RATIOS,
            query_mlp_ratio=MLP_RATIOS,
            num_octaves=(0, MAX_OCTAVES),
            local_gain=(0, 1e6),
        )
        if self.num_heads < 1 or self.dim % self.num_heads:
            raise ValueError(f"dim {self.dim} is not divisible by num_heads {self.num_heads}")


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentSetConfig(FieldDecoderConfig):
    """Encoder and decoder of an unordered set of latents; each kind adds its bottleneck."""

    encoder_layers: int = 2
    """Self-attention layers after the one that reads the points."""

    query_init: Literal["anchors", "random", "fps"] = "anchors"
    """Latent queries are learned, and start as embedded positions in spatial order or as noise. Or
    they are embedded points of the shape itself, from farthest-point sampling, in the same spatial
    order (3DShape2VecSet, CLAY)."""

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class than the one being defined here.
        FieldDecoderConfig.__post_init__(self)
        check_ranges(self, "", encoder_layers=(0, MAX_DEPTH))


@dataclass(frozen=True, kw_only=True, slots=True)
class CvqConfig(LatentSetConfig):
    """Cross-scale vector quantization of shapes (Sec. 3.2)."""

    kind: Literal["cvq"] = "cvq"

    cqt: CqtConfig = field(default_factory=CqtConfig)
    quantizer: LfqConfig = field(default_factory=LfqConfig)

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class than the one being defined here.
        LatentSetConfig.__post_init__(self)
        check_scales("cqt.scale_lengths", self.cqt.scale_lengths, self.num_latents)


def check_scales(name: str, scale_lengths: tuple[int, ...], num_latents: int) -> None:
    """Check that scales are not longer than the latents they are drawn from.

    Raises:
        ValueError: if one is; the message names the field.
    """
    if scale_lengths[-1] > num_latents:
        raise ValueError(
            f"{name} ends at {scale_lengths[-1]}, above num_latents {num_latents}: raise "
            "num_latents or shorten the scale"
        )


def anchor_points(num_points: int) -> Float[Tensor, "N 3"]:
    """Evenly spread positions of the unit frame, ordered so that neighbours in space are close."""
    points = torch.quasirandom.SobolEngine(3).draw(num_points) * 1.8 - 0.9
    return points[morton_codes(points).argsort()]


def morton_codes(points: Float[Tensor, "*B 3"]) -> Int[Tensor, "*B"]:
    """Place of each point on a curve through the unit frame that keeps neighbours together."""
    cells = ((points + 1) * 512).long().clamp(0, 1023)
    code = torch.zeros(points.shape[:-1], dtype=torch.int64, device=points.device)
    for bit in range(10):
        for axis in range(3):
            code |= ((cells[..., axis] >> bit) & 1) << (3 * bit + axis)
    return code


@torch.no_grad()
def spread_points(points_BN3: Float[Tensor, "B N 3"], num: int) -> Int[Tensor, "B L"]:
    """Farthest-point sampling: indices of points far from one another, in spatial order.

    It begins at the point farthest from the mean, so that the order of the points does not matter.

    Raises:
        ValueError: if there are fewer points than asked for.
    """
    if points_BN3.shape[1] < num:
        raise ValueError(f"cannot choose {num} of {points_BN3.shape[1]} points: give more points")
    rows_B = torch.arange(len(points_BN3), device=points_BN3.device)
    mean_B13 = points_BN3.mean(dim=1, keepdim=True)
    nearest_BN = (points_BN3 - mean_B13).square().sum(dim=-1)
    chosen = []
    for number in range(num):
        picked_B = nearest_BN.argmax(dim=1)
        chosen.append(picked_B)
        distance_BN = (points_BN3 - points_BN3[rows_B, picked_B][:, None]).square().sum(dim=-1)
        nearest_BN = distance_BN if number == 0 else torch.minimum(nearest_BN, distance_BN)
    chosen_BL = torch.stack(chosen, dim=1)
    codes_BL = morton_codes(points_BN3).gather(1, chosen_BL)
    return chosen_BL.gather(1, codes_BL.argsort(dim=1, stable=True))


class PointEncoder(nn.Module):
    """Z = CrossAttn(Lat, PosEmb(X)) and self-attention (Eq. 2)."""

    def __init__(self, config: LatentSetConfig) -> None:
        super().__init__()
        dim, heads = config.dim, config.num_heads
        self.num_latents = config.num_latents
        self.embedding = FourierEmbedding(config.num_octaves)
        self.point_projection = nn.Linear(self.embedding.dim + 3, dim)
        self.read = CrossAttentionBlock(dim, heads, mlp_ratio=config.mlp_ratio)
        self.blocks = nn.ModuleList(
            SelfAttentionBlock(dim, heads, mlp_ratio=config.mlp_ratio)
            for _ in range(config.encoder_layers)
        )
        self.norm = nn.LayerNorm(dim)
        if config.local_gain:
            self.read.attention.look_alike(config.local_gain)
        self.queries_LC = None
        if config.query_init == "fps":
            return
        self.queries_LC = nn.Parameter(torch.randn(config.num_latents, dim) * 0.02)
        if config.query_init == "anchors":
            self.place_queries(anchor_points(config.num_latents))

    @torch.no_grad()
    def place_queries(self, positions_L3: Float[Tensor, "L 3"]) -> None:
        """Initialise the learned queries as embedded positions of the unit frame."""
        assert self.queries_LC is not None, "the queries are points of the shape"
        embedded_1LC = self._embed(positions_L3[None], torch.zeros_like(positions_L3)[None])
        self.queries_LC.copy_(embedded_1LC[0])

    def _embed(self, points_BN3: Tensor, normals_BN3: Tensor) -> Tensor:
        return self.point_projection(
            torch.cat([self.embedding(points_BN3), normals_BN3.float()], dim=-1)
        )

    def forward(
        self, points_BN3: Float[Tensor, "B N 3"], normals_BN3: Float[Tensor, "B N 3"]
    ) -> Float[Tensor, "B L C"]:
        """Encode points and normals (unit frame, any order) as L latents."""
        points_BNC = self._embed(points_BN3, normals_BN3)
        if self.queries_LC is None:
            chosen_BL1 = spread_points(points_BN3, self.num_latents)[..., None]
            latents_BLC = points_BNC.gather(1, chosen_BL1.expand(-1, -1, points_BNC.shape[-1]))
        else:
            latents_BLC = self.queries_LC.expand(len(points_BN3), -1, -1)
        latents_BLC = self.read(latents_BLC, points_BNC)
        for block in self.blocks:
            latents_BLC = block(latents_BLC)
        return self.norm(latents_BLC).float()


class OccupancyDecoder(FieldDecoder):
    """Occ(p) = CrossAttn(PosEmb(p), SelfAttn(sum of upsampled features)) (Eq. 5).

    `memory` runs once per shape, `forward` once per query point. A learned vector tells the
    decoder how many scales are in the sum, so that training on coarse prefixes does not degrade
    the full pyramid.
    """

    def __init__(self, config: FieldDecoderConfig, *, num_scales: int) -> None:
        super().__init__()
        dim, heads = config.dim, config.num_heads
        self.slots_LC = nn.Parameter(torch.randn(config.num_latents, dim) * 0.02)
        self.prefix_embedding = nn.Parameter(torch.zeros(num_scales, dim))
        self.blocks = nn.ModuleList(
            SelfAttentionBlock(dim, heads, mlp_ratio=config.mlp_ratio)
            for _ in range(config.decoder_layers)
        )
        self.embedding = FourierEmbedding(config.num_octaves)
        self.query_projection = nn.Linear(self.embedding.dim, dim)
        self.answer = CrossAttentionBlock(dim, heads, mlp_ratio=config.query_mlp_ratio)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 1)
        if config.local_gain:
            self._start_near(config.num_latents, config.local_gain)

    @torch.no_grad()
    def _start_near(self, num_latents: int, gain: float) -> None:
        """Initialise the slots as the queries at the anchors of the latents."""
        anchors_L3 = anchor_points(num_latents)
        self.slots_LC.copy_(self.query_projection(self.embedding(anchors_L3[None]))[0])
        self.answer.attention.look_alike(gain)

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


class CvqTokenizer(DiscreteTokenizer):
    """Latent set, CQT, occupancy decoder: the tokenizer of the paper."""

    def __init__(self, config: CvqConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = PointEncoder(config)
        lengths = config.cqt.scale_lengths
        self.quantizer = LfqQuantizer(
            config.quantizer, config.dim, pooling_gains(lengths, config.num_latents)
        )
        self.cqt = CrossScaleQuerying(config.cqt, config.num_latents, config.dim, config.num_heads)
        self.decoder = OccupancyDecoder(config, num_scales=len(lengths))

    @property
    def scale_lengths(self) -> tuple[int, ...]:
        """Tokens per scale, coarsest first."""
        return self.config.cqt.scale_lengths

    @property
    def resampling(self) -> Resampling:
        """The CQT."""
        return self.cqt

    def bottleneck(self) -> tuple[nn.Module, ...]:
        """CQT and quantizer."""
        return self.cqt, self.quantizer


def pooling_gains(scale_lengths: tuple[int, ...], num_latents: int) -> list[float]:
    """Expected input magnitude of each scale: b**-0.5 for a mean of b independent latents."""
    return [(length / num_latents) ** 0.5 for length in scale_lengths]
