"""What can be reproduced, by name: tables, figures, and the run of every row."""

from collections.abc import Callable
from typing import get_args

from g3pt.reproduce.budget import budget
from g3pt.reproduce.choices import car_choices, choices
from g3pt.reproduce.experiments import Experiment, Scale
from g3pt.reproduce.figure5 import GALLERIES
from g3pt.reproduce.figure6 import figure6
from g3pt.reproduce.table1 import table1
from g3pt.reproduce.tables import table2, table3a, table3b, table4
from g3pt.training.runs import Run

EXPERIMENTS: dict[str, Callable[[Scale], Experiment]] = {
    "table2": table2,
    "table3a": table3a,
    "table3b": table3b,
    "table4": table4,
    "budget": budget,
    "choices": choices,
    "car-choices": car_choices,
    "table1": table1,
    "figure6": figure6,
}
"""By the name that `g3pt reproduce` takes."""

SCALES: tuple[Scale, ...] = get_args(Scale)
"""Smallest first."""


def experiment_of(name: str, scale: Scale) -> Experiment:
    """A table by name.

    Raises:
        ValueError: if there is none of that name.
    """
    if name not in EXPERIMENTS:
        known = ", ".join((*EXPERIMENTS, *GALLERIES))
        raise ValueError(f"{name!r}: nothing of that name; there are {known}")
    return EXPERIMENTS[name](scale)


def experiments_of(name: str, scale: Scale) -> tuple[Experiment, ...]:
    """What a name of `g3pt reproduce` stands for: `choices` are those of both stages.

    Raises:
        ValueError: if there is nothing of that name.
    """
    names = ("choices", "car-choices") if name == "choices" else (name,)
    return tuple(experiment_of(one, scale) for one in names)


def row_recipe(name: str) -> Run:
    """The complete config of the run of a row of a table.

    Args:
        name: `SCALE/ROW-seedN`, as in its run folder: `paper/volume-seed0`.

    Raises:
        ValueError: if no table has such a row.
    """
    scale, _, row = name.partition("/")
    if scale not in SCALES:
        raise ValueError(f"{name}: {scale!r} is no scale; there are {', '.join(SCALES)}")
    runs = {
        variant.seeded(seed).name: variant.seeded(seed)
        for experiment in EXPERIMENTS.values()
        for variant in experiment(scale).variants
        if not variant.trained_as
        for seed in variant.seeds
    }
    if row not in runs:
        raise ValueError(f"{name}: no table has such a row; there are {', '.join(runs)}")
    return runs[row]
