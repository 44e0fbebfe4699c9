"""Files of a job: what it wrote, and what is made of it when somebody asks."""

import base64
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool

from g3pt.app.fields import values_of
from g3pt.app.jobs import Jobs
from g3pt.app.problems import Problem
from g3pt.app.requests import CutoutRequest
from g3pt.app.store import Job
from g3pt.files import write_whole
from g3pt.geometry.finishing import Finishing

TEXTURED = ("glb", "zip")
"""Formats of results that have a texture."""


async def result_file(jobs: Jobs, job: Job, form: str, sample: int, told: dict[str, Any]) -> Path:
    """A result in a format; it is made from the kept mesh if the job did not write it.

    Args:
        jobs: all jobs.
        job: the job.
        form: the format.
        sample: number of the shape.
        told: settings of `Finishing` that differ from those of the job.

    Raises:
        Problem: 409 if the job is not done, 410 if it has expired, 404 if there is no such shape.
    """
    outputs = _done(job).outcome.get("outputs", [])
    if sample >= len(outputs):
        raise Problem(404, f"the job has {len(outputs)} shapes, got sample {sample}")
    output, folder = outputs[sample], jobs.store.files_of(job.id)
    if form == "g3t":
        return find_file(jobs, job, [output.get("tokens_path") or ""])
    if output["path"] is None or job.kind == "tokenization":
        raise Problem(404, "this shape has no mesh")
    if form == job.request["format"] and not told:
        return find_file(jobs, job, [output["path"]])
    asked = {**_defaults(job, form), **told} if form != "png" else {}
    key = hashlib.sha256(json.dumps([form, asked], sort_keys=True).encode()).hexdigest()[:16]
    name = f"made-{sample}-{key}.{form}"
    if (folder / name).is_file():
        return folder / name
    request = {
        "number": sample,
        "format": form,
        "finishing": asked,
        "own_unit": output.get("own_unit"),
        "name": name,
    }
    await jobs.do_quickly("convert", request, folder)
    await run_in_threadpool(jobs.store.measure, job.id)
    return find_file(jobs, job, [name])


def _defaults(job: Job, form: str) -> dict[str, Any]:
    """What a job was told of finishing and holds in a format."""
    told = values_of(Finishing, job.request)
    told.pop("compress", None)  # about GLB alone
    told.pop("up", None)  # formats differ
    if form not in TEXTURED:
        told.pop("texture", None)
    return {name: value for name, value in told.items() if value is not None}


def find_file(jobs: Jobs, job: Job, names: list[str]) -> Path:
    """The first of some files of a job that is there.

    Raises:
        Problem: 410 if the job has expired, 404 if there is no such file.
    """
    if job.status == "expired":
        raise Problem(410, "the results of this job have expired")
    for name in names:
        path = jobs.store.files_of(job.id) / name
        if name and path.is_file():
            return path
    raise Problem(404, "the job has no such file")


def _done(job: Job) -> Job:
    """The job, if its results are there."""
    if job.status == "expired":
        raise Problem(410, "the results of this job have expired")
    if job.status != "done":
        raise Problem(409, f"the job is {job.status}: results are there when it is done")
    return job


async def find_cutout(jobs: Jobs, asked: CutoutRequest) -> dict[str, Any]:
    """Cut out the object of a picture in the helper process."""
    folder = await run_in_threadpool(jobs.quick_folder)
    try:
        told: dict[str, Any] = {"whole_picture": asked.whole_picture, "mask": None}
        for name, blob in (("image", asked.image), ("mask", asked.mask)):
            if blob is not None:
                told[name] = f"{name}.png"
                await run_in_threadpool(write_whole, folder / told[name], blob.data)
        found = await jobs.do_quickly("cutout", told, folder)
        data = await run_in_threadpool((folder / "cutout.png").read_bytes)
    finally:
        await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)
    return {**found["cutout"], "size": found["size"], "image": _data_url(data)}


def _data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
