import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from g3pt.arguments import PromptError
from g3pt.cli.finish import FinishFlags
from g3pt.cli.shapes import describe
from g3pt.generation.writing import write_finished
from g3pt.geometry.finishing import finish_of
from g3pt.geometry.mesh import TriangleMesh, read_mesh
from node_tools import assert_valid_gltf

FAST = ("--resolution", 16)
MUG = ("generate", "--text", "a mug", "--json", *FAST)


@pytest.fixture
def mug(g3pt, tmp_path: Path) -> Path:
    """Token file of a generated mug, without a place of its own."""
    assert g3pt(*MUG, "--tokens", "-o", tmp_path / "source" / "mug.glb")[0] == 0
    return tmp_path / "source" / "mug.g3t"


def entry_of(done) -> dict:
    code, stdout, stderr = done
    assert code == 0, stderr
    (entry,) = json.loads(stdout)["outputs"]
    return entry


def said(entry: dict) -> tuple:
    return entry["unit"], entry["up"], entry["size_mm"] and max(entry["size_mm"])


@pytest.mark.parametrize("suffix", ["stl", "3mf"])
def test_files_for_printers_are_millimetres_unless_told(g3pt, tmp_path: Path, suffix) -> None:
    out = tmp_path / f"mug.{suffix}"
    entry = entry_of(g3pt(*MUG, "-o", out))

    assert said(entry) == ("millimetre", "z", 100)
    lowest, highest = read_mesh(out).bounds()
    np.testing.assert_allclose(highest - lowest, entry["size_mm"], atol=1e-3)
    assert lowest[2] == 0


def test_a_glb_of_120_millimetres_is_twelve_hundredths_of_a_metre(g3pt, tmp_path: Path) -> None:
    out = tmp_path / "mug.glb"
    entry = entry_of(g3pt(*MUG, "--size-mm", 120, "--origin", "base", "-o", out))

    assert said(entry) == ("metre", "y", 120)
    lowest, highest = trimesh.load_scene(out).bounds
    assert (highest - lowest).max() == pytest.approx(0.12, rel=1e-6)
    assert lowest[1] == 0


def test_without_flags_a_glb_is_the_unit_frame(g3pt, tmp_path: Path) -> None:
    from g3pt.geometry.mesh import write_mesh

    out = tmp_path / "mug.glb"
    assert said(entry_of(g3pt(*MUG, "-o", out))) == ("unit-frame", "y", None)
    write_mesh(tmp_path / "again.glb", read_mesh(out))
    np.testing.assert_array_equal(
        read_mesh(tmp_path / "again.glb").vertices, read_mesh(out).vertices
    )


def test_the_line_names_the_size(g3pt, tmp_path: Path) -> None:
    arguments = [word for word in MUG if word != "--json"]
    code, stdout, _ = g3pt(*arguments, "--size-mm", 50, "-o", tmp_path / "mug.obj")

    assert code == 0
    assert stdout.rstrip().endswith(" mm") and " 50 " in stdout.replace("x", " ") + " "


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("mug.glb", ("--up", "z"), "--up cannot be z in .glb"),
        ("folder", ("--up", "z"), "--up cannot be z in .glb"),
        ("mug.3mf", ("--up", "y"), "--up cannot be y in .3mf"),
        ("mug.stl", ("--axis", "height"), "--axis names the side"),
        ("mug.stl", ("--size-mm", "-3"), "--size-mm must be above 0"),
    ],
)
def test_flags_that_do_not_fit_are_wrong_input(g3pt, tmp_path: Path, name, flags, message) -> None:
    code, _, stderr = g3pt(*MUG, *flags, "-o", tmp_path / name)

    assert code == 2
    assert message in stderr
    assert not list(tmp_path.iterdir())


def test_scales_and_levels_lie_where_the_mesh_lies(g3pt, tmp_path: Path) -> None:
    flags = ("--size-mm", 80, "--every-scale", "--lod", "--lod-faces", 4000, 500, "--lod-files")
    entry = entry_of(g3pt(*MUG, *flags, "-o", tmp_path / "mug.stl"))

    assert said(entry) == ("millimetre", "z", 80)
    plain = entry_of(g3pt(*MUG, "--every-scale", "-o", tmp_path / "plain.obj"))
    finest, coarse = (read_mesh(plain["scales"][k]["path"]) for k in (2, 1))
    scale = 80 / (finest.bounds()[1] - finest.bounds()[0]).max()
    moved = read_mesh(entry["scales"][1]["path"])
    ratio = (moved.bounds()[1] - moved.bounds()[0]) / (coarse.bounds()[1] - coarse.bounds()[0])[
        [0, 2, 1]
    ]
    np.testing.assert_allclose(ratio, scale, rtol=1e-5)
    levels = [read_mesh(level["path"]).bounds() for level in entry["lods"]]
    np.testing.assert_allclose(levels[0], levels[1], atol=5)


def test_a_variation_of_a_mesh_keeps_its_place_until_told(g3pt, cube: Path, tmp_path: Path) -> None:
    kept, told = tmp_path / "kept.stl", tmp_path / "told.stl"
    vary = ("vary", cube, "--keep", 2, "--json", *FAST)

    assert said(entry_of(g3pt(*vary, "-o", kept))) == ("source", "y", None)
    assert np.abs(read_mesh(kept).bounds()).max() < 10
    assert said(entry_of(g3pt(*vary, "--size-mm", 30, "-o", told))) == ("millimetre", "z", 30)
    assert read_mesh(told).bounds()[0, 2] == 0


def test_a_generated_shape_has_no_place_of_its_own(g3pt, mug: Path, tmp_path: Path) -> None:
    vary = ("vary", mug, "--keep", 2, "--json", *FAST)
    mix = ("mix", mug, mug, "--keep", 2, "--method", "tokens", "--json", *FAST)
    for command in (vary, mix):
        out = ("-o", tmp_path / "a.stl")
        assert said(entry_of(g3pt(*command, *out))) == ("millimetre", "z", 100)
        unit = entry_of(g3pt(*command, "--unit-frame", *out))
        assert said(unit) == ("unit-frame", "y", None)


@pytest.mark.parametrize("wish", [("--size-mm", 20), ("--printable",)])
@pytest.mark.parametrize("command", ["vary", "complete"])
def test_the_unit_frame_and_a_size_exclude_each_other(
    g3pt, cube: Path, tmp_path, command, wish
) -> None:
    keep = ("--keep", 2) if command == "vary" else ()
    flags = ("--unit-frame", *wish, "-o", tmp_path / "a.stl")
    code, _, stderr = g3pt(command, cube, *keep, *flags, *FAST)

    assert code == 2
    assert "--unit-frame keeps size" in stderr


def test_completions_can_be_placed(g3pt, cube: Path, tmp_path: Path) -> None:
    search = ("--width", 2, "--survivors", 2, "--size-mm", 25, "--json", *FAST)
    entry = entry_of(g3pt("complete", cube, *search, "-o", tmp_path / "a.3mf"))

    assert said(entry) == ("millimetre", "z", 25)


def test_tokens_become_meshes_as_their_format_expects(g3pt, mug: Path, tmp_path: Path) -> None:
    flags = ("--lod", "--lod-faces", 400, 100, "--lod-files", "-o", tmp_path / "a.stl")
    entry = entry_of(g3pt("detokenize", mug, "--json", *flags, *FAST))

    assert said(entry) == ("millimetre", "z", 100)
    assert read_mesh(entry["lods"][1]["path"]).bounds()[0, 2] == pytest.approx(0, abs=5)


def test_a_reconstruction_keeps_its_place_until_told(g3pt, cube: Path, tmp_path: Path) -> None:
    kept = g3pt("reconstruct", cube, "--json", "-o", tmp_path / "kept.stl", *FAST)
    flags = ("--size-mm", 30, "-o", tmp_path / "told.3mf")
    told = g3pt("reconstruct", cube, "--json", *flags, *FAST)

    assert said(entry_of(kept)) == ("source", "y", None)
    assert said(entry_of(told)) == ("millimetre", "z", 30)


# A printable solid


def block(size: tuple[float, float, float], shift: float = 0.0) -> trimesh.Trimesh:
    body = trimesh.creation.box(extents=size)
    body.apply_translation((shift, 0, 0))
    return body


def plate_and_crumb() -> TriangleMesh:
    """A plate of .6 % of its longest side, and a crumb beside it."""
    parts = trimesh.util.concatenate([block((1.8, 1.0, 0.006)), block((0.02, 0.02, 0.02), 0.94)])
    return TriangleMesh.from_arrays(parts.vertices, parts.faces)


def finished(path: Path, **flags) -> dict:
    mesh, wishes = plate_and_crumb(), FinishFlags(printable=True, **flags)
    wishes.check_files([path])
    return write_finished(mesh, path, finish_of([mesh], path, wishes)) | {"seed": 0}


def test_a_printable_solid_is_described(tmp_path: Path) -> None:
    entry = finished(tmp_path / "plate.3mf", size_mm=90, min_wall_mm=0.5)

    assert (entry["closed"], entry["components"], entry["faces"]) == (True, 1, 12)
    solid = entry["printable"]
    assert (solid["dropped"], solid["joined"], solid["remeshed"]) == (1, 0, False)
    assert entry["size_mm"] == pytest.approx([90, 0.3, 50])
    assert solid["volume_cm3"] == pytest.approx(9 * 5 * 0.03)
    assert solid["walls"]["thin_share"] > 0.9
    assert solid["walls"]["thinnest"] == pytest.approx(0.3, rel=1e-2)
    (place,) = solid["walls"]["places"]
    assert place["center"] == pytest.approx([0, 0, 25], abs=1)
    assert f"walls below 0.5 mm: {solid['walls']['thin_share']:.1%} of the" in describe(entry)
    assert "(--thicken makes them thicker)" in describe(entry)
    json.dumps(entry, allow_nan=False)


def test_thickening_is_said_and_done(tmp_path: Path) -> None:
    entry = finished(tmp_path / "plate.stl", size_mm=30, thicken=True)

    text = describe(entry)
    assert "one closed solid" in text and "1 joined" in text
    assert "thickened: walls below 0.8 mm were" in text
    body = trimesh.load(tmp_path / "plate.stl")
    assert body.is_volume and body.body_count == 1
    assert body.extents.max() == pytest.approx(30, rel=1e-6)
    assert body.extents.min() > 0.75


def test_walls_that_do_not_fit_the_size_name_their_flag(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="--min-wall-mm must be above 0 and below the size of 30"):
        finished(tmp_path / "plate.stl", size_mm=30, min_wall_mm=40)


def test_a_printable_glb_is_in_metres(tmp_path: Path) -> None:
    finished(tmp_path / "plate.glb", size_mm=90)

    assert trimesh.load_scene(tmp_path / "plate.glb").extents.max() == pytest.approx(0.09)


def test_generate_makes_one_solid(g3pt, tmp_path: Path) -> None:
    flags = ("--min-share", 0, "--printable", "--every-scale", "-o", tmp_path / "mug.stl")
    entry = entry_of(g3pt(*MUG, *flags))

    body = trimesh.load(tmp_path / "mug.stl")
    assert body.is_volume and body.body_count == 1
    assert entry["printable"]["volume_cm3"] == pytest.approx(body.volume / 1000, rel=1e-3)
    assert entry["scales"][-1]["faces"] == len(body.faces)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--printable",), "only with a size: give --size-mm"),
        (("--thicken",), "give --printable"),
        (("--faces", 3), "--faces must be at least 4, got 3"),
        (("--faces", 300, "--lod"), "give --lod-faces"),
        (("--printable", "--size-mm", 9, "--min-wall-mm", 0), "--min-wall-mm must be above 0"),
        (("--printable", "--size-mm", 9, "--lod"), "leave it out"),
    ],
)
def test_wishes_about_a_solid_that_do_not_fit_are_wrong_input(
    g3pt, tmp_path: Path, flags, message
) -> None:
    code, _, stderr = g3pt(*MUG, *flags, "-o", tmp_path / "mug.glb")

    assert code == 2
    assert message in stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["reconstruct", "complete", "vary"])
def test_a_shape_of_unknown_unit_cannot_be_printable(
    g3pt, cube: Path, tmp_path: Path, command: str
) -> None:
    keep = ("--keep", 2) if command == "vary" else ()
    flags = ("--printable", "-o", tmp_path / "a.stl", *FAST)
    code, _, stderr = g3pt(command, cube, *keep, *flags)

    assert code == 2
    assert "give --size-mm" in stderr
    assert not (tmp_path / "a.stl").exists()


def test_a_face_budget_is_kept_by_a_printable_solid(tmp_path: Path) -> None:
    entry = finished(tmp_path / "plate.stl", size_mm=30, thicken=True, faces=2000)

    body = trimesh.load(tmp_path / "plate.stl")
    assert body.is_volume and body.body_count == 1
    assert entry["faces"] == len(body.faces) <= 2000
    assert body.extents.max() == pytest.approx(30, rel=1e-6)


def test_a_budget_that_opens_the_mesh_is_said(tmp_path: Path) -> None:
    balls = [trimesh.creation.icosphere(radius=0.2) for _ in range(3)]
    for number, body in enumerate(balls):
        body.apply_translation((0.6 * number - 0.6, 0, 0))
    whole = trimesh.util.concatenate(balls)
    mesh = TriangleMesh.from_arrays(whole.vertices, whole.faces)
    path = tmp_path / "balls.glb"
    entry = write_finished(mesh, path, finish_of([mesh], path, FinishFlags(faces=10)))

    assert entry["faces"] > 10 and entry["closed"] and entry["components"] == 3
    assert entry["note"] in describe(entry | {"seed": 0})


def test_generate_keeps_a_face_budget(g3pt, tmp_path: Path) -> None:
    entry = entry_of(g3pt(*MUG, "--faces", 500, "-o", tmp_path / "mug.glb"))

    assert entry["faces"] <= 500 or "instead of at most 500" in entry["note"]
    assert entry["closed"] and said(entry) == ("unit-frame", "y", None)


def test_a_glb_is_compressed_on_request(g3pt, tmp_path: Path) -> None:
    pytest.importorskip("DracoPy")
    plain, packed = tmp_path / "plain.glb", tmp_path / "packed.glb"
    g3pt(*MUG, "-o", plain)
    entry = entry_of(g3pt(*MUG, "--compress", "draco", "--size-mm", 50, "-o", packed))

    assert entry["closed"] and said(entry) == ("metre", "y", 50)
    assert packed.stat().st_size < plain.stat().st_size / 3
    assert (read_mesh(packed).bounds()[1] - read_mesh(packed).bounds()[0]).max() == pytest.approx(
        0.05, rel=1e-3
    )


def test_every_glb_of_the_command_line_is_valid(g3pt, tmp_path: Path) -> None:
    flags = ("--every-scale", "--size-mm", 120, "-o", tmp_path / "a.glb")
    g3pt(*MUG, *flags)
    g3pt(*MUG, "--lod", "--lod-faces", 2000, 300, "-o", tmp_path / "lod.glb")
    g3pt(*MUG, "--printable", "--size-mm", 90, "--faces", 900, "-o", tmp_path / "solid.glb")

    assert_valid_gltf(*sorted(tmp_path.glob("*.glb")))


def test_compression_that_a_format_has_not_is_wrong_input(g3pt, tmp_path: Path) -> None:
    code, _, stderr = g3pt(*MUG, "--compress", "draco", "-o", tmp_path / "mug.stl")

    assert code == 2
    assert "--compress is draco, which .stl files do not have: write .glb" in stderr
