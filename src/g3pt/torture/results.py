"""Hostile folders of evaluation results: their config, rows, tokens and arrays."""

import io
import json
import math
from functools import lru_cache
from pathlib import Path

import numpy as np

from g3pt.evaluation.results import Results
from g3pt.torture.damage import Rng, damaged_bytes, damaged_json_bytes, damaged_numbers, pick
from g3pt.torture.doors import Must
from g3pt.torture.prepared_folders import Files, PreparedFolder

CONFIG = {"kind": "torture", "objects": 3}
CODE = "v1"
CONFIG_FILE, ROWS_FILE, TOKENS_FILE = "config.json", "objects.csv", "tokens.json"
ARRAYS_FILE = "arrays/2.npz"


class ResultFolders(PreparedFolder):
    """Folders of evaluation results, as a run that was stopped leaves them."""

    name = "results"
    promise = "rows, tokens and arrays are read as they were written, or refused by file"
    errors = (ValueError, FileNotFoundError)
    optional = (ROWS_FILE, TOKENS_FILE, ARRAYS_FILE)

    def sound(self) -> Files:
        """Results of three objects."""
        return sound_results()

    def misfitting(self, number: int, files: Files, rng: Rng) -> tuple[str, Files, Must]:
        """A damaged file, or arrays that no evaluation writes."""
        match number:
            case 0:
                what, changed = damaged_json_bytes(json.loads(files[CONFIG_FILE]), rng)
                return what, files | {CONFIG_FILE: changed}, "either"
            case 1:
                what, changed = damaged_json_bytes(json.loads(files[TOKENS_FILE]), rng)
                return what, files | {TOKENS_FILE: changed}, "either"
            case 2 | 3:
                what, changed = damaged_bytes(files[ROWS_FILE], rng)
                return f"{ROWS_FILE}: {what}", files | {ROWS_FILE: changed}, "either"
            case 4:
                changed = damaged_numbers(files[ROWS_FILE], rng)
                return f"{ROWS_FILE}: nasty numbers", files | {ROWS_FILE: changed}, "either"
            case 5:
                what, changed = damaged_bytes(files[ARRAYS_FILE], rng)
                return f"{ARRAYS_FILE}: {what}", files | {ARRAYS_FILE: changed}, "either"
            case _:
                what, changed = _misfit(rng)
                return f"{ARRAYS_FILE}: {what}", files | {ARRAYS_FILE: changed}, "refuse"

    def enter(self, path: Path) -> None:
        """Go on with the evaluation, and leave its config as it was."""
        file = path / CONFIG_FILE
        before = file.read_bytes() if file.is_file() and file.stat().st_size < 2**20 else b""
        results = Results.open(path, dict(CONFIG), CODE)
        file.write_bytes(before)
        for row in results.rows:
            for value in row.values():
                assert value is None or isinstance(value, str | bool) or math.isfinite(value)
        tokens = results.tokens
        assert tokens is None or (tokens.ndim == 2 and tokens.min() >= 0)
        for arrays in results.arrays:
            assert all(array.dtype.kind in "biufU" for array in arrays.values())


@lru_cache(maxsize=1)
def sound_results() -> Files:
    """The files of results of three objects, of which one has arrays."""
    rows = ["slot,id,iou,closed,problem", "0,a,0.5,True,", "1,b,,,no prediction", "2,c,1e-3,False,"]
    config = {**CONFIG, "code": [CODE]}
    return {
        CONFIG_FILE: (json.dumps(config, indent=2) + "\n").encode(),
        ROWS_FILE: ("\n".join(rows) + "\n").encode(),
        TOKENS_FILE: json.dumps({"0": [1, 2, 3], "2": [4, 5, 6]}).encode(),
        ARRAYS_FILE: _archive(np.arange(12, dtype=np.float32).reshape(4, 3)),
    }


def _archive(points: np.ndarray, *, compressed: bool = False) -> bytes:
    content = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(
        content, allow_pickle=True, **{"image/points": points, "image/grid": np.zeros(8, np.uint8)}
    )
    return content.getvalue()


def _misfit(rng: Rng) -> tuple[str, bytes]:
    """An archive that is whole and holds what no evaluation writes."""
    worst = float(pick((np.nan, np.inf), rng))
    options = (
        ("objects", lambda: _archive(np.array([{"a": 1}]))),
        ("complex numbers", lambda: _archive(np.zeros(3, np.complex64))),
        ("fields", lambda: _archive(np.zeros(3, [("a", np.int8)]))),
        (f"a number is {worst}", lambda: _archive(np.array([0, worst]))),
        ("a bomb", lambda: _archive(np.zeros(2**24), compressed=True)),
    )
    what, make = pick(options, rng)
    return what, make()
