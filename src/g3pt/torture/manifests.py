"""Hostile manifests: tables of pictures and sentences that shapes are to be made of."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from g3pt.arguments import MAX_SEED
from g3pt.generation.bulk.manifest import manifest_sha256, read_manifest, sizes_of
from g3pt.generation.bulk.tasks import key_of
from g3pt.torture.damage import FOREIGN, Rng, damaged_bytes, pick, replace_by_special
from g3pt.torture.doors import Door, Hostile

NASTY_CELLS: tuple[Any, ...] = (
    "",
    "..",
    "../../etc/passwd",
    "/etc/hostname",
    "a\0b",
    "a\nb",
    '"',
    "x" * 5000,
    "\u202e\u0000",
    "\u0663",
    "9" * 5000,
    "-1",
    "1e3",
    str(MAX_SEED + 1),
    "=1+1",
    "~",
    "\ud800",
    "\U0001f600",
    None,
    True,
    3.5,
    ["a"],
    {"a": 1},
)


class Manifests(Door):
    """Manifests of bulk generation."""

    name = "manifests"
    promise = "every row of a manifest is understood, or the first that is not is named"
    errors = (ValueError, FileNotFoundError)

    def write(self, folder: Path, rng: Rng) -> Hostile:
        """A table."""
        suffix = pick((".csv", ".jsonl", ".jsonl", ".parquet"), rng)
        path = folder / f"rows{suffix}"
        rows = sound_rows(rng)
        match int(rng.integers(8)):
            case 0:
                path.write_bytes(table_of(rows, suffix))
                return Hostile(path, "sound", "open")
            case 1:
                what = pick(tuple(FOREIGN), rng)
                path.write_bytes(FOREIGN[what])
                return Hostile(path, what, "refuse")
            case 2:
                return Hostile(path, replace_by_special(path, rng), "refuse")
            case 3 | 4:
                what, content = damaged_bytes(table_of(rows, suffix), rng)
                path.write_bytes(content)
                return Hostile(path, what)
            case _:
                path = path if suffix != ".parquet" else path.with_suffix(".jsonl")
                done: list[str] = []
                for _ in range(int(rng.integers(1, 4))):
                    row, column = (
                        pick(rows, rng),
                        pick(("id", "image", "text", "seed", "more"), rng),
                    )
                    row[column] = pick(NASTY_CELLS, rng)
                    done.append(f"{column} = {repr(row[column])[:40]}")
                path.write_bytes(table_of(rows, path.suffix))
                return Hostile(path, "; ".join(done))

    def enter(self, path: Path) -> None:
        """Read it, and what a run asks of every row before it begins."""
        rows = read_manifest(path)
        assert rows and len(manifest_sha256(rows)) == 64
        assert sizes_of(rows).keys() == {row.id for row in rows}
        for row in rows:
            assert 0 <= row.seed_of(0) <= MAX_SEED
            name = key_of(row.id)
            assert name and "/" not in name and not name.startswith("."), name


def sound_rows(rng: Rng) -> list[dict[str, Any]]:
    """Three rows."""
    return [
        {"id": f"row-{index}", "image": f"{index}.png", "text": "a mug", "seed": str(seed)}
        for index, seed in enumerate(rng.integers(1000, size=3))
    ]


def table_of(rows: list[dict[str, Any]], suffix: str) -> bytes:
    """The rows as a file."""
    if suffix == ".jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if suffix == ".csv":
        out = io.StringIO()
        writer = csv.DictWriter(out, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue().encode("utf-8", "surrogatepass")
    import pyarrow
    import pyarrow.parquet as parquet

    packed = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), packed)
    return packed.getvalue()
