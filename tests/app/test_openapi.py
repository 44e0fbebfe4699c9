"""The interface as it describes itself: complete, and true of answers to requests made from it."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from served import TINY, Running


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


@pytest.fixture(scope="module")
def api(server: Running) -> Any:
    schemathesis = pytest.importorskip("schemathesis", reason="needs the group `dev`")
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")


def assert_described(server: Running, case: Any) -> Any:
    """Send a request, and check status, media type, headers and body against the description."""
    from schemathesis.checks import load_all_checks
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    load_all_checks()
    answer = case.call()
    # What settings mean together is not part of a description of fields, so it may be refused.
    case.validate_response(answer, excluded_checks=[positive_data_acceptance])
    if answer.status_code == 202:
        server.ask("DELETE", f"/v1/jobs/{answer.json()['id']}")
    return answer


# Schemathesis draws from `random`, which Hypothesis seeds.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_requests_made_from_the_description_get_answers_that_it_names(
    server: Running, api: Any, mode: str
) -> None:
    from schemathesis import GenerationMode

    asked = set()
    for found in api.get_all_operations():
        operation = found.ok()
        if mode == "negative" and not (operation.body or operation.path_parameters):
            if not operation.query:
                continue  # nothing can be wrong about it

        @settings(
            max_examples=4,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=GenerationMode(mode)))
        def send(case: Any) -> None:
            asked.add(assert_described(server, case).status_code)

        send()

    assert 422 in asked and (200 in asked) == (mode == "positive")


def test_answers_about_a_real_job_are_as_described(server: Running, api: Any) -> None:
    body = {**TINY, "previews": True}
    submitted = api["/v1/3d/generations"]["POST"].Case(body=body, media_type="application/json")
    answer = submitted.call_and_validate()
    assert answer.status_code == 202
    job = answer.json()["id"]
    server.wait(job)
    for path, more in (
        ("/v1/jobs/{job}", {}),
        ("/v1/jobs/{job}/events", {}),
        ("/v1/jobs/{job}/result.{format}", {"format": "3mf"}),
        ("/v1/jobs/{job}/result.{format}", {"format": "png"}),
    ):
        case = api[path]["GET"].Case(path_parameters={"job": job, **more})
        assert case.call_and_validate().status_code == 200
    assert api["/v1/jobs"]["GET"].Case(query={"status": "done"}).call_and_validate().json()["jobs"]
    ended = api["/v1/jobs/{job}"]["DELETE"].Case(path_parameters={"job": job})
    assert ended.call_and_validate().json()["status"] == "done"
