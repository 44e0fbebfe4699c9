"""The tools of agents, called by the SDK's own client, against a server with untrained weights."""

import base64
import http.client
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("mcp", reason="needs the extra `mcp`")

import mcp
from mcp.client.stdio import StdioServerParameters
from mcp.shared.exceptions import MCPError

from served import CUBE, SLOW, Running

ROOT = Path(__file__).parents[2]
MUG = {"text": "a mug", "resolution": 16, "previews": False}


@pytest.fixture
def talk(server: Running, tmp_path: Path):
    """Run a conversation of a client in this process."""
    from g3pt.app.agents import Agents, agent_server
    from g3pt.app.client import Client

    def run(
        conversation: Callable[[mcp.Client], Awaitable[Any]],
        files: Path | None = tmp_path,
        address: str = f"http://127.0.0.1:{server.port}",
    ) -> Any:
        async def whole() -> Any:
            served = agent_server(Agents(client=Client(address), files=files))
            async with mcp.Client(served) as client:
                return await conversation(client)

        return anyio.run(whole)

    return run


def test_a_sentence_becomes_a_mesh_with_its_picture(talk, tmp_path: Path) -> None:
    seen: list[tuple[float, float | None]] = []

    async def conversation(client: mcp.Client) -> None:
        async def progress(value: float, total: float | None, message: str | None) -> None:
            seen.append((value, total))

        asked = {**MUG, "num": 2, "wait": 60}
        made = await client.call_tool("generate", asked, progress_callback=progress)
        assert not made.is_error, made
        job = made.structured_content
        assert (job["status"], len(job["outputs"])) == ("done", 2)
        assert json.loads(made.content[-1].text) == job

        shown = await client.call_tool(
            "result", {"job": job["id"], "sample": 1, "path": "mug.stl", "size_mm": 50}
        )
        assert not shown.is_error, shown
        picture, link, _ = shown.content
        assert base64.b64decode(picture.data)[:4] == b"\x89PNG"
        assert link.mime_type == "model/stl"
        assert (tmp_path / "mug.stl").stat().st_size == shown.structured_content["bytes"]

        read = await client.read_resource(f"g3pt://jobs/{job['id']}/0/result.glb")
        assert base64.b64decode(read.contents[0].blob)[:4] == b"glTF"
        listed = [str(one.uri) for one in (await client.list_resources()).resources]
        assert f"g3pt://jobs/{job['id']}/1/result.glb" in listed
        (template,) = (await client.list_resource_templates()).resource_templates
        assert template.uri_template.format(job=job["id"], sample=0, format="glb") in listed

    talk(conversation)
    assert seen and seen[-1][0] == seen[-1][1]


def test_a_picture_is_named_or_sent_along_and_its_cut_out_shown(
    talk, tmp_path: Path, picture: bytes
) -> None:
    (tmp_path / "mug.png").write_bytes(picture)
    sent = "data:image/png;base64," + base64.b64encode(picture).decode()

    async def conversation(client: mcp.Client) -> None:
        found = await client.call_tool("cutout", {"image": "mug.png", "path": "cut.png"})
        assert not found.is_error, found
        assert base64.b64decode(found.content[0].data) == (tmp_path / "cut.png").read_bytes()
        assert {"method", "box", "confidence"} <= set(found.structured_content)
        jobs = []
        for image in ("mug.png", [sent]):
            asked = {"image": image, "resolution": 16, "previews": False, "wait": 60}
            made = await client.call_tool("generate", asked)
            assert made.structured_content["status"] == "done", made
            jobs.append(made.structured_content["id"])
        first, second = [await client.call_tool("result", {"job": job}) for job in jobs]
        assert first.content[0].data == second.content[0].data

    talk(conversation)


def test_shapes_of_jobs_and_files_are_varied_mixed_completed_and_reconstructed(
    talk, tmp_path: Path
) -> None:
    (tmp_path / "cube.obj").write_text(CUBE)

    async def conversation(client: mcp.Client) -> None:
        async def done(tool: str, **asked: Any) -> dict[str, Any]:
            told = {**asked, "resolution": 16, "wait": 60}
            job = (await client.call_tool(tool, told)).structured_content
            assert job["status"] == "done", job
            return job

        first = await done("generate", text="a mug", num=2)
        shape = {"job": first["id"], "sample": 1}
        varied = await done("vary", source=shape, keep=2, text="a mug", seed=1)
        assert varied["outputs"][0]["changed_tokens"] == 0  # its own seed and prompt
        again = {"job": varied["id"]}
        mixed = await done("mix", coarse=shape, fine=again, keep=1, method="tokens")
        assert mixed["outputs"][0]["changed_tokens"] == 0
        completed = await done("complete", part="cube.obj", width=2, survivors=2, num=2)
        assert len(completed["outputs"]) == 2
        assert (await done("reconstruct", mesh="cube.obj"))["kind"] == "reconstruction"

    talk(conversation)


def test_a_job_is_awaited_a_while_and_cancelled(talk, server: Running) -> None:
    async def conversation(client: mcp.Client) -> None:
        job = (await client.call_tool("generate", {**SLOW, "wait": 0})).structured_content
        assert job["status"] in ("queued", "running")
        looked = await client.call_tool("status", {"job": job["id"], "wait": 0.3})
        assert looked.structured_content["status"] == "running"
        early = await client.call_tool("result", {"job": job["id"]})
        assert early.is_error and early.structured_content["error"]["status"] == 409
        await client.call_tool("cancel", {"job": job["id"]})
        ended = await client.call_tool("status", {"job": job["id"], "wait": 20})
        assert ended.structured_content["status"] == "cancelled"

    talk(conversation)


def test_an_agent_that_gives_up_its_call_cancels_its_job(talk, server: Running) -> None:
    async def conversation(client: mcp.Client) -> None:
        before = {job.id for job in server.jobs.store.listed()}
        with anyio.move_on_after(1.0) as scope:
            await client.call_tool("generate", {**SLOW, "wait": 60})
        assert scope.cancelled_caught
        (job,) = {job.id for job in server.jobs.store.listed()} - before
        end = anyio.current_time() + 20
        while (status := server.state(job)["status"]) != "cancelled":
            assert anyio.current_time() < end, status
            await anyio.sleep(0.1)

    talk(conversation)


@pytest.mark.parametrize(
    ("tool", "given", "expected"),
    [
        ("generate", {"text": "a mug", "gidance": 3}, {"kind": "refused", "field": "gidance"}),
        ("generate", {"text": "a mug", "wait": -1}, {"kind": "argument", "field": "wait"}),
        ("generate", {"image": "none.png"}, {"kind": "argument", "field": "image"}),
        ("generate", {"image": "../x.png"}, {"kind": "argument", "field": "image"}),
        ("generate", {"image": "data:image/png,x"}, {"kind": "argument", "field": "image"}),
        ("vary", {"source": "none.obj"}, {"kind": "argument", "field": "source"}),
        ("mix", {"coarse": 5}, {"kind": "argument", "field": "coarse"}),
        (
            "vary",
            {"source": {"job": "0" * 32}, "keep": 1},
            {"kind": "refused", "field": "source.job"},
        ),
        ("complete", {"part": "../x.png"}, {"kind": "argument", "field": "part"}),
        ("reconstruct", {}, {"kind": "refused", "field": "mesh"}),
        ("status", {}, {"kind": "argument", "field": "job"}),
        ("status", {"job": "0" * 32, "jbo": 1}, {"kind": "argument", "field": "jbo"}),
        ("cancel", {"job": "0" * 32}, {"kind": "refused", "status": 404}),
        ("result", {"job": "0" * 32, "format": "exe"}, {"kind": "argument", "field": "format"}),
        ("result", {"job": "0" * 32, "path": "old.glb"}, {"kind": "argument", "field": "path"}),
        ("result", {"job": "0" * 32, "path": "/x.glb"}, {"kind": "argument", "field": "path"}),
        ("cutout", {}, {"kind": "argument", "field": "image"}),
    ],
)
def test_errors_are_told_by_kind_and_field(talk, tmp_path: Path, tool, given, expected) -> None:
    (tmp_path / "old.glb").touch()
    (tmp_path.parent / "x.png").touch()
    answer = talk(lambda client: client.call_tool(tool, given))

    assert answer.is_error
    error = answer.structured_content["error"]
    assert error["kind"] == expected["kind"] and error["detail"]
    assert error.get("status") == expected.get("status", error.get("status"))
    fields = [one["field"] for one in error["errors"]]
    assert fields == ([expected["field"]] if "field" in expected else [])


def test_no_file_is_touched_without_a_folder_for_it(talk) -> None:
    answer = talk(lambda client: client.call_tool("cutout", {"image": "mug.png"}), files=None)

    assert "--files" in answer.structured_content["error"]["detail"]


def test_a_server_that_is_gone_is_said_to_be_gone(talk) -> None:
    answer = talk(lambda client: client.call_tool("generate", MUG), address="http://127.0.0.1:9")

    assert answer.structured_content["error"]["kind"] == "unreachable"


@pytest.mark.parametrize(
    "address", ["g3pt://jobs/../0/result.glb", f"g3pt://jobs/{'0' * 32}/0/result.glb"]
)
def test_a_resource_that_is_not_there_is_an_error_of_the_protocol(talk, address: str) -> None:
    async def conversation(client: mcp.Client) -> None:
        with pytest.raises(MCPError, match=re.escape(address)) as caught:
            await client.read_resource(address)
        assert caught.value.code == -32602

    talk(conversation)


def test_what_tools_describe_is_what_the_server_takes(talk) -> None:
    from g3pt.app.agents import WORKS
    from g3pt.app.requests import KINDS

    tools = {tool.name: tool for tool in talk(lambda client: client.list_tools()).tools}

    assert set(tools) == {*WORKS, "status", "cancel", "result", "cutout"}
    for name, work in WORKS.items():
        told = tools[name].input_schema["properties"]
        model = KINDS[work.kind]
        assert set(told) - {"wait"} <= set(model.model_fields)
        needed = {field for field, one in model.model_fields.items() if one.is_required()}
        assert set(tools[name].input_schema["required"]) == needed
        assert all("description" in field or "anyOf" in field for field in told.values())


def test_a_program_talks_over_http_on_loopback(server: Running) -> None:
    command = [sys.executable, "-m", "g3pt.cli.main", "mcp", "--http", "0", "--server"]
    address = f"http://127.0.0.1:{server.port}"
    with subprocess.Popen([*command, address], stderr=subprocess.PIPE, text=True) as program:
        try:
            assert program.stderr is not None
            found = re.search(r"http://127\.0\.0\.1:(\d+)/mcp", program.stderr.readline())
            assert found is not None
            made = anyio.run(call_over_http, found.group(0))
            with closing(http.client.HTTPConnection("127.0.0.1", int(found[1]))) as connection:
                told = {"Host": "evil.example", "Content-Type": "application/json"}
                connection.request("POST", "/mcp", b"{}", told)
                assert connection.getresponse().status == 421
        finally:
            program.kill()
    assert made.structured_content["status"] == "done", made


async def call_over_http(address: str) -> Any:
    async with mcp.Client(address) as client:
        return await client.call_tool("generate", {**MUG, "wait": 60})


def test_a_program_talks_over_stdin_to_a_server_of_its_own(tiny_weights: Path) -> None:
    command = ["-m", "g3pt.cli.main", "mcp", "--weights", str(tiny_weights), "--device", "cpu"]
    # What a client passes on by default says nothing of where modules are.
    paths = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    program = StdioServerParameters(command=sys.executable, args=command, env=paths)

    async def conversation() -> Any:
        async with mcp.Client(program) as client:
            assert client.server_info is not None and client.server_info.name == "g3pt"
            return await client.call_tool("generate", {**MUG, "wait": 60})

    made = anyio.run(conversation)
    assert made.structured_content["status"] == "done", made


def test_what_cannot_serve_agents_is_wrong_input(tmp_path, capsys) -> None:
    from g3pt.cli.main import main

    assert main(["mcp", "--files", str(tmp_path / "none")]) == 2
    assert "--files" in capsys.readouterr().err


def test_weights_that_are_not_there_are_wrong_input(tmp_path, capsys) -> None:
    from g3pt.cli.main import main

    assert main(["mcp", "--weights", "g3pt-smal"]) == 2
    assert "g3pt-smal: there is no such weights folder" in capsys.readouterr().err
    assert main(["mcp", "--weights", str(tmp_path), "--http", "0"]) == 2
    assert "holds neither weights" in capsys.readouterr().err
