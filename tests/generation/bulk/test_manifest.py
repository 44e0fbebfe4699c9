from pathlib import Path

import pytest

from g3pt.generation.bulk.manifest import manifest_sha256, read_manifest, sizes_of

MISSING = -1


def write(folder: Path, text: str, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_rows_are_sorted_by_id_and_paths_start_from_the_table(tmp_path: Path) -> None:
    rows = read_manifest(write(tmp_path, "id,image,text,seed\nb,x/b.png,,7\na,,a mug,\n"))
    assert [(row.id, row.image, row.text, row.seed) for row in rows] == [
        ("a", "", "a mug", None),
        ("b", "x/b.png", "", 7),
    ]
    assert rows[1].location == str(tmp_path / "x" / "b.png")
    assert sizes_of(rows) == {"a": 0, "b": MISSING}


def test_a_folder_gives_a_row_for_each_picture(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("mug.png", "in/mug.JPG", "two.png", "two.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    rows = read_manifest(tmp_path)
    assert [row.id for row in rows] == ["in/mug", "mug", "two.jpg", "two.png"]
    assert rows[0].image == "in/mug.JPG"


def test_json_lines_are_read_like_csv(tmp_path: Path) -> None:
    lines = '{"id": 3, "text": "a mug", "seed": 4}\n'
    (row,) = read_manifest(write(tmp_path, lines, "rows.jsonl"))
    assert (row.id, row.text, row.seed) == ("3", "a mug", 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,picture\na,b.png\n", r"rows\.csv:2: expected the column `id` and .* columns id, pic"),
        ("name,image\na,b.png\n", "there are the columns name, image"),
        ("id,text\na,x\nb,y\na,z\n", r"rows\.csv:4: the id 'a' was given in .*rows\.csv:2 already"),
        ("id,text\n,x\n", r"rows\.csv:2: expected an id, it is empty"),
        ("id,text,seed\na,x,-1\n", r"rows\.csv:2: seed must be a whole number in 0\.\..*got '-1'"),
        ("id,text,seed\na,x,9223372036854775807\n", "seed must be"),
        ("id,text\n", "expected rows, there are none"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_manifest(write(tmp_path, text))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected pictures \(\.png, .*\), there are none"):
        read_manifest(tmp_path)


def test_the_seed_of_a_row_follows_from_its_id_and_the_seed_of_the_run(tmp_path: Path) -> None:
    head = "id,text,seed\n"
    first = {row.id: row for row in read_manifest(write(tmp_path, head + "a,x,\nb,x,\nc,x,9\n"))}
    other = {row.id: row for row in read_manifest(write(tmp_path, head + "b,x,\n0,x,\n"))}
    assert first["b"].seed_of(1) == other["b"].seed_of(1)
    seeds = {first["a"].seed_of(1), first["b"].seed_of(1), first["b"].seed_of(2)}
    assert len(seeds) == 3
    assert first["c"].seed_of(1) == first["c"].seed_of(2) == 9


def test_the_hash_of_a_manifest_is_that_of_its_contents(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one = read_manifest(write(tmp_path, "id,text\na,x\nb,y\n"))
    turned = read_manifest(write(tmp_path / "other", "text,id\ny,b\nx,a\n"))
    changed = read_manifest(write(tmp_path, "id,text\na,x\nb,z\n"))
    assert manifest_sha256(one) == manifest_sha256(turned) != manifest_sha256(changed)
