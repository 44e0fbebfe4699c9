"""The contract of all tokenizers: points to latents, a bottleneck, latents to a field.

Legend: B batch, N surface points, Q query points, L latents, T tokens of all scales end to
end, C tokenizer channels, K bits. Latents of planes and volumes are laid out as L as well.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from g3pt.models.quantizers import LfqQuantizer, pack_margins, unpack_bits


@dataclass(frozen=True)
class PyramidOutput:
    """Output of the bottleneck: all scales of one residual quantisation.

    A continuous bottleneck is a pyramid of one scale without tokens.
    """

    summed_BLC: Tensor
    """Sum of the upsampled features, per sample of only the first `keep_B` scales if given."""

    prefixes: tuple[Tensor, ...]
    """Sum of the first s + 1 upsampled features, for every scale s."""

    residual_BLC: Tensor
    """The remainder: sum of all upsampled features + residual = latents."""

    indices_BT: Tensor
    """Vocabulary indices of all scales end to end."""

    projected: tuple[Tensor, ...]
    """Normalised bit features of each scale, float32."""

    divergence: Tensor | None = None
    """Mean KL divergence of the latents from a unit Gaussian; None for a discrete bottleneck."""


class MarkedTokens(NamedTuple):
    """Tokens, and how far their bits were from flipping."""

    indices_BT: Int[Tensor, "B T"]
    margins_BTK: UInt8[Tensor, "B T K"]
    """See `pack_margins`."""


class Resampling(nn.Module, ABC):
    """Maps between L latents and the tokens of each scale, as the residual loop uses them."""

    mean_LC: Tensor
    """Mean that is subtracted from the latents before scale 0; `up` adds it back with scale 0."""

    @abstractmethod
    def down(self, scale: int, features_BLC: Tensor) -> Tensor:
        """Gather L latents into the tokens of a scale (Eq. 3)."""

    @abstractmethod
    def up(self, scale: int, codes_BTC: Tensor) -> Tensor:
        """Spread the codes of a scale over the L latents (Eq. 4)."""

    @abstractmethod
    def track_mean(self, latents_BLC: Tensor) -> None:
        """Move the mean towards this batch; called while training."""


def residual_pyramid(
    resampling: Resampling,
    quantizer: LfqQuantizer,
    latents_BLC: Float[Tensor, "B L C"],
    num_scales: int,
    *,
    keep_B: Int[Tensor, " B"] | None = None,
    bypass: bool = False,
) -> PyramidOutput:
    """The residual loop over scales (Sec. 3.2), the only one in the code.

    R_0 = Z; E_s = down(e_s, R_s); q_s = LFQ(E_s); U_s = up(e~_s, q_s);
    R_{s+1} = R_s - U_s. Gradients run through the residuals.

    Args:
        resampling: the CQT, or the resampling of another tokenizer.
        quantizer: turns E_s into codes.
        latents_BLC: encoder output Z.
        num_scales: number of scales to compute; coarser tokens do not depend on it.
        keep_B: number of scales summed for each sample (scale dropout).
        bypass: pass normalised values in place of signs (warm-up, Sec. 4.2).
    """
    residual_BLC = latents_BLC.float()
    running_BLC = torch.zeros_like(residual_BLC)
    kept_BLC = torch.zeros_like(residual_BLC)
    prefixes, indices, projected = [], [], []
    for scale in range(num_scales):
        centred_BLC = residual_BLC - resampling.mean_LC if scale == 0 else residual_BLC
        tokens = quantizer(resampling.down(scale, centred_BLC), scale, bypass=bypass)
        upsampled_BLC = resampling.up(scale, tokens.features_BTC).float()
        residual_BLC = residual_BLC - upsampled_BLC
        running_BLC = running_BLC + upsampled_BLC
        if keep_B is not None:
            kept_BLC = kept_BLC + upsampled_BLC * (keep_B > scale)[:, None, None]
        prefixes.append(running_BLC)
        indices.append(tokens.indices_BT)
        projected.append(tokens.projected_BTK)
    return PyramidOutput(
        summed_BLC=running_BLC if keep_B is None else kept_BLC,
        prefixes=tuple(prefixes),
        residual_BLC=residual_BLC,
        indices_BT=torch.cat(indices, dim=1),
        projected=tuple(projected),
    )


class FieldDecoder(nn.Module, ABC):
    """Latents to an occupancy field: `memory` once per shape, `forward` once per query point."""

    @abstractmethod
    def memory(
        self, summed_BLC: Float[Tensor, "B L C"], num_scales_B: Int[Tensor, " B"]
    ) -> Float[Tensor, "B *memory"]:
        """Compute what the query points attend to."""

    @abstractmethod
    def forward(
        self, memory: Float[Tensor, "B *memory"], queries_BQ3: Float[Tensor, "B Q 3"]
    ) -> Float[Tensor, "B Q"]:
        """Occupancy logits of query points of the unit frame, positive inside."""


class Tokenizer(nn.Module, ABC):
    """A point cloud to features from coarse to fine, and features to an occupancy field.

    `encoder` maps points and normals to latents, `decoder` maps latents to a field. The kinds
    differ in the bottleneck between them.
    """

    config: Any
    """One of `TokenizerConfig` (models/tokenizers.py), which knows all kinds."""
    encoder: nn.Module
    decoder: FieldDecoder

    @property
    @abstractmethod
    def scale_lengths(self) -> tuple[int, ...]:
        """Tokens per scale, coarsest first; a continuous bottleneck counts its latents."""

    @property
    @abstractmethod
    def num_bits(self) -> int:
        """Bits per token; 0 if the bottleneck is continuous and has no tokens."""

    @property
    def dim(self) -> int:
        """Channels C of the latents."""
        return self.config.dim

    @property
    def num_scales(self) -> int:
        """Number of scales S."""
        return len(self.scale_lengths)

    @property
    @abstractmethod
    def latent_mean(self) -> Tensor:
        """Running mean of every latent over shapes; zero where none is kept."""

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the noise that `quantize` takes per sample in training; () if it takes none."""
        return ()

    @abstractmethod
    def track_mean(self, latents_BLC: Float[Tensor, "B L C"]) -> None:
        """Move the running mean of every latent towards this batch; called while training."""

    @abstractmethod
    def bottleneck(self) -> Sequence[nn.Module]:
        """The modules between encoder and decoder."""

    @abstractmethod
    def quantize(
        self,
        latents_BLC: Float[Tensor, "B L C"],
        *,
        num_scales: int | None = None,
        keep_B: Int[Tensor, " B"] | None = None,
        bypass: bool = False,
        noise: Float[Tensor, "B ..."] | None = None,
    ) -> PyramidOutput:
        """Send latents through the bottleneck.

        Args:
            latents_BLC: encoder output Z.
            num_scales: stop after this many scales (default: all).
            keep_B: number of scales summed for each sample (scale dropout).
            bypass: pass normalised values in place of signs (warm-up, Sec. 4.2).
            noise: standard normal numbers of `noise_shape`; None takes the mean.
        """

    def encode(
        self, points_BN3: Float[Tensor, "B N 3"], normals_BN3: Float[Tensor, "B N 3"]
    ) -> Float[Tensor, "B L C"]:
        """Latents Z before the bottleneck (Eq. 2)."""
        return self.encoder(points_BN3, normals_BN3)

    def shape_memory(
        self,
        summed_BLC: Float[Tensor, "B L C"],
        num_scales: int | Int[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B *memory"]:
        """Compute once per shape what query points attend to, from a sum of `num_scales` scales."""
        if num_scales is None:
            num_scales = self.num_scales
        if isinstance(num_scales, int):
            num_scales = torch.full((len(summed_BLC),), num_scales, device=summed_BLC.device)
        return self.decoder.memory(summed_BLC, num_scales)

    def occupancy(
        self, memory: Float[Tensor, "B *memory"], queries_BQ3: Float[Tensor, "B Q 3"]
    ) -> Float[Tensor, "B Q"]:
        """Occupancy logits, positive inside; query points of the unit frame."""
        return self.decoder(memory, queries_BQ3)


class DiscreteTokenizer(Tokenizer):
    """A tokenizer whose bottleneck is LFQ on one scale or several: it has tokens."""

    quantizer: LfqQuantizer

    @property
    @abstractmethod
    def resampling(self) -> Resampling:
        """The maps between latents and the tokens of each scale."""

    @property
    def num_bits(self) -> int:
        """Bits per token."""
        return self.quantizer.config.num_bits

    @property
    def latent_mean(self) -> Tensor:
        """Running mean of every latent over shapes."""
        return self.resampling.mean_LC

    def track_mean(self, latents_BLC: Float[Tensor, "B L C"]) -> None:
        """Move the running mean of every latent towards this batch; called while training."""
        self.resampling.track_mean(latents_BLC)

    def quantize(
        self,
        latents_BLC: Float[Tensor, "B L C"],
        *,
        num_scales: int | None = None,
        keep_B: Int[Tensor, " B"] | None = None,
        bypass: bool = False,
        noise: Float[Tensor, "B ..."] | None = None,
    ) -> PyramidOutput:
        """Residual quantization over the scales; see `residual_pyramid`."""
        assert noise is None, "signs are not drawn"
        return residual_pyramid(
            self.resampling,
            self.quantizer,
            latents_BLC,
            self.num_scales if num_scales is None else num_scales,
            keep_B=keep_B,
            bypass=bypass,
        )

    def project_given(
        self, latents_BLC: Float[Tensor, "B L C"], pyramid: PyramidOutput
    ) -> tuple[Float[Tensor, "B _ K"], ...]:
        """Bit features of every scale, if all coarser tokens were those of another pyramid.

        Tells which bits of a scale differ between two draws of points by themselves, and not
        because a coarser bit had flipped already.

        Args:
            latents_BLC: encoder output of one draw.
            pyramid: bottleneck output of the other, through which no gradient passes.
        """
        latents_BLC = latents_BLC.float()
        projected = []
        for scale in range(len(pyramid.prefixes)):
            known = self.latent_mean if scale == 0 else pyramid.prefixes[scale - 1].detach()
            features_BTC = self.resampling.down(scale, latents_BLC - known)
            projected.append(self.quantizer.project(features_BTC, scale))
        return tuple(projected)

    @torch.no_grad()
    def tokenize(
        self,
        points_BN3: Float[Tensor, "B N 3"],
        normals_BN3: Float[Tensor, "B N 3"],
        num_scales: int | None = None,
    ) -> Int[Tensor, "B T"]:
        """Vocabulary indices of all scales end to end, coarsest first."""
        return self.quantize(self.encode(points_BN3, normals_BN3), num_scales=num_scales).indices_BT

    @torch.no_grad()
    def tokenize_with_margins(
        self,
        points_BN3: Float[Tensor, "B N 3"],
        normals_BN3: Float[Tensor, "B N 3"],
        num_scales: int | None = None,
    ) -> MarkedTokens:
        """`tokenize`, with the margins of all bits."""
        pyramid = self.quantize(self.encode(points_BN3, normals_BN3), num_scales=num_scales)
        return MarkedTokens(pyramid.indices_BT, pack_margins(torch.cat(pyramid.projected, dim=1)))

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
        bits_BTK = unpack_bits(indices_BT, self.num_bits)
        return self.decode_signs(bits_BTK.to(self.quantizer.gains.dtype) * 2 - 1)

    def decode_signs(self, signs_BTK: Float[Tensor, "B T K"]) -> Float[Tensor, "B L C"]:
        """`decode_indices` from expected signs of bits, anything between -1 and 1."""
        num_scales = self.num_scales_of(signs_BTK.shape[1])
        parts = signs_BTK.split(list(self.scale_lengths[:num_scales]), dim=1)
        upsampled = [
            self.resampling.up(scale, self.quantizer.expand(part, scale)).float()
            for scale, part in enumerate(parts)
        ]
        return torch.stack(upsampled).sum(dim=0)


def require_tokens(tokenizer: Tokenizer, name: str) -> DiscreteTokenizer:
    """Return the tokenizer, narrowed to a type that has tokens.

    Raises:
        ValueError: if its bottleneck is continuous. The message says by `name` where the tokenizer
            comes from.
    """
    if not isinstance(tokenizer, DiscreteTokenizer):
        raise ValueError(
            f"{name}: its latents are continuous, there are no tokens; choose weights of a "
            "tokenizer that quantises"
        )
    return tokenizer
