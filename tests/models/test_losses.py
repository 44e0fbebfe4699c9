"""Losses of stage 1, and of the first guess."""

import math

import pytest
import torch

from g3pt.models.losses import (
    commitment_loss,
    consistency_loss,
    distance_loss,
    entropy_loss,
    latent_loss,
    occupancy_loss,
    sign_loss,
    soft_iou_loss,
    truncated_distances,
)
from g3pt.models.quantizers import unpack_bits


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


def ball_points(num=4000, radius=0.6):
    generator = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(1, num, 3, generator=generator), dim=-1)
    return normals * radius, normals


def test_truncated_distances_are_those_to_a_ball():
    points, normals = ball_points()
    queries = torch.tensor(
        [[[0.0, 0.0, 0.55], [0.66, 0.0, 0.0], [0.0, 0.62, 0.0], [0.0, 0.9, 0.0]]]
    )
    inside = torch.tensor([[True, False, False, False]])
    found = truncated_distances(queries, points, normals, inside, 0.1)
    # 4000 points on the ball are .03 apart: a disc so wide leaves it by a thousandth
    expected = torch.tensor([[0.5, -0.6, -0.2, -1.0]])
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def test_beyond_an_edge_the_distance_is_that_to_the_edge():
    """A disc ends: without its rim the plane of a far point would seem near."""
    side = torch.linspace(-0.5, 0.5, 41)
    sheet = torch.cartesian_prod(side, side)
    points = torch.cat([sheet, torch.zeros(len(sheet), 1)], dim=1)[None]
    normals = torch.tensor([0.0, 0.0, 1.0]).expand_as(points)
    queries = torch.tensor([[[0.8, 0.0, 0.0], [0.0, 0.0, 0.2]]])
    found = truncated_distances(queries, points, normals, torch.tensor([[False, True]]), 1.0)
    # the rim is one spacing, .025, wider than the last points
    torch.testing.assert_close(found, torch.tensor([[-0.275, 0.2]]), atol=1e-3, rtol=0)


def test_distance_loss_is_zero_at_the_target_and_means_by_group():
    targets = torch.tensor([[0.5, -0.2, 0.3, 0.0]])
    near = torch.tensor([[True, False, False, False]])
    assert distance_loss(targets.atanh(), targets, near).item() == pytest.approx(0.0, abs=1e-6)
    loss = distance_loss(torch.zeros(1, 4), targets, near, near_weight=2.0)
    assert loss.item() == pytest.approx((0.2 + 0.3 + 0.0) / 3 + 2 * 0.5)


def test_soft_iou_of_sure_answers_is_one_minus_the_iou_of_the_volume():
    occupancy = torch.tensor([[1, 1, 0, 0, 1]], dtype=torch.bool)
    volume = torch.tensor([[True, True, True, True, False]])
    sure = torch.tensor([[50.0, -50.0, 50.0, -50.0, -50.0]])
    # one of the three that either calls inside is shared; half a point steadies the ratio
    expected = 1 - (1 + 0.5) / (3 + 0.5)
    assert soft_iou_loss(sure, occupancy, volume).item() == pytest.approx(expected)


def test_soft_iou_does_not_let_a_doubtful_shape_vanish():
    occupancy = torch.tensor([[1, 1, 0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    volume = torch.ones_like(occupancy)
    logits = torch.full((1, 8), -1.0, requires_grad=True)
    soft_iou_loss(logits, occupancy, volume).backward()
    assert logits.grad is not None
    assert (logits.grad[0, :2] < 0).all()  # descending makes the inside surer
    nothing = soft_iou_loss(torch.full((1, 8), -50.0), occupancy, volume)
    assert soft_iou_loss(torch.full((1, 8), -1.0), occupancy, volume) < nothing


def test_a_guess_of_nothing_has_a_loss_of_one_and_the_truth_none():
    generator = torch.Generator().manual_seed(0)
    indices = torch.randint(16, (64, 5), generator=generator)
    root = torch.randn(20, 20, generator=generator)
    assert sign_loss(torch.zeros(64, 5, 4), indices, root).item() == pytest.approx(1.0)
    truth = unpack_bits(indices, 4).float() * 2 - 1
    assert sign_loss(truth, indices, root).item() == 0


def test_signs_count_by_the_features_that_they_make():
    indices = torch.zeros(1, 1, dtype=torch.int64)
    root = torch.diag(torch.tensor([3.0, 1.0]))
    first, second = torch.tensor([[[0.0, -1.0]]]), torch.tensor([[[-1.0, 0.0]]])
    assert sign_loss(first, indices, root) == pytest.approx(0.9)
    assert sign_loss(second, indices, root) == pytest.approx(0.1)


def test_bits_that_agree_by_the_margin_lose_nothing_and_others_what_they_lack():
    first = [torch.tensor([[[0.1, -2.0]]]), torch.tensor([[[1.0, 1.0]]])]
    again = [torch.tensor([[[0.3, -0.5]]]), torch.tensor([[[0.1, -0.2]]], requires_grad=True)]
    loss = consistency_loss(first, again, margin=0.25)
    # scale 0 has none, at scale 1 bits lack 0.15 and 0.45
    assert loss.item() == pytest.approx((0.0 + (0.15 + 0.45) / 2) / 2)
    (gradient,) = torch.autograd.grad(loss, again[1])
    assert (gradient < 0).all()
