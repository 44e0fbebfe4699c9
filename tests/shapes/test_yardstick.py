import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from g3pt.shapes.stored import compress_planes, positions
from g3pt.shapes.yardstick import (
    Yardstick,
    load_yardstick,
    load_yardsticks,
    query_positions,
    save_yardstick,
    yardstick_path,
)
from g3pt.torture import array_files
from g3pt.torture import yardstick_files as torture
from g3pt.torture.shards import picture_file
from g3pt.torture.trials import spare_memory


@pytest.fixture(scope="module")
def yardstick() -> Yardstick:
    """Two balls: points, normals and labels that belong together."""
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(2, 64, 3))
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    radii = np.array([0.5, 0.9])
    pictures = np.zeros((2, 16, 16, 4), np.uint8)
    pictures[:, 4:12, 4:12] = (200, 40, 40, 255)
    queries = query_positions(128)
    return Yardstick(
        name="known",
        ids=("small", "large"),
        families=("ball", "ball"),
        captions=("a small ball", ""),
        flagged_B=np.array([False, True]),
        pictures_BSS4=pictures,
        points_BN3=np.rint(normals * radii[:, None, None] * 32767).astype(np.int16),
        normals_BN3=np.rint(normals * 127).astype(np.int8),
        inside_BQ=np.linalg.norm(queries, axis=1) < radii[:, None],
    )


def rows_of(one: Yardstick, place: int) -> set[tuple[int, ...]]:
    both = np.concatenate([one.points_BN3[place], one.normals_BN3[place]], axis=1)
    return {tuple(row) for row in both.tolist()}


def test_a_file_holds_the_yardstick(yardstick: Yardstick, tmp_path: Path) -> None:
    path = tmp_path / "known.safetensors"
    save_yardstick(path, yardstick)
    read = load_yardstick(path)
    for name in ("name", "ids", "families", "captions"):
        assert getattr(read, name) == getattr(yardstick, name)
    assert np.array_equal(read.flagged_B, yardstick.flagged_B)
    assert np.array_equal(read.inside_BQ, yardstick.inside_BQ)
    for place in range(2):  # points keep their normals, in another order
        assert rows_of(read, place) == rows_of(yardstick, place)
    # WebP keeps the outline and loses a little colour.
    assert np.array_equal(read.pictures_BSS4[..., 3], yardstick.pictures_BSS4[..., 3])
    inner = (slice(None), slice(6, 10), slice(6, 10))
    wide = read.pictures_BSS4[inner].astype(int) - yardstick.pictures_BSS4[inner]
    assert np.abs(wide).max() < 8


def test_a_yardstick_that_was_read_is_read_again_the_same(
    yardstick: Yardstick, tmp_path: Path
) -> None:
    for number in range(2):
        save_yardstick(tmp_path / f"{number}.safetensors", yardstick)
    first, second = (load_yardstick(tmp_path / f"{number}.safetensors") for number in range(2))
    for name, value in vars(first).items():
        assert np.array_equal(value, getattr(second, name))


def test_the_first_points_are_an_even_draw(yardstick: Yardstick, tmp_path: Path) -> None:
    save_yardstick(tmp_path / "known.safetensors", yardstick)
    half = positions(load_yardstick(tmp_path / "known.safetensors").points_BN3[:, :32])
    # Along the curve the first half of a ball's points would lie on one side of it.
    assert np.abs(half[1].mean(axis=0)).max() < 0.3
    assert np.sign(half[1, :, 0]).sum() != -32


def test_labels_belong_to_the_same_points_for_all(yardstick: Yardstick) -> None:
    distances = np.linalg.norm(yardstick.queries, axis=1)
    assert np.array_equal(yardstick.inside_BQ[1], distances < 0.9)
    assert np.array_equal(query_positions(16), query_positions(64)[:16])


def test_some_of_the_objects_are_the_first(yardstick: Yardstick) -> None:
    many = yardstick.take([0, 1] * 5)
    assert many.first(3).ids == ("small", "large", "small")
    assert np.array_equal(many.first(3).inside_BQ[1], yardstick.inside_BQ[1])
    assert many.first(99) is many
    assert yardstick.take([1]).captions == ("",)


def test_a_folder_gives_those_of_the_three_that_it_holds(
    yardstick: Yardstick, tmp_path: Path
) -> None:
    for name in ("real", "known"):
        save_yardstick(yardstick_path(tmp_path, name), replace(yardstick, name=name))
    assert [one.name for one in load_yardsticks(tmp_path)] == ["known", "real"]
    with pytest.raises(FileNotFoundError, match="holds no yardstick"):
        load_yardsticks(tmp_path / "elsewhere")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "known.safetensors"
    with pytest.raises(FileNotFoundError, match="no such yardstick"):
        load_yardstick(path)
    path.write_bytes(b"no tensors here, only words")
    with pytest.raises(ValueError, match=r"known\.safetensors: is not a safetensors file"):
        load_yardstick(path)
    save_file({"a": np.zeros(2)}, path)
    with pytest.raises(ValueError, match="not a yardstick"):
        load_yardstick(path)


def test_rows_that_differ_in_number_are_refused(yardstick: Yardstick) -> None:
    with pytest.raises(ValueError, match="rows differ in number"):
        replace(yardstick, ids=("one",))
    with pytest.raises(ValueError, match="packed in eights, got 5"):
        replace(yardstick, inside_BQ=yardstick.inside_BQ[:, :5])


# --- yardsticks that were made wrong -------------------------------------------------------


def opened(folder: Path, data: bytes) -> Yardstick:
    path = folder / "x.safetensors"
    path.write_bytes(data)
    return load_yardstick(path)


def with_header(**changes: Any) -> bytes:
    """A signed yardstick of another header; ... leaves a field out."""
    data = torture.sound_yardstick()
    header = json.loads(array_files.texts_of(data)["yardstick"]) | changes
    text = json.dumps({name: value for name, value in header.items() if value is not ...})
    return array_files.with_texts(data, {"yardstick": text})


def test_a_yardstick_without_a_hash_is_read(tmp_path: Path) -> None:
    data = torture.sound_yardstick()
    older = array_files.with_texts(data, array_files.texts_of(data), signed=False)
    assert b"sha256" in data and b"sha256" not in older
    assert opened(tmp_path, older).ids == opened(tmp_path, data).ids


def test_the_same_yardstick_gives_the_same_bytes(yardstick: Yardstick, tmp_path: Path) -> None:
    for name in "abc":
        save_yardstick(tmp_path / name, yardstick)
    assert len({(tmp_path / name).read_bytes() for name in "abc"}) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format_version": 2}, r"has format version and query key \(2, \d+\), this program reads"),
        ({"format_version": ...}, r"has format version and query key \(None, \d+\)"),
        ({"query_key": 1}, r"has format version and query key \(1, 1\)"),
        ({"name": None}, "name: "),
        ({"ids": ["a", "b", 3]}, r"ids\.2: "),
        ({"ids": []}, "ids: "),
        ({"ids": ["a"] * (2**14 + 1)}, "ids: "),
        ({"ids": ["a"] * 2}, "families: has 3 entries, expected 2 as of ids"),
        ({"captions": ["a"] * 4}, "captions: has 4 entries, expected 3 as of ids"),
        ({"families": ...}, "families: "),
        ({"num_points": 0}, "num_points: "),
        ({"num_points": 2**40}, "num_points: "),
        ({"num_points": True}, "num_points: "),
        ({"num_points": 17}, "points: does not unpack to the 306 bytes"),
        ({"num_points": 2**22}, "points: has .* bytes, too few to hold"),
        ({"points": 3}, "points: unknown field"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_by_field(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=rf"x\.safetensors: .*{reason}"):
        opened(tmp_path, with_header(**changes))


def test_texts_that_are_no_header_are_refused(tmp_path: Path) -> None:
    data = torture.sound_yardstick()
    for texts, reason in (
        ({"yardstick": "[]"}, "yardstick: expected a JSON object, got list"),
        ({"yardstick": "{"}, "yardstick: not JSON"),
        ({"yardstick": "[" * 100_000}, "yardstick: not JSON: its brackets are nested too deeply"),
        (array_files.texts_of(data) | {"more": ""}, r"metadata: holds \['more', 'yardstick'\]"),
    ):
        with pytest.raises(ValueError, match=rf"x\.safetensors: {reason}"):
            opened(tmp_path, array_files.with_texts(data, texts))


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("inside", lambda old: None, "holds .*, expected .*'inside'"),
        ("points", lambda old: np.repeat(old, 20), "points: has .* bytes, num_points leaves it"),
        ("points", lambda old: old[None], r"points: holds U8 of \[1, \d+\], expected bytes"),
        ("points", lambda old: old[::-1].copy(), "points: cannot be unpacked"),
        ("normals", lambda old: old[:-9].copy(), "normals: does not unpack to the 144 bytes"),
        ("flagged", lambda old: old[:2].copy(), r"flagged: holds U8 of \[2\], expected U8 of \[3"),
        ("flagged", lambda old: old + np.uint8(2), "flagged: holds 3, expected 0 or 1"),
        ("inside", lambda old: old[0], r"inside: holds U8 of \[8\], expected U8 of \[3, 8\]"),
        ("inside", lambda old: old.astype(np.int16), r"inside: holds I16 of"),
        ("inside", lambda old: old[:, :0].copy(), "inside: has 0 labels of each of 3 objects, exp"),
        ("inside", lambda old: np.zeros((3, 2**21 + 1), np.uint8), "inside: has 16777224 labels"),
        ("picture_lengths", lambda old: old.astype(np.int32), "picture_lengths: holds I32 of"),
        ("picture_lengths", lambda old: old * 0, "picture_lengths: lie in 0..0, expected 1..67108"),
        ("picture_lengths", lambda old: old + 2**30, "picture_lengths: lie in .*, expected 1"),
        (
            "picture_lengths",
            lambda old: old + 1,
            r"pictures: has \d+ bytes, picture_lengths leaves",
        ),
        ("pictures", lambda old: old[:-1].copy(), r"pictures: has \d+ bytes, picture_lengths leav"),
        ("pictures", np.zeros_like, "pictures: number 0: is no square picture"),
    ],
)
def test_an_array_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, name: str, change: Callable[[np.ndarray], np.ndarray | None], reason: str
) -> None:
    data = array_files.with_array(torture.sound_yardstick(), name, change, signed=True)
    with pytest.raises(ValueError, match=rf"x\.safetensors: {reason}"):
        opened(tmp_path, data)


def test_more_labels_than_fit_in_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("g3pt.shapes.yardstick.MAX_FILE_BYTES", 3 * 2**14)

    def labels(num: int) -> bytes:
        many = np.zeros((3, num // 8), np.uint8)
        return array_files.with_array(
            torture.sound_yardstick(), "inside", lambda _: many, signed=True
        )

    assert opened(tmp_path, labels(2**14)).inside_BQ.shape == (3, 2**14)
    with pytest.raises(ValueError, match="inside: has 16392 labels of each of 3 objects, expected"):
        opened(tmp_path, labels(2**14 + 8))


def test_pictures_of_other_sizes_or_far_too_many_pixels_are_refused(tmp_path: Path) -> None:
    other = picture_file(np.zeros((8, 8, 4), np.uint8))
    with pytest.raises(ValueError, match="number 2: has a side of 8, the first 16"):
        opened(tmp_path, torture.with_pictures(lambda old: [*old[:2], other]))
    bomb = torture.with_pictures(lambda old: [torture.large_picture()] * 3)
    with (
        spare_memory(2**25),
        pytest.raises(ValueError, match=r"number 0: \d+ bytes are too few to hold the 50331648"),
    ):
        opened(tmp_path, bomb)


@pytest.mark.parametrize(("name", "dtype"), [("points", np.int16), ("normals", np.int8)])
def test_integers_that_stand_for_no_place_are_refused(tmp_path: Path, name: str, dtype) -> None:
    least = np.iinfo(dtype).min
    worst = compress_planes(np.full((3, torture.OBJECTS, torture.POINTS), least, dtype))
    data = array_files.with_array(torture.sound_yardstick(), name, lambda _: worst, signed=True)
    with pytest.raises(ValueError, match=rf"x\.safetensors: {name}: holds {least}, expected"):
        opened(tmp_path, data)


def test_a_changed_yardstick_is_refused_by_its_hash(tmp_path: Path) -> None:
    data = torture.sound_yardstick()
    with pytest.raises(ValueError, match=r"x\.safetensors: is damaged: .* sha256"):
        opened(tmp_path, data.replace(b"another box", b"another cat"))


def test_what_is_no_plain_file_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    path = yardstick_path(tmp_path, "real")
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r"real\.safetensors: is no plain file"):
        load_yardsticks(tmp_path)
    path.unlink()
    path.touch()
    os.truncate(path, 6 * 2**30)  # a hole
    with pytest.raises(ValueError, match=r"real\.safetensors: has 6442450944 bytes, expected at"):
        load_yardstick(path)


@pytest.mark.parametrize(("name", "limit"), [("MAX_OBJECTS", 1), ("MAX_FILE_BYTES", 255)])
def test_a_yardstick_that_could_not_be_read_again_is_not_written(
    yardstick: Yardstick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: int
) -> None:
    monkeypatch.setattr(f"g3pt.shapes.yardstick.{name}", limit)
    with pytest.raises(ValueError, match="x: 2 objects with 256 labels have"):
        save_yardstick(tmp_path / "x", yardstick)
    assert not (tmp_path / "x").exists()
