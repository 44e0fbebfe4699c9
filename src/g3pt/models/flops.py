"""Operations (FLOPs) of the models by formula: a multiplication and an addition count as two.

Only products are counted: matrix products, convolutions and the two products of attention.
The slow twin counts what PyTorch runs (`training/cost.py`). Both agree within 2 %.

Legend: L latents, N surface points, Q query points, T tokens, C tokenizer channels, D width.
"""

from dataclasses import dataclass
from itertools import accumulate

from g3pt.models.car import CarConfig
from g3pt.models.conditioning.clip import ClipConditionConfig
from g3pt.models.conditioning.dinov2 import DinoConditionConfig
from g3pt.models.conditioning.efficientnet import COARSE_WIDTH, FINE_WIDTH
from g3pt.models.conditioning.encoders import ConditionConfig, FrozenConfig
from g3pt.models.conditioning.image import ImageConditionConfig, stem_widths
from g3pt.models.conditioning.label import ClassConditionConfig
from g3pt.models.conditioning.pixels import num_channels
from g3pt.models.conditioning.pretrained import OWN_PATCH, PretrainedImageConditionConfig
from g3pt.models.conditioning.text import TextConditionConfig
from g3pt.models.conditioning.word_vectors import load_table
from g3pt.models.cvq import CvqConfig, LatentSetConfig
from g3pt.nn.blocks import NUM_PARTS
from g3pt.nn.scale_attention import merge_blocks


@dataclass(frozen=True, slots=True)
class Operations:
    """Operations of a forward pass, grouped by the cost of their backward pass."""

    products: float = 0.0
    """Operations of linear maps and convolutions; the backward pass takes twice as many."""
    attention: float = 0.0
    """Operations of fused attention; the backward pass takes 2.5 times as many, because it computes
    the attention weights again."""
    entry: float = 0.0
    """Operations of linear maps of the input, which needs no gradient; the backward pass takes as
    many."""

    def __add__(self, other: "Operations") -> "Operations":
        return Operations(
            self.products + other.products,
            self.attention + other.attention,
            self.entry + other.entry,
        )

    def __mul__(self, factor: float) -> "Operations":
        return Operations(self.products * factor, self.attention * factor, self.entry * factor)

    @property
    def forward(self) -> float:
        """Operations of a forward pass."""
        return self.products + self.attention + self.entry

    @property
    def forward_and_backward(self) -> float:
        """Operations of a training step: forward and backward."""
        return 3 * self.products + 3.5 * self.attention + 2 * self.entry


def _total(parts: list[Operations]) -> Operations:
    return sum(parts, start=Operations())


def _linear(num_tokens: float, dim_in: int, dim_out: int) -> Operations:
    return Operations(products=2.0 * num_tokens * dim_in * dim_out)


def _attention(num_queries: int, num_keys: int, dim: int) -> Operations:
    return Operations(attention=4.0 * num_queries * num_keys * dim)


def _mlp(num_tokens: int, dim: int, ratio: float) -> Operations:
    return _linear(num_tokens, dim, 2 * round(dim * ratio))


def _self_attention_block(num_tokens: int, dim: int, mlp_ratio: float) -> Operations:
    """`SelfAttentionBlock` without a mask."""
    return (
        _linear(num_tokens, dim, 4 * dim)
        + _attention(num_tokens, num_tokens, dim)
        + _mlp(num_tokens, dim, mlp_ratio)
    )


# --- stage 2 -----------------------------------------------------------------------------------


def prefix_length(conditions: tuple[ConditionConfig, ...]) -> int:
    """Prefix tokens of a shape that has all conditions, with texts of full length."""
    return sum(_num_tokens(condition) for condition in conditions)


def _num_tokens(condition: ConditionConfig) -> int:
    match condition:
        case ImageConditionConfig() | PretrainedImageConditionConfig() | DinoConditionConfig():
            return condition.num_tokens * condition.max_views
        case TextConditionConfig() | ClipConditionConfig():
            return condition.max_tokens
        case ClassConditionConfig():
            return 1
        case _:
            raise ValueError(f"there is no formula for the {condition.kind} condition")


def condition_operations(conditions: tuple[ConditionConfig, ...], dim: int) -> Operations:
    """Operations that encode the conditions of one shape for a CAR of width `dim`.

    Raises:
        ValueError: if a condition has no formula.
    """
    parts: list[Operations] = []
    for condition in conditions:
        tokens = _num_tokens(condition)
        if isinstance(condition, FrozenConfig):  # its features can be cached
            num_vectors = condition.max_views if isinstance(condition, DinoConditionConfig) else 1
            parts.append(Operations(entry=2.0 * (tokens + num_vectors) * condition.width * dim))
            continue
        parts.append(_linear(tokens + 1, condition.width, dim))
        if isinstance(condition, ImageConditionConfig):
            parts.append(_stem(condition))
        if isinstance(condition, ImageConditionConfig | TextConditionConfig):
            block = _self_attention_block(tokens, condition.width, condition.mlp_ratio)
            parts.append(block * condition.depth)
        if isinstance(condition, TextConditionConfig) and condition.words == "distilled":
            dim_of_table = load_table(condition.table_sha256).dim
            parts.append(Operations(entry=2.0 * tokens * dim_of_table * condition.width))
        if isinstance(condition, PretrainedImageConditionConfig):
            parts.append(_grid(condition))
    return _total(parts)


def _grid(config: PretrainedImageConditionConfig) -> Operations:
    """From pictures and cached features of the frozen network to the grid."""
    block = _self_attention_block(config.num_places, config.width, config.mlp_ratio)
    total = block * config.depth
    if config.features != "pretrained":
        channels, side = num_channels(alpha=True), config.image_size // 2
        total += _conv_stem(channels, side, config.width, OWN_PATCH)
    if config.features != "own":
        num_features = FINE_WIDTH + COARSE_WIDTH
        total += Operations(entry=2.0 * config.num_places * num_features * config.width)
    return total


def _stem(config: ImageConditionConfig) -> Operations:
    """Convolutions from pixels to tokens; the input of the first needs no gradient."""
    channels = num_channels(alpha=config.alpha)
    return _conv_stem(channels, config.image_size, config.width, config.patch_size)


def _conv_stem(channels: int, side: int, width: int, patch_size: int) -> Operations:
    widths = stem_widths(channels, width, patch_size)
    total = _linear((side // patch_size) ** 2, widths[-1], width)
    for number in range(len(widths) - 1):
        pixels = (side >> (number + 1)) ** 2
        convolution = 2.0 * pixels * 9 * widths[number] * widths[number + 1]
        total += Operations(entry=convolution) if number == 0 else Operations(convolution)
    return total


def car_operations(
    config: CarConfig,
    *,
    num_prefix: int,
    num_scales: int | None = None,
    last_head_alone: bool = False,
) -> Operations:
    """`Car.forward` of one shape whose condition is encoded already.

    Args:
        config: config of the CAR; attention is counted scale by scale, as it runs by default.
        num_prefix: prefix tokens of the condition.
        num_scales: scales that the inputs cover (default: all).
        last_head_alone: count logits of only the last of these scales, as generation needs them.
    """
    lengths = config.scale_lengths[:num_scales]
    spans = merge_blocks((num_prefix, *lengths))
    pairs = [(span.stop - span.start, span.num_keys) for span in spans]
    headed = range(len(lengths) - 1 if last_head_alone else 0, len(lengths))
    return (
        _modulation(config)
        + _linear(sum(lengths[1:]), config.input_dim, config.width)
        + _linear(1, config.width, config.width)
        + _read_guess(config, sum(lengths))
        + _blocks(config, num_prefix + sum(lengths), pairs)
        + _heads(config, headed)
    )


def guess_operations(config: CarConfig) -> Operations:
    """`Car.guess_signs` of one shape, without the frozen network; 0 if the model has no guess."""
    guess = config.guess
    if guess is None:
        return Operations()
    places, width = guess.side**2, guess.width
    num_signs = sum(config.scale_lengths[: guess.num_scales]) * config.num_bits
    narrowed = 2.0 * places * (FINE_WIDTH + COARSE_WIDTH) * guess.place_width
    return (
        Operations(entry=narrowed)
        + _linear(1, 2 * guess.place_width * places, width)
        + _linear(1, width, width) * (2 * guess.depth)
        + _linear(1, width, num_signs)
    )


def _read_guess(config: CarConfig, num_tokens: int) -> Operations:
    if not config.is_shown_guess:
        return Operations()
    return _linear(num_tokens, config.input_dim, config.width)


def car_scale_operations(config: CarConfig, scale: int, *, num_prefix: int) -> Operations:
    """`Car.forward_scale` of one shape: tokens of one scale, with coarser scales in the cache."""
    num_tokens = config.scale_lengths[scale]
    if scale == 0:
        spans = merge_blocks((num_prefix, num_tokens))
        own = _modulation(config) + _linear(1, config.width, config.width)
    else:
        first_key = num_prefix + sum(config.scale_lengths[:scale])
        spans = merge_blocks((num_tokens,), first_key=first_key)
        own = _linear(num_tokens, config.input_dim, config.width)
    own = own + _read_guess(config, num_tokens)
    pairs = [(span.stop - span.start, span.num_keys) for span in spans]
    new = num_tokens + (num_prefix if scale == 0 else 0)
    return own + _blocks(config, new, pairs) + _heads(config, range(scale, scale + 1))


def _blocks(config: CarConfig, num_tokens: int, pairs: list[tuple[int, int]]) -> Operations:
    dim = config.width
    block = _linear(num_tokens, dim, 4 * dim) + _mlp(num_tokens, dim, config.mlp_ratio)
    return (block + _total([_attention(*pair, dim) for pair in pairs])) * config.depth


def _modulation(config: CarConfig) -> Operations:
    return _linear(1, config.width, NUM_PARTS * config.width)


def _heads(config: CarConfig, scales: range) -> Operations:
    """Logits of some scales, without the cost of deriving head weights from others."""
    parts = [
        _linear(
            config.scale_lengths[scale],
            config.width,
            config.num_bits if config.heads[scale] == "bitwise" else 2**config.num_bits,
        )
        for scale in scales
    ]
    return _total(parts)


# --- stage 1 -----------------------------------------------------------------------------------


def down_operations(config: CvqConfig, scale: int) -> Operations:
    """The CQT from L latents to the tokens of a scale, of one shape."""
    return _cross_scale(config, config.cqt.scale_lengths[scale], config.num_latents)


def up_operations(config: CvqConfig, scale: int) -> Operations:
    """The CQT from the bits of a scale through its codes to L latents, of one shape."""
    length = config.cqt.scale_lengths[scale]
    codes = _linear(length, config.quantizer.num_bits, config.dim)
    return codes + _cross_scale(config, config.num_latents, length)


def _cross_scale(config: CvqConfig, num_queries: int, num_keys: int) -> Operations:
    """`CrossScaleAttention`, counting queries and slots, though a batch computes them once."""
    dim = config.dim
    num_projected = 2 * num_keys + (num_keys if config.cqt.keys == "slot" else 0)
    return _linear(num_projected + 2 * num_queries, dim, dim) + _attention(
        num_queries, num_keys, dim
    )


def teacher_operations(config: CvqConfig, num_scales: int | None = None) -> Operations:
    """`teacher_inputs` of one shape without flipped bits."""
    last = (config.cqt.num_scales if num_scales is None else num_scales) - 1
    return _total(
        [up_operations(config, scale) + down_operations(config, scale + 1) for scale in range(last)]
    )


def encoder_operations(config: LatentSetConfig, num_points: int) -> Operations:
    """Points to latents of one shape (Eq. 2)."""
    dim, latents = config.dim, config.num_latents
    embedded = 3 * (2 * config.num_octaves + 1) + 3
    read = (
        _linear(num_points, dim, 2 * dim)
        + _linear(latents, dim, 2 * dim)
        + _attention(latents, num_points, dim)
        + _mlp(latents, dim, config.mlp_ratio)
    )
    blocks = _self_attention_block(latents, dim, config.mlp_ratio) * config.encoder_layers
    return Operations(entry=2.0 * num_points * embedded * dim) + read + blocks


def pyramid_operations(config: CvqConfig) -> Operations:
    """The residual loop over the scales of one shape."""
    return _total(
        [
            down_operations(config, scale)
            + _linear(length, config.dim, config.quantizer.num_bits)
            + up_operations(config, scale)
            for scale, length in enumerate(config.cqt.scale_lengths)
        ]
    )


def memory_operations(config: LatentSetConfig) -> Operations:
    """The half of the decoder that runs once per shape."""
    block = _self_attention_block(config.num_latents, config.dim, config.mlp_ratio)
    return block * config.decoder_layers


def query_operations(config: LatentSetConfig, num_queries: int) -> Operations:
    """The half of the decoder that answers query points, including the keys of the latents."""
    dim, latents = config.dim, config.num_latents
    embedded = 3 * (2 * config.num_octaves + 1)
    return (
        Operations(entry=2.0 * num_queries * embedded * dim)
        + _linear(num_queries, dim, 2 * dim + 1)
        + _linear(latents, dim, 2 * dim)
        + _attention(num_queries, latents, dim)
        + _mlp(num_queries, dim, config.query_mlp_ratio)
    )


# --- generation --------------------------------------------------------------------------------


def generation_operations(
    config: CarConfig,
    stage1: CvqConfig,
    *,
    batch_size: int,
    num_prefix: int,
    guided: bool,
    cached: bool = True,
) -> list[float]:
    """Operations of each scale of `generate_tokens`, with the condition encoded already.

    Args:
        config: config of the CAR.
        stage1: config of the tokenizer, whose CQT makes the inputs of the next scale.
        batch_size: shapes sampled together.
        num_prefix: prefix tokens of the longest condition, to which the others are padded.
        guided: every shape also runs without its condition.
        cached: keys and values of coarser scales are kept; otherwise all scales run again.
    """
    copies = batch_size * (2 if guided else 1)
    operations: list[float] = []
    for scale in range(config.num_scales):
        if cached:
            own = car_scale_operations(config, scale, num_prefix=num_prefix)
        else:
            own = car_operations(
                config, num_prefix=num_prefix, num_scales=scale + 1, last_head_alone=True
            )
        resampling = up_operations(stage1, scale)
        if scale + 1 < config.num_scales:
            resampling += down_operations(stage1, scale + 1)
        total = copies * own.forward + batch_size * resampling.forward
        if config.is_shown_guess:
            total += copies * down_operations(stage1, scale).forward
            if scale == 0:
                total += copies * guess_operations(config).forward
        operations.append(total)
    return operations


def generation_bytes(
    config: CarConfig,
    *,
    batch_size: int,
    num_prefix: int,
    guided: bool,
    element_bytes: int,
) -> float:
    """Least memory traffic of cached generation in bytes, per scale.

    Weights are read once per scale, and keys and values once.
    """
    copies = batch_size * (2 if guided else 1)
    dim = config.width
    block = 4 * dim**2 + 2 * dim * round(dim * config.mlp_ratio)
    seen = [num_prefix + total for total in accumulate(config.scale_lengths)]
    numbers = 0.0
    for scale, num_keys in enumerate(seen):
        entries = config.num_bits if config.heads[scale] == "bitwise" else 2**config.num_bits
        numbers += config.depth * (block + 2 * copies * num_keys * dim) + dim * entries
    return numbers * element_bytes
