"""What is measured and how finely: the settings of protocol g3pt-eval-v1.

Ground truth is the solid in the unit frame. Predictions are meshed from their tokens and nothing is
filtered. Chamfer and F-scores use exact point-to-triangle distances; IoU asks uniform points of the
query cube, in the prediction by the winding number of its mesh. A prediction without faces scores
IoU 0, F 0 and the cube's diagonal, and is counted.
"""

from dataclasses import dataclass, replace

PROTOCOL = "g3pt-eval-v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSettings:
    """How finely to measure; the defaults are the protocol."""

    resolution: int = 256
    """Grid cells per axis of predicted meshes."""

    num_volume: int = 200_000
    """Uniform points for IoU."""

    num_prefix: int = 50_000
    """Uniform points for the IoU of every prefix of scales, asked of the field itself."""

    num_surface: int = 100_000
    """Samples of each surface, by area."""

    num_near: int = 50_000
    """Labels near the surface, in equal parts for each sigma."""

    near_sigmas: tuple[float, ...] = (0.005, 0.05)
    """Their distance from the surface, as in the paper (4.2)."""

    truth_resolution: int = 192
    """Cells per axis of a procedural shape's mesh, before it is moved onto the exact surface."""

    seed: int = 0
    """Of all samples, together with the object's id."""

    def __post_init__(self) -> None:
        if self.num_near % len(self.near_sigmas):
            raise ValueError(
                f"num_near {self.num_near} is not a multiple of the {len(self.near_sigmas)} sigmas"
            )

    @property
    def protocol(self) -> str:
        """Name under which numbers may be compared: the sizes of the protocol, or smaller ones."""
        if replace(self, seed=0) == EvaluationSettings():
            return PROTOCOL
        if replace(self, seed=0) == quick_settings():
            return f"{PROTOCOL}-quick"
        return f"{PROTOCOL}-custom"


def quick_settings(seed: int = 0) -> EvaluationSettings:
    """Sizes for work in progress: a tenth of the cost, about three times the sampling noise."""
    return EvaluationSettings(
        resolution=128,
        num_volume=50_000,
        num_prefix=16_384,
        num_surface=20_000,
        num_near=10_000,
        truth_resolution=128,
        seed=seed,
    )
