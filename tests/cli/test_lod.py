import json
import struct
from pathlib import Path

import pytest

from g3pt.geometry.mesh import is_closed, read_mesh

FAST = ("--resolution", 16)


def gltf_json(path: Path) -> dict:
    data = path.read_bytes()
    (size,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + size])


def test_generate_writes_levels_into_one_file(g3pt, tmp_path: Path) -> None:
    out = tmp_path / "mug.glb"
    arguments = ("--text", "a mug", "--lod", "--lod-faces", 300, 100, 40, "-o", out, "--json")
    code, stdout, _ = g3pt("generate", *arguments, *FAST)
    (entry,) = json.loads(stdout)["outputs"]
    assert code == 0
    document = gltf_json(out)
    assert document["nodes"][0]["extensions"]["MSFT_lod"]["ids"] == [1, 2]
    assert document["nodes"][0]["extras"]["MSFT_screencoverage"] == [
        level["coverage"] for level in entry["lods"]
    ]
    for node, level, budget in zip(document["nodes"], entry["lods"], (300, 100, 40), strict=True):
        assert level["path"] == str(out)
        assert node["extras"]["faces"] == level["faces"] <= budget
        assert node["extras"]["error_max"] == level["error_max"] >= level["error_mean"]
    assert entry["faces"] == entry["lods"][0]["faces"] == len(read_mesh(out).faces)
    assert list(tmp_path.iterdir()) == [out]


def test_levels_can_go_into_files_of_their_own(g3pt, tmp_path: Path) -> None:
    out = tmp_path / "mug.obj"
    wanted = ("--lod", "--lod-faces", 200, 60, "--lod-files", "-o", out, "--json")
    code, stdout, _ = g3pt("generate", "--text", "a mug", *wanted, *FAST)
    (entry,) = json.loads(stdout)["outputs"]
    assert code == 0
    names = ["mug-lod0.obj", "mug-lod1.obj"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for level in entry["lods"]:
        assert len(read_mesh(level["path"]).faces) == level["faces"]
    assert entry["path"] == entry["lods"][0]["path"]


def test_levels_far_off_are_written_with_a_word_about_rounding(tmp_path: Path, caplog) -> None:
    from g3pt.cli.lod import LodFlags, make_chain, write_chain
    from g3pt.geometry.isosurface import extract_surface
    from g3pt.geometry.mesh import UnitFrame, to_source

    ball = extract_surface(
        lambda points: (0.9 - (points**2).sum(axis=1) ** 0.5).astype("float32"), resolution=16
    ).mesh
    flags = LodFlags(lod=True)
    levels = make_chain(flags, ball, (), seed=0)
    frame = UnitFrame(0.02, (0.0, 0.0, 4.2e6))
    write_chain(flags, levels, tmp_path / "far.glb", lambda mesh: to_source(mesh, frame))
    assert caplog.text.count("far.glb: lies so far from the origin") == 1


def test_levels_of_the_scales_are_their_meshes(g3pt, tmp_path: Path) -> None:
    lods, scales = tmp_path / "lods" / "mug.obj", tmp_path / "scales" / "mug.obj"
    prompt = ("generate", "--text", "a mug", "--json", *FAST)
    budgets = ("--lod-faces", 10**6, 10**6)
    wanted = ("--lod", "--lod-from", "scales", *budgets, "--lod-files")
    _, stdout, _ = g3pt(*prompt, *wanted, "-o", lods)
    assert len(json.loads(stdout)["outputs"][0]["lods"]) == 2
    assert json.loads(stdout)["outputs"][0]["scales"] == []
    g3pt(*prompt, "--every-scale", "-o", scales)
    finest, second = scales, scales.with_name("mug-scale2.obj")
    assert (lods.parent / "mug-lod0.obj").read_bytes() == finest.read_bytes()
    assert (lods.parent / "mug-lod1.obj").read_bytes() == second.read_bytes()


@pytest.mark.parametrize("command", ["reconstruct", "detokenize"])
@pytest.mark.parametrize("origin", ["finest", "scales"])
def test_meshes_and_token_files_get_levels_at_their_own_place(
    command: str, origin: str, g3pt, cube: Path, tmp_path: Path
) -> None:
    source = cube
    if command == "detokenize":
        source = tmp_path / "cube.g3t"
        g3pt("tokenize", cube, "-o", source)
    plain, out = tmp_path / "plain.glb", tmp_path / "out.glb"
    g3pt(command, source, "-o", plain, *FAST)
    wanted = ("--lod", "--lod-from", origin, "-o", out, "--json")
    code, stdout, _ = g3pt(command, source, *wanted, *FAST)
    (entry,) = json.loads(stdout)["outputs"]
    assert code == 0
    assert entry["path"] == str(out)
    assert len(entry["lods"]) == (5 if origin == "finest" else 3)
    mesh = read_mesh(out)
    assert is_closed(mesh)
    assert mesh.bounds() == pytest.approx(read_mesh(plain).bounds(), abs=1e-6)


@pytest.mark.parametrize(
    ("extra", "name", "sentence"),
    [
        (("--lod-files",), "x.glb", "give --lod as well"),
        (("--lod-faces", 100), "x.glb", "give --lod as well"),
        (("--lod",), "x.obj", ".obj holds a single level"),
        (("--lod", "--lod-faces", 100, 200), "x.glb", "largest first"),
        (("--lod", "--lod-faces", 2), "x.glb", "counts from 4 up"),
        (
            ("--lod", "--lod-from", "scales", "--lod-faces", 40, 30, 20, 10),
            "x.glb",
            "3 levels can be made from scales, got 4",
        ),
    ],
)
def test_flags_that_do_not_fit_exit_2_with_one_sentence(
    extra: tuple, name: str, sentence: str, g3pt, tmp_path: Path
) -> None:
    out = tmp_path / name
    code, stdout, stderr = g3pt("generate", "--text", "a mug", *extra, "-o", out, "--json")
    assert (code, stdout) == (2, "")
    assert stderr.count("\n") == 1
    assert sentence in stderr
    assert not out.exists()
