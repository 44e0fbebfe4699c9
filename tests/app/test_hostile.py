"""Hostile requests: whatever is sent, the answer is typed, and the server goes on."""

import json
import random
import socket
import string
import urllib.parse

import pytest

from served import TINY, Answer, Running

WORDS = """
.. ../.. %2e%2e %2e%2e%2f ..%2f %252e%252e ....// ..\\ %5c.. / // %00 %0d%0a %ff %c0%ae ~ . etc
passwd jobs.sqlite v1 jobs files result.glb result.exe result. scales 0.glb -1.glb 1e9.glb events
' " %27%20OR%201=1 <script> ${x} {job} * cutouts 0.png %f0%9f%98%80 ;a=b ?a # healthz metrics
openapi.json
"""
PIECES = [*WORDS.split(), "x" * 300, "0" * 32, "f" * 32, "0" * 31, "A" * 32]


def paths(num: int) -> list[str]:
    rng = random.Random(1)
    found = ["/" + "/".join(rng.choices(PIECES, k=rng.randint(1, 5))) for _ in range(num // 2)]
    found += [
        f"/v1/jobs/{'0' * 32}/" + "/".join(rng.choices(PIECES, k=rng.randint(1, 3)))
        for _ in range(num // 4)
    ]
    return found + [
        "/v1/" + "".join(rng.choices(string.printable[:94], k=rng.randint(1, 40)))
        for _ in range(num - len(found))
    ]


def assert_typed(answer: Answer) -> None:
    """An answer with a known status and a body of the type that it says."""
    assert answer.status != 500, answer.data
    kind = answer.headers.get("content-type", "")
    if answer.status >= 400:
        assert kind == "application/problem+json", (answer.status, kind)
        assert answer.json["status"] == answer.status and answer.json["detail"]
    assert "Traceback" not in answer.data.decode(errors="replace")


def test_five_hundred_paths(server: Running) -> None:
    for number, path in enumerate(paths(500)):
        # Whatever a line of a request cannot hold is quoted, as any client does.
        quoted = urllib.parse.quote(path, safe=string.punctuation)
        answer = server.ask(("GET", "GET", "DELETE", "POST")[number % 4], quoted)
        assert_typed(answer)
        assert b"SQLite" not in answer.data and b"root:" not in answer.data, path
    assert server.ask("GET", "/healthz").status == 200


def bodies(num: int) -> list[tuple[str, bytes]]:
    """Content types and bodies that are wrong in many ways."""
    rng = random.Random(2)
    whole = json.dumps({**TINY, "seed": 1, "image": "aGFsbG8="}).encode()
    form = b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\na mug\r\n--x--\r\n'
    values = [
        None,
        True,
        -1,
        1e308,
        "",
        "x" * 2000,
        [],
        {},
        [[]],
        {"a": 1},
        "\u0000",
        2**70,
        "../x",
    ]
    fields = ["text", "seed", "num", "format", "image", "size_mm", "temperature", "model", "points"]
    found = [
        ("application/json", b""),
        ("application/json", b"["),
        ("application/json", b"null"),
        ("application/json", b"[" * 100_000),
        ("application/json", b'{"text":' * 5000),
        ("application/json", b'{"text": "a", "seed": 1' + b"0" * 10_000 + b"}"),
        ("application/json", b"\xff\xfe" + whole),
        ("application/json", b'{"text": "\\ud800"}'),
        ("application/json", b'{"text": "a", "text": "b", "nothing": 1}'),
        ("text/plain", whole),
        ("", whole),
        ("application/xml", b'<!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]><x>&y;</x>'),
        ("multipart/form-data", form),
        ("multipart/form-data; boundary=", form),
        ("multipart/form-data; boundary=y", form),
        ("multipart/form-data; boundary=" + "x" * 5000, form),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--x\r\n" * 1000),
        ("multipart/form-data; boundary=x", form.replace(b"--x--", b"--x\r\n") * 500),
        ("multipart/form-data; boundary=x", form.replace(b"a mug", b"a" * 100_000)),
        ("multipart/form-data; boundary=x", form.replace(b'"text"', b'"../../x"')),
        ("multipart/form-data; boundary=x", form.replace(b'"text"', b'"image"; filename="../x"')),
        ("application/x-www-form-urlencoded", b"text=a"),
    ]  # fmt: skip
    while len(found) < num:
        match len(found) % 4:
            case 0:
                cut = rng.randrange(len(whole))
                found.append(("application/json", whole[:cut]))
            case 1:
                spoilt = bytearray(whole)
                for _ in range(4):
                    spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
                found.append(("application/json", bytes(spoilt)))
            case 2:
                told = {**TINY, rng.choice(fields): rng.choice(values), "unknown": 1}
                found.append(("application/json", json.dumps(told).encode()))
            case _:
                cut = rng.randrange(len(form))
                found.append(("multipart/form-data; boundary=x", form[:cut] + rng.randbytes(8)))
    return found


def test_two_hundred_bodies(server: Running) -> None:
    addresses = ["generations", "reconstructions", "variations", "mixes", "scores", "completions"]
    accepted = []
    for number, (kind, body) in enumerate(bodies(200)):
        headers = {"Content-Type": kind} if kind else {}
        path = f"/v1/3d/{addresses[number % 6] if number % 3 else 'generations'}"
        answer = server.ask("POST", path, body, headers)
        assert_typed(answer)
        assert answer.status in (202, 400, 413, 415, 422), (kind, body[:80])
        if answer.status == 202:
            accepted.append(answer.json["id"])
    for job in accepted:
        server.ask("DELETE", f"/v1/jobs/{job}")
    assert len(accepted) < 20  # bytes that were changed inside a text
    assert server.wait(server.submit())["status"] == "done"


def test_the_name_of_a_file_is_no_path(server: Running, picture: bytes) -> None:
    for name in ("../../x.png", "/etc/passwd", "x.exe", "a\u0000b.png", "x" * 4000 + ".png"):
        head = f'--x\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
        rest = "\r\n--x"
        for field, value in (("resolution", "16"), ("color", "none")):
            rest += f'\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n--x'
        answer = server.ask(
            "POST",
            "/v1/3d/generations",
            head.encode() + picture + f"{rest}--\r\n".encode(),
            {"Content-Type": "multipart/form-data; boundary=x"},
        )
        assert_typed(answer)
        if answer.status == 202:
            job = answer.json["id"]
            assert server.wait(job)["status"] == "done"
            folder = server.jobs.store.files_of(job)
            assert {file.name for file in folder.iterdir()} >= {"image-0.png", "result-0.glb"}
    assert {path.name for path in server.settings.folder.iterdir()} <= {
        "files", "scratch", "jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm",
    }  # fmt: skip


@pytest.mark.parametrize(
    "told",
    [
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X-%d: y\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET http://evil.example/v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /v1/cutouts HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/cutouts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/jobs HTTP/1.1\r\n\r\n",
        b"BREW /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_hardly_http_ends_with_an_answer(server: Running, told: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        try:
            connection.sendall(told)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(100)
        except OSError:  # closed while we were still speaking
            answer = b""
    assert answer == b"" or answer.split(b" ")[1][:1] in (b"2", b"4"), answer
    assert server.ask("GET", "/healthz").status == 200


def test_results_of_jobs_that_have_none_are_refused(server: Running) -> None:
    words = {"data": "dGhlc2UgYXJlIHdvcmRz", "format": "glb"}
    failed = server.ask("POST", "/v1/3d/tokenizations", {"mesh": words}).json["id"]
    assert server.wait(failed)["status"] == "failed"

    for path in ("result.glb", "result.g3t", "result.png"):
        answer = server.ask("GET", f"/v1/jobs/{failed}/{path}")
        assert (answer.status, answer.json["title"]) == (409, "Conflict")
    assert server.ask("GET", f"/v1/jobs/{failed}/result.exe").status == 422
    assert server.ask("GET", f"/v1/jobs/{failed}/scales/1.glb").status == 404
    assert server.ask("DELETE", f"/v1/jobs/{failed}").json["status"] == "failed"
    assert server.ask("GET", f"/v1/jobs/{'0' * 32}").status == 404
    assert server.ask("GET", "/v1/jobs/not-an-id").json["errors"][0]["field"] == "job"
    assert server.ask("GET", "/v1/jobs?limit=1000").json["errors"][0]["field"] == "limit"


def test_expired_results_are_gone_and_said_to_be(server: Running) -> None:
    job = server.submit()
    server.wait(job)
    server.jobs.store.expire(older_than=-1, keep_bytes=0)

    assert server.state(job)["status"] == "expired"
    answer = server.ask("GET", f"/v1/jobs/{job}/result.glb")
    assert (answer.status, answer.json["title"]) == (410, "Gone")
    assert server.events(job)[-1][0] in ("done", "expired")
