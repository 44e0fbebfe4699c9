import base64

import pytest

from served import CUBE, TINY


def text_of(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def test_a_job_goes_from_the_queue_to_a_result(server) -> None:
    answer = server.ask("POST", "/v1/3d/generations", TINY | {"previews": True})

    assert answer.status == 202
    assert answer.json["status"] == "queued"
    assert answer.headers["location"] == f"/v1/jobs/{answer.json['id']}"
    done = server.wait(answer.json["id"])
    assert (done["status"], done["scale"], done["scales"]) == ("done", 3, 3)
    (output,) = done["outputs"]
    assert (output["path"], output["seed"]) == ("result-0.glb", 0)
    result = server.ask("GET", done["links"]["result"])
    assert result.headers["content-type"] == "model/gltf-binary"
    assert result.data[:4] == b"glTF"


def test_events_come_in_order_and_from_any_number_on(server) -> None:
    job = server.submit(TINY | {"previews": True})
    told = server.numbered(job)

    names = [name for name, _, _ in told if name not in ("queue", "mesh")]
    assert names == ["running", "condition", "scale", "scale", "scale", "done"]
    numbers = [int(number) for _, _, number in told if number]
    assert numbers == sorted(set(numbers))
    assert [data["scale"] for name, data, _ in told if name == "scale"] == [1, 2, 3]
    percents = [data["percent"] for name, data, _ in told if name == "mesh"]
    assert percents == sorted(percents) and all(0 <= one < 100 for one in percents)
    again = server.numbered(job, after=numbers[2])
    assert [number for _, _, number in again] == [str(number) for number in numbers[3:]]


def test_every_scale_has_a_small_mesh_as_soon_as_it_is_told(server) -> None:
    job = server.submit(TINY | {"previews": True})

    for name, data in server.events(job):
        if name == "scale":
            preview = server.ask("GET", data["preview"])
            assert preview.status == 200 and preview.data[:4] == b"glTF"
    assert server.ask("GET", f"/v1/jobs/{job}/scales/9.glb").status == 404


@pytest.mark.parametrize("form", ["glb", "obj", "stl", "ply", "3mf", "g3t", "png"])
def test_a_result_comes_in_every_format(server, form: str, tmp_path) -> None:
    from g3pt.geometry.mesh import read_mesh
    from g3pt.models.g3t import read_g3t

    job = server.seen.setdefault("formats", server.seen.get("formats") or server.submit())
    server.wait(job)
    answer = server.ask("GET", f"/v1/jobs/{job}/result.{form}")

    assert answer.status == 200, answer.data
    path = tmp_path / f"x.{form}"
    path.write_bytes(answer.data)
    if form == "png":
        assert answer.data[:4] == b"\x89PNG"
    elif form == "g3t":
        assert read_g3t(path).tokens.num_scales == 3
    else:
        assert len(read_mesh(path).faces) > 0


def test_a_download_has_the_size_and_direction_that_are_asked_for(server, tmp_path) -> None:
    from g3pt.geometry.mesh import read_mesh

    job = server.submit()
    server.wait(job)
    path = tmp_path / "x.stl"
    query = "size_mm=50&up_axis=y&origin=base"
    path.write_bytes(server.ask("GET", f"/v1/jobs/{job}/result.stl?{query}").data)

    low, high = read_mesh(path).bounds()
    assert (high - low).max() == pytest.approx(50, rel=1e-5)
    assert low[1] == pytest.approx(0, abs=1e-5)
    wrong = server.ask("GET", f"/v1/jobs/{job}/result.glb?up=z")
    assert (wrong.status, wrong.json["errors"][0]["field"]) == (422, "up")
    unknown = server.ask("GET", f"/v1/jobs/{job}/result.glb?colour=red")
    assert (unknown.status, unknown.json["errors"][0]["field"]) == (422, "colour")


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("reconstructions", {"mesh": "cube", "resolution": 16}),
        ("tokenizations", {"mesh": "cube"}),
        ("variations", {"source": "cube", "keep": 1, "resolution": 16, "num": 2}),
        ("mixes", {"coarse": "cube", "fine": "cube", "keep": 1, "resolution": 16, "text": "a mug"}),
        ("completions", {"part": "cube", "width": 2, "survivors": 2, "resolution": 16}),
        ("scores", {"source": "cube", "text": "a mug"}),
    ],
)
def test_every_kind_of_job_is_done(server, kind: str, told: dict) -> None:
    cube = {"data": text_of(CUBE), "format": "obj"}
    told = {name: cube if value == "cube" else value for name, value in told.items()}
    answer = server.ask("POST", f"/v1/3d/{kind}", told)
    assert answer.status == 202, answer.data
    done = server.wait(answer.json["id"])

    assert done["status"] == "done", done["error"]
    names = [name for name, _ in server.events(done["id"]) if name != "queue"]
    assert names[:3] == ["running", "condition", "scale"] and names[-1] == "done"
    assert (done["scale"], done["scales"]) == (3, 3)
    # The surface of untrained weights is queried once at least.
    assert ("mesh" in names) == (kind not in ("tokenizations", "scores"))
    if kind == "scores":
        assert done["score"]["nats"] > 0
        return
    assert len(done["outputs"]) == told.get("num", 1)
    data = server.ask("GET", done["links"]["result"]).data
    assert data[:4] == (b"glTF" if kind != "tokenizations" else data[:4])
    tokens = server.ask("GET", f"/v1/jobs/{done['id']}/result.g3t")
    again = {"data": text_of(tokens.data), "format": "g3t"}
    back = server.ask("POST", "/v1/3d/detokenizations", {"tokens": again, "resolution": 16})
    assert server.wait(back.json["id"])["status"] == "done"
    assert {"scale", "mesh"} < {name for name, _ in server.events(back.json["id"])}


def test_a_shape_of_one_job_is_the_source_of_another(server) -> None:
    first = server.submit(TINY | {"num": 2})
    server.wait(first)
    told = {"source": {"job": first, "sample": 1}, "keep": 2, "resolution": 16, "seed": 1}
    answer = server.ask("POST", "/v1/3d/variations", told | {"text": "a mug"})
    done = server.wait(answer.json["id"])

    assert done["outputs"][0]["changed_tokens"] == 0  # its own seed and prompt
    wrong = server.ask("POST", "/v1/3d/variations", told | {"source": {"job": first, "sample": 2}})
    assert (wrong.status, wrong.json["errors"][0]["field"]) == (422, "source.sample")
    none = server.ask("POST", "/v1/3d/variations", told | {"source": {"job": "0" * 32}})
    assert (none.status, none.json["errors"][0]["field"]) == (422, "source.job")


def test_the_cut_out_is_shown_before_anything_runs(server, picture: bytes) -> None:
    answer = server.ask("POST", "/v1/cutouts", {"image": text_of(picture)})

    assert answer.status == 200, answer.data
    found = answer.json
    assert (found["method"], found["size"]) == ("border", [80, 80])
    assert found["box"] == [20, 30, 60, 70]
    assert base64.b64decode(found["image"].partition(",")[2])[:4] == b"\x89PNG"
    empty = server.ask("POST", "/v1/cutouts", {"image": text_of(picture), "mask": "!"})
    assert (empty.status, empty.json["errors"][0]["field"]) == (422, "mask")
