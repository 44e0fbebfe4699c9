"""Progressive training: coarse scales first, then one more at a time (Sec. 4.2)."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class CurriculumConfig:
    """Which scales CAR is trained on, over the course of a run."""

    progressive_share: float = 0.0
    """Share of the run until all scales are trained; 0 trains them all from the start."""

    def __post_init__(self) -> None:
        if not 0 <= self.progressive_share <= 1:
            raise ValueError(
                f"curriculum.progressive_share must be in [0, 1], got {self.progressive_share}"
            )

    def num_scales(self, progress: float, total: int) -> int:
        """Scales to train on: half of them at first, then one more at equal intervals.

        Args:
            progress: share of the run that is over, in [0, 1].
            total: scales of the model.
        """
        first = (total + 1) // 2
        if not self.progressive_share or progress >= self.progressive_share:
            return total
        stages = total - first + 1
        return first + int(progress / self.progressive_share * (stages - 1))

    def mean_tokens(self, scale_lengths: Sequence[int]) -> float:
        """Tokens of a shape that the loss is taken over, mean over the run.

        Args:
            scale_lengths: tokens of each scale, coarsest first.
        """
        total, num_all = len(scale_lengths), sum(scale_lengths)
        first = (total + 1) // 2
        # Before all are trained, each number of scales has an equal part of the time.
        early = [sum(scale_lengths[:number]) for number in range(first, total)] or [num_all]
        share = self.progressive_share
        return share * sum(early) / len(early) + (1 - share) * num_all
