"""The newest examples of a stream, in the memory of the device that trains on them.

Legend: B examples, V pictures of each, Q queries, T tokens, S and Z picture sides, G places along
a side of a picture's grid, P channels of a frozen network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int16, UInt8
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Shapes as a generator learns them."""

    indices_BT: Int16[Tensor, "B T"]
    """Tokens of all scales, coarsest first."""
    pictures_BVSS4: UInt8[Tensor, "B V S S 4"]
    """Straight-alpha RGBA, framed as pictures of users are."""
    shown_BV: Bool[Tensor, "B V"]
    """False where a picture shows nothing."""
    queries_BQ3: Int16[Tensor, "B Q 3"]
    """Query points in [-1, 1]^3 in `POSITION_STEPS`, volume queries first."""
    inside_BQ: Bool[Tensor, "B Q"]
    """Their labels."""
    captions: tuple[str, ...]
    """A sentence about each; may be empty."""
    origins: tuple[str, ...]
    """Id of the procedural shape or mesh that each was made of."""
    canonical_BZZ4: UInt8[Tensor, "B Z Z 4"] | None = None
    """A small canonical picture of each, where it is wanted."""
    features_BVGGP: Float[Tensor, "B V G G P"] | None = None
    """What a frozen picture encoder made of the pictures, where there is one."""

    def __len__(self) -> int:
        return len(self.captions)


class Pool:
    """As many examples as fit; new ones take the places of the oldest."""

    def __init__(self, held: int, num_made: int = 0) -> None:
        """Hold `held` examples at most; memory is taken when the first arrive.

        Args:
            held: how many.
            num_made: how many a pool has had whose place this one takes: the next ones get the
                places that they would have had there.
        """
        if held < 1:
            raise ValueError(f"a pool must hold at least 1 example, got {held}")
        self.held = held
        self.num_made = num_made
        """Examples put in so far."""
        self._tensors: dict[str, Tensor] = {}
        self._captions = np.full(held, "", dtype=object)
        self._origins = np.full(held, "", dtype=object)

    def __len__(self) -> int:
        return min(self.num_made, self.held)

    def put(self, examples: Examples) -> None:
        """Add examples.

        Raises:
            ValueError: if they are more than the pool holds.
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
        """Some examples, as often as they are named."""
        chosen = np.asarray(rows)
        assert len(chosen) == 0 or chosen.max() < len(self), "there are not as many examples yet"
        first = next(iter(self._tensors.values()))
        index = torch.from_numpy(chosen).to(first.device, non_blocking=True)
        taken = {name: values[index] for name, values in self._tensors.items()}
        return Examples(
            captions=tuple(self._captions[chosen]), origins=tuple(self._origins[chosen]), **taken
        )


def concatenate_examples(parts: Sequence[Examples]) -> Examples:
    """Put examples of several kinds after one another."""
    columns = [example_tensors(part) for part in parts]
    joined = {name: torch.cat([column[name] for column in columns]) for name in columns[0]}
    return Examples(
        captions=sum((part.captions for part in parts), ()),
        origins=sum((part.origins for part in parts), ()),
        **joined,
    )


def example_tensors(examples: Examples) -> dict[str, Tensor]:
    """The tensors of examples by the names of their fields."""
    values = {field.name: getattr(examples, field.name) for field in fields(examples)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}
