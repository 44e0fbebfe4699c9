import base64
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from served import CUBE, SLOW, TINY, Running, running, tiny_settings


@pytest.fixture(scope="module")
def own(tiny_weights: Path, tmp_path_factory) -> Iterator[Running]:
    """A server whose workers may be hurt."""
    settings = tiny_settings(tiny_weights, tmp_path_factory.mktemp("own"), grace=0.5)
    with running(settings) as found:
        yield found


def begun(server: Running, **more) -> str:
    job = server.submit(SLOW, **more)
    server.until(job, lambda state: state["status"] == "running" and state["scale"])
    return job


def test_a_killed_worker_fails_its_job_with_a_reason_and_the_queue_goes_on(own) -> None:
    restarts = own.jobs.engine.state().restarts
    job, behind = begun(own), own.submit()
    (worker,) = own.jobs.engine.processes()
    killed = time.monotonic()
    os.kill(worker, signal.SIGKILL)
    state = own.wait(job, seconds=5)

    assert time.monotonic() - killed < 5
    assert (state["status"], state["error"]["reason"]) == ("failed", "worker")
    assert "SIGKILL" in state["error"]["detail"]
    assert own.wait(behind)["status"] == "done"
    assert own.jobs.engine.state().restarts == restarts + 1
    assert own.jobs.engine.processes() != [worker]


def test_a_running_job_is_cancelled_within_a_scale(own) -> None:
    (worker,) = own.jobs.engine.processes()
    job, behind = begun(own), own.submit()
    answer = own.ask("DELETE", f"/v1/jobs/{job}")

    assert (answer.status, answer.json["status"]) == (200, "cancelled")
    assert own.wait(behind)["status"] == "done"
    assert own.jobs.engine.processes() == [worker]  # it heard
    assert own.events(job)[-1][0] == "cancelled"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("completions", {"part": "cube", "width": 16, "survivors": 16}),
        ("reconstructions", {"mesh": "cube", "dense": True}),
        ("detokenizations", {"tokens": "tokens"}),
    ],
)
def test_work_on_shapes_is_cancelled_while_it_meshes(own, kind: str, told: dict) -> None:
    if "tokens" not in own.seen:
        made = own.submit()
        own.wait(made)
        own.seen["tokens"] = made
    cube = {"data": base64.b64encode(CUBE.encode()).decode(), "format": "obj"}
    shapes = {"cube": cube, "tokens": {"job": own.seen["tokens"]}}
    asked = {name: shapes.get(str(value), value) for name, value in told.items()}
    (worker,) = own.jobs.engine.processes()
    answer = own.ask("POST", f"/v1/3d/{kind}", {**asked, "resolution": 256})
    assert answer.status == 202, answer.data
    job = answer.json["id"]
    own.until(job, lambda state: state["scale"] == 3 or state["status"] == "failed")

    assert own.ask("DELETE", f"/v1/jobs/{job}").json["status"] == "cancelled"
    assert own.wait(own.submit())["status"] == "done"
    assert own.jobs.engine.processes() == [worker]  # it heard


def test_a_waiting_job_is_cancelled_without_a_worker(own) -> None:
    first, second = begun(own), own.submit()

    assert own.state(second)["place"] == 0
    assert own.ask("DELETE", f"/v1/jobs/{second}").json["status"] == "cancelled"
    assert [name for name, _ in own.events(second)] == ["cancelled"]
    own.ask("DELETE", f"/v1/jobs/{first}")


def test_a_job_can_be_cancelled_before_it_enters_the_queue(own) -> None:
    store = own.jobs.store
    job = store.new_id()
    store.files_of(job).mkdir()
    store.add(job, "generation", "me", {}, timeout=1)

    assert own.ask("DELETE", f"/v1/jobs/{job}").json["status"] == "cancelled"
    assert [name for name, _ in own.events(job)] == ["cancelled"]


def test_what_has_no_result_leaves_no_files(own) -> None:
    store = own.jobs.store
    cancelled, killed, waiting = begun(own), own.submit(SLOW), own.submit()
    own.ask("DELETE", f"/v1/jobs/{waiting}")
    own.ask("DELETE", f"/v1/jobs/{cancelled}")
    own.until(killed, lambda state: state["status"] == "running" and state["scale"])
    for worker in own.jobs.engine.processes():
        os.kill(worker, signal.SIGKILL)
    own.wait(killed)

    end = time.monotonic() + 5
    for job in (cancelled, killed, waiting):
        while store.files_of(job).exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        assert store.get(job).bytes == 0


def test_cancelling_again_or_too_late_changes_nothing(own) -> None:
    job = own.submit()
    own.wait(job)
    cancelled = begun(own)
    own.ask("DELETE", f"/v1/jobs/{cancelled}")

    for ended, status in ((job, "done"), (cancelled, "cancelled")):
        answer = own.ask("DELETE", f"/v1/jobs/{ended}")
        assert (answer.status, answer.json["status"]) == (200, status)


def test_a_worker_that_does_not_hear_is_replaced(own) -> None:
    job, behind = begun(own), own.submit()
    (worker,) = own.jobs.engine.processes()
    os.kill(worker, signal.SIGSTOP)
    asked = time.monotonic()

    assert own.ask("DELETE", f"/v1/jobs/{job}").json["status"] == "cancelled"
    assert own.wait(behind)["status"] == "done"
    assert own.jobs.engine.processes() != [worker]
    assert time.monotonic() - asked < 20


def test_no_job_runs_past_its_deadline(own) -> None:
    job = own.submit(SLOW | {"timeout": 0.3})
    state = own.wait(job)

    assert (state["status"], state["error"]["reason"]) == ("failed", "deadline")
    assert "0.3 seconds" in state["error"]["detail"]
    assert state["seconds"] < 1
    assert own.wait(own.submit())["status"] == "done"


def test_whoever_goes_away_from_the_events_frees_the_worker_if_told_so(own) -> None:
    import http.client

    job = own.submit(SLOW)
    connection = http.client.HTTPConnection("127.0.0.1", own.port, timeout=30)
    connection.request("GET", f"/v1/jobs/{job}/events?cancel_on_disconnect=true")
    response = connection.getresponse()
    while b"event: scale" not in response.readline():
        pass
    response.close()
    connection.close()

    assert own.wait(job, seconds=15)["status"] == "cancelled"


def test_events_tell_the_place_in_the_queue(own) -> None:
    import threading

    first, second, third = begun(own), own.submit(), own.submit()
    told: list[str] = []
    thread = threading.Thread(target=lambda: told.extend(own.events(third)))
    thread.start()
    time.sleep(0.2)
    own.ask("DELETE", f"/v1/jobs/{first}")
    thread.join(60)

    places = [data["place"] for name, data in told if name == "queue"]
    assert places[0] == 1 and places == sorted(places, reverse=True)
    assert told[-1][0] == "done"
    assert own.state(second)["status"] == "done"


def test_wrong_input_fails_the_job_and_names_no_folder(own) -> None:
    import base64

    data = base64.b64encode(b"these are words").decode()
    told = {"mesh": {"data": data, "format": "glb"}}
    job = own.ask("POST", "/v1/3d/tokenizations", told).json["id"]
    state = own.wait(job)

    assert (state["status"], state["error"]["reason"]) == ("failed", "input")
    assert "mesh-0.glb" in state["error"]["detail"]
    assert str(own.settings.folder) not in state["error"]["detail"]


def test_ended_jobs_leave_no_threads_files_or_children(own) -> None:
    own.wait(own.submit())
    files, threads = Path("/proc/self/fd"), Path("/proc/self/task")
    if not files.is_dir():
        pytest.skip("this system does not list open files")
    before = len(list(files.iterdir())), len(list(threads.iterdir()))
    for number in range(12):
        job = own.submit(SLOW if number % 2 else TINY)
        if number % 3 == 0:
            for worker in own.jobs.engine.processes():
                os.kill(worker, signal.SIGKILL)
        own.ask("DELETE", f"/v1/jobs/{job}")
    own.wait(own.submit())
    after = len(list(files.iterdir())), len(list(threads.iterdir()))

    assert after[0] <= before[0] + 2 and after[1] <= before[1] + 2
    assert len(own.jobs.engine.processes()) == 1


def test_after_a_restart_waiting_jobs_are_done_and_running_ones_have_failed(
    tiny_weights, tmp_path
) -> None:
    settings = tiny_settings(tiny_weights, tmp_path)
    with running(settings) as first:
        ran, waits = begun(first), first.submit(seed=3)
    with running(settings) as second:
        state = second.state(ran)
        assert (state["status"], state["error"]["reason"]) == ("failed", "restarted")
        done = second.wait(waits)
        assert (done["status"], done["outputs"][0]["seed"]) == ("done", 3)


def test_weights_that_cannot_be_loaded_are_told(tmp_path) -> None:
    settings = tiny_settings(tmp_path / "nothing", tmp_path / "served")
    with running(settings, ready=False) as server:
        end = time.monotonic() + 30
        while (answer := server.ask("GET", "/readyz")).json["status"] != "broken":
            assert answer.status == 503 and time.monotonic() < end
            time.sleep(0.05)
        assert "nothing" in answer.json["detail"]
        assert server.ask("GET", "/healthz").status == 200


def test_a_listener_that_fails_does_not_end_the_pool(tmp_path, caplog) -> None:
    import threading

    from g3pt.app.workers import Pool, Task

    ends = threading.Event()

    class Failing:
        def started(self) -> bool:
            raise OSError("the disk is full")

        def event(self, event, data) -> None:
            raise OSError("the disk is full")

        def ended(self, how, content) -> None:
            raise OSError("the disk is full")

        def left(self) -> None:
            raise OSError("the disk is full")

    class Good(Failing):
        def started(self) -> bool:
            return True

        def ended(self, how, content) -> None:
            assert how == "failed"  # there is no picture
            ends.set()

    pool = Pool((), 1, grace=1.0)
    pool.start()
    try:
        told = {"image": "image.png", "mask": None, "whole_picture": False}
        for listener in (Failing(), Good()):
            pool.submit(Task(str(listener), "cutout", told, tmp_path, 30.0, listener))
        assert ends.wait(60)
    finally:
        pool.stop()
    assert "could not be started" in caplog.text


def test_the_server_itself_loads_no_models() -> None:
    import subprocess
    import sys

    code = "import sys, g3pt.app.server; sys.exit(bool({'torch', 'trimesh'} & {*sys.modules}))"

    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_a_job_whose_shapes_are_all_empty_fails_and_says_so(tiny_weights, tmp_path) -> None:
    from g3pt import G3PT
    from g3pt.app.tasks import EmptyShapeError, _outcome
    from g3pt.app.work import _error

    pipeline = G3PT.from_pretrained(tiny_weights, "cpu")
    empty, full = {"path": None, "seed": 3}, {"path": f"{tmp_path}/result-0.glb", "seed": 4}
    with pytest.raises(EmptyShapeError) as caught:
        _outcome(pipeline, [empty], tmp_path)

    error = _error(caught.value, tmp_path)
    detail = "the shape of seed 3 has no inside; try another seed"
    assert error == {"reason": "work", "detail": detail}
    told = _outcome(pipeline, [empty, full], tmp_path)["outputs"]
    assert [entry["path"] for entry in told] == [None, "result-0.glb"]
    other = _error(ZeroDivisionError(f"in {tmp_path}/x"), tmp_path)
    assert other == {"reason": "work", "detail": "ZeroDivisionError: in x"}
