import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from g3pt.app.settings import ModelSource, ServeSettings
from served import SLOW, TINY, Running, running, tiny_settings

TOKEN = "a-secret-of-tests"


@pytest.fixture(scope="module")
def locked(tiny_weights: Path, tmp_path_factory) -> Iterator[Running]:
    """A server with a token, small limits and no patience."""
    settings = tiny_settings(
        tiny_weights,
        tmp_path_factory.mktemp("locked"),
        token=TOKEN,
        allowed_hosts=("mugs.example",),
        max_body=20_000,
        max_pixels=10_000,
        max_queued=3,
        max_per_client=2,
        receive_seconds=0.5,
        header_seconds=1.0,
        body_seconds=1.5,
    )
    with running(settings) as found:
        yield found


POST = b"POST /v1/3d/generations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
MINE = {"Authorization": f"Bearer {TOKEN}"}


def raw(port: int, data: bytes, *more: bytes, pause: float = 0.0) -> bytes:
    """Send bytes as they are, and return all of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for part in (data, *more):
            try:
                connection.sendall(part)
            except OSError:
                break
            time.sleep(pause)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
        return answer


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "user@127.0.0.1", "", "[::1", "0"],
)
def test_a_name_that_is_not_ours_is_refused(server, host: str) -> None:
    answer = server.ask("GET", "/v1/jobs", headers={"Host": host})

    assert answer.status == 421
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:9", "[::1]:80", "LOCALHOST", "localhost."]
)
def test_names_of_loopback_are_ours(server, host: str) -> None:
    assert server.ask("GET", "/healthz", headers={"Host": host}).status == 200


def test_two_hosts_are_refused(server) -> None:
    told = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"

    assert b" 4" in raw(server.port, told).split(b"\r\n")[0]


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://localhost:1",
        "file://",
        "http://[",
        "https://127.0.0.1",
    ],
)
def test_pages_of_other_sites_are_refused(server, origin: str) -> None:
    answer = server.ask("POST", "/v1/3d/generations", TINY, {"Origin": origin})

    assert (answer.status, answer.json["title"]) == (403, "Forbidden")


def test_our_own_page_may_ask(server) -> None:
    headers = {"Origin": f"http://127.0.0.1:{server.port}"}

    assert server.ask("GET", "/v1/jobs", headers=headers).status == 200


def test_other_names_are_allowed_by_flag(locked) -> None:
    assert locked.ask("GET", "/v1/jobs", headers={**MINE, "Host": "mugs.example"}).status == 200


@pytest.mark.parametrize("told", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", "Bearer \xe9"])
def test_without_the_token_nothing_is_told(locked, told: str) -> None:
    answer = locked.ask("GET", "/v1/jobs", headers={"Authorization": told} if told else {})

    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert locked.ask("GET", "/metrics").status == 401
    assert locked.ask("GET", "/openapi.json").status == 401
    assert locked.ask("GET", "/healthz").status == 200


def test_the_token_is_taken_from_header_and_cookie(locked) -> None:
    assert locked.ask("GET", "/v1/jobs", headers=MINE).status == 200
    cookie = {"Cookie": f"other=1; g3pt_token={TOKEN}"}
    assert locked.ask("GET", "/v1/jobs", headers=cookie).status == 200


def test_the_address_with_the_token_sets_the_cookie_once(locked) -> None:
    answer = locked.ask("GET", f"/?token={TOKEN}")

    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert answer.headers["set-cookie"].startswith(f"g3pt_token={TOKEN};")
    assert "HttpOnly" in answer.headers["set-cookie"]
    wrong = locked.ask("GET", "/?token=wrong%0d%0aSet-Cookie:%20a=b", headers=MINE)
    assert "set-cookie" not in wrong.headers


def test_off_loopback_a_token_is_needed(tmp_path) -> None:
    source = ModelSource(name="a", weights="a")
    with pytest.raises(ValueError, match="a token is needed"):
        ServeSettings(models=(source,), folder=tmp_path, host="0.0.0.0")
    with pytest.raises(ValueError, match="8 to 200 letters"):
        ServeSettings(models=(source,), folder=tmp_path, token="a b")


def test_a_body_that_says_that_it_is_too_large_is_refused_unread(locked) -> None:
    told = POST + b"Content-Length: 99999999\r\n"
    told += f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\r\n".encode()

    assert b" 413 " in raw(locked.port, told).split(b"\r\n")[0]


def test_a_body_that_does_not_say_its_size_is_stopped_at_the_limit(locked) -> None:
    head = POST + b"Transfer-Encoding: chunked\r\n"
    head += f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\r\n".encode()
    chunk = b"2000\r\n" + b" " * 0x2000 + b"\r\n"
    answer = raw(locked.port, head, *[chunk] * 64)

    assert b" 413 " in answer.split(b"\r\n")[0]
    assert b"application/problem+json" in answer


def test_a_slow_body_is_given_up(locked) -> None:
    head = POST + b"Content-Length: 100\r\n"
    head += f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\r\n".encode()
    started = time.monotonic()
    answer = raw(locked.port, head, b"{")

    assert b" 408 " in answer.split(b"\r\n")[0]
    assert time.monotonic() - started < 10


def test_a_cut_upload_leaves_nothing(locked) -> None:
    head = POST + b"Content-Length: 9000\r\n"
    head += f"Authorization: Bearer {TOKEN}\r\n".encode()
    head += b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\nContent-Disposition: form"
    before = locked.ask("GET", "/v1/jobs", headers=MINE).json
    with socket.create_connection(("127.0.0.1", locked.port)) as connection:
        connection.sendall(head)

    assert locked.ask("GET", "/v1/jobs", headers=MINE).json == before


def test_too_many_pixels_are_refused_before_they_are_decoded(locked) -> None:
    import base64
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("1", (400, 400)).save(buffer, "PNG")
    told = {"image": base64.b64encode(buffer.getvalue()).decode()}
    answer = locked.ask("POST", "/v1/3d/generations", told, MINE)

    assert (answer.status, answer.json["errors"][0]["field"]) == (413, "image.0")
    assert "160000" in answer.json["detail"] or "400 x 400" in answer.json["detail"]


def test_a_full_queue_answers_at_once_with_when_to_try_again(locked) -> None:
    def post(source: str):
        started = time.monotonic()
        answer = locked.ask("POST", "/v1/3d/generations", SLOW, MINE, source=source)
        return answer, time.monotonic() - started

    jobs = []
    for source in ("127.0.0.2", "127.0.0.2"):
        answer, _ = post(source)
        jobs.append(answer.json["id"])
    mine, seconds = post("127.0.0.2")
    assert (mine.status, seconds < 1.0) == (429, True)
    assert "2 jobs of this client" in mine.json["detail"]
    assert int(mine.headers["retry-after"]) >= 1
    found = []
    for source in ("127.0.0.3", "127.0.0.3", "127.0.0.4", "127.0.0.4"):
        answer, seconds = post(source)
        found.append((answer.status, seconds < 1.0))
        if answer.status == 202:
            jobs.append(answer.json["id"])
    assert found[-1] == (429, True)
    assert 4 <= len(jobs) <= 5  # one runs, three wait; the first may not have begun yet
    for job in jobs:
        locked.ask("DELETE", f"/v1/jobs/{job}", headers=MINE)
    answer, _ = post("127.0.0.2")
    assert answer.status == 202
    locked.ask("DELETE", f"/v1/jobs/{answer.json['id']}", headers=MINE)


@pytest.mark.parametrize("begin", [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", POST])
def test_headers_that_come_drop_by_drop_are_given_up(locked, begin: bytes) -> None:
    started = time.monotonic()
    answer = raw(locked.port, begin, *[b"X-Y: z\r\n"] * 20, pause=0.2)

    assert b" 408 " in answer.split(b"\r\n")[0]
    assert b"application/problem+json" in answer and b"headers" in answer
    assert time.monotonic() - started < 10


def test_headers_of_a_further_request_have_a_limit_of_time_too(locked) -> None:
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = raw(locked.port, whole, *[b"GET /healthz", *[b" "] * 20], pause=0.2)

    assert answer.startswith(b"HTTP/1.1 200 ") and answer.count(b"HTTP/1.1 408 ") == 1


def test_a_connection_on_which_nothing_is_asked_is_cut_without_a_word(locked) -> None:
    started = time.monotonic()

    assert raw(locked.port, b"") == b""
    assert time.monotonic() - started < 10


def test_a_body_that_comes_drop_by_drop_is_given_up(locked) -> None:
    head = POST + b"Content-Length: 1000\r\n"
    head += f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\r\n".encode()
    answer = raw(locked.port, head, *[b" "] * 20, pause=0.2)

    assert b" 408 " in answer.split(b"\r\n")[0]
    assert b"not complete after 1.5 seconds" in answer


def test_what_is_no_http_gets_a_typed_answer(locked) -> None:
    answer = raw(locked.port, b"\x16\x03\x01\x02\x00\x01\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ") and b"application/problem+json" in answer
