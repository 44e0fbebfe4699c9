from pathlib import Path

import pytest

from g3pt.app.store import BEFORE, ENDED, JobStore


@pytest.fixture
def store(tmp_path: Path):
    store = JobStore(tmp_path)
    yield store
    store.close()


def added(store: JobStore, size: int = 0) -> str:
    job = store.new_id()
    store.files_of(job).mkdir()
    (store.files_of(job) / "result").write_bytes(bytes(size))
    store.add(job, "generation", "me", {"seed": 1}, timeout=3)
    return job


def brought_to(store: JobStore, status: str) -> str:
    job = added(store)
    path = {
        "queued": (),
        "running": ("running",),
        "failed": ("failed",),
        "cancelled": ("cancelled",),
    }
    for step in path.get(status, ("running", "done", "expired")[: 2 + (status == "expired")]):
        assert store.move(job, step)
    return job


@pytest.mark.parametrize("to", BEFORE)
@pytest.mark.parametrize("start", ["queued", "running", *ENDED])
def test_only_the_named_changes_of_state_happen(store, start: str, to: str) -> None:
    job = brought_to(store, start)

    assert store.move(job, to) == (start in BEFORE[to])
    assert store.get(job).status == (to if start in BEFORE[to] else start)


def test_of_two_ends_only_the_first_happens(store) -> None:
    job = brought_to(store, "running")

    assert store.move(job, "cancelled")
    assert not store.move(job, "done", outcome={"outputs": []})
    found = store.get(job)
    assert (found.status, found.outcome) == ("cancelled", {})


def test_after_a_restart_what_ran_has_failed_and_what_waited_waits(store, tmp_path) -> None:
    ran, first, second = brought_to(store, "running"), added(store), added(store)
    done = brought_to(store, "done")
    (tmp_path / "files" / ("f" * 32)).mkdir()  # files of a job that was never stored
    store.close()
    again = JobStore(tmp_path)

    assert [job.id for job in again.restart()] == [first, second]
    failed = again.get(ran)
    assert (failed.status, failed.error["reason"]) == ("failed", "restarted")
    assert [event.event for event in again.events(ran)] == ["running", "failed"]
    assert again.get(done).status == "done"
    assert not (tmp_path / "files" / ("f" * 32)).exists()
    again.close()


def test_a_folder_is_held_by_one_server(store, tmp_path) -> None:
    with pytest.raises(ValueError, match="is held by another server"):
        JobStore(tmp_path)


def test_another_file_is_not_taken_for_a_database(tmp_path) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(b"something else" * 100)

    with pytest.raises(ValueError, match="is not a database of jobs"):
        JobStore(tmp_path)


def test_results_expire_by_age(store) -> None:
    job = brought_to(store, "done")
    ended = store.get(job).finished

    assert store.expire(older_than=10, keep_bytes=1, now=ended + 9) == []
    assert store.expire(older_than=10, keep_bytes=1, now=ended + 11) == [job]
    assert not store.files_of(job).exists()
    assert store.get(job).status == "expired"
    store.expire(older_than=10, keep_bytes=1, now=ended + 25 * 3600)
    assert store.get(job) is None


def test_the_oldest_results_go_when_there_are_too_many_bytes(store) -> None:
    jobs = [added(store, size=100) for _ in range(4)]
    for job in jobs:
        store.move(job, "running")
        store.move(job, "done", outcome={})

    assert store.expire(older_than=10, keep_bytes=250) == jobs[1::-1]
    assert [store.files_of(job).exists() for job in jobs] == [False, False, True, True]


def test_what_waits_or_runs_never_expires(store) -> None:
    waits, runs = added(store, size=100), brought_to(store, "running")

    assert store.expire(older_than=0, keep_bytes=0, now=1e12) == []
    assert store.files_of(waits).exists() and store.files_of(runs).exists()


def test_events_count_up_for_every_job(store) -> None:
    one, two = added(store), added(store)
    for job in (one, two, one):
        store.add_event(job, "scale", {"scale": 1})

    assert [event.number for event in store.events(one)] == [1, 2]
    assert [event.number for event in store.events(one, after=1)] == [2]
    assert [event.number for event in store.events(two)] == [1]


def test_the_list_is_newest_first_and_goes_on(store) -> None:
    jobs = [added(store) for _ in range(5)]

    page = store.listed(limit=2)
    assert [job.id for job in page] == jobs[:2:-1]
    assert [job.id for job in store.listed(limit=9, before=page[-1].number)] == jobs[2::-1]
    assert store.listed(("done",)) == []


def test_a_state_and_its_event_are_stored_together(store) -> None:
    job = added(store)
    store.move(job, "running")
    store.move(job, "done", outcome={"outputs": []}, told={"outputs": []})

    assert [event.event for event in store.events(job)] == ["running", "done"]
    assert store.events(job)[-1].data == {"outputs": []}
    store.move(job, "failed", told={"error": {}})
    assert len(store.events(job)) == 2
