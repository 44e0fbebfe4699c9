"""Hostile bodies of HTTP requests, at every address of `g3pt serve` that takes one.

A request is kept as a file of HTTP: a line, headers, and the body. The app is asked in this process
and its workers are not started: what it accepts would wait for one, and ends here.
"""

import asyncio
import base64
import json
import logging
import re
import tempfile
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from g3pt.torture.damage import FOREIGN, Rng, damaged_bytes, damaged_json_bytes, pick
from g3pt.torture.doors import Door, Hostile, Must
from g3pt.torture.http_asking import (
    PIECES,
    STALLS,
    Headers,
    as_http,
    ask,
    check_refusal,
    parse_request,
)
from g3pt.torture.pictures import bomb

MAX_BODY = 2**20
RECEIVE_SECONDS = 0.2
"""Between two pieces of a body; a real server is more patient."""
BOUNDARY = "g3ptg3ptg3pt"
CUBE = (
    b"v 0 0 0\nv 0 0 1\nv 0 1 0\nv 0 1 1\nv 1 0 0\nv 1 0 1\nv 1 1 0\nv 1 1 1\n"
    b"f 1 2 4 3\nf 5 7 8 6\nf 1 5 6 2\nf 3 4 8 7\nf 1 3 7 5\nf 2 6 8 4\n"
)
FILES = ("image", "mesh", "tokens", "source", "coarse", "fine", "part")
"""Fields that hold files."""
_PLAIN_NAME = re.compile(r"[a-z]+-[0-9]+\.[a-z0-9]{1,16}")


class BodyRefusedError(ValueError):
    """A request that was answered with a status of 4xx."""


class HttpBodies(Door):
    """Bodies of requests."""

    name = "bodies"
    promise = "a body is accepted, or refused with a 4xx by field; nothing is left of it"
    errors = (BodyRefusedError,)

    def missing(self) -> str:
        """The extra that has the server."""
        needed = ("fastapi", "python_multipart", "prometheus_client", "nicegui")
        return "" if all(map(find_spec, needed)) else "app"

    def write(self, folder: Path, rng: Rng) -> Hostile:
        """A request."""
        kind = pick(tuple(_sound_bodies()), rng)
        told = dict(_sound_bodies()[kind])
        headers: Headers = [("Content-Type", "application/json")]
        body, must = json.dumps(told).encode(), "either"
        match int(rng.integers(12)):
            case 0:
                what, must = "sound JSON", "open"
            case 1:
                what, must = "sound form", "open"
                headers, body = _form(_parts(told))
            case 2:
                what = pick(tuple(FOREIGN), rng)
                behind = b"" if what == "nothing" or rng.random() < 0.7 else body
                body, must = FOREIGN[what] + behind, "refuse"
            case 3 | 4:
                what, body = damaged_json_bytes(told, rng)
            case 5:
                what, told = _with_wrong_value(told, rng)
                body, must = json.dumps(told).encode(), "refuse"
            case 6:
                what, headers = _odd_type(rng)
                must = "refuse"
            case 7:
                what, headers, body, must = _odd_length(headers, body, rng)
            case 8:
                what, told = _with_hostile_file(kind, told, rng)
                body = json.dumps(told).encode()
            case 9:
                headers, body = _form(_parts(told))
                what, body = damaged_bytes(body, rng)
                what = f"form: {what}"
            case 10:
                what, headers, body, must = _odd_form(told, rng)
            case _:
                what, headers, body = _odd_names(told, rng)
        if rng.random() < 0.2:
            headers = [*headers, (PIECES, str(pick((1, 7, 1000), rng)))]
        path = folder / "request.http"
        path.write_bytes(as_http(f"/v1/{kind}", headers, body))
        return Hostile(path, f"{kind}: {what}", must)

    def enter(self, path: Path) -> None:
        """Ask the app, and look at its answer and its folder."""
        from g3pt.app.server import create_app
        from g3pt.app.settings import ModelSource, ServeSettings

        logging.getLogger("python_multipart").setLevel(logging.ERROR)  # warns of what is refused
        try:
            request = parse_request(path.read_bytes())
        except ValueError as error:
            raise BodyRefusedError(f"{path}: {error}") from None
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "jobs"
            settings = ServeSettings(
                models=(ModelSource(name="untrained", weights="none"),),
                folder=folder,
                max_body=MAX_BODY,
                receive_seconds=RECEIVE_SECONDS,
                body_seconds=5.0,
            )
            app = create_app(settings)
            jobs = app.state.jobs
            try:
                answer = asyncio.run(ask(app, jobs, request))
                for job in jobs.store.listed((), limit=10):
                    files = list(jobs.store.files_of(job.id).iterdir())
                    assert all(_PLAIN_NAME.fullmatch(file.name) for file in files), files
                    jobs.cancel(job)
                left = [one for one in folder.rglob("*") if not one.name.startswith("jobs.sqlite")]
                assert {one.name for one in left} <= {"files", "scratch"}, f"left: {left}"
            finally:
                jobs.store.close()
        if answer.status not in (200, 202):
            check_refusal(answer, request)
            raise BodyRefusedError(f"{path}: {answer.status}: {answer.body[:200]!r}")


def _picture() -> bytes:
    out = BytesIO()
    Image.new("RGB", (32, 32), (200, 30, 30)).save(out, "png")
    return out.getvalue()


def _sound_bodies() -> dict[str, dict[str, Any]]:
    """A body for every address, small and right."""
    picture = base64.b64encode(_picture()).decode()
    cube = {"data": base64.b64encode(CUBE).decode(), "format": "obj"}
    tokens = {"data": base64.b64encode(b"G3T tokens").decode(), "format": "g3t"}
    sampled = {"resolution": 16, "seed": 3, "num": 2, "temperature": 0.5}
    return {
        "3d/generations": {"text": "a mug", "image": picture, "color": "none", **sampled},
        "3d/reconstructions": {"mesh": cube, "resolution": 16, "size_mm": 20.0},
        "3d/tokenizations": {"mesh": cube, "num_scales": 1},
        "3d/detokenizations": {"tokens": tokens, "format": "stl"},
        "3d/variations": {"source": cube, "keep": 1, "text": "a mug", **sampled},
        "3d/mixes": {"coarse": cube, "fine": tokens, "keep": 1, **sampled},
        "3d/completions": {"part": cube, "width": 2, "survivors": 2, "whole": [0, 0, 0, 1, 1, 1]},
        "3d/scores": {"source": cube, "image": picture},
        "cutouts": {"image": picture},
    }


def _with_wrong_value(told: dict[str, Any], rng: Rng) -> tuple[str, dict[str, Any]]:
    """A body with a value that cannot be, at the top or inside."""
    wrong: dict[str, tuple[Any, ...]] = {
        "seed": ("1", True, -1, 2**70, 1.5, float("nan"), None, [], {}),
        "timeout": (0, -1, float("inf"), "10", True, 1e400),
        "model": (3, "x" * 10_000, [], "another", "../untrained"),
        "resolution": (15, 257, "16", 10**30, 16.5, None),
        "format": ("exe", "../glb", None, 3, ["glb"]),
        "image": ("file:///etc/passwd", "http://localhost/a.png", "data:image/png,x", 3, "", "é"),
        "mesh": ("a.obj", 3, None, {"data": "", "format": "obj"}, {"job": "../x"}),
        "source": ({"job": "0" * 32}, {"job": "0" * 32, "sample": -1}, {"data": "AAAA"}, [{}]),
        "part": ({"data": "AAAA", "format": "exe"}, {"job": "0" * 32}, {"job": [], "sample": {}}),
        "unknown": (1,),
        "": (1,),
        "__proto__": ({},),
        "x" * 5000: (1,),
        "\x00": ("a",),
    }
    if rng.random() < 0.1:
        return "5000 unknown fields", told | {f"field {number}": number for number in range(5000)}
    name = pick(tuple(wrong), rng)
    value = pick(wrong[name], rng)
    return f"{name[:20]} = {repr(value)[:60]}", told | {name: value}


def _with_hostile_file(kind: str, told: dict[str, Any], rng: Rng) -> tuple[str, dict[str, Any]]:
    """A body whose picture or shape is something else."""
    what = pick(tuple(FOREIGN), rng)
    data = FOREIGN[what][:100_000]
    if "image" in told and rng.random() < 0.6:
        what, data = bomb(rng)
    text = base64.b64encode(data).decode()
    if rng.random() < 0.2:
        what, text = f"{what}, base64 cut", text[: len(text) - 1 - len(text) % 2]
    name = pick([each for each in told if each in FILES], rng)
    value = text if name == "image" else told[name] | {"data": text}
    return f"{name}: {what}", told | {name: value}


def _odd_type(rng: Rng) -> tuple[str, Headers]:
    """Another type of content than JSON in UTF-8."""
    kind = pick(
        (
            "",
            "text/plain",
            "application/xml",
            "application/json-patch+json",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=" + "x" * 5000,
            f"multipart/form-data; boundary={BOUNDARY}",
            "multipart/mixed; boundary=x",
            "x" * 5000,
        ),
        rng,
    )
    return f"type {kind[:50]!r}", [("Content-Type", kind)]


def _odd_length(headers: Headers, body: bytes, rng: Rng) -> tuple[str, Headers, bytes, Must]:
    """A length that lies, or an end that never comes."""
    match int(rng.integers(5)):
        case 0:
            length = pick(("-1", "x", "1e3", "٣", "0x10", str(10**30), str(MAX_BODY + 1), ""), rng)
            must: Must = "refuse"
        case 1:
            length, must = str(len(body) - int(rng.integers(1, len(body)))), "refuse"
        case 2:
            length, must = str(len(body) + int(rng.integers(1, 10**5))), "refuse"
        case 3:
            length, must = str(len(body) + 1), "refuse"
            headers = [*headers, (STALLS, "yes")]
        case _:
            body = body + b" " * MAX_BODY
            length, must = str(len(body)), "refuse"
    return (
        f"length {length[:40]} of {len(body)}",
        [*headers, ("Content-Length", length)],
        body,
        must,
    )


# --- forms -----------------------------------------------------------------------------------

Part = tuple[str, str | None, bytes]
"""Name, name of the file, content."""


def _parts(told: dict[str, Any]) -> list[Part]:
    """The fields of a body as parts of a form."""
    parts: list[Part] = []
    for name, value in told.items():
        match value:
            case {"data": str(data), "format": str(form)}:
                parts.append((name, f"shape.{form}", base64.b64decode(data)))
            case str() if name == "image":
                parts.append((name, "a.png", base64.b64decode(value)))
            case list():
                parts += [(name, None, str(one).encode()) for one in value]
            case bool():
                parts.append((name, None, str(value).lower().encode()))
            case _:
                parts.append((name, None, str(value).encode()))
    return parts


def _form(parts: list[Part], boundary: str = BOUNDARY) -> tuple[Headers, bytes]:
    """Headers and body of a form."""
    body = b""
    for name, file, content in parts:
        disposition = f'form-data; name="{name}"' + (f'; filename="{file}"' if file else "")
        body += f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n".encode()
        body += content + b"\r\n"
    headers = [("Content-Type", f"multipart/form-data; boundary={boundary}")]
    return headers, body + f"--{boundary}--\r\n".encode()


def _odd_form(told: dict[str, Any], rng: Rng) -> tuple[str, Headers, bytes, Must]:
    """A form that breaks a rule of forms."""
    parts = _parts(told)
    headers, body = _form(parts)
    line = f"--{BOUNDARY}\r\n".encode()
    must: Must = "refuse"
    match int(rng.integers(10)):
        case 0:
            end = body.rindex(b"--" + BOUNDARY.encode())
            what, body = "no end", body[: int(rng.integers(end + 1))]
        case 1:
            what, headers = (
                "another boundary",
                [("Content-Type", "multipart/form-data; boundary=x")],
            )
        case 2:
            what, body = "parts without headers", line + b"\r\n" + body
        case 3:
            what, body = "a header of 100 000 bytes", line + b"X: " + b"y" * 100_000 + b"\r\n\r\n"
        case 4:
            headers, body = _form([*parts, *[("seed", None, b"1")] * 1000])
            what = "a thousand fields"
        case 5:
            headers, body = _form([*parts, *[("image", "a.png", _picture())] * 50])
            what = "fifty files"
        case 6:
            headers, body = _form([*parts, ("text", None, b"a" * 100_000)])
            what = "a field of 100 000 bytes"
        case 7:
            inner = _form(parts, "inner")[1]
            headers, body = _form([("text", None, inner), ("unknown", "a.obj", inner)])
            what = "a form in a form"
        case 8:
            what, body = "an archive before it", FOREIGN["a zip archive"] + body
            must = "either"
        case _:
            headers, body = _form([*parts, ("seed", None, b"\xff\xfe")])
            what = "a field that is no UTF-8"
    return what, headers, body, must


def _odd_names(told: dict[str, Any], rng: Rng) -> tuple[str, Headers, bytes]:
    """A form with odd names of fields or files."""
    odd = pick(
        (
            "../../x.obj",
            "/etc/passwd",
            "..\\..\\x.glb",
            "a\0b.obj",
            "x" * 4000 + ".obj",
            ".obj",
            "obj",
            "a.obj/../../b",
            "a.OBJ",
            "con.obj",
            "a.obj;rm -rf /",
            "a.obj\tb",
            "é\u202e.obj",
            "a." + "x" * 300,
            "a.jobs.sqlite",
            "",
        ),
        rng,
    )
    parts = _parts(told)
    if rng.random() < 0.7:
        parts = [(name, file and odd, content) for name, file, content in parts]
        what = f"files are named {odd[:40]!r}"
    else:
        number = int(rng.integers(len(parts)))
        parts[number] = (odd, *parts[number][1:])
        what = f"a field is named {odd[:40]!r}"
    return what, *_form(parts)
