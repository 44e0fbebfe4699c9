import json
import threading
from pathlib import Path

import pytest

from g3pt.app.client import Client, ServerError, UnreachableError
from served import SLOW, TINY, Running


@pytest.fixture
def client(server: Running) -> Client:
    return Client(f"http://127.0.0.1:{server.port}")


def test_submit_follow_fetch(client: Client, tmp_path: Path, picture: bytes) -> None:
    job = client.submit(image=picture, resolution=16, num=2, format="stl")
    names = [event.name for event in client.events(job)]
    assert names[-1] == "done" and "scale" in names
    done = client.wait(job)
    assert [output["seed"] for output in done["outputs"]] == [0, 1]
    client.save(job, tmp_path / "a.glb", sample=1, size_mm=10)
    assert (tmp_path / "a.glb").read_bytes()[:4] == b"glTF"
    assert client.result(job, "stl") == client.result(job, "stl", sample=0)
    again = client.submit("variation", source={"job": job}, keep=1, resolution=16)
    assert client.wait(again)["status"] == "done"
    assert {one["id"] for one in client.jobs()} >= {job, again}


def test_files_are_sent_along(client: Client, tmp_path: Path, server: Running) -> None:
    job = client.submit(**TINY)
    client.wait(job)
    client.save(job, tmp_path / "mug.obj")
    client.save(job, tmp_path / "mug.g3t")
    tokens = client.submit("tokenization", mesh=tmp_path / "mug.obj")
    assert client.wait(tokens)["outputs"][0]["tokens"] == 21
    back = client.submit("detokenization", tokens=tmp_path / "mug.g3t", resolution=16)
    client.wait(back)
    scored = client.wait(client.submit("score", source=tmp_path / "mug.g3t", text="a mug"))
    assert scored["score"]["nats"] == pytest.approx(client.job(job)["outputs"][0]["nll"], rel=1e-4)


def test_the_cut_out_of_a_picture(client: Client, picture: bytes) -> None:
    found = client.cutout(picture, whole_picture=True)

    assert found["method"] == "whole" and found["png"][:4] == b"\x89PNG"


def test_refusals_name_their_field(client: Client) -> None:
    with pytest.raises(ServerError, match="gidance: there is no such field") as caught:
        client.submit(text="a mug", gidance=3)
    assert (caught.value.status, caught.value.errors[0]["field"]) == (422, "gidance")
    with pytest.raises(ServerError, match="no such job"):
        client.job("0" * 32)


def test_a_cancelled_job_is_said_to_be_cancelled(client: Client) -> None:
    job = client.submit(**SLOW)
    threading.Timer(0.3, client.cancel, [job]).start()

    with pytest.raises(ServerError, match="is cancelled"):
        client.wait(job)


def test_no_server_is_said_to_be_none() -> None:
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
        Client("127.0.0.1:9").jobs()
    with pytest.raises(ValueError, match="expected the address of a server"):
        Client("ftp://x")


# --- g3pt generate --server ------------------------------------------------------------------


@pytest.fixture
def g3pt(capsys: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> tuple[int, str, str]:
        from g3pt.cli.main import main

        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_the_same_seed_makes_the_same_bytes_as_the_command(
    g3pt, tiny_weights, server: Running, tmp_path, picture: bytes
) -> None:
    (tmp_path / "mug.png").write_bytes(picture)
    there = ("--server", f"http://127.0.0.1:{server.port}")
    here = ("--weights", tiny_weights, "--device", "cpu")
    flags = ("--resolution", 16, "--num", 2, "--seed", 5, "--every-scale", "--tokens", "--json")
    cases = {
        "picture": ("--image", tmp_path / "mug.png", "--size-mm", 30),
        "text": ("--text", "a red mug", "--text", "a table", "--guidance", 2),
    }
    for name, prompt in cases.items():
        said = []
        for place, way in (("here", here), ("there", there)):
            folder = tmp_path / name / place
            code, out, err = g3pt("generate", *prompt, *flags, *way, "-o", folder)
            assert code == 0, err
            said.append(json.loads(out))
        ours, theirs = ((tmp_path / name / place) for place in ("here", "there"))
        files = sorted(path.name for path in ours.iterdir())
        assert files == sorted(path.name for path in theirs.iterdir())
        assert len(files) == (8 if name == "picture" else 16)
        for file in files:
            assert (ours / file).read_bytes() == (theirs / file).read_bytes(), file
        assert [set(one) for one in said[0]["outputs"]] == [set(one) for one in said[1]["outputs"]]
        assert said[0].get("inputs") == said[1].get("inputs")
        assert said[0]["weights"] == said[1]["weights"]


def test_a_texture_has_the_same_bytes_as_that_of_the_command(
    g3pt, tiny_weights, server: Running, tmp_path
) -> None:
    pytest.importorskip("xatlas", reason="needs the extra `export`")
    flags = ("--text", "a red mug", "--resolution", 16, "--faces", 400, "--texture", 64)
    here = ("--weights", tiny_weights, "--device", "cpu", "-o", tmp_path / "here.glb")
    there = ("--server", f"http://127.0.0.1:{server.port}", "-o", tmp_path / "there.glb")
    for way in (here, there):
        assert g3pt("generate", *flags, *way)[0] == 0

    data = (tmp_path / "here.glb").read_bytes()
    assert data == (tmp_path / "there.glb").read_bytes() and b"TEXCOORD_0" in data


def test_bundled_weights_make_the_same_bytes_as_the_command(
    g3pt, bundled: Running, tmp_path
) -> None:
    chair = Path(__file__).parents[2] / "examples" / "images" / "chair.png"
    flags = ("generate", "--image", chair, "--resolution", 32)
    there = ("--server", f"http://127.0.0.1:{bundled.port}", "-o", tmp_path / "there.glb")
    for way in (("--device", "cpu", "-o", tmp_path / "here.glb"), there):
        assert g3pt(*flags, *way)[0] == 0

    assert (tmp_path / "here.glb").read_bytes() == (tmp_path / "there.glb").read_bytes()


@pytest.fixture
def bundled(tmp_path):
    from dataclasses import replace

    from g3pt.app.settings import ModelSource
    from served import running, tiny_settings

    source = ModelSource(name="g3pt-small", weights="g3pt-small", device="cpu")
    with running(replace(tiny_settings(tmp_path, tmp_path / "served"), models=(source,))) as found:
        yield found


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--device", "cpu"), 2, "--device is chosen where the server starts"),
        (("--lod",), 2, "--lod is not made by servers"),
        (("--texture", "32"), 2, "--texture"),
        (("--weights", "others"), 2, "there are untrained"),
        (("--resolution", "512"), 2, "--resolution: "),
        (("--up", "z"), 2, "--up cannot be z in .glb"),
    ],
)
def test_flags_that_a_server_cannot_follow_are_wrong_input(
    g3pt, server: Running, tmp_path, flags, code, message
) -> None:
    there = ("--server", f"http://127.0.0.1:{server.port}", "-o", tmp_path / "mug.glb")
    found, _, err = g3pt("generate", "--text", "a mug", *flags, *there)

    assert (found, message in err) == (code, True), err
    assert not list(tmp_path.iterdir())


def test_without_a_server_the_command_fails(g3pt, tmp_path) -> None:
    there = ("--server", "http://127.0.0.1:9", "-o", tmp_path / "mug.glb")
    code, _, err = g3pt("generate", "--text", "a mug", *there)

    assert (code, "no answer" in err) == (1, True)


def test_a_format_that_servers_do_not_write_is_told(g3pt, server: Running, tmp_path) -> None:
    there = ("--server", f"http://127.0.0.1:{server.port}", "-o", tmp_path / "mug.off")
    code, _, err = g3pt("generate", "--text", "a mug", *there)

    assert (code, "servers write .glb" in err) == (2, True)
