import io
import json
import logging
import zipfile
from pathlib import Path

import numpy as np
import pytest

from g3pt.evaluation.results import Measured, Results, from_csv, to_csv
from g3pt.shapes.npy import npy_bytes

CONFIG = {"kind": "test", "weights": "abc"}


def test_rows_come_back_exactly_from_csv():
    rows = [
        {"id": "0042", "iou": 0.1 + 0.2, "closed": True, "components": 3, "prompt": 'a, b\n"c"'},
        {"id": "x", "iou": None, "closed": False, "components": 0, "prompt": None},
    ]
    assert from_csv(to_csv(rows)) == rows


def test_results_of_something_else_are_refused_by_name(tmp_path: Path):
    Results.open(tmp_path, CONFIG)
    with pytest.raises(ValueError, match="differs in weights"):
        Results.open(tmp_path, {**CONFIG, "weights": "def"})


def test_other_code_is_told_and_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    Results.open(tmp_path, CONFIG, "v1").add(Measured(0, ({"id": "n0"},)))
    with caplog.at_level(logging.WARNING):
        again = Results.open(tmp_path, CONFIG, "v2")
    assert again.code == ("v1", "v2")
    assert "other code (v1)" in caplog.text
    assert json.loads((tmp_path / "config.json").read_text())["code"] == ["v1", "v2"]


def test_rows_follow_the_order_of_the_objects_not_of_their_completion():
    results = Results()
    for slot in (2, 0, 1):
        results.add(Measured(slot, ({"id": str(slot)},)))
    assert [row["id"] for row in results.rows] == ["0", "1", "2"]


def test_arrays_survive_a_rerun(tmp_path: Path):
    points = np.arange(6, dtype=np.float32).reshape(2, 3)
    arrays = {"image/points": points, "by columns": points.T, "id": np.array("one")}
    results = Results.open(tmp_path, {"kind": "x"})
    results.add(Measured(3, ({"id": "b"},), arrays={"image/points": np.zeros((0, 3))}))
    results.add(Measured(1, ({"id": "a"},), arrays=arrays))
    results.add(Measured(2, ({"id": "none"},)))
    first, second = Results.open(tmp_path, {"kind": "x"}).arrays
    assert {name: one.tolist() for name, one in first.items()} == {
        name: one.tolist() for name, one in arrays.items()
    }
    assert second["image/points"].shape == (0, 3)


SOUND = {
    "config.json": b'{"kind": "test", "weights": "abc", "code": ["v1"]}',
    "objects.csv": b"slot,id,iou\n0,n0,0.5\n2,n2,0.25\n",
    "tokens.json": b'{"0": [1, 2], "2": [3, 4]}',
}


def archive(arrays: dict[str, np.ndarray], *, compressed: bool = False) -> bytes:
    content = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(content, allow_pickle=True, **arrays)  # pyright: ignore[reportArgumentType]
    return content.getvalue()


NOISE = np.random.default_rng(0).integers(2**62, size=40)


def claiming(shape: str) -> bytes:
    """An archive of one array of 4 numbers that claims another shape."""
    whole = archive({"points": np.zeros((1, 2, 2))})
    member = zipfile.ZipFile(io.BytesIO(whole)).read("points.npy")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as written:
        changed = member.replace(b"(1, 2, 2), }".ljust(60), shape.encode().ljust(60))
        assert changed != member and len(changed) == len(member)
        written.writestr("points.npy", changed)
    return content.getvalue()


def twice(name: str, other: str) -> bytes:
    """An archive of an array that has two names."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as written:
        for one in (name, other):
            written.writestr(one, npy_bytes(NOISE))
    return content.getvalue()


class Program:
    def __reduce__(self):
        return Path.mkdir, (Path("was-run"),)


def test_sound_results_are_opened(tmp_path: Path):
    write(tmp_path, SOUND)
    results = Results.open(tmp_path, CONFIG, "v1")
    assert results.rows == [{"id": "n0", "iou": 0.5}, {"id": "n2", "iou": 0.25}]
    assert results.tokens is not None and results.tokens.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.json", b'{"kind": "test", "weights": "abc"}', "code: expected a list"),
        ("config.json", b'{"code": "v1"}', "code: expected a list"),
        ("config.json", b'{"code": ["v1", 2]}', "code: expected a list"),
        ("config.json", b"[]", "expected an object, got list"),
        ("objects.csv", b"id,iou\nx,.5\n", "no table whose first column is slot"),
        ("objects.csv", b"!!python/object/apply:os.system ['true']\n", "no table whose first"),
        ("objects.csv", b"slot,id\n-1,x\n", "row 1: slot: expected the number"),
        ("objects.csv", b"slot,id\n0.5,x\n", "row 1: slot: expected the number"),
        ("objects.csv", b"slot,id,iou\n0,x,abc\n", "row 1: iou: expected a number, got 'abc'"),
        ("objects.csv", b"slot,id,iou\n0,x,nan\n", "row 1: iou: expected a number, got 'nan'"),
        ("objects.csv", b"slot,id,iou\n0,x,-inf\n", "row 1: iou: expected a number"),
        ("objects.csv", b"slot,id,iou\n0,x,1" + b"0" * 400 + b"\n", "iou: expected a number"),
        ("objects.csv", b"slot,id,iou\n0,x,0.9\n1,y\n", "row 2: expected 3 values"),
        ("objects.csv", b"slot,id,iou\n0,x,0.9,1\n", "row 1: expected 3 values"),
        ("objects.csv", b"slot,id,iou\n0,x,0.9", "ends within a row"),
        ("objects.csv", b'slot,id\n0,"x\n', "row 1: unexpected end of data"),
        ("objects.csv", b"slot,id,id\n0,x,y\n", "has columns twice"),
        ("objects.csv", b"slot,id,\n0,x,\n", "or without a name"),
        ("objects.csv", b"slot,id\n0,\xff\n", "is not text in UTF-8"),
        ("tokens.json", b"[1]", "expected an object, got list"),
        ("tokens.json", b'{"0": ["a"]}', "0: expected a list of tokens"),
        ("tokens.json", b'{"0": {}}', "0: expected a list of tokens"),
        ("tokens.json", b'{"0": [-1]}', "0: expected a list of tokens"),
        ("tokens.json", b'{"0": [1], "2": [1, 2]}', "objects have 1 to 2 tokens"),
        ("arrays/0.npz", b"PK\x03\x04junk", "is damaged"),
        ("arrays/0.npz", archive({"a": np.array([Program()])}), "an array of object"),
        ("arrays/0.npz", archive({"a": np.zeros(9)}, compressed=True), "is compressed"),
        ("arrays/0.npz", archive({"a": NOISE}, compressed=True), "is compressed"),
        ("arrays/0.npz", twice("a.npy", "a"), "has arrays twice"),
        ("arrays/0.npz", archive({"a": np.array([np.nan])}), "not finite"),
        ("arrays/0.npz", claiming("(1, 2, 2**40), }"), "is damaged"),
        ("arrays/0.npz", claiming("(1, 2, 99999999999), }"), "has 160 bytes, expected"),
    ],
)
def test_damaged_results_are_refused_by_file(
    tmp_path: Path, name: str, content: bytes, reason: str
):
    write(tmp_path, SOUND | {name: content})
    with pytest.raises(ValueError) as refused:
        Results.open(tmp_path, CONFIG, "v1")
    said = str(refused.value)
    assert type(refused.value) is ValueError and "\n" not in said
    assert said.startswith(f"{tmp_path / name}: ") and reason in said
    assert "name another folder, or remove this one" in said
    assert not Path("was-run").exists()


def test_rows_that_nobody_knows_the_config_of_are_refused(tmp_path: Path):
    write(tmp_path, {"objects.csv": SOUND["objects.csv"]})
    with pytest.raises(ValueError, match=r"holds rows and no config\.json"):
        Results.open(tmp_path, CONFIG)
    assert not (tmp_path / "config.json").exists()


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
