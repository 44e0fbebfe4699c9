"""Requests at the door `bodies`: what is answered, and that the door sees what is wrong."""

import json
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra `app`")

from g3pt.torture.http_asking import HttpAnswer, HttpRequest, check_refusal
from g3pt.torture.http_bodies import BOUNDARY, BodyRefusedError, HttpBodies

FORM = [("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")]
JSON = [("Content-Type", "application/json")]


def entered(
    folder: Path, body: bytes, headers: list[tuple[str, str]], path: str = "/v1/3d/generations"
) -> str:
    """What a request is answered; empty if it is accepted."""
    if not any(name == "Content-Length" for name, _ in headers):
        headers = [*headers, ("Content-Length", str(len(body)))]
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    file = folder / "request.http"
    file.write_bytes(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode() + body)
    try:
        HttpBodies().enter(file)
    except BodyRefusedError as error:
        return str(error).removeprefix(f"{file}: ")
    return ""


def part(content: bytes, disposition: str = 'name="text"') -> bytes:
    return (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()
        + content
        + b"\r\n"
    )


END = f"--{BOUNDARY}--\r\n".encode()


def test_sound_requests_are_accepted(tmp_path: Path) -> None:
    assert entered(tmp_path, b'{"text": "a mug"}', JSON) == ""
    assert entered(tmp_path, part(b"a mug") + END, FORM) == ""
    epilogue = part(b"a mug") + END + b"as some programs write\r\n"
    assert entered(tmp_path, epilogue, FORM) == ""


def test_a_form_that_ends_early_is_refused_though_its_first_parts_are_whole(tmp_path: Path) -> None:
    whole = part(b"a mug")
    for body in (whole, whole + part(b"2", 'name="num"')[:-9], whole + END[:-4]):
        assert entered(tmp_path, body, FORM).startswith("400: ")
    assert "ends before its last boundary" in entered(tmp_path, whole, FORM)


@pytest.mark.parametrize("length", ["99", "1000"])
def test_a_client_that_leaves_within_its_body_is_no_fault_of_the_server(
    tmp_path: Path, length: str
) -> None:
    for body, headers in ((b'{"text": "a mug"}', JSON), (part(b"a mug")[:90], FORM)):
        told = entered(tmp_path, body, [*headers, ("Content-Length", length)])
        assert told.startswith("400: ") and "fewer bytes than its Content-Length" in told


def test_a_body_that_never_ends_is_answered(tmp_path: Path) -> None:
    headers = [*JSON, ("Content-Length", "99"), ("x-stalls", "yes")]
    assert entered(tmp_path, b'{"text": "a mug"}', headers).startswith("408: ")


def test_very_many_wrong_fields_have_a_short_answer(tmp_path: Path) -> None:
    wrong = {"text": "a mug", **{f"field {number}": 1 for number in range(10_000)}}
    told = entered(tmp_path, json.dumps(wrong).encode(), JSON)
    assert told.startswith("422: ") and "(9999 more)" in told  # checked to be short by the door


def test_a_body_is_as_long_as_it_is_told_to_be(tmp_path: Path) -> None:
    told = entered(tmp_path, b'2 {"text": "a mug"}', [*JSON, ("Content-Length", "1")])
    assert told.startswith("422: ") and "should be an object" in told  # of which no field is wrong


def test_a_field_without_a_name_is_told_as_one(tmp_path: Path) -> None:
    told = entered(tmp_path, b'{"text": "a mug", "": 1}', JSON)
    assert "(no name): there is no such field" in told


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (HttpAnswer(500), "answers 500"),
        (HttpAnswer(404, {"content-type": "text/html"}), "404"),
        ({"status": 400, "detail": "x" * 20_000}, "answers 20"),
        ({"status": 400, "detail": "Traceback (most recent call last)"}, "Traceback"),
        ({"status": 400, "detail": ""}, "400"),
        ({"status": 422, "detail": "a"}, "400"),
        ({"status": 422, "detail": "a", "errors": []}, "names no field"),
        ({"status": 422, "detail": "a", "errors": [{"field": ""}]}, "names no field"),
    ],
)
def test_an_answer_that_refuses_badly_is_found(answer: object, reason: str) -> None:
    if isinstance(answer, dict):
        status = 422 if "errors" in answer else 400
        content = json.dumps(answer).encode()
        answer = HttpAnswer(status, {"content-type": "application/problem+json"}, content)
    assert isinstance(answer, HttpAnswer)
    request = HttpRequest("POST", "/", [], b'{"a": 1}')
    with pytest.raises(AssertionError, match=reason):
        check_refusal(answer, request)


@pytest.mark.parametrize(
    ("length", "answer"), [("2", "415"), ("\xb2", "413"), ("1 2", "413"), ("9" * 30, "413")]
)
def test_a_length_is_a_number_or_the_request_is_refused(length, answer, tmp_path: Path):
    head = f"POST /v1/3d/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}"
    (tmp_path / "input.http").write_bytes(head.encode("latin-1") + b"\r\n\r\n{}")
    with pytest.raises(BodyRefusedError, match=rf"input\.http: {answer}: "):
        HttpBodies().enter(tmp_path / "input.http")


@pytest.mark.parametrize("head", ["GET / HTTP/1.1", "POST /v1 HTTP/1.1\r\nHost", "\xff", ""])
def test_what_is_no_request_that_posts_is_refused(head, tmp_path: Path):
    (tmp_path / "input.http").write_bytes(head.encode("latin-1") + b"\r\n\r\n{}")
    with pytest.raises(BodyRefusedError, match="no request that posts something"):
        HttpBodies().enter(tmp_path / "input.http")
