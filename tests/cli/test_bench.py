"""`g3pt bench` at tiny sizes: what the rows say, and what is said of packages that are missing."""

import json
import os
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

SIZES = {
    "num_points": 512,
    "num_volume_queries": 1024,
    "num_near_queries": 1032,
}


@pytest.fixture
def preparation(monkeypatch):
    """The benchmark with few queries, small pictures, two solids and our own labels alone."""
    from g3pt.benchmarks import preparation
    from g3pt.shapes.stored import PrepareConfig, ViewsConfig

    monkeypatch.setattr(preparation, "PrepareConfig", lambda: PrepareConfig(**SIZES))

    def small(*, num_views, size):
        return ViewsConfig(num_views=num_views, size=size // 4, supersample=1)

    monkeypatch.setattr(preparation, "ViewsConfig", small)
    ours = preparation.CONVERTERS[preparation.OURS]
    monkeypatch.setattr(preparation, "CONVERTERS", {preparation.OURS: ours})
    return preparation


@pytest.fixture
def converters():
    from g3pt.benchmarks import converters

    return converters


def test_our_rows_of_two_shapes_say_how_fast_and_where(preparation, g3pt, tmp_path, monkeypatch):
    pytest.importorskip("pebble")
    monkeypatch.setattr(preparation, "QUICK_SOLIDS", ("thin plate",))
    file = tmp_path / "rows" / "bench.json"

    code, out, _ = g3pt("bench", "prepare", "--quick", "--num", "2", "--json", "-o", file)

    assert code == 0
    result = json.loads(out)
    assert json.loads(file.read_text()) == result
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == [
        "prepare/no-views",
        "prepare/12-views",
        "prepare/24-views",
        "label-time",
        "label-error/thin plate",
    ]
    for row in rows.values():
        assert row["note"] == "quick sizes, not to be published"
        assert row["floor"] is None and row["meets"] is None
        assert row["machine"]["cores"] >= 1 and row["versions"]["numpy"] and row["commit"]
    speeds = [row["ours"] for name, row in rows.items() if name.startswith("prepare/")]
    assert speeds[0] > speeds[1] > 0 and speeds[2] > 0
    assert rows["prepare/no-views"]["details"]["objects"] == 2
    assert rows["label-error/thin plate"]["ours"] <= 0.005


def test_a_folder_of_meshes_is_measured_and_a_bad_one_only_noted(
    preparation, cube, bad, monkeypatch
):
    pytest.importorskip("pebble")
    from g3pt.benchmarks.rows import BenchmarkSettings

    bad("words.glb")
    monkeypatch.setattr(preparation, "_error_rows", lambda *_: [])
    settings = BenchmarkSettings(meshes=cube.parent, num=2)

    rows = preparation.benchmark_preparation(settings, lambda *_: None)

    assert [row.details["objects"] for row in rows] == [1, 1, 1, 1]
    assert all(row.note.startswith("1 of 2 failed, the first: ") for row in rows)
    assert [row.floor for row in rows] == [500.0, 250.0, None, None]


def test_a_missing_package_costs_its_own_rows_alone(preparation, monkeypatch):
    absent = replace(next(iter(preparation.CONVERTERS.values())), module="no_such_package_g3pt")
    monkeypatch.setattr(preparation, "CONVERTERS", {"other": absent})
    from g3pt.benchmarks.rows import BenchmarkSettings

    settings = BenchmarkSettings()
    rows = preparation._time_rows([], preparation.PrepareConfig(), settings, lambda *_: None)
    rows += preparation._error_rows(settings, lambda *_: None)

    assert len(rows) == 2
    assert all("pip install 'g3pt[bench]'" in row.note and row.ours is None for row in rows)


def test_packages_label_each_object_in_turn_and_are_compared_where_both_could(
    preparation, monkeypatch
):
    from g3pt.benchmarks.converters import OURS, Outcome
    from g3pt.benchmarks.rows import BenchmarkSettings
    from g3pt.preparation.inputs import MeshRef

    seconds = {(OURS, "a"): 1.0, ("other", "a"): 4.0, (OURS, "b"): 3.0, ("other", "b"): 6.0}
    ours = preparation.CONVERTERS[OURS]
    monkeypatch.setattr(preparation, "CONVERTERS", {OURS: ours, "other": ours})
    asked = []

    def measure(_function, calls, _limit):
        for name, ref, _ in calls:
            asked.append((name, ref.id))
            took = seconds.get(asked[-1])
            yield Outcome(problem="hung") if took is None else Outcome(took)

    monkeypatch.setattr(preparation, "run_limited", measure)
    refs = [MeshRef(id=name, location="") for name in "ab"]
    config, settings = preparation.PrepareConfig(), BenchmarkSettings()
    mine, theirs = preparation._time_rows(refs, config, settings, lambda *_: None)
    assert asked == list(seconds)
    assert (mine.ours, theirs.ours, theirs.other) == (2.0, 2.0, 5.0)
    assert theirs.details == {"objects": 2, "median_ratio": 3.0}

    del seconds["other", "b"]
    _, theirs = preparation._time_rows(refs, config, settings, lambda *_: None)
    assert (theirs.ours, theirs.other, theirs.details["objects"]) == (1.0, 4.0, 1)
    assert theirs.note == "1 of 2 failed, the first: hung"


def test_meshes_are_spread_over_their_folder(cube):
    from g3pt.benchmarks.preparation import _mesh_refs
    from g3pt.benchmarks.rows import BenchmarkSettings

    names = [f"{number}{cube.suffix}" for number in range(9)]
    for name in names:
        (cube.parent / name).write_bytes(cube.read_bytes())
    cube.unlink()
    settings = BenchmarkSettings(meshes=cube.parent, num=3)
    found = _mesh_refs(settings, cube.parent, lambda *_: None)
    assert [ref.id for ref in found] == [names[0], names[4], names[8]]


@pytest.mark.parametrize("name", ["mesh2sdf", "point-cloud-utils"])
def test_other_packages_label_a_clean_ball(name, converters, monkeypatch):
    if converters.CONVERTERS[name].missing():
        pytest.skip(f"{name} is not installed")
    from g3pt.benchmarks.analytic import ball, ball_distance

    monkeypatch.setattr(converters, "GRID", 32)
    monkeypatch.setattr(converters, "GRID_LEVEL", 2 / 32)
    monkeypatch.setattr(converters, "WATERTIGHT_RESOLUTION", 2000)
    centre = (0.3, 0.1, -0.2)  # off the middle, so that mistaken axes would show
    points = np.random.default_rng(0).uniform(-0.9, 0.9, (4000, 3))
    distance = ball_distance(points, 0.4, centre)
    clear = np.abs(distance) > 0.1  # more than a cell of either grid

    inside = converters.CONVERTERS[name].load()(ball(0.4, centre, 3), points)

    assert (inside == (distance < 0))[clear].all()


def test_who_hangs_dies_or_fails_costs_one_result(converters):
    pytest.importorskip("pebble")
    calls = [
        (time.sleep, 60),
        (os._exit, 3),
        (int, "words"),
        (int, "7"),
    ]

    hung, dead, failed, fine = converters.run_limited(call, calls, seconds=8.0)

    assert hung.problem == "took longer than 8 seconds"
    assert dead.problem == "its process died with exit code 3"
    assert "words" in failed.problem and failed.value is None
    assert fine.value == 7 and fine.problem == ""


def call(function, argument):
    return function(argument)


def test_models_are_measured_at_the_sizes_asked_for(g3pt, monkeypatch):
    from g3pt.benchmarks import steps
    from g3pt.recipes import car

    def small(name):
        run = car.tiny_smoke()
        model = replace(run.model, conditions=run.model.conditions[:1], head="softmax")
        loss = replace(run.loss, flip_share=0.0)
        return replace(run, model=replace(model, width=64), loss=loss, name=f"car-{name}")

    monkeypatch.setattr(car, "of_size", small)
    monkeypatch.setattr(steps.tokenizer, "paper", steps.tokenizer.tiny_smoke)
    names = ("gemm", "car-step", "generation-sizes")

    code, out, _ = g3pt("bench", *names, "--quick", "--json", "--sizes", "2M", "4M")

    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)["rows"]}
    assert list(rows) == [
        *("gemm/float32", "gemm/bfloat16", "copy"),
        *("car-step/2M", "car-step/2M/recompute", "car-step/4M", "car-step/4M/recompute"),
        *("generation/2M", "generation/4M"),
    ]
    assert all(row["ours"] > 0 for row in rows.values())
    step = rows["car-step/2M"]
    share = step["details"]["flops_per_step"] / step["details"]["seconds_per_step"]
    assert step["ours"] == pytest.approx(share / 1e12) and step["other"] > 0
    made = rows["generation/2M"]["details"]
    assert made["tokens"] == 21 and made["flops"] < made["flops_uncached"]
    assert made["floor_seconds_bytes"] > 0 and made["peak_bytes"] > 0


def test_extraction_is_held_against_the_whole_grid(g3pt):
    code, out, _ = g3pt("bench", "extraction", "--quick", "--json")

    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)["rows"]}
    for resolution in (32, 64):
        queries = rows[f"extraction/{resolution}/queries"]
        assert queries["other"] == (resolution + 1) ** 3 >= queries["ours"]
        seconds = rows[f"extraction/{resolution}/seconds"]
        assert 0 < seconds["details"]["seconds_in_field"] < seconds["ours"]
        assert seconds["details"]["calls"] >= 1


def test_threads_that_sleep_are_measured_beside_a_busy_process(g3pt):
    code, out, _ = g3pt("bench", "waiting", "--quick", "--json")

    assert code == 0
    (row,) = json.loads(out)["rows"]
    assert row["name"] == "waiting/beside-one"
    assert row["ours"] == row["details"]["passive"]["seconds"] > 0
    assert row["other"] == row["details"]["default"]["seconds"] > 0


def test_steps_on_the_pool_are_held_against_batches_from_the_host(g3pt):
    code, out, _ = g3pt("bench", "stream", "--quick", "--device", "cpu", "--json")

    assert code == 0
    (row,) = json.loads(out)["rows"]
    assert (row["name"], row["unit"], row["floor"]) == ("stream/steps", "steps/min", None)
    seconds, waits = row["details"]["seconds_per_step"], row["details"]["seconds_per_batch"]
    assert row["ours"] == 60 / seconds["pool"] and row["other"] == 60 / seconds["host"]
    assert all(0 < waits[name] < seconds[name] for name in ("pool", "host"))


@pytest.mark.distributed
def test_two_processes_train_beside_one(g3pt):
    code, out, _ = g3pt("bench", "train", "--quick", "--json")

    assert code == 0
    (row,) = json.loads(out)["rows"]
    assert (row["name"], row["unit"]) == ("train/ddp-2", "samples/s")
    assert row["ratio"] == row["ours"] / row["other"] > 0
    apart = row["details"]["apart"] / row["details"]["alone"]
    assert row["note"].startswith(f"two that share nothing: {apart:.2f}x; quick sizes")


def test_a_loader_process_gives_its_share_of_the_papers_batch(g3pt):
    code, out, _ = g3pt("bench", "loader", "--quick", "--json")

    assert code == 0
    (row,) = json.loads(out)["rows"]
    details = row["details"]
    assert (row["name"], row["unit"], details["share"]) == ("loader/pictures", "shapes/s", 12)
    assert row["ours"] == pytest.approx(details["share"] / details["seconds_per_batch"])
    assert details["operations_per_shape"] == pytest.approx(30.0e12, rel=0.01)  # docs/scaling.md
    assert details["needed"] == pytest.approx(33, rel=0.01)


@pytest.mark.slow
def test_two_processes_make_pictures_beside_one(g3pt):
    code, out, _ = g3pt("bench", "bulk", "--quick", "--num", "2", "--json")

    assert code == 0
    (row,) = json.loads(out)["rows"]
    assert (row["name"], row["unit"], row["details"]["pictures"]) == (
        "bulk/2-workers",
        "s/picture",
        2,
    )
    assert row["details"]["failed"] == [0, 0]
    assert row["note"] == "quick sizes, not to be published"
    assert row["ratio"] == row["other"] / row["ours"] > 0


def test_a_process_that_fails_or_hangs_says_so(tmp_path):
    from g3pt.benchmarks import waiting
    from g3pt.benchmarks.rows import BenchmarkSettings

    failed = waiting._measure(BenchmarkSettings(weights=str(tmp_path), quick=True), "PASSIVE", 0)
    hung = waiting._measure(BenchmarkSettings(seconds=0.1, quick=True), "PASSIVE", 0)

    assert str(tmp_path) in failed["problem"]
    assert hung == {"problem": "took longer than 0.1 seconds"}


def test_a_row_that_does_not_fit_is_tried_smaller_and_says_so_in_the_end():
    from g3pt.benchmarks.device import row_that_fits
    from g3pt.benchmarks.rows import BenchmarkRow

    tried = []

    def measure(batch_size, *, fits):
        tried.append(batch_size)
        if batch_size > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return BenchmarkRow(name="x", unit="s", ours=float(batch_size))

    assert row_that_fits("x", "s", partial(measure, fits=2), (8, 4, 2, 1)).ours == 2.0
    assert tried == [8, 4, 2]
    none = row_that_fits("x", "s", partial(measure, fits=0), (4, 2))
    assert none.ours is None and none.note == "out of memory with a batch of 2"

    def broken(batch_size):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        row_that_fits("x", "s", broken, (2, 1))


def test_what_fails_costs_its_own_rows_alone(g3pt, monkeypatch):
    from g3pt.benchmarks import catalogue as benchmarks

    def broken(settings, on_progress):
        raise RuntimeError("no such kernel")

    monkeypatch.setitem(benchmarks.BENCHMARKS, "car-step", broken)

    code, out, err = g3pt("bench", "car-step", "gemm", "--quick", "--json")

    assert code == 1
    assert json.loads(out)["rows"][0]["name"] == "gemm/float32"
    assert "car-step: RuntimeError: no such kernel" in err


def test_a_size_off_the_ladder_is_refused(g3pt):
    code, _, err = g3pt("bench", "car-step", "--sizes", "7T")

    assert code == 2
    assert "no such size" in err and "0.5B" in err


def test_a_median_keeps_to_its_budget():
    from g3pt.models.speed import median_seconds

    calls = []

    def run():
        calls.append(time.sleep(0.05))

    seconds = median_seconds(run, torch.device("cpu"), repeats=50, warmup=1, budget=0.2)
    assert 0.05 <= seconds < 1
    assert 2 <= len(calls) <= 5


def test_a_ratio_says_how_many_times_better_ours_is():
    from g3pt.benchmarks.rows import BenchmarkRow

    faster = BenchmarkRow(name="x", unit="s", ours=2.0, other=6.0, lower_is_better=True)
    more = BenchmarkRow(name="x", unit="1/s", ours=6.0, other=2.0, floor=5.0, floor_of="ratio")
    wrong = BenchmarkRow(name="x", unit="share", ours=0.0, other=1.0, lower_is_better=True)

    assert faster.ratio == more.ratio == 3.0
    assert more.meets is False and faster.meets is None
    assert wrong.ratio is None and replace(wrong, floor=0.005).meets is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no benchmark 'nothing'"),
        (["--num", "0"], "--num"),
        (["--meshes", "nowhere"], "nowhere"),
        (["-o", "rows.csv"], ".json"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(arguments, message, g3pt):
    code, out, err = g3pt("bench", *arguments)

    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1


def test_lines_for_a_reader_are_aligned():
    from g3pt.benchmarks.rows import BenchmarkRow
    from g3pt.cli.bench import as_lines

    rows = [
        BenchmarkRow(name="short", unit="s", ours=1.5, other=3.0, lower_is_better=True),
        BenchmarkRow(name="much longer", unit="meshes/core-hour", ours=400.0, floor=500.0),
        BenchmarkRow(name="absent", unit="s", note="skipped: x is not installed"),
    ]

    machine, first, second, third = as_lines(rows)

    assert rows[0].machine.processor in machine
    assert first.index("1.5 s") + 3 == second.index("400") + 3 and "2x" in first
    assert "MISSED" in second and third.endswith("not installed")
