"""Heads of CAR: one choice among 2**K entries, K choices of a bit, or both at once.

Legend: B batch, T tokens, D width, K bits per token, V logits per token (2**K or K).
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from g3pt.models.quantizers import unpack_bits

MAX_SOFTMAX_BITS = 16

_PIECE_ELEMENTS = {"cpu": 2**19, "cuda": 2**26}
"""Logits of a piece by device: two megabytes of float32, which a processor's cache holds, or 256
megabytes, for which a GPU needs few launches. Other devices take that of a processor."""


def cross_entropy(
    logits_NV: Float[Tensor, "N V"], targets_N: Int[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """Negative log-likelihood of each row in nats, computed in float32.

    In low precision the logits are the largest tensor by far, and their float32 copy would be
    twice as large. Rows are therefore processed in pieces, whose float32 numbers are forgotten
    one after the other, in the backward pass as well.
    """
    if logits_NV.dtype in (torch.bfloat16, torch.float16):
        return _CrossEntropyInPieces.apply(logits_NV, targets_N)
    return F.cross_entropy(logits_NV.float(), targets_N, reduction="none")


def soft_cross_entropy(
    logits_NV: Float[Tensor, "N V"], chances_NK: Float[Tensor, "N K"]
) -> Float[Tensor, " N"]:
    """Cross-entropy in nats against a distribution over all 2**K entries, in float32.

    The distribution is the product of K independent bits and is never written out. An entry is a
    pair of high and low bits, so the mean of the logits is a matrix between two vectors.

    Args:
        logits_NV: a logit per entry.
        chances_NK: chance of every bit to be set, least significant first.
    """
    logits_NV = logits_NV.float()
    num_low = chances_NK.shape[1] // 2
    low_NJ, high_NI = _products(chances_NK[:, :num_low]), _products(chances_NK[:, num_low:])
    logits_NIJ = logits_NV.unflatten(1, (high_NI.shape[1], low_NJ.shape[1]))
    mean_N = ((logits_NIJ @ low_NJ[:, :, None]).squeeze(-1) * high_NI).sum(dim=1)
    return logits_NV.logsumexp(dim=1) - mean_N


def _products(chances_NK: Float[Tensor, "N K"]) -> Float[Tensor, "N V"]:
    """Probability of each of the 2**K entries of independent bits."""
    entries_NV = chances_NK.new_ones(len(chances_NK), 1)
    for chance_N in chances_NK.unbind(dim=1):
        set_NV = entries_NV * chance_N[:, None]
        entries_NV = torch.cat([entries_NV - set_NV, set_NV], dim=1)
    return entries_NV


class _CrossEntropyInPieces(torch.autograd.Function):
    """Cross-entropy whose forward pass also computes the gradient, while a piece is at hand."""

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, targets_N: Tensor) -> Tensor:
        device = logits_NV.device
        losses_N = torch.empty(len(logits_NV), device=device)
        trains = ctx.needs_input_grad[0]
        gradients_NV = torch.empty_like(logits_NV) if trains else logits_NV
        num_elements = _PIECE_ELEMENTS.get(device.type, _PIECE_ELEMENTS["cpu"])
        num_rows = max(1, num_elements // logits_NV.shape[1])
        pieces = (tensor.split(num_rows) for tensor in (logits_NV, targets_N[:, None]))
        places = (tensor.split(num_rows) for tensor in (losses_N[:, None], gradients_NV))
        for logits, targets, loss, gradient in zip(*pieces, *places, strict=True):
            log_likelihood = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
            loss.copy_(log_likelihood.gather(1, targets).neg_())
            if trains:
                minus_one = torch.full(targets.shape, -1.0, device=device)
                gradient.copy_(log_likelihood.exp_().scatter_add_(1, targets, minus_one))
        if trains:
            ctx.save_for_backward(gradients_NV)
        return losses_N

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        (gradients_NV,) = ctx.saved_tensors
        return gradients_NV * upstream[0][:, None].to(gradients_NV.dtype), None


class SoftmaxHead(nn.Module):
    """Logits over the whole vocabulary (the paper's head)."""

    def __init__(self, dim: int, num_bits: int) -> None:
        super().__init__()
        if num_bits > MAX_SOFTMAX_BITS:
            raise ValueError(
                f"a softmax over 2**{num_bits} entries is not sensible (at most "
                f"{MAX_SOFTMAX_BITS} bits): choose head 'bitwise'"
            )
        self.to_logits = nn.Linear(dim, 2**num_bits)
        nn.init.normal_(self.to_logits.weight, std=0.02)
        nn.init.zeros_(self.to_logits.bias)

    def forward(self, x_BTD: Float[Tensor, "B T D"]) -> Float[Tensor, "B T V"]:
        """Give a logit per vocabulary entry."""
        return self.to_logits(x_BTD)

    @staticmethod
    def losses(
        logits_BTV: Float[Tensor, "B T V"], targets_BT: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T"]:
        """Negative log-likelihood of each token in nats."""
        losses = cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten())
        return losses.view(targets_BT.shape)

    @staticmethod
    def soft_losses(
        logits_BTV: Float[Tensor, "B T V"], chances_BTK: Float[Tensor, "B T K"]
    ) -> Float[Tensor, "B T"]:
        """Cross-entropy of each token in nats, its bits set with the given chances."""
        losses = soft_cross_entropy(logits_BTV.flatten(0, 1), chances_BTK.flatten(0, 1))
        return losses.view(logits_BTV.shape[:2])

    @staticmethod
    def expected_signs(logits_BTV: Float[Tensor, "B T V"]) -> Float[Tensor, "B T K"]:
        """Expected value of every bit as -1 or 1, over all entries: positive if likely set."""
        num_entries = logits_BTV.shape[-1]
        entries_V = torch.arange(num_entries, device=logits_BTV.device)
        signs_VK = unpack_bits(entries_V, num_entries.bit_length() - 1).float() * 2 - 1
        return torch.softmax(logits_BTV.float(), dim=-1) @ signs_VK


class BitSoftmaxHead(SoftmaxHead):
    """A softmax over the vocabulary that starts as independent bits.

    The logit of an entry is the sum of its K bit logits, with the sign of each bit, plus a
    free part that starts at zero. A softmax of such sums factorises into K independent bits.
    Entries that share bits therefore share evidence from the first step on, which a plain
    softmax has to learn entry by entry. The free part adds correlations between bits, which
    `BitwiseHead` cannot express. Ours, not the paper's (docs/deviations.md).
    """

    signs_VK: Tensor

    def __init__(self, dim: int, num_bits: int) -> None:
        super().__init__(dim, num_bits)
        nn.init.zeros_(self.to_logits.weight)
        self.to_bits = nn.Linear(dim, num_bits)
        nn.init.normal_(self.to_bits.weight, std=0.02)
        nn.init.zeros_(self.to_bits.bias)
        bits_VK = unpack_bits(torch.arange(2**num_bits), num_bits)
        self.register_buffer("signs_VK", bits_VK.float() - 0.5, persistent=False)

    def forward(self, x_BTD: Float[Tensor, "B T D"]) -> Float[Tensor, "B T V"]:
        """Give a logit per vocabulary entry; both parts are computed in one product."""
        weight_VD = self.to_logits.weight + self.signs_VK @ self.to_bits.weight
        bias_V = self.to_logits.bias + self.signs_VK @ self.to_bits.bias
        return F.linear(x_BTD, weight_VD, bias_V)


class BitwiseHead(nn.Module):
    """One logit per bit, bits independent of each other given the coarser scales."""

    def __init__(self, dim: int, num_bits: int) -> None:
        super().__init__()
        self.to_logits = nn.Linear(dim, num_bits)
        nn.init.normal_(self.to_logits.weight, std=0.02)
        nn.init.zeros_(self.to_logits.bias)

    def forward(self, x_BTD: Float[Tensor, "B T D"]) -> Float[Tensor, "B T K"]:
        """Give a logit per bit, positive where the bit is likely set."""
        return self.to_logits(x_BTD)

    @staticmethod
    def losses(
        logits_BTK: Float[Tensor, "B T K"], targets_BT: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T"]:
        """Negative log-likelihood of each token in nats, the sum over its bits."""
        bits_BTK = unpack_bits(targets_BT, logits_BTK.shape[-1]).float()
        return BitwiseHead.soft_losses(logits_BTK, bits_BTK)

    @staticmethod
    def soft_losses(
        logits_BTK: Float[Tensor, "B T K"], chances_BTK: Float[Tensor, "B T K"]
    ) -> Float[Tensor, "B T"]:
        """Cross-entropy of each token in nats, its bits set with the given chances."""
        losses_BTK = F.binary_cross_entropy_with_logits(
            logits_BTK.float(), chances_BTK, reduction="none"
        )
        return losses_BTK.sum(dim=-1)

    @staticmethod
    def expected_signs(logits_BTK: Float[Tensor, "B T K"]) -> Float[Tensor, "B T K"]:
        """Expected value of every bit as -1 or 1: positive if likely set."""
        return torch.tanh(logits_BTK.float() / 2)


HeadKind = Literal["softmax", "bit_softmax", "bitwise"]
HEADS: dict[HeadKind, type[SoftmaxHead] | type[BitwiseHead]] = {
    "softmax": SoftmaxHead,
    "bit_softmax": BitSoftmaxHead,
    "bitwise": BitwiseHead,
}
