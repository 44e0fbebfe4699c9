"""Inputs and targets of CAR in training, made from tokens (Sec. 3.3).

Legend: B batch, T tokens of all scales end to end, L latents, C tokenizer channels, K bits.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from g3pt.models.quantizers import pack_bits, unpack_bits
from g3pt.models.tokenizer import DiscreteTokenizer


class TeacherOutput(NamedTuple):
    """One training pair of CAR."""

    inputs_BTC: Float[Tensor, "B T _"]
    """CQT features per token, as `ScaleInputs.next` gives them."""

    targets_BT: Int[Tensor, "B T"]
    """Vocabulary indices to predict."""


class ScaleInputs:
    """The inputs of CAR, scale by scale: the frozen CQT applied to the known scales.

    Training and sampling both use it, so that CAR reads the same numbers in both.
    """

    def __init__(
        self,
        tokenizer: DiscreteTokenizer,
        kind: Literal["cumulative", "previous"],
        num_rows: int,
        guess_RLC: Float[Tensor, "R L C"] | None = None,
    ) -> None:
        """Begin before scale 0.

        Args:
            tokenizer: frozen stage 1.
            kind: see `CarConfig.input_kind`.
            num_rows: rows R that CAR will run, a multiple of the shapes whose tokens are added:
                guided sampling runs each shape twice.
            guess_RLC: output of `Car.guess_features` for these rows, for a CAR that reads one.
        """
        self._tokenizer = tokenizer
        self._kind = kind
        self._num_rows = num_rows
        self._guess_RLC = guess_RLC
        self._known_BLC: Tensor | None = None
        self._last_BLC: Tensor | None = None
        self._num_scales = 0

    def resume(self, scale: int, known_BLC: Tensor, last_BLC: Tensor) -> None:
        """Continue before a scale, from what `summed` and `last` gave after the one before it."""
        self._num_scales = scale
        self._known_BLC, self._last_BLC = (known_BLC, last_BLC) if scale else (None, None)

    def last(self) -> Float[Tensor, "B L C"]:
        """Upsampled features of the scale that was added last."""
        assert self._last_BLC is not None, "no scale has been added yet"
        return self._last_BLC

    def summed(self) -> Float[Tensor, "B L C"]:
        """Sum of the upsampled features of all scales added so far."""
        assert self._known_BLC is not None, "no scale has been added yet"
        return self._known_BLC

    def add(self, indices_BT: Int[Tensor, "B T"]) -> None:
        """Add the tokens of the next scale."""
        scale = self._num_scales
        codes_BTC = self._tokenizer.quantizer.embed(indices_BT, scale)
        self._last_BLC = self._tokenizer.resampling.up(scale, codes_BTC).float()
        known = self._known_BLC
        self._known_BLC = self._last_BLC if known is None else known + self._last_BLC
        self._num_scales += 1

    def next(self) -> Float[Tensor, "R T _"]:
        """Give the input of CAR at the next scale.

        The first channels are down(e_s, known) without the slot means; at scale 0, where nothing is
        known, they are zero. If there is a guess, down(e_s, guess - known) follows: what quantising
        the guess would give at this scale.
        """
        resampling, scale = self._tokenizer.resampling, self._num_scales
        last_BLC = self._last_BLC if self._kind == "previous" else self._known_BLC
        if last_BLC is None:
            length = self._tokenizer.scale_lengths[0]
            mean_LC = self._tokenizer.latent_mean
            known_RTC = mean_LC.new_zeros(self._num_rows, length, self._tokenizer.dim)
        else:
            holds_mean = self._kind == "cumulative" or scale == 1
            centred_BLC = last_BLC - self._tokenizer.latent_mean if holds_mean else last_BLC
            known_RTC = self._per_row(resampling.down(scale, centred_BLC)).float()
        if self._guess_RLC is None:
            return known_RTC
        known = self._known_BLC
        settled = self._tokenizer.latent_mean if known is None else self._per_row(known)
        open_RTC = resampling.down(scale, self._guess_RLC.float() - settled)
        return torch.cat([known_RTC, open_RTC.float()], dim=-1)

    def _per_row(self, shapes_B: Tensor) -> Tensor:
        copies = self._num_rows // len(shapes_B)
        return shapes_B.repeat(copies, 1, 1) if copies > 1 else shapes_B


@torch.no_grad()
def teacher_inputs(
    tokenizer: DiscreteTokenizer,
    indices_BT: Int[Tensor, "B T"],
    input_kind: Literal["cumulative", "previous"] = "cumulative",
    *,
    guess_BLC: Float[Tensor, "B L C"] | None = None,
    flip_probability_B: Float[Tensor, " B"] | None = None,
    generator: torch.Generator | None = None,
) -> TeacherOutput:
    """Turn cached tokens into the inputs and targets of one training step.

    With `flip_probability_B`, each input bit is flipped with its sample's probability. The
    targets of the later scales are then the tokens that correct the error: the residual of the
    clean, fully quantised latents against the damaged sum, quantised again. Samples without a
    flip so far keep their clean targets.

    Args:
        tokenizer: frozen stage 1.
        indices_BT: tokens of the first scales; they must end with a whole scale.
        input_kind: see `CarConfig.input_kind`.
        guess_BLC: first guess of these shapes, for a CAR that reads one.
        flip_probability_B: chance of a flip per bit; None for clean inputs.
        generator: source of the flips, on the device of the tokens.
    """
    num_scales = tokenizer.num_scales_of(indices_BT.shape[1])
    lengths = list(tokenizer.scale_lengths[:num_scales])
    clean = indices_BT.split(lengths, dim=1)
    inputs = ScaleInputs(tokenizer, input_kind, len(indices_BT), guess_BLC)
    rows = [inputs.next()]
    if flip_probability_B is None:
        for indices in clean[:-1]:
            inputs.add(indices)
            rows.append(inputs.next())
        return TeacherOutput(torch.cat(rows, dim=1), indices_BT)
    goal_BLC = tokenizer.decode_indices(indices_BT)
    damaged_B = torch.zeros(len(indices_BT), dtype=torch.bool, device=indices_BT.device)
    targets = [clean[0]]
    for scale in range(num_scales - 1):
        flips_BTK = _draw_flips(targets[-1], tokenizer.num_bits, flip_probability_B, generator)
        inputs.add(_flip(targets[-1], flips_BTK))
        damaged_B = damaged_B | flips_BTK.flatten(1).any(dim=1)
        rows.append(inputs.next())
        residual_BLC = goal_BLC - inputs.summed()
        features_BTC = tokenizer.resampling.down(scale + 1, residual_BLC)
        repaired_BT = tokenizer.quantizer(features_BTC, scale + 1).indices_BT
        targets.append(torch.where(damaged_B[:, None], repaired_BT, clean[scale + 1]))
    return TeacherOutput(torch.cat(rows, dim=1), torch.cat(targets, dim=1))


def _draw_flips(
    indices_BT: Int[Tensor, "B T"],
    num_bits: int,
    probability_B: Float[Tensor, " B"],
    generator: torch.Generator | None,
) -> Bool[Tensor, "B T K"]:
    drawn_BTK = torch.rand(
        (*indices_BT.shape, num_bits), generator=generator, device=indices_BT.device
    )
    return drawn_BTK < probability_B[:, None, None]


def _flip(indices_BT: Int[Tensor, "B T"], flips_BTK: Bool[Tensor, "B T K"]) -> Int[Tensor, "B T"]:
    return pack_bits(unpack_bits(indices_BT, flips_BTK.shape[-1]) ^ flips_BTK)
