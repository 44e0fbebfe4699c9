import pytest

from g3pt.work import tables
from g3pt.work.tables import read_rows


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv: no such table"):
        next(read_rows(tmp_path / "none.csv"))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_no_line_of_text_is_longer_than_rows_are(suffix, tmp_path, monkeypatch):
    row, title = ('{"id": "ab"}', "") if suffix == ".jsonl" else ("ab,01234567", "id,more\n")
    table = tmp_path / f"t{suffix}"
    table.write_text(f"{title}{row}\n{row}\n")
    monkeypatch.setattr(tables, "MAX_LINE_CHARACTERS", len(row) + 1)
    assert [values["id"] for _, values in read_rows(table)] == ["ab", "ab"]
    table.write_text(f"{title}{row}\n{row}")
    assert len(list(read_rows(table))) == 2
    table.write_text(f"{title}{row}\n{row} \n")
    number = 3 if title else 2
    with pytest.raises(ValueError, match=rf"t\{suffix}:{number}: a line of more than"):
        list(read_rows(table))


@pytest.mark.parametrize("kind", ["text", "time"])
def test_values_of_parquet_that_python_cannot_hold_are_refused(kind, tmp_path):
    reason = "Parquet needs the extra `data`"
    pyarrow = pytest.importorskip("pyarrow", reason=reason)
    parquet = pytest.importorskip("pyarrow.parquet", reason=reason)
    match kind:
        case "text":
            latin = pyarrow.array([b"\xe9t\xe9"], pyarrow.binary())
            column = pyarrow.Array.from_buffers(pyarrow.string(), 1, latin.buffers())
        case _:
            column = pyarrow.array([2**60], pyarrow.timestamp("us"))
    parquet.write_table(pyarrow.table({"path": column}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"t\.parquet: not readable Parquet: .+"):
        list(read_rows(tmp_path / "t.parquet"))


def written(path, table, **options):
    """A Parquet table on disk."""
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(table, path, **options)
    return path


def test_rows_of_parquet_are_those_of_pyarrow(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    monkeypatch.setattr(tables, "_BATCH_BYTES", 5000)
    words = [f"w{number % 7}" for number in range(600)]
    pairs = pyarrow.map_(pyarrow.string(), pyarrow.string())
    table = pyarrow.table(
        {
            "id": [str(number) for number in range(600)],
            "word": words,
            "captions": [[word, word] if word != "w3" else None for word in words],
            "image": [{"bytes": b"ab", "path": None if word == "w1" else word} for word in words],
            "number": list(range(600)),
            "pairs": pyarrow.array([[("a", word)] for word in words], pairs),
            "kind": pyarrow.array(words).dictionary_encode(),
            "nothing": pyarrow.nulls(600),
        }
    )
    path = written(tmp_path / "t.parquet", table, row_group_size=250)
    assert [row for _, row in read_rows(path)] == table.to_pylist()


def test_parquet_that_unpacks_to_far_more_is_refused(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    page = pyarrow.table({"text": ["x" * 2**27]})  # in the file itself
    path = written(tmp_path / "page.parquet", page, compression="zstd")
    with pytest.raises(ValueError, match=r"page\.parquet: unpacks \d+ bytes to 134\d+, more than"):
        list(read_rows(path))
    numbers, texts = pyarrow.array([0] * 400, pyarrow.int32()), pyarrow.array(["y" * 2**19])
    many = pyarrow.table({"text": pyarrow.DictionaryArray.from_arrays(numbers, texts)})
    path = written(tmp_path / "many.parquet", many, compression="zstd")
    with pytest.raises(ValueError, match=r"many\.parquet: its rows up to number 400 unpack to 209"):
        list(read_rows(path))
