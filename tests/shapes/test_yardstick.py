from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from g3pt.shapes.stored import positions
from g3pt.shapes.yardstick import (
    Yardstick,
    load_yardstick,
    load_yardsticks,
    query_positions,
    save_yardstick,
    yardstick_path,
)


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
