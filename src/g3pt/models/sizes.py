"""The ladder of transformer sizes: depth determines width and heads.

The paper names three sizes (Sec. 4.1, Table 1): 12 x 768 (0.1B), 24 x 1280 (0.5B) and
48 x 1600 (1.5B). Between them the width is interpolated linearly. Below them it is 64 per layer,
down to less than a million parameters.
"""

import itertools
from dataclasses import dataclass

LADDER = {
    "0.8M": 1,
    "2M": 2,
    "4M": 3,
    "6M": 4,
    "16M": 6,
    "33M": 8,
    "60M": 10,
    "0.1B": 12,
    "0.2B": 16,
    "0.3B": 20,
    "0.5B": 24,
    "0.9B": 36,
    "1.5B": 48,
}
"""Published sizes, smallest first, and their depth. A name is the number of weights of a CAR over
the paper's 2408 tokens and 8192 entries, within 10 %, condition encoders aside."""

HEAD_DIM = 64
_ANCHORS = ((0, 0), (12, 768), (24, 1280), (48, 1600))


@dataclass(frozen=True, slots=True)
class TransformerSize:
    """Depth, width and heads of a transformer."""

    depth: int
    width: int
    num_heads: int

    @property
    def num_parameters(self) -> int:
        """Weights of the blocks only; each has 4 width**2 for attention and 8 width**2 for MLP."""
        return 12 * self.depth * self.width**2


def size_of_depth(depth: int) -> TransformerSize:
    """Give the width and the heads that belong to a depth.

    Raises:
        ValueError: if the depth is not within 1 to 48, where the paper's ladder ends.
    """
    if not 1 <= depth <= _ANCHORS[-1][0]:
        raise ValueError(f"depth must be within 1 to {_ANCHORS[-1][0]}, got {depth}")
    for (low, narrow), (high, wide) in itertools.pairwise(_ANCHORS):
        if depth <= high:
            width = narrow + (wide - narrow) * (depth - low) / (high - low)
            num_heads = round(width / HEAD_DIM)
            return TransformerSize(depth, num_heads * HEAD_DIM, num_heads)
    raise AssertionError("the last anchor bounds the depth")


def size_of_name(name: str) -> TransformerSize:
    """Give a size of the ladder by its name.

    Raises:
        ValueError: if there is no size of that name.
    """
    if name not in LADDER:
        raise ValueError(f"{name}: there is no such size; there are {', '.join(LADDER)}")
    return size_of_depth(LADDER[name])
