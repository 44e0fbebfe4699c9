"""Stage 2: the cross-scale autoregressive transformer (Sec. 3.3, Eq. 6).

Legend: B batch, T tokens of the given scales end to end, S scales, L latents, C tokenizer
channels, D width, I prefix tokens, V logits per token (entries or bits), Y blocks.
"""

from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Literal, assert_never

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from g3pt.arguments import MAX_DEPTH, MAX_WIDTH, MLP_RATIOS, check_ranges
from g3pt.models.conditioning.contract import ConditionBatch, ConditionOutput
from g3pt.models.conditioning.encoders import ConditionConfig, Conditioner
from g3pt.models.conditioning.pixels import shrink_pictures
from g3pt.models.guess import Guess, GuessConfig
from g3pt.models.heads import HEADS, HeadKind
from g3pt.models.tokenizer import DiscreteTokenizer
from g3pt.nn.attention import GrowingCache, KeyValueCache, StaticCache
from g3pt.nn.blocks import AdaLn, GatedBlock
from g3pt.nn.embeddings import sinusoids
from g3pt.nn.scale_attention import block_numbers, plan_attention

InputKind = Literal["cumulative", "previous"]
PositionKind = Literal["learned", "sinusoidal", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CarConfig:
    """Cross-scale autoregressive modelling (Sec. 3.3)."""

    scale_lengths: tuple[int, ...] = (1, 4, 16, 48, 128)
    """Tokens per scale of the tokenizer, coarsest first."""

    num_bits: int = 13
    """Bits per token of the tokenizer."""

    input_dim: int = 192
    """Channels of the tokenizer, whose CQT makes the inputs."""

    depth: int = 8
    width: int = 256
    num_heads: int = 4
    mlp_ratio: float = 4.0

    conditions: tuple[ConditionConfig, ...] = ()
    """The conditions of the model, at most one each of pictures, text, points and class. Empty
    builds an unconditional model."""

    input_kind: InputKind = "cumulative"
    """What a scale reads: the sum of all coarser scales, or only the scale before it (as the
    paper's text says)."""

    positions: PositionKind = "learned"
    """Position embedding of the tokens within a scale, which the paper does not specify: a learned
    vector for each token, sines and cosines of its place within the scale, or none. Every scale
    has a learned vector in any case."""

    head: HeadKind = "bit_softmax"
    """`softmax` (the paper's): one choice among all entries of the vocabulary. `bit_softmax`: the
    same, but it starts from independent bits, which learns faster. `bitwise`: an independent
    choice for every bit."""

    bitwise_scales: int = 0
    """Number of the finest scales that use the `bitwise` head; the others use `head`. On fine
    scales, with their many tokens, logits over the whole vocabulary cost most and gain least."""

    dropout: float = 0.0
    """Dropout on the output of the attention and the MLP of every block."""

    stochastic_depth: float = 0.0
    """Stochastic depth: share of samples for which training skips the attention and the MLP of the
    last block. The share grows linearly from the first block to the last."""

    guess: GuessConfig | None = None
    """First guess of the shape, regressed from the picture; None builds none."""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            "car",
            num_bits=(1, 62),
            input_dim=(1, MAX_WIDTH),
            depth=(0, MAX_DEPTH),
            width=(1, MAX_WIDTH),
            mlp_ratio=MLP_RATIOS,
        )
        if not self.scale_lengths or min(self.scale_lengths) < 1:
            raise ValueError(f"car.scale_lengths must be positive, got {self.scale_lengths}")
        if self.num_heads < 1 or self.width % self.num_heads:
            raise ValueError(
                f"car.width {self.width} is not divisible by num_heads {self.num_heads}"
            )
        for name in ("dropout", "stochastic_depth"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"car.{name} must be in [0, 1), got {getattr(self, name)}")
        if not 0 <= self.bitwise_scales <= len(self.scale_lengths):
            raise ValueError(
                f"car.bitwise_scales must be within 0 to {len(self.scale_lengths)}, got "
                f"{self.bitwise_scales}"
            )
        if self.guess is not None and self.guess.num_scales > len(self.scale_lengths):
            raise ValueError(
                f"car.guess.num_scales must be at most {len(self.scale_lengths)}, got "
                f"{self.guess.num_scales}"
            )
        slots = [condition.slot for condition in self.conditions]
        if len(set(slots)) != len(slots):
            raise ValueError(f"car.conditions tells the same thing twice: {slots}")

    @property
    def num_scales(self) -> int:
        """Number of scales S."""
        return len(self.scale_lengths)

    @property
    def num_tokens(self) -> int:
        """Tokens of all scales together."""
        return sum(self.scale_lengths)

    @property
    def num_inputs(self) -> int:
        """Input channels of a token: CQT features of what is known, then those of the guess."""
        return self.input_dim * (2 if self.is_shown_guess else 1)

    @property
    def is_shown_guess(self) -> bool:
        """Whether there is a guess that tokens read."""
        return self.guess is not None and self.guess.shown

    @property
    def heads(self) -> tuple[HeadKind, ...]:
        """The head of every scale."""
        num_first = self.num_scales - self.bitwise_scales
        return (self.head,) * num_first + ("bitwise",) * self.bitwise_scales


CacheKind = Literal["static", "growing", "none"]
"""`static`: keys and values of coarser scales stay in buffers for the whole sequence. `growing`:
they are copied for each scale. `none`: they are computed again; slow, simple, for tests."""


class CarCache:
    """Keys and values of the scales sampled so far, and the condition that all scales share.

    The kind `none` holds the inputs of these scales instead, and every call runs all of them again.
    """

    def __init__(self, num_blocks: int, kind: CacheKind, num_scales: int) -> None:
        self.reuse = kind != "none"
        self.num_scales = num_scales
        self.keys_values: KeyValueCache = (
            StaticCache(num_blocks) if kind == "static" else GrowingCache(num_blocks)
        )
        self.modulation: Tensor = torch.empty(0)
        self.inputs: list[Tensor] = []


class Car(nn.Module):
    """Predicts all tokens of a scale at once: P(scale s | condition, coarser scales) (Eq. 6)."""

    positions: Tensor

    def __init__(self, config: CarConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.width
        self.conditioner = Conditioner(config.conditions, dim)
        self.input_norm = nn.LayerNorm(config.input_dim)
        self.input_projection = nn.Linear(config.input_dim, dim)
        self.start_projection = nn.Linear(dim, dim)
        self.guess = None
        if config.guess is not None:
            num_guessed = sum(config.scale_lengths[: config.guess.num_scales])
            self.guess = Guess(config.guess, num_tokens=num_guessed, num_bits=config.num_bits)
        if config.is_shown_guess:
            self.guess_norm = nn.LayerNorm(config.input_dim)
            self.guess_projection = nn.Linear(config.input_dim, dim)
        self.scale_embedding = nn.Parameter(torch.randn(config.num_scales, dim) * 0.02)
        self._add_positions(config)
        self.ada_ln = AdaLn(dim, config.depth)
        self.blocks = nn.ModuleList(
            GatedBlock(
                dim,
                config.num_heads,
                mlp_ratio=config.mlp_ratio,
                dropout=config.dropout,
                skip_share=config.stochastic_depth * (layer + 1) / config.depth,
            )
            for layer in range(config.depth)
        )
        self.norm = nn.LayerNorm(dim)
        self.heads = nn.ModuleDict(
            {kind: HEADS[kind](dim, config.num_bits) for kind in dict.fromkeys(config.heads)}
        )
        self._initialise()

    def _add_positions(self, config: CarConfig) -> None:
        match config.positions:
            case "learned":
                learned_TD = torch.randn(config.num_tokens, config.width) * 0.02
                self.positions = nn.Parameter(learned_TD)
            case "sinusoidal":
                # Not learned, so scaled to the size of the token inputs from the start.
                parts = [sinusoids(length, config.width) for length in config.scale_lengths]
                self.register_buffer("positions", torch.cat(parts) * 0.5, persistent=False)
            case "none":
                nothing_TD = torch.zeros(config.num_tokens, config.width)
                self.register_buffer("positions", nothing_TD, persistent=False)
            case _:
                assert_never(config.positions)

    def _initialise(self) -> None:
        """Initialise as GPT-2: small weights, smaller still where they add to the residual."""
        for name, parameter in self.named_parameters():
            if name.startswith("blocks.") and parameter.ndim == 2:
                feeds_stream = "to_output" in name or "contract" in name
                std = parameter.shape[1] ** -0.5
                std = std / (2 * self.config.depth) ** 0.5 if feeds_stream else std
                nn.init.normal_(parameter, std=std)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights; conditions and inputs are cast to it."""
        return self.positions.dtype

    def forward(
        self,
        inputs_BTC: Float[Tensor, "B T C"],
        condition: ConditionBatch | ConditionOutput,
        num_scales: int | None = None,
    ) -> tuple[Float[Tensor, "B _ _"], ...]:
        """Give the logits of the first scales under teacher forcing, one tensor per scale.

        Args:
            inputs_BTC: CQT features per token (`teacher_inputs`), `num_inputs` wide. At scale 0
                only the channels of the guess are used.
            condition: raw conditions, or the output of `encode_condition`.
            num_scales: number of scales that the inputs cover (default: all).
        """
        lengths = self.config.scale_lengths[:num_scales]
        if inputs_BTC.shape[1] != sum(lengths):
            raise ValueError(
                f"{len(lengths)} scales have {sum(lengths)} tokens, got {inputs_BTC.shape[1]}"
            )
        if isinstance(condition, ConditionBatch):
            condition = self.encode_condition(condition)
        return self._logits(self._transform(inputs_BTC, condition, lengths), lengths)

    def _transform(
        self,
        inputs_BTC: Float[Tensor, "B T C"],
        condition: ConditionOutput,
        lengths: tuple[int, ...],
    ) -> Float[Tensor, "B T D"]:
        """Run the tokens of the first scales through all blocks in one pass."""
        first = lengths[0]
        start_BTD = self._prefix_and_start(condition, inputs_BTC[:, :first])
        x_BTD = torch.cat([start_BTD, self._embed(inputs_BTC[:, first:], first)], dim=1)
        num_prefix = condition.tokens_BID.shape[1]
        attend = plan_attention(
            (num_prefix, *lengths),
            valid_BI=condition.valid_BI,
            device=x_BTD.device,
        )
        modulation = self.ada_ln(condition.vector_BD).to(x_BTD.dtype)
        for layer, block in enumerate(self.blocks):
            x_BTD = block(x_BTD, modulation[layer], attend)
        return self.norm(x_BTD[:, num_prefix:])

    def _logits(
        self, x_BTD: Float[Tensor, "B T D"], lengths: tuple[int, ...]
    ) -> tuple[Float[Tensor, "B _ _"], ...]:
        """Logits of each scale. Neighbouring scales with the same head are computed together."""
        logits: list[Tensor] = []
        for kind, group in groupby(range(len(lengths)), key=self.config.heads.__getitem__):
            sizes = [lengths[scale] for scale in group]
            part_BTD, x_BTD = x_BTD.split([sum(sizes), x_BTD.shape[1] - sum(sizes)], dim=1)
            logits.extend(self.heads[kind](part_BTD).split(sizes, dim=1))
        return tuple(logits)

    def encode_condition(self, batch: ConditionBatch) -> ConditionOutput:
        """Encode conditions as prefix tokens and a vector; absent ones become learned nulls."""
        return self.conditioner(batch)

    def guess_signs(self, batch: ConditionBatch) -> Float[Tensor, "B T K"]:
        """Give the first guess: expected signs of the tokens of the first scales.

        If a shape has several views, the first one is used. Without a picture all signs are 0.

        Raises:
            ValueError: if the pictures are smaller than the guess reads.
        """
        assert self.guess is not None, "this model makes no guess"
        size, pictures = self.guess.config.image_size, batch.guess_pictures_BZZ4
        features_BGGC = batch.guess_features_BGGP
        if pictures is None:
            pictures = batch.pictures_BSS4
            if pictures is None:
                return self.guess.nothing(batch.batch_size)
            if pictures.ndim == 5:
                pictures = pictures[:, 0]
            if pictures.shape[1] == size:
                features_BGGC = batch.picture_features_BGGP
            elif pictures.shape[1] > size:
                pictures = shrink_pictures(pictures, size)
        signs_BTK = self.guess(pictures, features_BGGC)
        if batch.images_dropped_B is not None:
            signs_BTK = signs_BTK.masked_fill(batch.images_dropped_B[:, None, None], 0.0)
        return signs_BTK

    def guess_features(
        self, tokenizer: DiscreteTokenizer, batch: ConditionBatch
    ) -> Float[Tensor, "B L C"]:
        """Decode the first guess to latents, as `shape_memory` reads them for as many scales."""
        return tokenizer.decode_signs(self.guess_signs(batch))

    def shown_features(
        self, tokenizer: DiscreteTokenizer, batch: ConditionBatch
    ) -> Float[Tensor, "B L C"] | None:
        """Give `guess_features` for `ScaleInputs`; None if tokens do not read the guess."""
        if not self.config.is_shown_guess:
            return None
        return self.guess_features(tokenizer, batch)

    def start_cache(self, kind: CacheKind = "static", num_scales: int | None = None) -> CarCache:
        """Give an empty cache for `forward_scale`, for all scales or the first `num_scales`.

        Scale 0 empties a static one again.
        """
        return CarCache(self.config.depth, kind, num_scales or self.config.num_scales)

    def forward_scale(
        self,
        inputs_BTC: Float[Tensor, "B _ C"],
        scale: int,
        condition: ConditionOutput,
        cache: CarCache,
    ) -> Float[Tensor, "B T _"]:
        """Give the logits of one scale, reading all coarser ones from the cache.

        Equals the rows of that scale in `forward`. Scales must come in order with the
        same condition.
        """
        if not cache.reuse:
            return self._run_all_again(inputs_BTC, scale, condition, cache)
        num_tokens = self.config.scale_lengths[scale]
        first = sum(self.config.scale_lengths[:scale])
        num_prefix = condition.tokens_BID.shape[1]
        if scale == 0 and isinstance(cache.keys_values, StaticCache):
            cache.keys_values.begin(num_prefix + sum(self.config.scale_lengths[: cache.num_scales]))
        held = cache.keys_values.num_tokens
        if held != (num_prefix + first if scale else 0):
            raise ValueError(f"scale {scale} does not follow the {held} tokens in the cache")
        if scale == 0:
            x_BTD = self._prefix_and_start(condition, inputs_BTC)
        else:
            x_BTD = self._embed(inputs_BTC, first)
        attend = plan_attention(
            (num_prefix, num_tokens) if scale == 0 else (num_tokens,),
            first_key=held,
            valid_BI=condition.valid_BI,
            device=x_BTD.device,
        )
        if scale == 0:
            cache.modulation = self.ada_ln(condition.vector_BD).to(x_BTD.dtype)
        for layer, block in enumerate(self.blocks):
            remember = partial(cache.keys_values.append, layer)
            x_BTD = block(x_BTD, cache.modulation[layer], attend, remember)
        return self.heads[self.config.heads[scale]](self.norm(x_BTD[:, -num_tokens:]))

    def _run_all_again(
        self, inputs_BTC: Tensor, scale: int, condition: ConditionOutput, cache: CarCache
    ) -> Float[Tensor, "B T _"]:
        """The result of `forward_scale`, computed again from the inputs of all scales so far."""
        num_tokens = self.config.scale_lengths[scale]
        cache.inputs.append(inputs_BTC)
        lengths = self.config.scale_lengths[: scale + 1]
        x_BTD = self._transform(torch.cat(cache.inputs, dim=1), condition, lengths)
        return self.heads[self.config.heads[scale]](x_BTD[:, -num_tokens:])

    def losses_of_scale(
        self, logits_BTV: Float[Tensor, "B T _"], targets_BT: Int[Tensor, "B T"], scale: int
    ) -> Float[Tensor, "B T"]:
        """Negative log-likelihood of each token of one scale in nats."""
        return HEADS[self.config.heads[scale]].losses(logits_BTV, targets_BT)

    def soft_token_losses(
        self, logits: tuple[Float[Tensor, "B _ _"], ...], chances_BTK: Float[Tensor, "B T K"]
    ) -> Float[Tensor, " S"]:
        """`token_losses` against tokens whose bits are set with the given chances."""
        chances = chances_BTK.split([part.shape[1] for part in logits], dim=1)
        kinds = self.config.heads[: len(logits)]
        triples = zip(kinds, logits, chances, strict=True)
        return torch.stack([HEADS[kind].soft_losses(*pair).mean() for kind, *pair in triples])

    def token_losses(
        self, logits: tuple[Float[Tensor, "B _ _"], ...], targets_BT: Int[Tensor, "B T"]
    ) -> Float[Tensor, " S"]:
        """Cross-entropy of every scale that the logits cover, nats per token (Eq. 6)."""
        targets = targets_BT.split([part.shape[1] for part in logits], dim=1)
        pairs = enumerate(zip(logits, targets, strict=True))
        return torch.stack([self.losses_of_scale(*pair, scale).mean() for scale, pair in pairs])

    def _prefix_and_start(
        self, condition: ConditionOutput, inputs_BTC: Float[Tensor, "B _ _"]
    ) -> Float[Tensor, "B T D"]:
        """Prefix tokens, then the tokens of scale 0, made from condition vector and guess."""
        start_B1D = self.start_projection(condition.vector_BD)[:, None]
        places_TD = self.positions[: self.config.scale_lengths[0]] + self.scale_embedding[0]
        start_BTD = start_B1D + places_TD.to(start_B1D.dtype)
        if self.config.is_shown_guess:
            start_BTD = start_BTD + self._embed_guess(inputs_BTC).to(start_BTD.dtype)
        return torch.cat([condition.tokens_BID.to(start_BTD.dtype), start_BTD], dim=1)

    def _embed(self, inputs_BTC: Float[Tensor, "B T _"], first: int) -> Float[Tensor, "B T D"]:
        """Embed inputs of tokens; `first` is the index of the first among those of all scales."""
        stop = first + inputs_BTC.shape[1]
        scales_T = block_numbers(self.config.scale_lengths, device=inputs_BTC.device)[first:stop]
        places_TD = self.positions[first:stop] + self.scale_embedding[scales_T]
        known_BTC = inputs_BTC[..., : self.config.input_dim].to(self.dtype)  # stage 1 is float32
        embedded_BTD = self.input_projection(self.input_norm(known_BTC))
        if self.config.is_shown_guess:
            embedded_BTD = embedded_BTD + self._embed_guess(inputs_BTC)
        return embedded_BTD + places_TD.to(embedded_BTD.dtype)

    def _embed_guess(self, inputs_BTC: Float[Tensor, "B T _"]) -> Float[Tensor, "B T D"]:
        open_BTC = inputs_BTC[..., self.config.input_dim :].to(self.dtype)
        return self.guess_projection(self.guess_norm(open_BTC))
