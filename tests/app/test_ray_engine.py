"""Replicas on a cluster: what one does, and what a server does when one of two is killed."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from served import SLOW, TINY, Running, running, tiny_settings

TASK = {"task": "1", "work": "generation"}


def request(told: dict[str, Any]) -> dict[str, Any]:
    from g3pt.app.requests import GenerationRequest

    return GenerationRequest.model_validate(told).model_dump(mode="json")


@pytest.fixture(scope="module")
def replica(tiny_weights: Path):
    """A replica in this process, as Ray makes it in its own."""
    from g3pt.app.ray_replica import Replica
    from g3pt.app.settings import ModelSource

    return Replica((ModelSource(name="a", weights=str(tiny_weights), device="cpu"),), 60.0)


def folders(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.iterdir() if path.name.startswith("g3pt-")]


def test_files_of_a_task_travel_ahead_of_what_speaks_of_them(
    replica, tmp_path: Path, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    told = request({**TINY, "text": [], "image": "aGFsbG8=", "previews": True})
    told["image"] = ["image-0.png"]

    async def all_of_it() -> list[dict[str, Any]]:
        stream = replica.run({**TASK, "request": told}, {"image-0.png": picture})
        return [message async for message in stream]

    messages = asyncio.run(all_of_it())
    kinds = [message["kind"] for message in messages]
    assert (kinds[0], kinds[-1], messages[0]["process"]) == ("running", "done", os.getpid())
    names = [message.get("name") for message in messages]
    cut = next(k for k, one in enumerate(messages) if one.get("event") == "condition")
    assert names.index("cutout-0.png") < cut
    assert {"result-0.glb", "result-0.g3t", "shape-0.npz"} < set(names)
    assert "image-0.png" not in names
    (output,) = messages[-1]["outcome"]["outputs"]
    assert output["path"] == "result-0.glb"
    assert folders(tmp_path) == []


def test_whoever_stops_listening_ends_the_task(
    replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def listen_a_while() -> float:
        stream = replica.run({**TASK, "request": request(SLOW)}, {})
        async for message in stream:
            if message.get("event") == "scale":
                break
        started = time.monotonic()
        await stream.aclose()
        return time.monotonic() - started

    assert asyncio.run(listen_a_while()) < 20  # the whole task takes minutes
    assert folders(tmp_path) == []


def test_a_task_begins_when_the_cancelled_one_before_it_has_ended(
    replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def one_after_the_other() -> bool:
        first = replica.run({**TASK, "request": request(SLOW)}, {})
        async for message in first:
            if message.get("event") == "scale":
                break
        ending = asyncio.create_task(first.aclose())
        second = replica.run({**TASK, "request": request({**TINY, "text": ["a mug"]})}, {})
        assert (await anext(second))["kind"] == "running"
        has_ended = ending.done()
        await ending
        await second.aclose()
        return has_ended

    assert asyncio.run(one_after_the_other())


def test_without_ray_serve_the_extra_is_named(tmp_path, monkeypatch, capsys) -> None:
    from g3pt.cli.main import main

    monkeypatch.setitem(sys.modules, "ray", None)
    told = ["serve", "--engine", "ray", "--port", "0", "--folder", str(tmp_path / "x")]

    assert main(told) == 2
    assert "pip install 'g3pt[ray-serve]'" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves sockets to the collector
def test_one_of_two_replicas_is_killed_and_the_queue_goes_on(
    server: Running, tiny_weights: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray.serve", reason="needs the extra `ray-serve`", exc_type=ImportError)
    from g3pt.app.settings import RaySettings

    def mesh(where: Running, job: str) -> bytes:
        state = where.wait(job)
        assert state["status"] == "done", state.get("error")
        return where.ask("GET", f"/v1/jobs/{job}/result.glb").data

    settings = tiny_settings(tiny_weights, tmp_path, workers=2, ray=RaySettings(), grace=6.0)
    with running(settings) as own:
        engine = own.jobs.engine
        first = own.submit(seed=3, previews=True)
        assert mesh(own, first) == mesh(server, server.submit(seed=3))
        names = [name for name, _ in own.events(first)]
        assert names[:2] == ["running", "condition"] and names[-1] == "done" and "scale" in names
        previews = [data["preview"] for name, data in own.events(first) if name == "scale"]
        shown = [own.ask("GET", path).status for path in previews if path]
        assert set(shown) <= {200}

        doomed, other = own.submit(SLOW), own.submit(SLOW)
        for job in (doomed, other):
            own.until(job, lambda state: state["status"] == "running" and state["scale"])
        behind = own.submit(seed=3)
        assert own.state(behind)["place"] == 0
        killed = time.monotonic()
        os.kill(engine.process_of(doomed), signal.SIGKILL)
        error = own.wait(doomed, seconds=10)["error"]
        assert time.monotonic() - killed < 5
        assert (error["reason"], "replica" in error["detail"]) == ("worker", True)
        assert engine.state().restarts == 1

        # The other one hears that its task is not wanted, and takes what waits.
        survivor = engine.process_of(other)
        assert own.ask("DELETE", f"/v1/jobs/{other}").json["status"] == "cancelled"
        assert mesh(own, behind) == mesh(own, first)
        os.kill(survivor, 0)

        late = own.wait(own.submit(SLOW | {"timeout": 0.5}))
        assert (late["status"], late["error"]["reason"]) == ("failed", "deadline")
        end = time.monotonic() + 60
        while engine.state().ready < 2:
            assert time.monotonic() < end, engine.state()
            time.sleep(0.2)
        files = settings.folder / "files"
        assert {path.name for path in files.iterdir()} == {first, behind}
