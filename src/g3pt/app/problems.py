"""Errors as problem details (RFC 9457), whatever raised them."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

LOGGER = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
NAMELESS = "(no name)"
"""What a field is called whose name is empty."""
MAX_TOLD = 50
"""Fields that an answer names; a request may have very many that are wrong."""


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str
    """Its name; parts are joined by dots. Empty if it is about the whole request."""
    detail: str


class ProblemDetails(BaseModel):
    """An error (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []


class Problem(HTTPException):
    """An error that is told to the client."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, dict(headers) if headers else None)
        self.errors = list(errors)

    @classmethod
    def of_field(cls, field: str, detail: str, status: int = 422) -> "Problem":
        """A problem with one field."""
        return cls(status, f"{field}: {detail}", errors=[FieldError(field=field, detail=detail)])

    @classmethod
    def of_validation(cls, error: ValidationError, known: Sequence[str] = ()) -> "Problem":
        """The fields that a model refuses, the first `MAX_TOLD` of them.

        Args:
            error: from pydantic.
            known: names of fields; a message about the whole request that begins with one is
                about that field.
        """
        errors = [_field_error(one, known) for one in error.errors(include_url=False)]
        first = errors[0]
        detail = f"{first.field}: {first.detail}" if first.field else first.detail
        more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
        return cls(422, detail + more, errors=errors[:MAX_TOLD])


def _field_error(error: Any, known: Sequence[str]) -> FieldError:
    """One error of pydantic in our words."""
    # No field at all would mean the whole request.
    place = [str(part) or NAMELESS for part in error["loc"] if part not in ("inline", "stored")]
    detail = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        detail = "there is no such field"
    if not place:
        name, _, rest = detail.partition(" ")
        if name.rstrip(":") in known:
            place, detail = [name.rstrip(":")], rest if name.endswith(":") else detail
    return FieldError(field=".".join(place)[:200], detail=detail)


def answer(problem: Problem) -> JSONResponse:
    """A problem as a response."""
    title = HTTPStatus(problem.status_code).phrase
    body = ProblemDetails(
        title=title, status=problem.status_code, detail=problem.detail, errors=problem.errors
    )
    return JSONResponse(
        body.model_dump(),
        problem.status_code,
        headers=dict(problem.headers or {}),
        media_type=MEDIA_TYPE,
    )


def install(app: FastAPI) -> None:
    """Answer every error of an app with problem details."""

    async def told(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        if isinstance(error, Problem):
            return answer(error)
        detail = {
            404: "there is nothing at this address",
            405: f"{request.method} is not possible here",
        }.get(error.status_code, str(error.detail))
        return answer(Problem(error.status_code, detail, headers=error.headers))

    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        errors = [
            FieldError(
                field=".".join(str(part) for part in one["loc"][1:])[:200], detail=str(one["msg"])
            )
            for one in error.errors()
        ]
        detail = "; ".join(f"{one.field}: {one.detail}" for one in errors)
        return answer(Problem(422, detail, errors=errors))

    async def failed(request: Request, error: Exception) -> JSONResponse:
        LOGGER.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return answer(Problem(500, "the server failed; its log says why"))

    app.add_exception_handler(HTTPException, told)
    app.add_exception_handler(RequestValidationError, refused)
    app.add_exception_handler(Exception, failed)
