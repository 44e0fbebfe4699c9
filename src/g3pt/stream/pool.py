"""The newest examples of a stream, in the memory of the training device.

Legend: B examples, V pictures of each, Q queries, T tokens, K bits, S and Z picture sides, G
places along a side of a picture's grid, P channels of a frozen network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int16, UInt8
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Training examples of a generator."""

    indices_BT: Int16[Tensor, "B T"]
    """Tokens of all scales, coarsest first."""
    pictures_BVSS4: UInt8[Tensor, "B V S S 4"]
    """Pictures as straight-alpha RGBA, framed like users' pictures."""
    shown_BV: Bool[Tensor, "B V"]
    """False where a picture shows nothing."""
    queries_BQ3: Int16[Tensor, "B Q 3"]
    """Query points in [-1, 1]^3, times `POSITION_STEPS`; volume queries first."""
    inside_BQ: Bool[Tensor, "B Q"]
    """Labels of the query points."""
    captions: tuple[str, ...]
    """A caption of each shape; may be empty."""
    origins: tuple[str, ...]
    """Id of the procedural shape or mesh that each was made from."""
    canonical_BZZ4: UInt8[Tensor, "B Z Z 4"] | None = None
    """A small canonical picture of each, if wanted."""
    margins_BTK: UInt8[Tensor, "B T K"] | None = None
    """How far every bit of the tokens was from flipping, if wanted."""
    features_BVGGP: Float[Tensor, "B V G G P"] | None = None
    """Features of the pictures from a frozen encoder, if there is one."""

    def __len__(self) -> int:
        return len(self.captions)


class Pool:
    """A ring buffer of examples: new ones replace the oldest."""

    def __init__(self, held: int, num_made: int = 0) -> None:
        """Make an empty pool; memory is allocated when the first examples arrive.

        Args:
            held: capacity in examples.
            num_made: examples that went through the pool before a resume, so that new ones get the
                same places as without it.
        """
        if held < 1:
            raise ValueError(f"a pool must hold at least 1 example, got {held}")
        self.held = held
        self.num_made = num_made
        """Number of examples put in so far."""
        self._tensors: dict[str, Tensor] = {}
        self._captions = np.full(held, "", dtype=object)
        self._origins = np.full(held, "", dtype=object)

    def __len__(self) -> int:
        return min(self.num_made, self.held)

    def put(self, examples: Examples) -> None:
        """Add examples.

        Raises:
            ValueError: if there are more than the pool holds.
        """
        num = len(examples)
        if num > self.held:
            raise ValueError(f"a pool of {self.held} cannot take {num} examples at once")
        places = (self.num_made + np.arange(num)) % self.held
        for name, values in example_tensors(examples).items():
            if name not in self._tensors:
                self._tensors[name] = values.new_zeros(self.held, *values.shape[1:])
            index = torch.from_numpy(places).to(values.device)
            self._tensors[name].index_copy_(0, index, values)
        self._captions[places] = examples.captions
        self._origins[places] = examples.origins
        self.num_made += num

    def told(self) -> np.ndarray:
        """Rows of the examples that have a caption."""
        return np.flatnonzero(self._captions[: len(self)] != "")

    def rows(self, rows: Sequence[int] | np.ndarray) -> Examples:
        """Examples at some rows; repetitions are allowed."""
        chosen = np.asarray(rows)
        assert len(chosen) == 0 or chosen.max() < len(self), "there are not as many examples yet"
        first = next(iter(self._tensors.values()))
        index = torch.from_numpy(chosen).to(first.device, non_blocking=True)
        taken = {name: values[index] for name, values in self._tensors.items()}
        return Examples(
            captions=tuple(self._captions[chosen]), origins=tuple(self._origins[chosen]), **taken
        )


def concatenate_examples(parts: Sequence[Examples]) -> Examples:
    """Concatenate examples."""
    columns = [example_tensors(part) for part in parts]
    joined = {name: torch.cat([column[name] for column in columns]) for name in columns[0]}
    return Examples(
        captions=sum((part.captions for part in parts), ()),
        origins=sum((part.origins for part in parts), ()),
        **joined,
    )


def example_tensors(examples: Examples) -> dict[str, Tensor]:
    """The tensor fields of examples by name."""
    values = {field.name: getattr(examples, field.name) for field in fields(examples)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}
