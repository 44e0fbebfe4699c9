"""Ways to damage any file, JSON or text. All choices come from a generator of random numbers."""

import copy
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

Rng = np.random.Generator
T = TypeVar("T")

SPARSE_BYTES = 6 * 2**30
"""Size of files that are mostly a hole: on disk nearly nothing, in memory far too much."""

FOREIGN: dict[str, bytes] = {
    "nothing": b"",
    "a page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "a zip archive": b"PK\x03\x04\x14\x00\x00\x00\x08\x00" + bytes(40),
    "a program": b"\x7fELF\x02\x01\x01" + bytes(57),
    "a pickle that starts a program": b"cos\nsystem\n(S'true'\ntR.",
    "a pickle of protocol 4": b"\x80\x04\x95\x17\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x8c\x06system"
    b"\x93\x8c\x04true\x85R.",
    "an array of objects": b"\x93NUMPY\x01\x00\x76\x00"
    + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117)
    + b"\ncos\nsystem\n(S'true'\ntR.",
    "a tag of YAML": b"!!python/object/apply:os.system ['true']\n",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "text in UTF-16": "{}\n".encode("utf-16"),
    "bytes that are no UTF-8": b'{"a": "\xff\xfe"}',
    "deep JSON": b"[" * 100_000,
    "zeros": bytes(4096),
}
"""Contents of other kinds; none of them may ever be taken for the right one."""

NASTY_NUMBERS = ("nan", "inf", "-1", "0", "1e308", "-1e308", "1e-320", "99999999999999999999", "")
"""Words that take the place of a number in text."""


def pick(options: Sequence[T], rng: Rng) -> T:
    """One of several."""
    return options[int(rng.integers(len(options)))]


def flip_bits(data: bytes, rng: Rng) -> bytes:
    """Flip one to eight different bits."""
    changed = bytearray(data)
    bits = min(int(rng.integers(1, 9)), 8 * len(data))
    for bit in rng.choice(8 * len(data), size=bits, replace=False):
        changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def cut(data: bytes, rng: Rng) -> bytes:
    """The beginning of a file, at least one byte short."""
    return data[: int(rng.integers(len(data)))]


def rearranged(data: bytes, rng: Rng) -> bytes:
    """Put a piece of a file, or noise, somewhere else into it, or take a piece out."""
    at, start = (int(place) for place in rng.integers(len(data), size=2))
    length = int(rng.integers(1, max(2, min(len(data), 400))))
    match int(rng.integers(3)):
        case 0:
            return data[:at] + data[start : start + length] + data[at:]
        case 1:
            return data[:at] + rng.bytes(length) + data[at + length :]
        case _:
            return data[:at] + data[at + length :]


def damaged_bytes(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """A file with flipped bits, cut, or rearranged, and which of them it was."""
    way = pick((flip_bits, cut, rearranged), rng)
    return way.__name__.replace("_", " "), way(data, rng)


def replace_by_special(path: Path, rng: Rng) -> str:
    """Put something else than a plain file of fit size in the place of a file; tell what."""
    path.unlink(missing_ok=True)
    match int(rng.integers(5)):
        case 0:
            os.mkfifo(path)
            return "a pipe that nobody writes to"
        case 1:
            path.mkdir()
            return "a folder"
        case 2:
            path.symlink_to(path.name)
            return "a link to itself"
        case 3:
            path.symlink_to("gone")
            return "a link to nothing"
        case _:
            path.write_bytes(b"")
            os.truncate(path, SPARSE_BYTES)
            return f"a hole of {SPARSE_BYTES >> 30} GiB"


def _nasty_value(old: object, rng: Rng) -> Any:
    """A JSON value in place of another."""
    values: list[Any] = [
        None,
        True,
        -1,
        0,
        1,
        3,
        2**31,
        2**62,
        2**80,
        -(2**63),
        1e308,
        0.5,
        float("nan"),
        float("inf"),
        "",
        "..",
        "/etc/hostname",
        "a\0b",
        "a\nb",
        "\ud800",
        "x" * 20_000,
        [],
        {},
        [None],
        {"kind": "none"},
        {"": {"": []}},
    ]
    if isinstance(old, int) and not isinstance(old, bool):
        values += [old + 1, old - 1, -old, old * 1000, old * 10**6, float(old), str(old), [old]] * 2
    if isinstance(old, str):
        values += [old + " ", old.upper(), old[:-1], [old], old * 100]
    if isinstance(old, list):
        values += [old * 2, old[::-1], old[1:], [old], old * 3000]
    return copy.deepcopy(pick(values, rng))


def _places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of keys to every value inside of a JSON value."""
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))[:40]
    found = [(*way, key) for key in keys]
    return found + [deeper for path in found for deeper in _places(value[path[-1]], path)]


def damaged_json(data: Any, rng: Rng, *, changes: int = 1) -> tuple[str, Any]:
    """JSON values of which some were replaced, removed or added, and what was done."""
    data = copy.deepcopy(data)
    done: list[str] = []
    for _ in range(changes):
        places = _places(data)
        if not places:
            break
        *way, key = pick(places, rng)
        holder = data
        for step in way:
            holder = holder[step]
        name = ".".join(map(str, (*way, key)))
        match int(rng.integers(6)):
            case 0:
                del holder[key]
                done.append(f"without {name}")
            case 1 if isinstance(holder, dict):
                holder[f"{key}_"] = holder[key]
                done.append(f"with {name}_ more")
            case _:
                holder[key] = _nasty_value(holder[key], rng)
                done.append(f"{name} = {repr(holder[key])[:60]}")
    return "; ".join(done), data


def damaged_json_bytes(data: Any, rng: Rng) -> tuple[str, bytes]:
    """The text of a JSON file after one of: changed values, damaged bytes, another encoding."""
    match int(rng.integers(10)):
        case 0:
            return damaged_bytes(json.dumps(data).encode(), rng)
        case 1:
            encoding = pick(("utf-16", "utf-8-sig", "utf-32"), rng)
            return f"encoded as {encoding}", json.dumps(data).encode(encoding)
        case 2:
            return "nested too deeply", b'{"kind": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        case 3:
            return "a number of 10 000 digits", b'{"version": ' + b"9" * 10_000 + b"}"
        case _:
            what, changed = damaged_json(data, rng, changes=int(rng.integers(1, 4)))
            return what, json.dumps(changed).encode()


def damaged_numbers(data: bytes, rng: Rng) -> bytes:
    """Text in which up to three numbers were replaced by nasty ones."""
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", data))
    if not found:
        return data
    for match in sorted(
        {int(at) for at in rng.integers(len(found), size=int(rng.integers(1, 4)))}, reverse=True
    ):
        start, end = found[match].span()
        data = data[:start] + pick(NASTY_NUMBERS, rng).encode() + data[end:]
    return data
