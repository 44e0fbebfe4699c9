import pytest

from g3pt.work.tables import read_rows


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv: no such table"):
        next(read_rows(tmp_path / "none.csv"))
