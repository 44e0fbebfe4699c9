"""Files of arrays are checked before they are read, and tell when they were changed."""

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from g3pt.shapes.array_files import array_file, joined_header, opened_arrays, split_header

ARRAYS = {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "b": np.arange(5, dtype=np.uint8)}
TEXTS = {"kind": "test", "note": "é\n"}
DATA = array_file(ARRAYS, TEXTS)


def written(folder: Path, data: bytes) -> Path:
    path = folder / f"{len(data)}" / "x.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_file_gives_back_what_was_written_and_is_the_same_each_time(tmp_path: Path) -> None:
    assert {array_file(ARRAYS, dict(reversed(TEXTS.items()))) for _ in range(9)} == {DATA}
    with opened_arrays(written(tmp_path, DATA), len(DATA)) as file:
        file.check_names(["b", "a"])
        file.check_texts(["note", "kind"])
        file.check_shape("a", "I16", [2, 3])
        file.check_bytes("b", 5, least=5)
        read = {name: file.read(name) for name in ARRAYS}
        file.check_sha256(read)
    assert all(np.array_equal(read[name], ARRAYS[name]) for name in ARRAYS)
    assert all(np.array_equal(each, ARRAYS[name]) for name, each in load(DATA).items())


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (lambda file: file.check_names(["a"]), r"holds \['a', 'b'\], expected \['a'\]"),
        (lambda file: file.check_texts(["kind"]), r"metadata: holds \['kind', 'note'\], expected"),
        (lambda file: file.check_texts(["kind", "note", "x"]), "metadata: holds"),
        (lambda file: file.check_shape("a", "I16", [3, 2]), r"a: holds I16 of \[2, 3\], expected"),
        (lambda file: file.check_shape("a", "U16", [2, 3]), r"expected U16 of \[2, 3\]"),
        (lambda file: file.check_bytes("a", 99), r"a: holds I16 of \[2, 3\], expected bytes"),
        (lambda file: file.check_bytes("b", 4, by="size"), "b: has 5 bytes, size leaves it 4"),
        (lambda file: file.check_bytes("b", 6, least=6), "b: has 5 bytes, the file leaves it 6"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, check, reason: str) -> None:
    with (
        opened_arrays(written(tmp_path, DATA), len(DATA)) as file,
        pytest.raises(ValueError, match=rf"x\.safetensors: .*{reason}"),
    ):
        check(file)


def test_a_change_is_noticed_by_the_hash(tmp_path: Path) -> None:
    header, rest = split_header(DATA)
    arrays = load(DATA)
    for data in (
        joined_header({**header, "__metadata__": {**header["__metadata__"], "note": "e"}}, rest),
        DATA[:-1] + b"\xff",
        joined_header({**header, "a": {**header["a"], "dtype": "U16"}}, rest),
        joined_header({**header, "a": {**header["a"], "shape": [3, 2]}}, rest),
    ):
        with opened_arrays(written(tmp_path, data), len(DATA) + 99) as file:
            read = {name: file.read(name) for name in ARRAYS}
            with pytest.raises(ValueError, match=r"x\.safetensors: is damaged: .* sha256"):
                file.check_sha256(read)
    with opened_arrays(written(tmp_path, save(arrays, TEXTS)), 999) as file:  # has none
        file.check_sha256(arrays)


def test_what_is_no_plain_file_of_usual_size_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    for path, reason in (
        (tmp_path / "pipe", "is no plain file"),
        (tmp_path, "is no plain file"),
        (written(tmp_path, DATA), r"has \d+ bytes, expected at most"),
        (written(tmp_path, b"x" * 60), "is not a safetensors file"),
    ):
        most = len(DATA) - 1
        with pytest.raises(ValueError, match=reason), opened_arrays(path, most):
            pass
    with pytest.raises(FileNotFoundError, match="none: no such file"):
        with opened_arrays(tmp_path / "none", 99):
            pass
