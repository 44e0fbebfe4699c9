"""How likely the true shape is under the generator: its own tokens, teacher-forced.

T tokens; unit frame.
"""

import numpy as np
from jaxtyping import Int
from torch import Tensor

from g3pt.evaluation.results import Row
from g3pt.generation.likelihood import token_likelihood
from g3pt.generation.surface import encode_surface
from g3pt.models.car import Car
from g3pt.models.conditioning import ConditionBatch
from g3pt.models.tokenizer import DiscreteTokenizer
from g3pt.preparation.sources import SourceShape


class TrueLikelihood:
    """Scores true shapes under one tokenizer and generator."""

    def __init__(self, tokenizer: DiscreteTokenizer, car: Car, num_points: int) -> None:
        """Take the models; `num_points` surface points of a shape are read by the tokenizer."""
        self._tokenizer, self._car, self._num_points = tokenizer, car, num_points

    def tokens(self, shape: SourceShape, rng: np.random.Generator) -> Int[Tensor, "1 T"]:
        """Tokenize a shape from points of its surface."""
        return encode_surface(self._tokenizer, shape, self._num_points, rng).indices_T[None]

    def row(self, tokens_1T: Int[Tensor, "1 T"], condition: ConditionBatch) -> Row:
        """Columns `true_*`: in nats, nats per token (of all and of each scale), and bits."""
        found = token_likelihood(self._tokenizer, self._car, tokens_1T, condition)
        row: Row = {
            "true_nll": float(found.nats[0]),
            "true_nats_per_token": float(found.nats_per_token[0]),
            "true_bits_per_shape": float(found.bits_per_shape[0]),
        }
        by_scale = found.scale_nats_per_token[0].tolist()
        return row | {f"true_nats_per_token_{s}": nats for s, nats in enumerate(by_scale, start=1)}
