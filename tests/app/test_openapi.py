"""The interface as it describes itself: complete, and true of answers to requests made from it."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from served import Running


@pytest.fixture(scope="module")
def described(server: Running) -> dict[str, Any]:
    return server.ask("GET", "/openapi.json").json


def references(part: Any) -> set[str]:
    match part:
        case {"$ref": str(name)}:
            return {name}
        case dict():
            return set[str]().union(*(references(one) for one in part.values()))
        case list():
            return set[str]().union(*(references(one) for one in part))
        case _:
            return set()


def test_every_reference_leads_somewhere(described) -> None:
    known = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}

    assert references(described) - known == set()


def test_every_address_is_described_with_its_errors(described) -> None:
    assert {
        "/v1/3d/generations", "/v1/3d/mixes", "/v1/jobs", "/v1/jobs/{job}", "/v1/jobs/{job}/events",
        "/v1/jobs/{job}/result.{format}", "/v1/cutouts", "/healthz", "/readyz", "/metrics",
    } <= set(described["paths"])  # fmt: skip
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary"), path
            assert {"401", "403", "421", "500"} <= set(operation["responses"]), path
            if method == "post":
                assert {"application/json", "multipart/form-data"} == set(
                    operation["requestBody"]["content"]
                )
                assert "422" in operation["responses"]


def test_nothing_is_fetched_from_other_sites(server: Running) -> None:
    for path in ("/docs", "/redoc"):
        assert server.ask("GET", path).status == 404


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.floats(-2, 40, width=32)
    | st.text(max_size=12) | st.sampled_from(["glb", "stl", "aGFsbG8=", "picture", "z", "never"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["data", "format", "job", "sample"]), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_requests_made_from_the_description_get_answers_that_it_names(
    server: Running, described, data
) -> None:
    path = data.draw(st.sampled_from(sorted(described["paths"])))
    method = data.draw(st.sampled_from(sorted(described["paths"][path])))
    operation = described["paths"][path][method]
    body = None
    if "requestBody" in operation:
        name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        schema = described["components"]["schemas"][name.rsplit("/", 1)[1]]
        fields = st.sampled_from([*schema["properties"], "unknown"])
        body = data.draw(st.dictionaries(fields, ANY, max_size=4))
    values = st.sampled_from(["0" * 32, "x", "1", "-1", "glb", "g3t", "exe"])
    address = re.sub(r"\{\w+\}", lambda _: data.draw(values), path)
    try:
        answer = server.ask(method.upper(), address, body)
    except Exception as error:
        raise AssertionError((method, address, body)) from error

    assert str(answer.status) in operation["responses"], (address, body, answer.data)
    kind = answer.headers["content-type"].partition(";")[0]
    known = operation["responses"][str(answer.status)].get("content", {})
    assert not known or kind in known, (address, kind)
    if answer.status == 202:
        server.ask("DELETE", f"/v1/jobs/{answer.json['id']}")
