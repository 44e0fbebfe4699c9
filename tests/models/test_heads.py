import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from g3pt.models.heads import (
    BitSoftmaxHead,
    BitwiseHead,
    SoftmaxHead,
    cross_entropy,
    soft_cross_entropy,
)
from g3pt.models.quantizers import unpack_bits


@pytest.mark.parametrize("head", [SoftmaxHead, BitSoftmaxHead, BitwiseHead])
def test_probabilities_of_all_entries_sum_to_one(head):
    torch.manual_seed(0)
    logits = head(8, 4)(torch.randn(2, 3, 8))
    every_entry = torch.arange(16)
    total = sum(
        torch.exp(-head.losses(logits, torch.full((2, 3), int(entry)))) for entry in every_entry
    )
    torch.testing.assert_close(total, torch.ones(2, 3))


@pytest.mark.parametrize("head", [SoftmaxHead, BitSoftmaxHead, BitwiseHead])
def test_zero_logits_cost_every_bit_in_full(head):
    module = head(8, 4)
    logits = module(torch.zeros(2, 3, 8)) * 0
    losses = head.losses(logits, torch.randint(16, (2, 3)))
    torch.testing.assert_close(losses, torch.full((2, 3), 4 * math.log(2)))


def test_a_softmax_over_too_many_entries_is_refused():
    with pytest.raises(ValueError, match="bitwise"):
        SoftmaxHead(8, 20)


def test_bit_softmax_starts_with_the_likelihood_of_independent_bits():
    torch.manual_seed(0)
    joint, independent = BitSoftmaxHead(8, 4), BitwiseHead(8, 4)
    independent.to_logits.load_state_dict(joint.to_bits.state_dict())
    x, targets = torch.randn(2, 3, 8) * 10, torch.randint(16, (2, 3))
    torch.testing.assert_close(
        joint.losses(joint(x), targets), independent.losses(independent(x), targets)
    )


def test_bit_softmax_can_learn_that_two_bits_agree():
    torch.manual_seed(0)
    head = BitSoftmaxHead(4, 2)
    x, targets = torch.ones(1, 2, 4), torch.tensor([[0, 3]])
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        head.losses(head(x), targets).mean().backward()
        optimizer.step()
    # independent bits could not go below 2 ln 2
    assert head.losses(head(x), targets).mean().item() < 0.72


def test_cross_entropy_in_pieces_equals_the_whole():
    torch.manual_seed(0)
    # 3 x 2**18 logits are worked off in two pieces
    logits = torch.randn(3, 2**18).bfloat16().requires_grad_()
    targets = torch.tensor([5, 2**18 - 1, 0])
    upstream = torch.tensor([1.0, 0.5, -2.0])
    losses = cross_entropy(logits, targets)
    losses.backward(upstream)
    exact = logits.detach().float().requires_grad_()
    expected = F.cross_entropy(exact, targets, reduction="none")
    expected.backward(upstream)
    torch.testing.assert_close(losses, expected)
    # the gradient is rounded to bfloat16 once and scaled by a rounded factor
    torch.testing.assert_close(logits.grad.float(), exact.grad, rtol=0.01, atol=1e-8)


def dense_targets(chances_NK):
    """The slow twin: the distribution over all entries, written out entry by entry."""
    num_bits = chances_NK.shape[1]
    columns = []
    for entry in range(2**num_bits):
        column_N = torch.ones(len(chances_NK))
        for bit in range(num_bits):
            chance_N = chances_NK[:, bit]
            column_N = column_N * (chance_N if entry >> bit & 1 else 1 - chance_N)
        columns.append(column_N)
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("num_bits", [1, 2, 5])
def test_soft_cross_entropy_is_that_of_the_distribution_written_out(num_bits):
    torch.manual_seed(0)
    chances_NK = torch.rand(6, num_bits)
    logits_NV = torch.randn(6, 2**num_bits, requires_grad=True)
    upstream_N = torch.rand(6)
    targets_NV = dense_targets(chances_NK)
    torch.testing.assert_close(targets_NV.sum(dim=1), torch.ones(6))
    expected_N = -(targets_NV * torch.log_softmax(logits_NV, dim=1)).sum(dim=1)
    (expected,) = torch.autograd.grad((expected_N * upstream_N).sum(), logits_NV)
    found_N = soft_cross_entropy(logits_NV, chances_NK)
    (found,) = torch.autograd.grad((found_N * upstream_N).sum(), logits_NV)
    torch.testing.assert_close(found_N, expected_N)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("head", [SoftmaxHead, BitSoftmaxHead, BitwiseHead])
def test_certain_bits_have_the_losses_of_their_token(head):
    torch.manual_seed(0)
    logits = head(8, 5)(torch.randn(2, 3, 8) * 5)
    targets = torch.randint(32, (2, 3))
    torch.testing.assert_close(
        head.soft_losses(logits, unpack_bits(targets, 5).float()), head.losses(logits, targets)
    )


def test_heads_agree_on_soft_losses_while_bits_are_independent():
    torch.manual_seed(0)
    joint, independent = BitSoftmaxHead(8, 4), BitwiseHead(8, 4)
    independent.to_logits.load_state_dict(joint.to_bits.state_dict())
    x, chances = torch.randn(2, 3, 8) * 10, torch.rand(2, 3, 4)
    torch.testing.assert_close(
        joint.soft_losses(joint(x), chances), independent.soft_losses(independent(x), chances)
    )


class Largest(TorchDispatchMode):
    """Notes the size of the largest float32 tensor that any operation makes."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.dtype == torch.float32:
            self.elements = max(self.elements, made.numel())
        return made


@pytest.mark.parametrize("trains", [True, False])
def test_logits_are_never_all_in_float32(trains):
    torch.manual_seed(0)
    head = SoftmaxHead(8, 13).bfloat16()
    x, targets = torch.randn(1, 500, 8).bfloat16(), torch.randint(2**13, (1, 500))
    with torch.set_grad_enabled(trains):
        logits = head(x)
        with Largest() as largest:
            losses = head.losses(logits, targets)
            if trains:
                losses.mean().backward()
    # pieces of 2**19 logits
    assert largest.elements == 2**19 < logits.numel()
    # the exact twin, of which the mode sees the whole
    with Largest() as largest:
        expected = F.cross_entropy(logits[0].float(), targets[0], reduction="none")
    assert largest.elements == logits.numel()
    torch.testing.assert_close(losses[0], expected)
