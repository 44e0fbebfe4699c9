"""Requests with bytes in them: read under limits, as JSON or as a form, and checked by a model."""

import io
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, TypeVar

from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from g3pt.app.problems import Problem
from g3pt.app.requests import PICTURE_FIELDS, Blob
from g3pt.app.settings import ServeSettings

ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_FILES, MAX_FIELDS = 24, 200
"""Parts of a form."""
MAX_FIELD_BYTES = 64 * 2**10
"""Bytes of a part of a form that is no file."""
MAX_TAIL = 1024
"""Bytes at the end of a form in which its last boundary is looked for."""
_CONTAINER = b"ftyp"
"""Bytes 4 to 8 of HEIC and AVIF files, which the server itself may not be able to open."""


async def read_request(request: Request, model: type[ModelT], settings: ServeSettings) -> ModelT:
    """Read and check a request.

    Raises:
        Problem: 415 if it is neither JSON nor a form, 400 if it cannot be parsed, 422 if fields are
            wrong, 413 if a picture has too many pixels.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            body = await request.body()
        elif kind == "multipart/form-data":
            body = await _form(request)
        else:
            raise Problem(
                415,
                f"send application/json or multipart/form-data, got {kind[:80] or 'no type'!r}",
                headers={"Accept": "application/json, multipart/form-data"},
            )
    except ClientDisconnect:
        raise Problem(400, "the body has fewer bytes than its Content-Length says") from None
    # Megabytes of base64 take a while, in which others are to be answered.
    return await run_in_threadpool(check_request, body, model, settings)


def check_request(
    body: bytes | dict[str, Any], model: type[ModelT], settings: ServeSettings
) -> ModelT:
    """Check JSON, or the fields of a form; raises as `read_request`.

    Values of a form are text, so numbers are read from it. JSON has numbers of its own: text, or
    true and false, in their place are refused.
    """
    known = (*model.model_fields, "up_axis")
    try:
        if isinstance(body, bytes):
            found = model.model_validate_json(body, strict=True)
        else:
            found = model.model_validate(body)
    except ValidationError as error:
        if any(one["type"] == "json_invalid" for one in error.errors(include_url=False)):
            raise Problem(400, f"the body is not JSON: {error.errors()[0]['msg']}") from None
        raise Problem.of_validation(error, known) from None
    except UnicodeDecodeError as error:
        raise Problem(400, f"the body is not UTF-8: {error}") from None
    for name in PICTURE_FIELDS:
        value = getattr(found, name, None)
        for number, blob in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(blob, Blob):
                place = f"{name}.{number}" if isinstance(value, list) else name
                check_picture(blob.data, place, settings.max_pixels)
    return found


class _Tail:
    """`receive` that remembers the last bytes of a body."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self.data = receive, b""

    async def __call__(self) -> Message:
        message = await self._receive()
        self.data = (self.data + message.get("body", b"")[-MAX_TAIL:])[-MAX_TAIL:]
        return message


async def _form(request: Request) -> dict[str, Any]:
    """Fields of a form; those that occur several times are lists, and files are bytes.

    The parser would drop a part that is not complete without a word, so the end of the form is
    looked for.
    """
    values: dict[str, list[Any]] = {}
    limits = {"max_files": MAX_FILES, "max_fields": MAX_FIELDS, "max_part_size": MAX_FIELD_BYTES}
    tail = _Tail(request.receive)
    _, options = parse_options_header(request.headers["content-type"])
    boundary = options.get(b"boundary", b"")
    try:
        async with Request(request.scope, tail).form(**limits) as form:
            if b"--" + boundary + b"--" not in tail.data:
                raise Problem(400, "the form cannot be read: it ends before its last boundary")
            for name, value in form.multi_items():
                one = await _blob(name, value) if isinstance(value, UploadFile) else value
                values.setdefault(name[:200], []).append(one)
    except (MultiPartException, FormParserError) as error:
        raise Problem(400, f"the form cannot be read: {error}") from None
    return {name: several[0] if len(several) == 1 else several for name, several in values.items()}


async def _blob(name: str, file: UploadFile) -> Blob:
    """A file of a form. Of its name only the suffix counts, and only as the format of a mesh."""
    data = await file.read()
    if not data:
        raise Problem.of_field(name[:200], "the file is empty")
    suffix = PurePosixPath(file.filename or "").suffix.lower().lstrip(".")[:16]
    return Blob(data, "png" if name in PICTURE_FIELDS else suffix)


def check_picture(data: bytes, field: str, max_pixels: int) -> None:
    """Refuse a picture by its header, before it waits for a worker.

    The worker that decodes it looks more closely.

    Raises:
        Problem: 413 if it has too many pixels, 422 if it is no picture.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        raise Problem.of_field(field, f"has more than {max_pixels} pixels", 413) from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        if data[4:8] == _CONTAINER:
            return
        raise Problem.of_field(field, "is not a readable picture") from None
    if width * height > max_pixels:
        detail = f"{width} x {height} are more than the {max_pixels} pixels that a picture may have"
        raise Problem.of_field(field, detail, 413)


def choices(request: Request, model: type[ModelT]) -> ModelT:
    """Check the query of a request.

    Raises:
        Problem: 422 if a name is unknown or given twice, or a value is wrong.
    """
    query = request.query_params
    given: Mapping[str, str] = dict(query)
    for name in given:
        if len(query.getlist(name)) > 1:
            raise Problem.of_field(name[:200], "is given more than once")
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise Problem.of_validation(error, tuple(model.model_fields)) from None
