"""Shared by both kinds of generator runs: a synthetic stage 1, and the operations of a step."""

from torch._subclasses.fake_tensor import unset_fake_temporarily

from g3pt.models.car import CarConfig
from g3pt.models.cqt import CqtConfig
from g3pt.models.cvq import CvqConfig, CvqTokenizer
from g3pt.models.flops import (
    car_operations,
    condition_operations,
    guess_operations,
    prefix_length,
    teacher_operations,
)
from g3pt.models.quantizers import LfqConfig
from g3pt.training.next_scale import CarLossConfig


def cqt_config(model: CarConfig) -> CvqConfig:
    """Config of a tokenizer with a generator's layout, without encoder and decoder layers."""
    return CvqConfig(
        num_latents=model.scale_lengths[-1],
        dim=model.input_dim,
        num_heads=1,
        encoder_layers=0,
        decoder_layers=0,
        cqt=CqtConfig(scale_lengths=model.scale_lengths),
        quantizer=LfqConfig(num_bits=model.num_bits),
    )


def cqt_alone(model: CarConfig) -> CvqTokenizer:
    """The tokenizer of `cqt_config`, with real weights even if other tensors are fake."""
    with unset_fake_temporarily():
        return CvqTokenizer(cqt_config(model)).requires_grad_(False)  # frozen, as in a training


def generator_operations(model: CarConfig, loss: CarLossConfig) -> float:
    """Operations of a training step on one shape.

    Raises:
        ValueError: if bits are flipped, for which there is no formula.
    """
    if loss.flip_share:
        raise ValueError("there is no formula for a step with flipped bits")
    trained = (
        condition_operations(model.conditions, model.width)
        + guess_operations(model)
        + car_operations(model, num_prefix=prefix_length(model.conditions))
    )
    return trained.forward_and_backward + teacher_operations(cqt_config(model)).forward
