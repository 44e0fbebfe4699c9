"""From rows of `codecs.field_rate` to curves, comparisons at equal bits, a table and a plot.

N objects, R numbers of bits (rates), S seeds of the training.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from g3pt.evaluation.bootstrap import seeded_difference, seeded_mean
from g3pt.evaluation.report.plots import Curve, Panel, plot_curves
from g3pt.evaluation.report.summary import summarise
from g3pt.evaluation.results import Row

METRICS = {"iou": "IoU", "near_accuracy": "near-surface accuracy"}


def by_method(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Mean and interval of every column, setting by setting."""
    methods = dict.fromkeys(row["method"] for row in rows)
    return {
        method: summarise([row for row in rows if row["method"] == method]) for method in methods
    }


@dataclass(frozen=True, eq=False)
class RateCurve:
    """One codec: the scores of every object at every number of bits, seed by seed."""

    name: str
    methods: tuple[str, ...]
    bits_R: Float64[np.ndarray, " R"]
    """Rising."""
    ids: tuple[str, ...]
    values: Mapping[str, Float64[np.ndarray, "S N R"]]
    """By metric."""

    @classmethod
    def from_rows(cls, name: str, rows_by_seed: Sequence[Sequence[Row]]) -> "RateCurve":
        """Arrange the rows of a codec.

        Args:
            name: of the codec.
            rows_by_seed: of all objects, each with the same settings; one list for every seed.

        Raises:
            ValueError: if an object lacks a setting, or a seed an object, that another has.
        """
        seeds: list[dict[str, list[Row]]] = []
        for rows in rows_by_seed:
            by_object: dict[str, list[Row]] = {}
            for row in rows:
                by_object.setdefault(row["id"], []).append(row)
            seeds.append(by_object)
        settings = {
            tuple((row["method"], row["bits"]) for row in own)
            for by_object in seeds
            for own in by_object.values()
        }
        if len(settings) != 1:
            raise ValueError(
                f"{name}: every object needs the same settings, got {len(settings)} different lists"
            )
        if len({tuple(by_object) for by_object in seeds}) != 1:
            raise ValueError(f"{name}: its seeds were measured on different objects")
        methods, bits = zip(*settings.pop(), strict=True)
        values = {
            metric: np.array(
                [
                    [[float(row[metric]) for row in own] for own in by_object.values()]
                    for by_object in seeds
                ]
            )
            for metric in METRICS
        }
        return cls(name, methods, np.array(bits, dtype=np.float64), tuple(seeds[0]), values)

    def means(self) -> dict[str, dict[str, Any]]:
        """Bits, and mean and interval of every metric over seeds and objects, by setting."""
        return {
            method: {
                "bits": float(self.bits_R[place]),
                **{
                    metric: seeded_mean(values_SNR[..., place]).to_json()
                    for metric, values_SNR in self.values.items()
                },
            }
            for place, method in enumerate(self.methods)
        }

    def covers(self, bits: float) -> bool:
        """Whether a number of bits lies between the fewest and the most of this codec."""
        return bool(self.bits_R[0] <= bits <= self.bits_R[-1])

    def at(self, metric: str, bits: float) -> Float64[np.ndarray, "S N"]:
        """Scores of the objects at a number of bits, linear in its logarithm between two settings.

        Raises:
            ValueError: if this codec does not cover it: nothing is extrapolated.
        """
        if not self.covers(bits):
            raise ValueError(
                f"{self.name}: {bits:g} bits are outside of its {self.bits_R[0]:g} to "
                f"{self.bits_R[-1]:g}"
            )
        rates_R = np.log(self.bits_R)
        return np.apply_along_axis(
            lambda scores_R: np.interp(np.log(bits), rates_R, scores_R), -1, self.values[metric]
        )


def compare_at_equal_bits(ours: RateCurve, theirs: RateCurve) -> list[dict[str, Any]]:
    """Paired differences ours - theirs over objects, as JSON values; intervals draw seeds as well.

    They are taken at those of our numbers of bits that their codec covers. If it covers none, as a
    codec with a single setting hardly does, at those of theirs that ours covers.

    Raises:
        ValueError: if the objects are not the same in the same order.
    """
    if ours.ids != theirs.ids:
        raise ValueError(f"{ours.name} and {theirs.name} were measured on different objects")
    places = [bits for bits in ours.bits_R if theirs.covers(bits)]
    places = places or [bits for bits in theirs.bits_R if ours.covers(bits)]
    found: list[dict[str, Any]] = []
    for bits in places:
        pairs = {metric: (ours.at(metric, bits), theirs.at(metric, bits)) for metric in METRICS}
        found.append(
            {
                "ours": ours.name,
                "theirs": theirs.name,
                "bits": float(bits),
                **{
                    metric: {
                        "ours": float(own.mean()),
                        "theirs": float(other.mean()),
                        "difference": seeded_difference(own, other).to_json(),
                    }
                    for metric, (own, other) in pairs.items()
                },
            }
        )
    return found


def plot_rates(
    path: Path, curves: Mapping[str, RateCurve], *, dashed: Collection[str] = (), title: str
) -> None:
    """Bits a shape against both metrics, as a PNG; a codec of one setting is a dot.

    Args:
        path: of the PNG.
        curves: by label; the first has a band, the 95 % interval of its mean.
        dashed: labels whose lines are dashed.
        title: above both panels.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    panels = [
        Panel(
            curves=[
                _curve(curve, metric, label, banded=place == 0, dashed=label in dashed)
                for place, (label, curve) in enumerate(curves.items())
            ],
            x_label="bits a shape",
            y_label=name,
            log_x=True,
        )
        for metric, name in METRICS.items()
    ]
    plot_curves(path, panels, title=title)


def _curve(curve: RateCurve, metric: str, label: str, *, banded: bool, dashed: bool) -> Curve:
    intervals = [entry[metric] for entry in curve.means().values()]
    return Curve(
        x=curve.bits_R.tolist(),
        y=[interval["mean"] for interval in intervals],
        low=[interval["low"] for interval in intervals] if banded else (),
        high=[interval["high"] for interval in intervals] if banded else (),
        label=label,
        marker="o" if len(intervals) > 1 else "s",
        line="--" if dashed else "-",
    )
