"""`create_app`: jobs over HTTP. All state belongs to the app, and is there while it runs."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal, cast

from fastapi import FastAPI, Header, Path, Query, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema
from starlette.concurrency import run_in_threadpool

from g3pt import __version__
from g3pt.app import problems
from g3pt.app.events import stream, with_links
from g3pt.app.front import add_page
from g3pt.app.guard import Guard
from g3pt.app.jobs import Jobs
from g3pt.app.metrics import Metrics
from g3pt.app.problems import FieldError, Problem, ProblemDetails
from g3pt.app.requests import (
    KINDS,
    MEDIA_TYPES,
    PLURALS,
    CutoutRequest,
    FinishingFields,
    JobId,
    MeshFormat,
    ResultFormat,
    finishing_of,
)
from g3pt.app.results import find_cutout, find_file, result_file
from g3pt.app.settings import ServeSettings
from g3pt.app.store import Job, Status
from g3pt.app.uploads import choices, read_request

Id = Annotated[JobId, Path(description="Id of a job.")]
SCHEMA = "#/components/schemas/"
SUFFIXES = {"zip": ".obj"}
"""Format of a result -> suffix of the mesh in it, if that is another."""
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": f"{SCHEMA}ProblemDetails"}}},
    }
    for status, text in {
        400: "The body cannot be parsed",
        401: "The token is missing or wrong",
        403: "A page of another site asks",
        404: "There is no such job or file",
        408: "The body came too slowly",
        409: "The job is in another state",
        410: "The results have expired",
        413: "Too many bytes or pixels",
        415: "Neither JSON nor a form",
        421: "The server is not called so",
        422: "A field is wrong; `errors` names it",
        429: "Too many jobs; `Retry-After` says when to try again",
        500: "The server failed",
    }.items()
}


class JobView(BaseModel):
    """A job as it is told."""

    id: str
    kind: str
    status: Status
    place: int | None = Field(None, description="Jobs before it, while it waits.")
    scale: int | None = Field(None, description="Scales sampled so far.")
    scales: int | None = None
    created: float = Field(description="Seconds since 1970.")
    started: float | None = None
    finished: float | None = None
    seconds: float | None = Field(None, description="That it ran, once it has ended.")
    request: dict[str, Any] = Field(description="The settings; files by the names of their fields.")
    outputs: list[dict[str, Any]] = []
    score: dict[str, Any] | None = None
    inputs: list[dict[str, Any]] = []
    timings: dict[str, float] = {}
    weights: dict[str, str] = {}
    error: dict[str, Any] | None = Field(None, description="`reason` and `detail` of a failure.")
    links: dict[str, str] = {}


class JobList(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobView]
    next: int | None = Field(None, description="Pass as `before` for older jobs.")


class CutoutView(BaseModel):
    """How the object of a picture was found."""

    method: str
    box: list[int] = Field(description="Left, top, right, bottom of the object in pixels.")
    confidence: float
    warnings: list[str]
    size: list[int] = Field(description="Width and height of the picture.")
    image: str = Field(description="The picture without its background: a data URL of a PNG.")


class Health(BaseModel):
    """Whether the server works."""

    status: Literal["ok", "starting", "broken"]
    version: str
    models: list[str]
    detail: str = ""


class ResultQuery(FinishingFields):
    """Which result, and how it is to leave; what is not told is as the job was told."""

    sample: int = Field(0, ge=0, lt=64)
    """Number of the shape."""


class SampleQuery(BaseModel, extra="forbid"):
    """Which shape."""

    sample: int = Field(0, ge=0, lt=64)
    """Number of the shape."""


def view(jobs: Jobs, job: Job) -> JobView:
    """A job with its place in the queue and its addresses."""
    address = f"/v1/jobs/{job.id}"
    links = {"self": address, "events": f"{address}/events"}
    outcome = job.outcome
    if job.status == "done" and outcome.get("outputs"):
        links["result"] = f"{address}/result.{job.request.get('format', 'g3t')}"
    ran = job.finished - job.started if job.finished and job.started else None
    return JobView(
        id=job.id,
        kind=job.kind,
        status=job.status,
        place=jobs.engine.place(job.id) if job.status == "queued" else None,
        scale=job.scale,
        scales=job.scales,
        created=job.created,
        started=job.started,
        finished=job.finished,
        seconds=None if ran is None else round(ran, 3),
        request=job.request,
        outputs=outcome.get("outputs", []),
        score=outcome.get("score"),
        inputs=[
            with_links(job.id, {**one, "picture": number}, "condition")
            for number, one in enumerate(outcome.get("inputs", []))
        ],
        timings=outcome.get("seconds", {}),
        weights=outcome.get("weights", {}),
        error=job.error,
        links=links,
    )


def create_app(settings: ServeSettings) -> FastAPI:
    """An ASGI app; its worker processes run while its lifespan lasts.

    Raises:
        ValueError: if another server holds the folder of the jobs.
        ImportError: if the package that has the scripts of the page is not installed.
    """
    jobs = Jobs(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        jobs.start()
        try:
            yield
        finally:
            await run_in_threadpool(jobs.stop)

    app = FastAPI(
        title="g3pt",
        version=__version__,
        description="Pictures and sentences to meshes, and work on the tokens of shapes.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses={status: PROBLEMS[status] for status in (401, 403, 421, 500)},
    )
    app.state.jobs = jobs
    metrics = Metrics(jobs)
    problems.install(app)
    _add_submission(app, jobs)
    _add_jobs(app, jobs)
    _add_health(app, jobs, metrics)
    add_page(app)
    app.openapi = lambda: _openapi(app)

    def count(method: str, status: int) -> None:
        known = method if method in ("GET", "POST", "DELETE") else "other"
        metrics.answers.labels(known, str(status)).inc()

    app.add_middleware(Guard, settings=settings, on_answer=count)
    return app


def _add_submission(app: FastAPI, jobs: Jobs) -> None:
    """Addresses that make jobs, and the cut-out."""

    async def submit(request: Request, kind: str) -> Response:
        client = request.client.host if request.client else "unknown"
        jobs.check_room(client)  # before a body is read that would be for nothing
        asked = await read_request(request, KINDS[kind], jobs.settings)
        job = await run_in_threadpool(jobs.submit, kind, asked, client)
        shown = await run_in_threadpool(view, jobs, job)
        return JSONResponse(
            shown.model_dump(mode="json"),
            202,
            headers={"Location": f"/v1/jobs/{job.id}"},
        )

    for kind, model in KINDS.items():
        app.add_api_route(
            f"/v1/3d/{PLURALS[kind]}",
            _bound(submit, kind),
            methods=["POST"],
            name=kind,
            operation_id=f"submit_{kind}",
            summary=(model.__doc__ or "").splitlines()[0],
            status_code=202,
            response_model=JobView,
            responses=_problems(400, 408, 413, 415, 422, 429),
            openapi_extra=_body(model.__name__),
            tags=["jobs"],
        )

    @app.post(
        "/v1/cutouts",
        summary="Find the object of a picture, without making anything of it.",
        response_model=CutoutView,
        responses=_problems(400, 408, 413, 415, 422, 429),
        openapi_extra=_body(CutoutRequest.__name__),
        tags=["pictures"],
    )
    async def cutout(request: Request) -> CutoutView:
        asked = await read_request(request, CutoutRequest, jobs.settings)
        return CutoutView(**await find_cutout(jobs, asked))


def _bound(
    submit: Callable[[Request, str], Awaitable[Response]], kind: str
) -> Callable[[Request], Awaitable[Response]]:
    async def one(request: Request) -> Response:
        return await submit(request, kind)

    return one


def _add_jobs(app: FastAPI, jobs: Jobs) -> None:
    """Addresses of jobs and their results.

    What reads the store runs in threads: a disk may take its time, and others are to be answered.
    """

    def job_of(job: str) -> Job:
        found = jobs.store.get(job)
        if found is None:
            raise Problem(404, "there is no such job")
        return found

    @app.get("/v1/jobs", tags=["jobs"], responses=_problems(422))
    def list_jobs(
        status: Annotated[Status | None, Query(description="Only jobs in this state.")] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    ) -> JobList:
        """Jobs, newest first."""
        found = jobs.store.listed((status,) if status else (), limit=limit, before=before)
        more = found[-1].number if len(found) == limit else None
        return JobList(jobs=[view(jobs, job) for job in found], next=more)

    @app.get("/v1/jobs/{job}", tags=["jobs"], responses=_problems(404, 422))
    def get_job(job: Id) -> JobView:
        """State, progress and outputs of a job."""
        return view(jobs, job_of(job))

    @app.delete("/v1/jobs/{job}", tags=["jobs"], responses=_problems(404, 422))
    def cancel_job(job: Id) -> JobView:
        """Cancel a job; one that has ended stays as it is."""
        jobs.cancel(job_of(job))
        return view(jobs, job_of(job))

    @app.get(
        "/v1/jobs/{job}/events",
        tags=["jobs"],
        response_class=StreamingResponse,
        responses=_problems(404, 422)
        | {200: {"description": "Server-sent events", "content": {"text/event-stream": {}}}},
    )
    async def job_events(
        job: Id,
        cancel_on_disconnect: Annotated[
            bool, Query(description="Cancel the job if this connection ends before it.")
        ] = False,
        last_event_id: Annotated[str, Header(max_length=20)] = "0",
    ) -> StreamingResponse:
        """`queue`, `running`, `condition`, `scale`, `mesh`, `color`, then how the job ended."""
        found = await run_in_threadpool(job_of, job)
        after = int(last_event_id) if last_event_id.isascii() and last_event_id.isdigit() else 0
        return StreamingResponse(
            stream(jobs, found, min(after, 2**62), cancel_on_disconnect=cancel_on_disconnect),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    @app.get(
        "/v1/jobs/{job}/result.{format}",
        tags=["results"],
        response_class=FileResponse,
        responses=_problems(404, 409, 410, 422, 429),
        openapi_extra={"parameters": _query(ResultQuery)},
    )
    async def job_result(job: Id, format: ResultFormat, request: Request) -> FileResponse:
        """The mesh, its tokens (`g3t`), a picture (`png`), or an OBJ with its texture (`zip`)."""
        asked = choices(request, ResultQuery)
        told = asked.model_dump(exclude={"sample"}, exclude_unset=True)
        if format not in ("g3t", "png"):
            try:
                finishing_of(told).check([SUFFIXES.get(format, f".{format}")], colored=True)
                if format == "obj" and told.get("texture") is not None:
                    raise ValueError("texture lies beside an OBJ file: ask for result.zip")
            except ValueError as error:
                name = str(error).partition(" ")[0]
                errors = [FieldError(field=name, detail=str(error))]
                raise Problem(422, str(error), errors=errors) from None
        found = await run_in_threadpool(job_of, job)
        path = await result_file(jobs, found, format, asked.sample, told)
        return FileResponse(path, media_type=MEDIA_TYPES[format], filename=f"g3pt.{format}")

    @app.get(
        "/v1/jobs/{job}/scales/{scale}.{format}",
        tags=["results"],
        response_class=FileResponse,
        responses=_problems(404, 410, 422),
        openapi_extra={"parameters": _query(SampleQuery)},
    )
    def job_scale(
        job: Id, scale: Annotated[int, Path(ge=1, le=64)], format: MeshFormat, request: Request
    ) -> FileResponse:
        """The mesh of the first scales: the whole one if the job made it, else a small `glb`."""
        sample = choices(request, SampleQuery).sample
        names = [f"result-{sample}-scale{scale}.{format}"]
        names += [f"preview-{scale}.{format}"] if sample == 0 else []
        return FileResponse(find_file(jobs, job_of(job), names), media_type=MEDIA_TYPES[format])

    @app.get(
        "/v1/jobs/{job}/cutouts/{picture}.png",
        tags=["results"],
        response_class=FileResponse,
        responses=_problems(404, 410, 422),
    )
    def job_cutout(job: Id, picture: Annotated[int, Path(ge=0, le=64)]) -> FileResponse:
        """What was taken from a picture, its background transparent."""
        path = find_file(jobs, job_of(job), [f"cutout-{picture}.png"])
        return FileResponse(path, media_type=MEDIA_TYPES["png"])


def _add_health(app: FastAPI, jobs: Jobs, metrics: Metrics) -> None:
    """Addresses for whoever watches the server."""
    names = list(jobs.settings.names)

    @app.get("/healthz", tags=["server"])
    async def healthz() -> Health:
        """Whether the server answers."""
        return Health(status="ok", version=__version__, models=names)

    @app.get("/readyz", tags=["server"], responses={503: {"model": Health}})
    async def readyz(response: Response) -> Health:
        """Whether a worker is ready; 503 until then."""
        state = jobs.engine.state()
        if state.ready:
            return Health(status="ok", version=__version__, models=names)
        response.status_code = 503
        if state.broken:
            return Health(status="broken", version=__version__, models=names, detail=state.broken)
        return Health(status="starting", version=__version__, models=names)

    @app.get("/metrics", tags=["server"], response_class=Response)
    async def told_metrics() -> Response:
        """Numbers in the text format of Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


# --- OpenAPI ---------------------------------------------------------------------------------


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: PROBLEMS[status] for status in statuses}


def _body(model: str) -> dict[str, Any]:
    """A request body that is JSON or a form."""
    schema = {"schema": {"$ref": SCHEMA + model}}
    content = {"application/json": schema, "multipart/form-data": schema}
    return {"requestBody": {"required": True, "content": content}}


def _query(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The fields of a model as parameters of a query."""
    properties = cast("dict[str, Any]", model.model_json_schema()["properties"])
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema.get("description", ""),
            "schema": {key: value for key, value in schema.items() if key != "description"},
        }
        for name, schema in properties.items()
    ]


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The description of the interface, with the models that FastAPI does not see."""
    if app.openapi_schema is None:
        described = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        models: list[type[BaseModel]] = [*KINDS.values(), CutoutRequest, ProblemDetails]
        _, schemas = models_json_schema(
            [(model, "validation") for model in models], ref_template=SCHEMA + "{model}"
        )
        described["components"]["schemas"] |= schemas["$defs"]
        app.openapi_schema = described
    return app.openapi_schema
