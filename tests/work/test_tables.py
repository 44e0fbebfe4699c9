import pytest

from g3pt.work.tables import read_rows


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv: no such table"):
        next(read_rows(tmp_path / "none.csv"))


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
