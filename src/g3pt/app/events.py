"""Server-sent events of a job: from its place in the queue to its end."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool

from g3pt.app.jobs import Jobs
from g3pt.app.store import ENDED, Event, Job

HEARTBEAT_SECONDS = 10.0
"""A comment is sent after so much silence, which notices clients that are gone."""


async def stream(
    jobs: Jobs, job: Job, after: int, *, cancel_on_disconnect: bool
) -> AsyncIterator[bytes]:
    """The events of a job: those that were, then those that come, until it has ended.

    Args:
        jobs: all jobs.
        job: the job.
        after: number of the last event that the client has seen.
        cancel_on_disconnect: cancel the job if the client goes away before it has ended.
    """
    happened, leave = jobs.listen(job.id)
    ended, said = False, None
    try:
        while True:
            happened.clear()
            now, place, events = await run_in_threadpool(_look, jobs, job.id, after)
            for event in events:
                after = event.number
                yield encode(event.event, with_links(job.id, event.data, event.event), after)
            if now is None or now.status in ENDED:  # its last event was stored with this state
                ended = True
                return
            if place is not None and place != said:
                said = place
                yield encode("queue", {"place": place})
            try:
                await asyncio.wait_for(happened.wait(), HEARTBEAT_SECONDS)
            except TimeoutError:
                yield b": still there\n\n"
    finally:
        leave()
        if cancel_on_disconnect and not ended:
            jobs.cancel(job)


def _look(jobs: Jobs, job: str, after: int) -> tuple[Job | None, int | None, list[Event]]:
    """The job, its place in the queue, and its new events, in this order."""
    return jobs.store.get(job), jobs.engine.place(job), jobs.store.events(job, after)


def encode(event: str, data: dict[str, Any], number: int | None = None) -> bytes:
    """One event as it is sent."""
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {event}\ndata: {json.dumps(data, allow_nan=False)}\n\n".encode()


def with_links(job: str, data: dict[str, Any], event: str) -> dict[str, Any]:
    """Data of an event with the addresses of what it speaks of."""
    address = f"/v1/jobs/{job}"
    match event:
        case "scale" if data.get("preview"):
            return {**data, "preview": f"{address}/scales/{data['scale']}.glb"}
        case "scale":
            return {**data, "preview": None}
        case "condition" if "picture" in data:
            picture = f"{address}/cutouts/{data['picture']}.png"
            return {**data, "cutout": {**data["cutout"], "image": picture}}
        case _:
            return data
