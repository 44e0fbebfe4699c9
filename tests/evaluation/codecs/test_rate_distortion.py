import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from g3pt.evaluation.codecs.decimation import decimations
from g3pt.evaluation.codecs.mesh_codecs import (
    decode_draco,
    decode_quantised,
    encode_draco,
    encode_quantised,
    lattice_step,
    snap,
)
from g3pt.evaluation.codecs.rate_distortion import (
    ALL_FACES,
    MESH_SETTINGS,
    evaluate_rate,
    mesh_rows,
)
from g3pt.evaluation.objects import Truth, list_objects
from g3pt.evaluation.report.rate import best_curve, best_within, compare, smallest_reaching
from g3pt.geometry.mesh import TriangleMesh, volume
from g3pt.geometry.metrics import closest_faces
from g3pt.geometry.sampling import sample_surface

for package in ("DracoPy", "fast_simplification", "matplotlib"):
    pytest.importorskip(package)


def ball(subdivisions: int = 3) -> TriangleMesh:
    body = trimesh.creation.icosphere(subdivisions=subdivisions, radius=0.95)
    return TriangleMesh.from_arrays(body.vertices, body.faces)


@pytest.fixture(scope="module")
def ball_truth() -> Truth:
    samples = sample_surface(ball(), 3000, np.random.default_rng(0))
    return Truth("ball", "ball", "", ball(), samples, lambda p: np.linalg.norm(p, axis=1) < 0.95)


# --- codecs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [3, 6, 12])
def test_no_vertex_moves_by_more_than_half_a_step(bits: int):
    mesh, moved = ball(), snap(ball(), bits).mesh()
    step = lattice_step(bits)
    gaps = np.abs(mesh.vertices[:, None] - moved.vertices).max(axis=2).min(axis=1)
    assert gaps.max() <= step / 2 + 1e-12
    assert gaps.max() > step / 4  # the lattice is not a finer one


def test_the_same_triangles_in_another_order_are_one_lattice_mesh():
    mesh, rng = ball(1), np.random.default_rng(0)
    order = rng.permutation(len(mesh.vertices))
    faces = np.argsort(order)[mesh.faces][rng.permutation(len(mesh.faces))]
    other = TriangleMesh.from_arrays(mesh.vertices[order], np.roll(faces, 1, axis=1))
    flipped = TriangleMesh.from_arrays(mesh.vertices, mesh.faces[:, ::-1])
    assert snap(other, 8).key() == snap(mesh, 8).key()
    assert snap(flipped, 8).key() != snap(mesh, 8).key()


def test_faces_that_collapse_are_left_out():
    lattice = snap(ball(3), 2)
    assert 0 < len(lattice.faces) < 200
    assert len(np.unique(lattice.nodes, axis=0)) == len(lattice.nodes)
    assert lattice.nodes.max() <= 3
    assert (np.diff(np.sort(lattice.faces, axis=1), axis=1) > 0).all()


def test_what_lies_outside_of_the_box_goes_onto_it():
    outside = TriangleMesh.from_arrays(np.eye(3) * 3 - 1.5, [[0, 1, 2]])
    lattice = snap(outside, 4)
    assert set(lattice.nodes.reshape(-1).tolist()) == {0, 15}
    assert np.abs(lattice.mesh().vertices).max() == pytest.approx(0.95)


@pytest.mark.parametrize("subdivisions", [0, 2, 4])
@pytest.mark.parametrize("bits", [4, 9, 20])
def test_both_codes_give_the_lattice_back_from_their_bytes_alone(subdivisions: int, bits: int):
    lattice = snap(ball(subdivisions), bits)
    own, draco = encode_quantised(lattice), encode_draco(lattice)
    assert decode_quantised(bytes(own)).key() == lattice.key()
    assert snap(decode_draco(bytes(draco)), bits).key() == lattice.key()


def test_every_writer_of_the_own_code_is_read_back(monkeypatch: pytest.MonkeyPatch):
    from g3pt.evaluation.codecs import mesh_codecs

    lattice, writers = snap(ball(2), 7), mesh_codecs._WRITERS
    sizes = []
    for number in range(len(writers)):
        longest = (lambda streams: bytes(1 << 20), None)
        only = tuple(pair if k == number else longest for k, pair in enumerate(writers))
        monkeypatch.setattr(mesh_codecs, "_WRITERS", only)
        data = encode_quantised(lattice)
        assert data[0] // 32 == number
        assert decode_quantised(data).key() == lattice.key()
        sizes.append(len(data))
    monkeypatch.setattr(mesh_codecs, "_WRITERS", writers)
    assert len(encode_quantised(lattice)) == min(sizes)


def test_a_small_mesh_takes_less_than_its_plain_numbers():
    lattice = snap(ball(0), 5)  # 12 vertices, 20 faces
    plain = (12 * 3 * 5 + 20 * 3 * 4) / 8
    assert len(encode_quantised(lattice)) < plain


def test_what_is_no_quantised_mesh_is_refused():
    with pytest.raises(ValueError, match="begins with byte 255"):
        decode_quantised(b"\xff\x00")


def test_bits_out_of_range_are_refused():
    with pytest.raises(ValueError, match="got 21"):
        snap(ball(0), 21)


# --- decimation ------------------------------------------------------------------------------


def test_decimated_meshes_keep_to_their_budgets_and_get_better(ball_truth: Truth):
    found = decimations(ball_truth, (20, 100, 400, 10_000), np.random.default_rng(0))
    assert len(found[10_000].faces) == len(ball_truth.mesh.faces)
    for budget in (20, 100, 400):
        assert len(found[budget].faces) <= 1.1 * budget
    gaps = [
        closest_faces(ball_truth.samples.points, found[budget]).distances.mean()
        for budget in (20, 100, 400)
    ]
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]
    assert volume(found[400]) == pytest.approx(4 / 3 * np.pi * 0.95**3, rel=0.05)


# --- rows ------------------------------------------------------------------------------------


def test_draco_of_the_whole_mesh_at_many_bits_is_nearly_the_mesh(ball_truth, tiny_settings):
    rows = mesh_rows(ball_truth, tiny_settings, {24: (4,), ALL_FACES: (14,)})
    assert [row["method"] for row in rows] == [
        "draco-q4-f24",
        "draco-q14-full",
        "quantised-b4-f24",
        "quantised-b14-full",
    ]
    coarse, fine, own_coarse, own_fine = rows
    assert fine["chamfer_mean"] <= lattice_step(14)
    assert coarse["chamfer_mean"] > 0.02
    # The same triangles, told by other bytes.
    for first, second in ((coarse, own_coarse), (fine, own_fine)):
        assert first["chamfer_mean"] == second["chamfer_mean"]
        assert first["bytes"] != second["bytes"]
        assert first["bits"] == 8 * first["bytes"]
    lattice = snap(ball_truth.mesh, 14)
    assert fine["bytes"] == len(encode_draco(lattice))
    assert own_fine["bytes"] == len(encode_quantised(lattice))


def truth_of(mesh: TriangleMesh) -> Truth:
    samples = sample_surface(mesh, 3000, np.random.default_rng(0))
    return Truth("it", "", "", mesh, samples, lambda points: np.zeros(len(points), dtype=bool))


def test_a_mesh_that_collapses_on_its_lattice_has_no_row(tiny_settings):
    speck = TriangleMesh.from_arrays(0.3 + 0.01 * np.eye(3), [[0, 1, 2]])
    rows = mesh_rows(truth_of(speck), tiny_settings, {ALL_FACES: (1, 12)})
    assert [row["method"] for row in rows] == ["draco-q12-full", "quantised-b12-full"]


def test_a_mesh_flattened_to_a_line_is_an_empty_prediction(tiny_settings):
    sliver = TriangleMesh.from_arrays([[-0.9, 0, 0], [0.9, 0, 0], [0, 1e-3, 0]], [[0, 1, 2]])
    rows = mesh_rows(truth_of(sliver), tiny_settings, {ALL_FACES: (4,)})
    assert [(row["empty"], row["iou"]) for row in rows] == [(True, 0.0)] * 2


@pytest.fixture(scope="module")
def rate(tiny_weights: Path, tiny_settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("rate")
    with pytest.MonkeyPatch.context() as patch:
        few = {12: (4,), 50: (5,), ALL_FACES: (10,)}
        patch.setattr("g3pt.evaluation.codecs.rate_distortion.MESH_SETTINGS", few)
        objects = list_objects("procedural", limit=2)
        yield evaluate_rate(tiny_weights, objects, tiny_settings, out=out), out


def test_g3t_rows_count_their_tokens_and_their_file(rate):
    rows = [row for row in rate[0]["objects"] if row["method"].startswith("g3t-")]
    lengths, bits = (1, 4, 16), 5  # of the tiny weights
    for number in (1, 2, 3):
        own = [row for row in rows if row["method"] == f"g3t-{number}"]
        assert len(own) == 2
        payload = sum(lengths[:number]) * bits
        blocks = sum(-(-length * bits // 8) + 4 for length in lengths[:number])
        header = struct.calcsize("<8sHBB32s4d3II")
        assert {(row["bits"], row["bytes"]) for row in own} == {(payload, header + blocks)}


def test_the_folder_holds_rows_report_table_and_plot(rate):
    report, out = rate
    assert report["counts"]["objects"] == 2
    assert len(report["objects"]) == 2 * (3 + 2 * 3)
    assert json.loads((out / "evaluation.json").read_text()) == json.loads(json.dumps(report))
    header = (out / "objects.csv").read_text().splitlines()[0]
    assert header == "slot,id,family,method,bits,bytes,iou,chamfer_mean,fscore_001,empty,problem"
    assert "| draco-q10-full |" in (out / "report.md").read_text()
    with Image.open(out / "rate_distortion.png") as picture:
        assert picture.width > 2 * picture.height


def test_every_usual_setting_is_named_once():
    named = [(faces, bits) for faces, choices in MESH_SETTINGS.items() for bits in choices]
    assert len(named) == len(set(named))
    assert ALL_FACES in MESH_SETTINGS


# --- comparisons on rows made by hand ----------------------------------------------------------


def row(method: str, size: int, iou: float, chamfer: float, name: str = "a", bits: int = 0) -> dict:
    known = {"id": name, "method": method, "bits": bits or 8 * size, "bytes": size}
    return known | {"iou": iou, "chamfer_mean": chamfer, "problem": None}


THEIRS = [
    row("draco-q4-f12", 90, 0.3, 0.09),
    row("draco-q6-f100", 200, 0.7, 0.02),
    row("draco-q4-f100", 180, 0.72, 0.03),
    row("quantised-b4-f12", 30, 0.25, 0.08),
    row("quantised-b6-f100", 210, 0.8, 0.01),
]


def test_the_best_of_what_fits_is_taken_for_each_metric():
    assert best_within(THEIRS, 200, "iou") == 0.72
    assert best_within(THEIRS, 200, "chamfer_mean") == 0.02
    assert best_within(THEIRS, 199, "chamfer_mean") == 0.03
    assert np.isnan(best_within(THEIRS, 29, "iou"))


def test_the_smallest_that_is_as_good_is_taken():
    assert smallest_reaching(THEIRS, 0.72, "iou") == 180
    assert smallest_reaching(THEIRS, 0.03, "chamfer_mean") == 180
    assert smallest_reaching(THEIRS, 0.029, "chamfer_mean") == 200
    assert np.isnan(smallest_reaching(THEIRS, 0.81, "iou"))


def test_a_comparison_pairs_each_object_with_its_own_baselines():
    ours = row("g3t-1", 120, 0.6, 0.03, bits=160)  # 20 bytes of tokens
    other = [
        row("g3t-1", 120, 0.5, 0.05, "b", bits=160),
        row("draco-q4-f12", 100, 0.9, 0.01, "b"),
    ]
    rows = [ours, *THEIRS, *other]
    by_file = compare(rows, "g3t-1", "file", "draco")
    assert (by_file["fits"], by_file["objects"]) == (2, 2)
    # Object a: 0.6 against 0.3; object b: 0.5 against 0.9.
    assert by_file["equal_bytes"]["iou"]["difference"]["mean"] == pytest.approx((0.3 - 0.4) / 2)
    needed = by_file["equal_distortion"]["iou"]
    assert needed["reached"] == 2
    assert needed["bytes"]["mean"] == pytest.approx((180 * 100) ** 0.5)
    assert needed["ratio"]["mean"] == pytest.approx((180 / 120 * 100 / 120) ** 0.5)

    alone = compare(rows, "g3t-1", "payload", "either")
    assert (alone["bytes"], alone["fits"]) == (20.0, 0)
    assert alone["equal_bytes"]["iou"] == {}
    assert alone["equal_distortion"]["iou"]["ratio"]["mean"] == pytest.approx((9 * 5) ** 0.5)

    own_code = compare(rows, "g3t-1", "file", "quantised")
    assert own_code["fits"] == 1  # object b has none
    assert own_code["equal_distortion"]["chamfer_mean"]["reached"] == 1


def test_the_curve_of_a_baseline_begins_where_all_objects_have_one():
    rows = [*THEIRS[:3], row("draco-q4-f12", 60, 0.5, 0.05, "b"), row("draco", 300, 0.9, 0.0, "b")]
    limits, found = best_curve(rows, "iou")
    assert (limits[0], limits[-1]) == (90, 300)
    assert found[0].mean == pytest.approx((0.3 + 0.5) / 2)
    assert found[-1].mean == pytest.approx((0.72 + 0.9) / 2)
    assert [interval.num for interval in found] == [2] * len(found)
