"""What every table must have when all of its rows are finished."""

from g3pt.reproduce.experiments import EvaluationSet, Experiment
from g3pt.reproduce.series import FinishedRow
from g3pt.reproduce.tabulate import tabulate


def check_whole_table(experiment: Experiment, finished: list[FinishedRow]) -> None:
    """Rows, comparisons and objects are those that the experiment asks for."""
    table = tabulate(experiment, finished)
    names = [variant.name for variant in experiment.variants]
    assert [row.variant for row in table.rows] == names * len(experiment.evaluation)
    assert {entry.claim for entry in table.comparisons} == {c.text for c in experiment.claims}
    for one in experiment.evaluation:
        if isinstance(one, EvaluationSet):
            assert all(len({row["id"] for row in of.objects[one.name]}) == 2 for of in finished)
