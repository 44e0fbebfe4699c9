"""Likelihood of given tokens under the generator, by teacher forcing; nothing is sampled.

Legend: B batch, T tokens of the first scales end to end, S scales.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from g3pt.models.car import Car
from g3pt.models.conditioning.contract import ConditionBatch
from g3pt.models.teacher import teacher_inputs
from g3pt.models.tokenizer import DiscreteTokenizer


@dataclass(frozen=True, eq=False)
class TokenLikelihood:
    """Negative log-likelihood of tokens, without guidance, temperature or truncation."""

    scale_lengths: tuple[int, ...]
    """Tokens of every scale that was scored."""

    nats_BS: Float[Tensor, "B S"]
    """Sum over the tokens of each scale, in nats; float64 on the CPU."""

    @property
    def nats(self) -> Float[Tensor, " B"]:
        """Sum over all tokens of a shape, in nats."""
        return self.nats_BS.sum(dim=1)

    @property
    def nats_per_token(self) -> Float[Tensor, " B"]:
        """Mean over the tokens of all scales, in nats."""
        return self.nats / sum(self.scale_lengths)

    @property
    def scale_nats_per_token(self) -> Float[Tensor, "B S"]:
        """Mean over the tokens of each scale, in nats."""
        return self.nats_BS / self.nats_BS.new_tensor(self.scale_lengths)

    @property
    def bits_per_shape(self) -> Float[Tensor, " B"]:
        """Bits that an ideal entropy coder with this model needs for a shape."""
        return self.nats / math.log(2)


@torch.no_grad()
def token_likelihood(
    tokenizer: DiscreteTokenizer,
    car: Car,
    indices_BT: Int[Tensor, "B T"],
    condition: ConditionBatch,
) -> TokenLikelihood:
    """Score the tokens of existing shapes.

    Args:
        tokenizer: stage 1, which made the tokens.
        car: stage 2.
        indices_BT: tokens of the first scales, whole scales only.
        condition: raw conditions of the shapes, one row each; its `without_conditions()` gives
            the unconditional likelihood.

    Raises:
        ValueError: if the tokens do not end with a scale, or there are not as many conditions as
            shapes.
    """
    if condition.batch_size != len(indices_BT):
        raise ValueError(f"{condition.batch_size} conditions for the tokens of {len(indices_BT)}")
    device = next(car.parameters()).device
    encoded = car.encode_condition(condition)
    teacher = teacher_inputs(
        tokenizer,
        indices_BT.to(device),
        car.config.input_kind,
        guess_BLC=car.shown_features(tokenizer, condition),
    )
    num_scales = tokenizer.num_scales_of(indices_BT.shape[1])
    lengths = car.config.scale_lengths[:num_scales]
    logits = car(teacher.inputs_BTC, encoded, num_scales)
    targets = teacher.targets_BT.split(list(lengths), dim=1)
    nats = [
        car.losses_of_scale(*pair, scale).double().sum(dim=1).cpu()
        for scale, pair in enumerate(zip(logits, targets, strict=True))
    ]
    return TokenLikelihood(tuple(lengths), torch.stack(nats, dim=1))
