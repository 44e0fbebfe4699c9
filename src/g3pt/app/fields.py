"""From a frozen dataclass to a pydantic model: settings are declared once, with their docs."""

import ast
import inspect
import textwrap
from collections.abc import Collection
from dataclasses import fields
from typing import Any, get_type_hints

from pydantic import BaseModel, Field, create_model


def docs_of(cls: type) -> dict[str, str]:
    """The string after each field of a class, as one line; its bases count too."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(body, ast.ClassDef)
        for field, doc in zip(body.body, body.body[1:], strict=False):
            match field, doc:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(ast.Constant(str() as text)):
                    found[name] = " ".join(text.split())
                case _:
                    pass
    return found


def model_of(
    cls: type, base: type[BaseModel], *, without: Collection[str] = (), **limits: dict[str, Any]
) -> type[BaseModel]:
    """A pydantic model with the fields, defaults and docs of a dataclass.

    Args:
        cls: the dataclass; every field has a plain default.
        base: what the model derives from.
        without: fields that are left out.
        limits: field -> further arguments of pydantic's `Field`.
    """
    hints, docs = get_type_hints(cls), docs_of(cls)
    told: dict[str, Any] = {
        field.name: (
            hints[field.name],
            Field(field.default, description=docs[field.name], **limits.get(field.name, {})),
        )
        for field in fields(cls)
        if field.name not in without
    }
    return create_model(f"{cls.__name__}Fields", __base__=base, __module__=__name__, **told)


def values_of(cls: type, request: dict[str, Any]) -> dict[str, Any]:
    """The part of a request that are fields of a dataclass; lists become tuples again."""
    names = {field.name for field in fields(cls)}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in request.items()
        if name in names
    }
