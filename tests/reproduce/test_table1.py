"""CAR beside its rivals: equal terms, and times that can be compared."""

from dataclasses import replace

import numpy as np
import pytest

from g3pt.recipes.matching import num_generator_parameters
from g3pt.reproduce.experiments import weights_of
from g3pt.reproduce.row_timing import _medians, _open, time_rows
from g3pt.reproduce.series import run_series
from g3pt.reproduce.table1 import table1
from g3pt.reproduce.table_report import markdown
from g3pt.reproduce.tables import table4
from g3pt.reproduce.tabulate import tabulate
from g3pt.reproduce.tokenizer_sizes import size
from whole_tables import check_whole_table


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table1")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def timings(workplace):
    """Two rounds of asking every row in turn."""
    experiment = table1("smoke")
    run_series(experiment, workplace / "runs")
    return time_rows(experiment, workplace / "runs", rounds=2)


@pytest.mark.parametrize("scale", ["smoke", "toy", "small"])
def test_rivals_have_the_parameters_the_data_and_the_steps_of_the_middle_car(scale):
    experiment = table1(scale)
    middle, flow, regressor = (
        next(v for v in experiment.variants if v.name == name)
        for name in (experiment.timed, "pictures-flow", "pictures-regressor")
    )
    wanted = num_generator_parameters(middle.run.model)
    for rival in (flow, regressor):
        assert num_generator_parameters(rival.run.model) == pytest.approx(wanted, rel=0.05)
        assert rival.run.shapes == middle.run.shapes
        assert rival.run.train.steps == middle.run.train.steps
        assert rival.run.data.batch_size == middle.run.data.batch_size
        assert rival.run.model.conditions == middle.run.model.conditions


def test_three_sizes_grow_and_the_middle_one_is_compared():
    experiment = table1("toy")
    trained = [v for v in experiment.variants if not v.trained_as]
    cars = [v for v in trained if v.name.startswith("pictures-car")]
    sizes = [num_generator_parameters(v.run.model) for v in cars]
    assert sizes == sorted(set(sizes)) and len(sizes) == 3
    assert experiment.timed == cars[1].name


def test_both_tokenizers_of_the_toy_table_are_trained_longer_than_those_of_table_3b():
    steps = size("toy").run.train.steps
    before = table1("toy").before
    assert len(before) == 2
    for tokenizer in before:
        factor = int(tokenizer.name.rpartition("-x")[2])
        assert tokenizer.run.train.steps == factor * steps > steps
    runs = {v.name: v.run for v in table1("toy").variants}
    assert runs["pictures-car-2"].tokenizer == weights_of("toy", before[0].name)
    assert runs["pictures-flow"].tokenizer == weights_of("toy", before[1].name)


def test_only_the_number_of_steps_differs_between_the_rows_of_the_flow():
    flow, fast = (
        v for v in table1("toy").variants if v.name in ("pictures-flow", "pictures-flow-10")
    )
    assert (flow.num_steps, fast.num_steps, fast.trained_as) == (50, 10, flow.name)
    assert fast.run == flow.run


def test_what_samples_has_a_row_of_means_and_what_answers_with_one_has_not():
    variants = {v.name: v for v in table1("toy").variants}
    means = {name: v for name, v in variants.items() if v.consensus > 1}
    assert set(means) == {"pictures-car-2-mean", "pictures-flow-mean"}
    for name, mean in means.items():
        single = variants[name.removesuffix("-mean")]
        assert mean.trained_as == single.name and mean.run == single.run
        assert (single.method, mean.method) == ("image", "image_consensus_of_8")


def test_tokenizers_stand_beside_what_is_made_of_their_tokens():
    experiment = table1("toy")
    shown = experiment.variants[: len(experiment.before)]
    assert [v.name for v in shown] == [v.name for v in experiment.before]
    assert all(v.run == other.run for v, other in zip(shown, experiment.before, strict=True))
    compared = {name for claim in experiment.claims for name in (claim.better, claim.worse)}
    assert not compared & {v.name for v in shown}


def test_rivals_are_also_compared_by_what_a_blurred_mean_is_bad_at():
    claims = table1("toy").claims
    pairs = {
        metric: {(claim.better, claim.worse) for claim in claims if claim.metric == metric}
        for metric in ("iou", "fscore_001", "normal_consistency")
    }
    assert pairs["fscore_001"] == pairs["normal_consistency"] < pairs["iou"]
    assert ("pictures-car-2", "pictures-regressor") in pairs["fscore_001"]
    assert ("pictures-car-2-mean", "pictures-flow-mean") in pairs["fscore_001"]
    assert len({claim.text for claim in claims}) == len(claims)


def test_kinds_that_were_trained_on_and_kinds_that_were_not_are_apart():
    known, unseen, real = table1("toy").evaluation
    assert (known.source.families, unseen.source.families) == ("train", "held_out")
    assert real.source.kind == "folder"
    assert known.source.num == unseen.source.num == real.num


def test_the_table_runs_to_its_end_at_smoke_size(workplace, timings):
    experiment = table1("smoke")
    finished = run_series(experiment, workplace / "runs")
    check_whole_table(experiment, finished)
    table = tabulate(experiment, finished)
    assert not {"coverage", "one_nna"} & set(table.rows[0].scores)
    for row in table.rows[len(experiment.before) :]:
        (answers,) = (one for one in finished if one.variant == row.variant)
        assert row.scores["coverage"] == {
            key: answers.of_sets[row.set]["coverage"][key] for key in ("mean", "low", "high")
        }
        assert row.by_seed["one_nna"] == (answers.of_sets[row.set]["one_nna"]["mean"],)
    assert "| coverage | 1-NNA |" in markdown(table, "plot.png")


def test_rows_that_generate_are_timed_in_turn(timings):
    experiment = table1("smoke")
    assert [t.variant for t in timings] == [
        v.name
        for v in experiment.variants
        if v.name.startswith("pictures-") and v.name != "pictures-retrieval"
    ]
    for timing in timings:
        assert timing.sample > 0 and timing.extract > 0
        assert timing.ratio_low <= timing.ratio <= timing.ratio_high
    (compared,) = (t for t in timings if t.variant == experiment.timed)
    assert compared.ratio_low == compared.ratio_high == 1.0


def test_the_rows_of_the_flow_are_opened_with_their_own_steps(workplace):
    experiment = table1("smoke")
    run_series(experiment, workplace / "runs")
    names = [
        _open(experiment, variant, workplace / "runs", "cpu").guided.name
        for variant in experiment.variants
        if variant.name.startswith("pictures-flow")
    ]
    assert [name.rpartition(", ")[2] for name in names] == ["50 steps", "10 steps", "50 steps"]


def test_ratios_are_taken_round_by_round():
    variants = [replace(v, seeds=(0,)) for v in table1("toy").variants[:2]]
    # the second round is three times as slow for both: a disturbed machine
    asked = np.array([[[2.0, 1.0], [1.0, 1.0]], [[6.0, 1.0], [3.0, 1.0]], [[2.2, 1.0], [1.0, 1.0]]])
    first, second = _medians(variants, asked, variants[1].name)
    assert (first.sample, first.ratio) == (2.2, 2.0)
    assert (first.ratio_low, first.ratio_high) == (2.0, 2.2)
    assert second.ratio_low == second.ratio_high == 1.0


def test_an_experiment_that_is_not_timed_is_refused(workplace):
    with pytest.raises(ValueError, match="not timed"):
        time_rows(table4("smoke"), workplace / "runs")


def test_a_timed_row_must_be_one_of_the_table():
    with pytest.raises(ValueError, match="there is no variant elsewhere"):
        replace(table1("toy"), timed="elsewhere")


def test_the_report_shows_the_times(workplace, timings):
    from g3pt.reproduce.tabulate import tabulate

    experiment = table1("smoke")
    finished = run_series(experiment, workplace / "runs")
    table = tabulate(experiment, finished, timings)
    text = markdown(table, "picture.png")
    assert "## Seconds a shape" in text
    assert len(table.to_json()["timings"]) == len(timings)
    assert "## Seconds a shape" not in markdown(tabulate(experiment, finished), "picture.png")


def test_sets_are_spread_evenly_over_their_source():
    objects = table1("smoke").evaluation[0]
    refs = replace(objects, source=replace(objects.source, num=10), num=3).objects().refs
    everything = replace(objects, source=replace(objects.source, num=10)).objects().refs
    assert [everything.index(ref) for ref in refs] == [0, 3, 6]
