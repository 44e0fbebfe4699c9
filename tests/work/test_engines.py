"""What one object may do to the others: nothing. Limits are those of real child processes."""

import multiprocessing
import os
import time

import pytest


@pytest.fixture(scope="module")
def tasks(folder_config):
    """Makes tasks of refs, as they are asked for."""
    from g3pt.preparation.worker import ObjectTask

    def tasks(refs):
        for number, ref in enumerate(refs):
            yield ObjectTask(number, ref, folder_config.prepare, folder_config.views)

    return tasks


@pytest.fixture(scope="module")
def run(tasks):
    """Runs refs in child processes; gives their results in the order of the refs."""
    from g3pt.work.engines import Limits, ProcessEngine

    def run(refs, *, workers=1, **limits):
        before = set(multiprocessing.active_children())  # of other tests
        results = list(ProcessEngine(workers, Limits(**limits)).run(tasks(refs)))
        results.sort(key=lambda result: result.number)
        assert [result.number for result in results] == list(range(len(results)))
        assert set(multiprocessing.active_children()) <= before
        return results

    return run


def harmless(name="harmless"):
    """A ref that is refused at once, by itself."""
    import hazards

    return hazards.Telling(id=name, location=name)


def codes(results):
    return [(result.row["id"], result.row["code"]) for result in results]


def test_a_crash_costs_its_own_object_alone(run):
    import hazards

    refs = [harmless("a"), hazards.Crashing(id="bad", location="bad.obj"), harmless("b")]
    results = run(refs)
    assert codes(results) == [("a", "told"), ("bad", "crash"), ("b", "told")]
    assert results[1].row["message"] == "its process died of SIGABRT"
    assert results[1].row["path"] == "bad.obj"
    # Another process has gone on, and neither is this one.
    assert len({results[0].row["message"], results[2].row["message"], str(os.getpid())}) == 3


def test_a_hang_ends_with_the_time_that_an_object_may_take(run):
    import hazards

    refs = [hazards.Hanging(id="slow", location=""), harmless()]
    began = time.monotonic()
    results = run(refs, seconds=1.5)
    assert codes(results) == [("slow", "timeout"), ("harmless", "told")]
    assert results[0].row["message"] == "took longer than 1.5 seconds"
    assert time.monotonic() - began < 120  # far from the ten minutes that it wants


def test_a_hang_does_not_hold_up_the_other_workers(run):
    import hazards

    refs = [hazards.Hanging(id="slow", location=""), *map(harmless, "abcdef")]
    results = run(refs, workers=2, seconds=2.0)
    assert codes(results)[0] == ("slow", "timeout")
    assert {code for _, code in codes(results)[1:]} == {"told"}


def test_processor_time_is_counted_for_each_object_alone(run):
    import hazards

    refs = [harmless(), hazards.Spinning(id="busy", location=""), harmless()]
    results = run(refs, cpu_seconds=0.2)
    assert codes(results)[1] == ("busy", "cpu_time")
    assert codes(results)[0] == codes(results)[2] == ("harmless", "told")


def test_memory_beyond_the_limit_is_refused_to_the_object(run):
    import hazards

    refs = [hazards.Hungry(id="big", location=""), harmless()]
    results = run(refs, memory_bytes=3 * 2**30)
    assert codes(results) == [("big", "memory"), ("harmless", "told")]
    assert results[0].row["stage"] == "read"


def test_children_cannot_write_files(run, tmp_path):
    import hazards

    (tmp_path / "mesh.obj").write_bytes(b"as it was")
    (result,) = run([hazards.Writing(id="mesh", location=str(tmp_path / "mesh.obj"))])
    assert result.row["code"] == "error" and "too large" in result.row["message"]
    assert (tmp_path / "mesh.obj").read_bytes() == b"as it was"


def test_an_error_that_cannot_be_sent_is_still_a_refusal(run):
    import hazards

    (result,) = run([hazards.Unsendable(id="odd", location="")])
    assert (result.row["stage"], result.row["code"]) == ("read", "error")


def test_a_child_that_dies_between_two_objects_costs_none(run):
    import hazards

    def refs():
        yield hazards.DyingLater(id="first", location="")
        time.sleep(2.0)  # until its process is gone
        yield harmless("second")

    assert codes(run(refs())) == [("first", "broken"), ("second", "told")]


def test_children_that_do_not_even_start_are_an_error(run, monkeypatch):
    from g3pt.work import engines

    monkeypatch.setattr(engines, "_enter_child", os.abort)
    monkeypatch.setattr(engines, "MAX_POOLS", 2)
    with pytest.raises(RuntimeError, match="died 2 times"):
        run([harmless()])


def test_whoever_stops_early_stops_the_children(tasks):
    import hazards
    from g3pt.work.engines import ProcessEngine

    before = set(multiprocessing.active_children())
    results = ProcessEngine(1).run(tasks([harmless(), hazards.Hanging(id="slow", location="")]))
    assert next(results).row["code"] == "told"
    results.close()
    assert set(multiprocessing.active_children()) <= before


def test_tasks_are_taken_as_they_are_needed(tasks):
    from g3pt.work.engines import WINDOW, ProcessEngine

    taken = []

    def refs():
        for number in range(100):
            taken.append(number)
            yield harmless()

    results = ProcessEngine(1).run(tasks(refs()))
    next(results)
    assert len(taken) <= 2 * WINDOW
    results.close()


def test_the_same_task_gives_the_same_result_here_and_in_a_child(tasks, folder_source):
    from g3pt.preparation.sources import list_shapes
    from g3pt.work.engines import InlineEngine, ProcessEngine

    refs = list_shapes(folder_source)
    here = [(each.number, each.row, each.data) for each in InlineEngine().run(tasks(refs))]
    there = [(each.number, each.row, each.data) for each in ProcessEngine(2).run(tasks(refs))]
    assert sorted(there, key=lambda each: each[0]) == here


@pytest.mark.parametrize("changes", [{"seconds": 0.0}, {"cpu_seconds": -1.0}, {"memory_bytes": 1}])
def test_limits_that_leave_nothing_are_refused(changes):
    from g3pt.work.engines import Limits

    with pytest.raises(ValueError, match="limits need positive"):
        Limits(**changes)


def test_an_engine_needs_a_worker():
    from g3pt.work.engines import ProcessEngine

    with pytest.raises(ValueError, match="at least 1, got 0"):
        ProcessEngine(0)
