"""A server of the Model Context Protocol: jobs of `g3pt serve` as tools and resources for agents.

Tools say what went wrong as `structured_content["error"]`, so that a program can tell a field that
is wrong from a server that is full. The network is never reached, except for the server's address.
"""

import base64
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import anyio
import anyio.to_thread
import mcp_types as types
from mcp.server import Server, ServerRequestContext
from mcp.shared.exceptions import MCPError

from g3pt import __version__
from g3pt.app.client import ENDED, Client, ServerError, UnreachableError
from g3pt.app.requests import KINDS, MAX_PROMPTS, MEDIA_TYPES, ResultFormat
from g3pt.files import write_whole

SAMPLING_FIELDS = ("seed", "num", "guidance", "temperature")
MESH_FIELDS = ("resolution", "format", "size_mm", "up", "printable", "faces", "model")


@dataclass(frozen=True)
class Work:
    """A tool that submits a job."""

    kind: str
    text: str
    """What it does."""
    fields: tuple[str, ...]
    """What it describes besides shapes and pictures. The server takes every field of its kind."""
    shapes: tuple[str, ...] = ()
    """Fields that are shapes."""
    required: tuple[str, ...] = ()


WORKS = {
    "generate": Work(
        "generation",
        "Make closed meshes of a picture or a sentence.",
        (
            *("text", "views", "whole_picture", "color", *SAMPLING_FIELDS, "best_of"),
            *("consensus", *MESH_FIELDS, "every_scale"),
        ),
    ),
    "vary": Work(
        "variation",
        "Make variations of a shape: its first scales are kept, the others are sampled anew.",
        ("keep", "text", *SAMPLING_FIELDS, *MESH_FIELDS),
        ("source",),
        ("source", "keep"),
    ),
    "mix": Work(
        "mix",
        "Join two shapes: the coarse scales of the first, the finer scales of the second.",
        ("keep", "method", "text", *SAMPLING_FIELDS, *MESH_FIELDS),
        ("coarse", "fine"),
        ("coarse", "fine", "keep"),
    ),
    "complete": Work(
        "completion",
        "Complete a part of a surface to whole shapes.",
        ("whole", "search_keep", "width", "survivors", "text", *SAMPLING_FIELDS, *MESH_FIELDS),
        ("part",),
        ("part",),
    ),
    "reconstruct": Work(
        "reconstruction",
        "Tokenize a mesh and make a mesh of its tokens.",
        ("num_scales", "seed", *MESH_FIELDS),
        ("mesh",),
        ("mesh",),
    ),
}
"""Name of a tool -> what it submits."""
PICTURES = ("image", "mask")
FORMATS: tuple[str, ...] = get_args(ResultFormat)
ResultT = TypeVar("ResultT")
MAX_WAIT = 300.0
PAUSE = 0.2
"""Seconds between two looks at a job."""
ADDRESS = re.compile(rf"g3pt://jobs/([0-9a-f]{{32}})/(\d{{1,2}})/result\.({'|'.join(FORMATS)})")
TEMPLATE = "g3pt://jobs/{job}/{sample}/result.{format}"

INSTRUCTIONS = """Makes 3D meshes from pictures and sentences.
`generate` submits a job and waits a while; if it is not done by then, `status` waits on. `vary`,
`mix`, `complete` and `reconstruct` work on shapes of earlier jobs or files in the same way.
`result` shows a picture of a shape, names the resource with the mesh, and writes it to a file if
asked to.
Look at the picture before you call a shape good."""


class ArgumentError(ValueError):
    """An argument of a tool is wrong."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field, self.detail = field, detail


@dataclass(frozen=True)
class Told:
    """What a tool answers."""

    values: dict[str, Any]
    failed: bool = False
    picture: bytes | None = None
    """A PNG."""
    link: str | None = None
    """Address of a resource."""
    form: str = ""
    """Format of that resource."""


Progress = Callable[[float, float | None, str], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Agents:
    """What agents may use.

    Args:
        client: of the server that does the work.
        files: folder whose pictures may be read, and where results may be written; None for none.
    """

    client: Client
    files: Path | None = None

    def path(self, field: str, name: object) -> Path:
        """A file below the folder.

        Raises:
            ArgumentError: if it is elsewhere, or no folder was opened to agents.
        """
        if not isinstance(name, str) or not name:
            raise ArgumentError(field, "expected the name of a file")
        if self.files is None:
            raise ArgumentError(
                field, "this server opens no folder to agents (g3pt mcp --files FOLDER)"
            )
        folder = self.files.resolve()
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            raise ArgumentError(field, f"{name} lies outside {folder}, which agents may use")
        return path

    def picture(self, field: str, value: object) -> bytes:
        """A picture that is named or sent along."""
        if isinstance(value, str) and value.startswith("data:"):
            head, _, body = value.partition(",")
            try:
                if not head.endswith(";base64"):
                    raise ValueError
                return base64.b64decode(body, validate=True)
            except ValueError:
                raise ArgumentError(field, "is not of the form data:TYPE;base64,DATA") from None
        path = self.path(field, value)
        if not path.is_file():
            raise ArgumentError(field, f"there is no file {path}")
        return path.read_bytes()

    def shape(self, field: str, value: object) -> dict[str, Any]:
        """A shape of a job as it is named, or a file of one as it is sent along."""
        if isinstance(value, dict):
            return cast("dict[str, Any]", value)  # the server looks whether there is such a job
        path = self.path(field, value)
        if not path.is_file():
            raise ArgumentError(field, f"there is no file {path}")
        data = base64.b64encode(path.read_bytes()).decode()
        return {"data": data, "format": path.suffix.lower().lstrip(".")}

    def read(self, work: Work, given: dict[str, Any]) -> dict[str, Any]:
        """A request with its files read."""
        read = dict(given)
        for field in PICTURES:
            match read.get(field):
                case None:
                    pass
                case list() as several:
                    read[field] = [self.picture(field, one) for one in cast("list[Any]", several)]
                case one:
                    read[field] = self.picture(field, one)
        for field in work.shapes:
            if field in read:
                read[field] = self.shape(field, read[field])
        return read

    # --- tools -------------------------------------------------------------------------------

    async def submit(self, work: Work, given: dict[str, Any], progress: Progress) -> Told:
        """Submit a job, and wait for it; a call that is cancelled cancels the job."""
        wait = _wait(given.pop("wait", 30.0))
        request = await _thread(self.read, work, given)
        job = await _thread(lambda: self.client.submit(work.kind, **request))
        try:
            return await self._follow(job, wait, progress)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await _thread(self.client.cancel, job)
            raise

    async def status(self, given: dict[str, Any], progress: Progress) -> Told:
        """How a job stands, after waiting for its end."""
        wait, job = _wait(given.pop("wait", 0.0)), _taken(given, "job")
        _nothing_left(given)
        return await self._follow(job, wait, progress)

    async def cancel(self, given: dict[str, Any], progress: Progress) -> Told:
        """Cancel a job."""
        job = _taken(given, "job")
        _nothing_left(given)
        return Told(_summary(await _thread(self.client.cancel, job)))

    async def result(self, given: dict[str, Any], progress: Progress) -> Told:
        """A shape: its picture, the address of its mesh, and the mesh as a file if asked for."""
        job, sample = _taken(given, "job"), given.pop("sample", 0)
        form, name = given.pop("format", None), given.pop("path", None)
        path = None if name is None else self.path("path", name)
        if form is None:
            form = "glb" if path is None else path.suffix.lower().lstrip(".")
        if form not in FORMATS:
            raise ArgumentError("format", f"expected one of {', '.join(FORMATS)}, got {form!r}")
        if path is not None and path.exists():
            raise ArgumentError("path", f"{path} exists; name a file that does not")
        data = await _thread(lambda: self.client.result(job, form, sample=sample, **given))
        picture = data
        if form != "png":
            picture = await _thread(lambda: self.client.result(job, "png", sample=sample))
        told: dict[str, Any] = {"job": job, "sample": sample, "format": form, "bytes": len(data)}
        told["uri"] = TEMPLATE.format(job=job, sample=sample, format=form)
        if path is not None:
            await _thread(write_whole, path, data)
            told["path"] = str(path)
        return Told(told, picture=picture, link=told["uri"], form=form)

    async def cutout(self, given: dict[str, Any], progress: Progress) -> Told:
        """What would be taken from a picture."""
        name = given.pop("path", None)
        path = None if name is None else self.path("path", name)
        if path is not None and path.exists():
            raise ArgumentError("path", f"{path} exists; name a file that does not")
        read = {
            field: self.picture(field, given.pop(field)) for field in PICTURES if field in given
        }
        if "image" not in read:
            raise ArgumentError("image", "is missing")
        found = await _thread(lambda: self.client.cutout(**read, **given))
        png = found.pop("png")
        if path is not None:
            await _thread(write_whole, path, png)
            found["path"] = str(path)
        return Told(found, picture=png)

    async def _follow(self, job: str, wait: float, progress: Progress) -> Told:
        """Look at a job until it has ended or the time is over."""
        end = anyio.current_time() + wait
        seen: int | None = None
        while True:
            found = await _thread(self.client.job, job)
            if (scale := found["scale"]) is not None and scale != seen:
                seen = scale
                await progress(scale, found["scales"], f"scale {scale} of {found['scales']}")
            if found["status"] in ENDED or anyio.current_time() >= end:
                break
            await anyio.sleep(min(PAUSE, max(0.0, end - anyio.current_time())))
        told = _summary(found)
        if found["status"] == "failed":
            told["error"] = {"kind": "job", **found["error"]}
        return Told(told, failed=found["status"] == "failed")


def agent_server(agents: Agents) -> Server[Any]:
    """The server of the protocol; who runs it chooses how agents are connected."""
    tools = {tool["name"]: tool for tool in _tools()}

    async def list_tools(context: ServerRequestContext[Any], asked: Any) -> types.ListToolsResult:
        return types.ListToolsResult(
            tools=[types.Tool.model_validate(one) for one in tools.values()]
        )

    async def call_tool(
        context: ServerRequestContext[Any], asked: types.CallToolRequestParams
    ) -> types.CallToolResult:
        if asked.name not in tools:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {asked.name!r}")
        try:
            given, progress = dict(asked.arguments or {}), context.session.report_progress
            if asked.name in WORKS:
                told = await agents.submit(WORKS[asked.name], given, progress)
            else:
                told = await getattr(agents, asked.name)(given, progress)
        except (ServerError, UnreachableError, ArgumentError) as error:
            told = Told({"error": described(error)}, failed=True)
        return _answer(told)

    async def templates(
        context: ServerRequestContext[Any], asked: Any
    ) -> types.ListResourceTemplatesResult:
        text = f"A shape that a job made; format is one of {', '.join(FORMATS)}."
        one = types.ResourceTemplate(name="result", uri_template=TEMPLATE, description=text)
        return types.ListResourceTemplatesResult(resource_templates=[one])

    async def resources(
        context: ServerRequestContext[Any], asked: Any
    ) -> types.ListResourcesResult:
        try:
            found = await _thread(agents.client.jobs, "done")
        except (ServerError, UnreachableError) as error:
            raise MCPError(types.INTERNAL_ERROR, str(error), described(error)) from None
        return types.ListResourcesResult(
            resources=[
                _resource(types.Resource, job["id"], sample, job["request"].get("format", "g3t"))
                for job in found
                for sample in range(len(job["outputs"]))
            ]
        )

    async def read(
        context: ServerRequestContext[Any], asked: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        address = str(asked.uri)
        match = ADDRESS.fullmatch(address)
        if match is None:
            raise MCPError(types.INVALID_PARAMS, f"{address}: expected {TEMPLATE}")
        job, sample, form = match.groups()
        try:
            data = await _thread(lambda: agents.client.result(job, form, sample=int(sample)))
        except (ServerError, UnreachableError) as error:
            missing = isinstance(error, ServerError) and error.status in (404, 409, 410)
            code = types.INVALID_PARAMS if missing else types.INTERNAL_ERROR
            raise MCPError(code, f"{address}: {error}", described(error)) from None
        blob = base64.b64encode(data).decode()
        contents = types.BlobResourceContents(uri=address, mime_type=MEDIA_TYPES[form], blob=blob)
        return types.ReadResourceResult(contents=[contents])

    return Server(
        "g3pt",
        version=__version__,
        title="g3pt: pictures and sentences to meshes",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=resources,
        on_list_resource_templates=templates,
        on_read_resource=read,
    )


def described(error: Exception) -> dict[str, Any]:
    """An error for programs: `kind`, `detail`, and of refusals status, fields and time to wait."""
    match error:
        case ServerError():
            return {
                "kind": "refused" if error.status else "job",
                "status": error.status,
                "detail": str(error),
                "errors": error.errors,
                "retry_after": error.retry_after,
            }
        case ArgumentError(field=field, detail=detail):
            errors = [{"field": field, "detail": detail}]
            return {"kind": "argument", "detail": str(error), "errors": errors}
        case _:
            return {"kind": "unreachable", "detail": str(error)}


# --- what tools are told ---------------------------------------------------------------------


def _tools() -> list[dict[str, Any]]:
    """The tools; fields of requests are described as in the interface over HTTP."""
    fields = KINDS["generation"].model_json_schema()["properties"]
    picture = {
        "type": "string",
        "description": "Name of a picture in the opened folder, or a data URL.",
    }
    pictures = {
        "anyOf": [picture, {"type": "array", "items": picture, "maxItems": MAX_PROMPTS}],
    }
    job = {"type": "string", "description": "Id of a job."}
    sample = {"type": "integer", "minimum": 0, "default": 0, "description": "Number of the shape."}
    path = {"type": "string", "description": "New file in the opened folder to write to."}
    finishing = {name: fields[name] for name in ("size_mm", "up", "printable", "faces")}

    def wait(default: int) -> dict[str, Any]:
        text = "Seconds to wait for the end; the job goes on afterwards."
        rule = {"minimum": 0, "maximum": MAX_WAIT, "default": default}
        return {"type": "number", **rule, "description": text}

    def tool(
        name: str, text: str, properties: dict[str, Any], *required: str, **hints: bool
    ) -> dict[str, Any]:
        schema = {"type": "object", "properties": properties, "required": list(required)}
        return {
            "name": name,
            "description": text,
            "inputSchema": schema | ({} if name in WORKS else {"additionalProperties": False}),
            "annotations": {"destructiveHint": False, "openWorldHint": False, **hints},
        }

    file = {"type": "string", "description": "Name of a mesh or of tokens in the opened folder."}
    named = {"job": job, "sample": sample}
    made = {"type": "object", "properties": named, "required": ["job"]}

    def submitting(name: str, work: Work) -> dict[str, Any]:
        described = KINDS[work.kind].model_json_schema()["properties"]
        several = described.get("image", {}).get("type") == "array"
        properties = {
            field: {"anyOf": [file, made], "description": described[field].get("description", "")}
            for field in work.shapes
        }
        for field in PICTURES:
            if field in described:
                properties[field] = pictures if several else picture
        properties |= {field: described[field] for field in work.fields}
        text = f"{work.text} Returns the job: its `id`, its `status`, `outputs` when it is done."
        return tool(name, text, {**properties, "wait": wait(30)}, *work.required)

    return [
        *(submitting(name, work) for name, work in WORKS.items()),
        tool(
            "status",
            "State and progress of a job.",
            {"job": job, "wait": wait(0)},
            "job",
            readOnlyHint=True,
        ),
        tool("cancel", "Cancel a job.", {"job": job}, "job", idempotentHint=True),
        tool(
            "result",
            "A picture of a shape, and the resource with its mesh; with `path` also a file.",
            {
                "job": job,
                "sample": sample,
                "format": {"enum": list(FORMATS), "description": "That of `path`, or glb."},
                "path": path,
                **finishing,
            },
            "job",
        ),
        tool(
            "cutout",
            "Show which part of a picture would be taken as its object, before anything is made.",
            {
                "image": picture,
                "mask": picture,
                "whole_picture": fields["whole_picture"],
                "path": path,
            },
            "image",
        ),
    ]


def _taken(given: dict[str, Any], field: str) -> str:
    value = given.pop(field, None)
    if not isinstance(value, str):
        raise ArgumentError(field, f"expected a text, got {type(value).__name__}")
    return value


def _nothing_left(given: dict[str, Any]) -> None:
    for field in given:
        raise ArgumentError(field, "there is no such field")


def _wait(value: object) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= MAX_WAIT:
        raise ArgumentError("wait", f"expected seconds in 0..{MAX_WAIT:g}, got {value!r}")
    return float(value)


# --- what tools answer -----------------------------------------------------------------------


def _summary(job: dict[str, Any]) -> dict[str, Any]:
    """What an agent needs of a job."""
    names = ("id", "kind", "status", "place", "scale", "scales", "seconds", "outputs", "inputs")
    return {name: job[name] for name in (*names, "error") if job[name] not in (None, [])}


def _answer(told: Told) -> types.CallToolResult:
    content: list[types.ContentBlock] = []
    if told.picture is not None:
        data = base64.b64encode(told.picture).decode()
        content.append(types.ImageContent(data=data, mime_type="image/png"))
    if told.link is not None:
        job, sample = told.values["job"], told.values["sample"]
        content.append(_resource(types.ResourceLink, job, sample, told.form))
    content.append(types.TextContent(text=json.dumps(told.values)))
    return types.CallToolResult(
        content=content, structured_content=told.values, is_error=told.failed
    )


def _resource(kind: Any, job: str, sample: int, form: str) -> Any:
    uri = TEMPLATE.format(job=job, sample=sample, format=form)
    return kind(name=f"{job[:8]}-{sample}.{form}", uri=uri, mime_type=MEDIA_TYPES[form])


async def _thread(work: Callable[..., ResultT], *arguments: Any) -> ResultT:
    """Do something that waits for the server, in a thread."""
    return await anyio.to_thread.run_sync(lambda: work(*arguments))
