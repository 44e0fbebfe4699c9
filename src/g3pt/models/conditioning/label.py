"""Class label as a condition.

Legend: B batch, E encoder width.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Int
from torch import Tensor, nn

from g3pt.arguments import MAX_WIDTH, check_ranges
from g3pt.models.conditioning.contract import ConditionOutput


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassConditionConfig:
    """The class of the shape, with one learned vector per class."""

    kind: Literal["class"] = "class"
    slot: ClassVar[Literal["class"]] = "class"

    num_classes: int = 10
    width: int = 192

    def __post_init__(self) -> None:
        check_ranges(self, "class", num_classes=(1, 2**20), width=(1, MAX_WIDTH))


class ClassEncoder(nn.Module):
    """Class numbers to one token, which is also the vector."""

    def __init__(self, config: ClassConditionConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.num_classes, config.width)

    def forward(self, labels_B: Int[Tensor, " B"]) -> ConditionOutput:
        """Look up the vectors of class numbers."""
        vector_BE = self.embedding(labels_B)
        return ConditionOutput(vector_BE[:, None], vector_BE)
