"""Configs are frozen dataclasses; this module writes them as JSON and reads them back strictly.

pydantic does the reading: types are checked and never coerced, and `__post_init__` runs. It does
not refuse unknown keys of plain dataclasses, so that is done here: the config that was read is
written again, and a key that is missing from the output is unknown.
"""

import copy
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from g3pt.files import MAX_CONFIG_BYTES, read_json, write_whole

ConfigT = TypeVar("ConfigT")

YAML_SUFFIXES = (".yaml", ".yml")

Retired = Mapping[tuple[str, ...], object]
"""Fields that configs once had: path -> the value that the program now always uses.

A path is a tuple of keys; lists on the way are searched item by item."""


_TELLING = ("value_error", "missing")
"""Errors of pydantic whose messages tell what came."""


class ConfigError(ValueError):
    """A config that cannot be read; the message names origin, field and what was expected."""


def to_json(config: object) -> dict[str, Any]:
    """Turn a config dataclass into JSON values (dicts, lists, numbers, strings)."""
    return cast("dict[str, Any]", _adapter(type(config)).dump_python(config, mode="json"))


def from_json(cls: type[ConfigT], data: Mapping[str, Any], *, origin: str = "config") -> ConfigT:
    """Read a config dataclass from JSON values.

    Args:
        cls: the dataclass to build. Missing keys take its defaults.
        data: what `to_json` gave, or a hand-written subset of it.
        origin: the file or thing that the data came from, named in errors.

    Raises:
        ConfigError: if a key is unknown, a required one is missing, or a value is refused.
    """
    if (place := _first_nan(data)) is not None:
        raise ConfigError(f"{origin}: {place}: expected a number, got NaN")
    config = _read(cls, data, origin)
    unknown = _first_unknown_key(data, to_json(config))
    if unknown is not None:
        path, known = unknown
        raise ConfigError(
            f"{origin}: {path}: unknown field; {cls.__name__} knows {', '.join(sorted(known))}"
            " at that place"
        )
    return config


def check_json(cls: type[Any], data: object, *, origin: str) -> None:
    """Check that JSON values hold the fields of a dataclass; further fields are left alone.

    Args:
        cls: the dataclass.
        data: the values, which stay as they are.
        origin: the file or thing that the data came from, named in errors.

    Raises:
        ConfigError: if a field is missing, or a value is refused.
    """
    _read(cls, data, origin)


def read_versioned(path: Path, version: int, remedy: str) -> dict[str, Any]:
    """The object of a JSON file that tells its `format_version`.

    Args:
        path: the file.
        version: the only one that is read.
        remedy: what to do about another one, for the message.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not JSON, or has another format version.
    """
    data: Any = read_json(path)
    found = cast("dict[str, Any]", data).get("format_version") if isinstance(data, dict) else None
    if found != version:
        raise ValueError(
            f"{path}: format version {found!r}, this program reads {version}; {remedy}"
        )
    return cast("dict[str, Any]", data)


def _read(cls: type[ConfigT], data: object, origin: str) -> ConfigT:
    try:
        return cast("ConfigT", _adapter(cls).validate_json(json.dumps(data), strict=True))
    except ValidationError as error:
        first = _of_the_kind_meant(error.errors(include_url=False))[0]
        field = ".".join(str(part) for part in first["loc"]) or "(top level)"
        came = "" if first["type"] in _TELLING else f", got {_shortened(first['input'])}"
        raise ConfigError(f"{origin}: {field}: {first['msg']}{came}") from None


def _of_the_kind_meant(errors: Sequence[Any]) -> list[Any]:
    """Errors without those of classes of a union that have another `kind`, if others are left."""
    others = [
        one["loc"][:-1]
        for one in errors
        if one["loc"][-1:] == ("kind",) and one["type"] == "literal_error"
    ]
    meant = [one for one in errors if all(one["loc"][: len(way)] != way for way in others)]
    return meant or list(errors)


def _shortened(value: object) -> str:
    """A JSON value on one line of at most 60 characters."""
    return repr(value)[:60] if isinstance(value, str | int | float | None) else type(value).__name__


def save_json(path: str | os.PathLike[str], config: object) -> None:
    """Write a config as indented JSON; the file appears complete or not at all."""
    write_whole(path, json.dumps(to_json(config), indent=2) + "\n")


def refuse_yaml(path: str | os.PathLike[str]) -> None:
    """Refuse a file by its name if it is YAML, unopened and with advice.

    Raises:
        ConfigError: naming the file.
    """
    if Path(path).suffix.lower() in YAML_SUFFIXES:
        raise ConfigError(
            f"{path}: is YAML, which is never read: its tags (!!python/object) can run any "
            "program. Name a recipe and change its fields by flags (g3pt train RECIPE --fields "
            "lists them), or write the config as JSON (g3pt train RECIPE --write-config "
            "config.json shows how)"
        )


def load_json(
    path: str | os.PathLike[str],
    cls: type[ConfigT],
    *,
    retired: Retired | None = None,
    most: int = MAX_CONFIG_BYTES,
) -> ConfigT:
    """Read a config that `save_json` wrote.

    Args:
        path: the file.
        cls: the dataclass to build.
        retired: fields that the file may have although `cls` no longer has them.
        most: bytes that the file may have.

    Raises:
        FileNotFoundError: if there is no such file.
        ConfigError: if the file is too large, not JSON, or does not fit `cls`.
    """
    refuse_yaml(path)
    data = require_object(read_json(path, ConfigError, most=most), str(path))
    return from_json(cls, without_retired(data, retired or {}), origin=str(path))


def require_object(data: object, origin: str) -> dict[str, Any]:
    """The same JSON value if it is an object.

    Raises:
        ConfigError: naming its origin, if it is another value.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{origin}: expected a JSON object, got {type(data).__name__}")
    return cast("dict[str, Any]", data)


def without_retired(data: dict[str, Any], retired: Retired) -> dict[str, Any]:
    """A copy without retired fields whose value is what the program does now anyway.

    Retired fields with other values stay, so that reading refuses them by name.
    """
    current = copy.deepcopy(data)
    for (*way, name), value in retired.items():
        for fields in _reached(current, way):
            if name in fields and fields[name] == value:
                del fields[name]
    return current


def _reached(data: object, way: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The mappings at the end of a path of keys; lists on the way are searched item by item."""
    if isinstance(data, list):
        for one in cast("list[object]", data):
            yield from _reached(one, way)
    elif isinstance(data, dict):
        fields = cast("dict[str, Any]", data)
        if not way:
            yield fields
        elif way[0] in fields:
            yield from _reached(fields[way[0]], way[1:])


@lru_cache(maxsize=256)
def _adapter(cls: type[Any]) -> Any:
    return TypeAdapter(cls)


def _first_nan(data: object, path: str = "") -> str | None:
    """The dotted path of the first number that is none; it would differ from itself."""
    if isinstance(data, float) and math.isnan(data):
        return path
    pairs: Iterable[tuple[object, object]] = ()
    if isinstance(data, Mapping):
        pairs = cast("Mapping[object, object]", data).items()
    elif isinstance(data, list | tuple):
        pairs = enumerate(cast("Sequence[object]", data))
    for key, value in pairs:
        found = _first_nan(value, f"{path}.{key}" if path else str(key))
        if found is not None:
            return found
    return None


def _first_unknown_key(
    data: object, understood: object, path: str = ""
) -> tuple[str, list[str]] | None:
    """The first key of `data` that `understood` lacks: its dotted path and the keys known there."""
    if isinstance(data, Mapping) and isinstance(understood, Mapping):
        keyed = cast("Mapping[str, object]", data)
        known = cast("Mapping[str, object]", understood)
        for key, value in keyed.items():
            where = f"{path}.{key}" if path else str(key)
            if key not in known:
                return where, [str(name) for name in known]
            found = _first_unknown_key(value, known[key], where)
            if found is not None:
                return found
    elif isinstance(data, list | tuple) and isinstance(understood, list | tuple):
        pairs = zip(cast("list[object]", data), cast("list[object]", understood), strict=True)
        for index, (value, known_value) in enumerate(pairs):
            found = _first_unknown_key(value, known_value, f"{path}[{index}]")
            if found is not None:
                return found
    return None
