"""Which shapes of a prepared set are read: by split, licence and measured quality."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityLimits:
    """Beyond which measured numbers an object is flagged.

    Not part of what is stored: another limit only changes what readers take. The defaults were
    chosen by looking at 36 solids beside their sources, from low to high numbers (docs/data.md).
    """

    label_error: float = 0.07
    """Estimated share of wrong labels near the surface. Parts begin to be lost at about here."""
    disagreement: float = 1.0
    """Share of near points on which the two label methods differ. By default nothing is flagged
    for it: one method is enough, and solids were right up to .98."""
    solid_to_source: float = 0.1
    """Mean distance from the solid's boundary to the source's surface; what is below that are
    open undersides that were closed."""

    def flags(self, row: dict[str, Any]) -> list[str]:
        """Names of the numbers of an index row that are beyond their limits."""
        measured = row["quality"]  # empty where labels are exact
        names = [each.name for each in fields(self)]
        return [name for name in names if measured.get(name, 0.0) > getattr(self, name)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which samples of a set are read."""

    split: str = ""
    """Only this one; empty reads all."""
    licences: tuple[str, ...] = ()
    """Only objects under these; empty reads all."""
    flagged: bool = True
    """Whether objects flagged for their quality are read too."""
    limits: QualityLimits = QualityLimits()
    """What is flagged."""

    def takes(self, row: dict[str, Any]) -> bool:
        """Whether a row of the index is read."""
        return (
            (not self.split or row["split"] == self.split)
            and (not self.licences or row["licence"] in self.licences)
            and (self.flagged or not self.limits.flags(row))
        )


TRAINING = Selection(split="train")
VALIDATION = Selection(split="val")
