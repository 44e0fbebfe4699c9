"""A stock gives back the meshes it was made of, and says which parts bound their solids."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stocks
from g3pt.geometry.mesh import to_unit, unit_frame_of, write_mesh
from g3pt.geometry.solid import Solid
from g3pt.preparation.inputs import MeshRef
from g3pt.preparation.stock_builder import build_stock
from g3pt.shapes.mesh_stock import MeshStock, write_stock
from g3pt.shapes.queries import POSITION_STEPS
from g3pt.shapes.stock_meshes import StockConfig, StockMesh, exposed_points, stock_key
from g3pt.shapes.stock_streams import compressed
from g3pt.shapes.sub_triangles import QUARTER_WEIGHTS, chosen_parts, num_chosen
from g3pt.torture import array_files, mesh_stocks
from g3pt.torture.trials import spare_memory


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> MeshStock:
    return stocks.stock(tmp_path_factory.mktemp("stock"))


def test_a_stock_gives_back_what_was_written(tmp_path: Path) -> None:
    made = stocks.prepared(tmp_path)
    write_stock(tmp_path / "all.safetensors", made, stocks.CONFIG)
    read = MeshStock.read(tmp_path / "all.safetensors")
    assert read.config == stocks.CONFIG
    for row, mesh in enumerate(made):
        surface = read.surface(row)
        assert read.objects[row] == mesh.object
        # Vertices are numbered anew, so corners are compared; they are integers.
        np.testing.assert_array_equal(
            surface.vertices_P3[surface.faces_F3],
            mesh.surface.vertices_P3[mesh.surface.faces_F3],
        )
        np.testing.assert_array_equal(surface.colors_F33, mesh.surface.colors_F33)
        np.testing.assert_array_equal(surface.masks_F, mesh.surface.masks_F)
        np.testing.assert_array_equal(surface.flipped_F, mesh.surface.flipped_F)
        np.testing.assert_array_equal(
            read.labels_MQ[row], np.concatenate([mesh.volume_V, mesh.near_N])
        )


def test_copies_that_could_not_be_read_again_are_not_written(tmp_path: Path, monkeypatch) -> None:
    made, file = stocks.prepared(tmp_path)[:1], tmp_path / "copies.safetensors"
    monkeypatch.setattr("g3pt.geometry.formats.limits.FREE_UNPACKED_BYTES", 2**12)
    with pytest.raises(ValueError, match=r"copies.safetensors: \d+ bytes of meshes so much alike"):
        write_stock(file, made * 2000, stocks.CONFIG)
    assert not file.exists()
    write_stock(file, made * 20, stocks.CONFIG)
    assert len(MeshStock.read(file).objects) == 20


def test_positions_are_right_within_half_a_step(stock: MeshStock) -> None:
    for row, (name, source) in enumerate(stocks.meshes().items()):
        unit = to_unit(source, unit_frame_of(source))
        found = stock.surface(row).mesh().triangles
        # A PLY file holds 32-bit numbers, whose steps are far smaller than half of ours.
        assert np.abs(found - unit.triangles).max() <= 0.501 / POSITION_STEPS, name


def test_colours_stay_with_their_faces(stock: MeshStock) -> None:
    colors = stock.surface(list(stocks.meshes()).index("crossing")).colors_F33
    assert (colors[:12] == (30, 160, 60)).all()
    assert (colors[12:] == (40, 60, 200)).all()


def test_buried_parts_get_no_points(stock: MeshStock) -> None:
    row = list(stocks.meshes()).index("crossing")
    surface = stock.surface(row)
    points = exposed_points(surface, 5, 4000).points_N3 / POSITION_STEPS
    inner = np.abs(points) < 0.3 * 0.95 - 0.02  # within the cross in all directions
    # Parts are 16ths of faces: those at the border of what is buried are exposed as a whole.
    border = 0.95 * 0.3 / 4
    deep = (np.abs(points) < 0.3 * 0.95 - border).sum(axis=1) >= 2
    assert not (deep & inner.any(axis=1) & (np.abs(points).max(axis=1) < 0.2)).any()
    share = num_chosen()[surface.masks_F].sum() / (16 * len(surface.masks_F))
    assert 0.5 < share < 1


def test_faces_that_look_inward_are_flipped(stock: MeshStock) -> None:
    names = list(stocks.meshes())
    assert stock.surface(names.index("flipped")).flipped_F.all()
    assert not stock.surface(names.index("block")).flipped_F.any()


def test_labels_belong_to_the_positions_that_follow_from_the_key(stock: MeshStock) -> None:
    for row in range(len(stock)):
        positions = stock.query_positions(row) / POSITION_STEPS
        solid = Solid.from_mesh(stock.surface(row).mesh(), resolution=96)
        agree = solid.contains(positions) == stock.labels_MQ[row]
        assert agree.all()
        near = solid.distance(positions[stocks.CONFIG.num_volume :])
        # Sigmas are .005, .02, .05 per axis: the mean distance to a plane is .8 of their mean.
        assert 0.015 < near.mean() < 0.03


def test_exposed_points_spread_by_area(stock: MeshStock) -> None:
    surface = stock.surface(0)  # a box of 2 x 1 x 1.4
    faces = exposed_points(surface, stock_key("any"), 20_000).faces_N
    corners = surface.vertices_P3[surface.faces_F3].astype(float)
    areas = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    shares = np.bincount(faces, minlength=len(areas)) / len(faces)
    np.testing.assert_allclose(shares, areas / areas.sum(), atol=0.012)  # 4 sigma


def test_nothing_is_exposed_where_there_is_no_face(stock: MeshStock) -> None:
    surface = stock.surface(0)
    arrays = ("faces_F3", "colors_F33", "masks_F", "flipped_F")
    without = replace(surface, **{name: getattr(surface, name)[:0] for name in arrays})
    with pytest.raises(ValueError, match="no part of the surface bounds the solid"):
        exposed_points(without, 5, 8)


def test_a_part_of_a_stock_is_a_stock(stock: MeshStock) -> None:
    part = stock.select([2, 0])
    assert [each["id"] for each in part.objects] == ["crossing", "block"]
    for row, source in enumerate((2, 0)):
        np.testing.assert_array_equal(
            part.surface(row).mesh().triangles, stock.surface(source).mesh().triangles
        )
        np.testing.assert_array_equal(part.query_positions(row), stock.query_positions(source))


def test_what_cannot_be_used_is_counted_and_the_rest_is_kept(tmp_path: Path) -> None:
    write_mesh(tmp_path / "good.ply", stocks.box((0, 0, 0), (1, 2, 1)))
    (tmp_path / "bad.ply").write_bytes(b"ply\n")
    sheet = stocks.box((0, 0, 0), (1, 1, 1))
    write_mesh(tmp_path / "sheet.ply", replace(sheet, faces=sheet.faces[:2]))
    refs = [
        MeshRef(id=name, location=str(tmp_path / f"{name}.ply"))
        for name in ("bad", "good", "sheet")
    ]
    seen: list[tuple[int, int, int]] = []
    made = build_stock(
        refs,
        tmp_path / "out.safetensors",
        StockConfig(),
        on_progress=lambda *state: seen.append(state),
    )
    assert made.meshes == 1
    assert sum(made.refused.values()) == 2
    assert made.refused["no_interior"] == 1
    assert seen[-1] == (3, 3, 2)
    assert [each["id"] for each in MeshStock.read(tmp_path / "out.safetensors").objects] == ["good"]


def test_meshes_with_too_many_faces_are_decimated(tmp_path: Path) -> None:
    write_mesh(tmp_path / "ball.ply", stocks.painted(stocks.ball(4), (10, 200, 90)))
    refs = [MeshRef(id="ball", location=str(tmp_path / "ball.ply"))]
    made = build_stock(refs, tmp_path / "out.safetensors", StockConfig(max_faces=800))
    surface = MeshStock.read(tmp_path / "out.safetensors").surface(0)
    assert made.decimated == 1
    assert 500 < len(surface.faces_F3) <= 900
    assert (surface.colors_F33 == (10, 200, 90)).all()


def test_another_file_is_no_stock(tmp_path: Path) -> None:
    (tmp_path / "other.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"other\.safetensors"):
        MeshStock.read(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError):
        MeshStock.read(tmp_path / "missing.safetensors")


def test_sub_triangles_fill_their_triangle() -> None:
    corners = QUARTER_WEIGHTS[:, :, 1:].astype(float) / 4  # in the triangle (0,0) (1,0) (0,1)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    np.testing.assert_allclose(areas, 1 / 16)  # all of one size, none turned over
    assert len({tuple(middle) for middle in corners.mean(axis=1).round(6)}) == 16


def test_chosen_parts_are_the_set_bits_in_order() -> None:
    for mask in (0, 1, 0b1010_0000_0000_0110, 0xFFFF):
        bits = [bit for bit in range(16) if mask >> bit & 1]
        assert chosen_parts()[mask, : len(bits)].tolist() == bits
        assert num_chosen()[mask] == len(bits)


# --- stocks that were made wrong -----------------------------------------------------------


def opened(folder: Path, data: bytes) -> MeshStock:
    path = folder / "x.safetensors"
    path.write_bytes(data)
    return MeshStock.read(path)


def with_text(name: str, text: str) -> bytes:
    data = mesh_stocks.sound_stock()
    return array_files.with_texts(data, array_files.texts_of(data) | {name: text})


def with_object(change: Callable[[list[Any]], Any]) -> bytes:
    objects = json.loads(mesh_stocks.stream_of(mesh_stocks.sound_stock(), "objects").tobytes())
    text = json.dumps(change(objects)).encode()
    return mesh_stocks.with_stream("objects", lambda _: np.frombuffer(text, np.uint8))


def test_a_stock_without_a_hash_is_read(tmp_path: Path) -> None:
    data = mesh_stocks.sound_stock()
    older = array_files.with_texts(data, array_files.texts_of(data), signed=False)
    assert b"sha256" in data and b"sha256" not in older
    assert opened(tmp_path, older).objects == opened(tmp_path, data).objects


def test_the_same_meshes_give_the_same_bytes(tmp_path: Path) -> None:
    made = stocks.prepared(tmp_path)[:2]
    for name in ("a", "b", "c"):
        write_stock(tmp_path / name, made, stocks.CONFIG)
    assert len({(tmp_path / name).read_bytes() for name in ("a", "b", "c")}) == 1


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("format", "g3pt-pack", "not a stock of meshes"),
        ("version", "2", "version 2 of the format, this program reads 1"),
        ("num_meshes", "0", "num_meshes: is '0', expected 1 to 262144"),
        ("num_meshes", "9" * 9999, "num_meshes: is '99999999999999999999', expected"),
        ("num_meshes", "262145", "num_meshes: is '262145', expected"),
        ("num_meshes", "four", "num_meshes: is 'four', expected"),
        ("num_meshes", "2", "counts: does not unpack to its 32 bytes"),
        ("config", "{", "config: not JSON"),
        ("config", "[]", "config: expected a JSON object, got list"),
        ("config", '{"num_volume": 8.5}', "config: num_volume: "),
        ("config", '{"num_volume": 2097152}', "must be at most 1048576"),
        ("config", '{"num_near": 2097152}', "must be at most 1048576"),
        ("config", '{"near_sigmas": [0.1, -0.1]}', "near_sigmas must name at least one, all pos"),
        ("config", '{"near_sigmas": [Infinity]}', "near_sigmas must name at least one, all pos"),
        ("config", '{"near_sigmas": []}', "near_sigmas must name at least one, all positive"),
        ("config", '{"num_points": 8}', "config: num_points: unknown field"),
        ("more", "", "metadata: holds .*, expected"),
    ],
)
def test_texts_that_do_not_fit_are_refused_by_field(
    tmp_path: Path, name: str, text: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=rf"x\.safetensors: .*{reason}"):
        opened(tmp_path, with_text(name, text))


@pytest.mark.parametrize(
    ("name", "place", "value", "reason"),
    [
        ("counts", 4, 0, "counts: mesh 1 has 0 faces, expected 1 to 20000"),
        ("counts", 4, 20_001, "counts: mesh 1 has 20001 faces"),
        ("counts", 5, 13, "counts: mesh 1 has 13 wedges, expected 1 to 12"),
        ("counts", 6, -1, "counts: mesh 1 has -1 vertices, expected 1 to"),
        ("counts", 6, 12, r"counts: mesh 1 has 12 vertices, expected 1 to \d"),
        ("counts", 7, 257, "counts: mesh 1 has 257 colours"),
        ("counts", 4, 5, "names: does not unpack to its 78 bytes"),
        ("names", 0, 1, r"names: mesh 0 has \d different ones, counts tell \d"),
        ("places", 0, 1, "places: mesh 0 has 3 different ones, counts tell 4"),
        ("positions", 3, -32768, "positions: lie in -32768..19000, expected -32767..32767"),
        ("flipped", 2, 2, "flipped: lie in 0..2, expected 0..1"),
        ("colors", 0, 2, "colors: name colours that no palette has"),
    ],
)
def test_numbers_that_stand_for_nothing_are_refused(
    tmp_path: Path, name: str, place: int, value: int, reason: str
) -> None:
    with pytest.raises(ValueError, match=rf"x\.safetensors: {reason}"):
        opened(tmp_path, mesh_stocks.with_number(name, place, value))


def test_no_corner_names_what_lies_before_its_mesh(tmp_path: Path) -> None:
    def beyond(distances: np.ndarray) -> np.ndarray:
        distances[np.flatnonzero(distances)[-1]] = 60_000
        return distances

    for name in ("names", "places"):
        with pytest.raises(ValueError, match=rf"x\.safetensors: {name}: one is -\d+, expected at"):
            opened(tmp_path, mesh_stocks.with_stream(name, beyond))


def test_a_mesh_that_is_buried_or_flat_is_refused_by_its_name(tmp_path: Path) -> None:
    def without_first(masks_F: np.ndarray) -> np.ndarray:
        masks_F[4:8] = 0
        return masks_F

    with pytest.raises(ValueError, match=r"x\.safetensors: masks: no part of 'mesh 1 é' bounds"):
        opened(tmp_path, mesh_stocks.with_stream("masks", without_first))
    flat = opened(tmp_path, mesh_stocks.with_stream("positions", np.zeros_like))
    with pytest.raises(ValueError, match=r"x\.safetensors: mesh 2 é: no part of the surface"):
        flat.query_positions(2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda old: {"a": old}, "objects: expected a list of 3 meshes, got dict"),
        (lambda old: old[:2], "objects: expected a list of 3 meshes, got 2"),
        (lambda old: [*old[:2], None], r"objects\.2: "),
        (lambda old: [*old[:2], old[2] | {"id": 7}], r"objects\.2\.id: "),
        (lambda old: [*old[:2], old[2] | {"captions": "a"}], r"objects\.2\.captions: "),
        (lambda old: [*old[:2], old[2] | {"flagged": None}], r"objects\.2\.flagged: "),
        (lambda old: [*old[:2], old[2] | {"quality": {"a": np.nan}}], r"objects\.2\.quality\.a: "),
        (lambda old: [*old[:2], old[2] | {"split": []}], r"objects\.2\.split: "),
    ],
)
def test_descriptions_that_do_not_fit_are_refused_by_field(
    tmp_path: Path, change: Callable[[list[Any]], Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=rf"x\.safetensors: {reason}"):
        opened(tmp_path, with_object(change))


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("labels", lambda old: None, "holds .*, expected .*'labels'"),
        ("counts", lambda old: np.repeat(old, 9), r"counts: has \d+ bytes, num_meshes leaves it"),
        ("masks", lambda old: np.repeat(old, 9), r"masks: has \d+ bytes, counts leaves it"),
        ("masks", lambda old: old.view(np.int8), r"masks: holds I8 of \[\d+\], expected bytes"),
        ("masks", lambda old: old[:-9].copy(), "masks: does not unpack to its 24 bytes"),
        ("masks", lambda old: np.append(old, old[:1]), "masks: does not unpack to its 24 bytes"),
        ("masks", lambda old: old[::-1].copy(), "masks: cannot be unpacked"),
        ("objects", lambda old: old[:-9].copy(), "objects: does not unpack"),
        ("masks", array_files.greedy_lzma, r"masks: cannot be unpacked \(Memory usage limit"),
    ],
)
def test_a_stream_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, name: str, change: Callable[[np.ndarray], np.ndarray | None], reason: str
) -> None:
    data = array_files.with_array(mesh_stocks.sound_stock(), name, change, signed=True)
    with pytest.raises(ValueError, match=rf"x\.safetensors: {reason}"):
        opened(tmp_path, data)


def test_a_changed_stock_is_refused_by_its_hash(tmp_path: Path) -> None:
    data = mesh_stocks.sound_stock()
    with pytest.raises(ValueError, match=r"x\.safetensors: is damaged: .* sha256"):
        opened(tmp_path, data.replace(b'max_faces\\": 3000', b'max_faces\\": 3001'))


def test_counts_that_ask_for_very_much_take_no_memory(tmp_path: Path) -> None:
    data = mesh_stocks.sound_stock()
    huge = np.tile(np.array([20_000, 60_000, 60_000, 1], np.int32), 2**18)
    packed = {name: array_files.lzma_bomb() for name in ("names", "places", "positions")}
    packed |= {"counts": compressed(huge)}
    for name, stream in packed.items():
        data = array_files.with_array(data, name, lambda _, one=stream: one, signed=True)
    texts = array_files.texts_of(data) | {"num_meshes": str(2**18)}
    with spare_memory(2**28):
        with pytest.raises(ValueError, match=r"counts: ask for \d+ bytes, which the \d+ that are"):
            opened(tmp_path, array_files.with_texts(data, texts))
        for name in ("counts", "objects"):
            bomb = array_files.with_array(
                mesh_stocks.sound_stock(), name, lambda _: array_files.lzma_bomb(), signed=True
            )
            with pytest.raises(ValueError, match=rf"{name}: (has|does not unpack)"):
                opened(tmp_path, bomb)


def test_a_stock_that_could_not_be_read_again_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stocks.prepared(tmp_path)
    for name, limit in (("MAX_JSON_BYTES", 300), ("MAX_STOCK_MESHES", 3)):
        with monkeypatch.context() as patch:
            patch.setattr(f"g3pt.shapes.mesh_stock.{name}", limit)
            with pytest.raises(ValueError, match=r"out: 4 meshes with \d+ bytes of descriptions"):
                write_stock(tmp_path / "out", made, stocks.CONFIG)
    assert not (tmp_path / "out").exists()


def test_what_is_no_plain_file_of_usual_size_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.mkdir()
    with pytest.raises(ValueError, match=r"x\.safetensors: is no plain file"):
        MeshStock.read(path)
    path.rmdir()
    path.touch()
    os.truncate(path, 6 * 2**30)  # a hole
    with pytest.raises(ValueError, match=r"x\.safetensors: has 6442450944 bytes, expected at most"):
        MeshStock.read(path)


def test_what_does_not_fit_into_a_stock_is_not_written(tmp_path: Path) -> None:
    (one,) = stocks.prepared(tmp_path)[:1]
    num = len(one.surface.faces_F3)

    def repeated(times: int) -> StockMesh:
        arrays = ("faces_F3", "colors_F33", "masks_F", "flipped_F")
        tall = {
            name: np.concatenate([getattr(one.surface, name)] * times).copy() for name in arrays
        }
        return replace(one, surface=replace(one.surface, **tall))

    many = repeated(22)  # 264 faces
    many.surface.colors_F33[:, :, 0] = np.arange(22 * num)[:, None] % 256
    many.surface.colors_F33[256:, :, 1] = 7
    for meshes, reason in (
        ([], "out: a stock needs at least one mesh"),
        ([repeated(20_000 // num + 1)], r"block: 200\d\d faces, expected <= 20000"),
        ([many], r"block: \d+ colours, expected at most 256"),
    ):
        with pytest.raises(ValueError, match=reason):
            write_stock(tmp_path / "out", meshes, stocks.CONFIG)
    assert not (tmp_path / "out").exists()
