"""Losses of stage 1."""

import math

import pytest
import torch

from g3pt.models.losses import (
    commitment_loss,
    entropy_loss,
    latent_loss,
    occupancy_loss,
)


def test_occupancy_loss_adds_the_mean_of_each_kind_of_query():
    logits = torch.zeros(1, 4)
    occupancy = torch.tensor([[True, False, True, False]])
    near = torch.tensor([[True, False, False, False]])
    loss = occupancy_loss(logits, occupancy, near, near_weight=2.0)
    assert loss.item() == pytest.approx(3 * math.log(2))


def test_latent_loss_sends_no_gradient_to_the_encoder():
    latents = torch.randn(4, 3, 2, requires_grad=True)
    prefix = torch.zeros(4, 3, 2, requires_grad=True)
    latent_loss([prefix], latents).backward()
    assert latents.grad is None
    assert prefix.grad.abs().sum() > 0


def test_latent_loss_does_not_diverge_when_the_latents_agree_across_shapes():
    latents = torch.ones(4, 3, 2)
    assert latent_loss([torch.zeros(4, 3, 2)], latents).item() == pytest.approx(1 / 0.2)


def test_commitment_loss_is_zero_at_the_signs():
    assert commitment_loss([torch.tensor([[[1.0, -1.0]]])]).item() == 0


def test_entropy_loss_prefers_sure_bits_that_differ_between_shapes():
    sure = torch.tensor([[[5.0]], [[-5.0]]])
    constant = torch.tensor([[[5.0]], [[5.0]]])
    assert entropy_loss([sure]) < entropy_loss([constant]) - 0.9
