"""Report of a complete set of shards: `report.json` and `report.html` in its folder.

It has counts, refusals, distributions, speed, leakage between splits, and two contact sheets: the
worst objects by measured quality, and typical ones. `report_page.py` makes the HTML page. Times
appear only here: they are not part of a set's identity.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from scipy.stats import rankdata

from g3pt.files import write_whole
from g3pt.geometry.cameras import frame_object, silhouette_box
from g3pt.geometry.render import save_png, sheet
from g3pt.preparation.leakage import find_leaks
from g3pt.preparation.report_page import make_page
from g3pt.shapes.shape_set import QualityLimits
from g3pt.shapes.shards import QUARANTINE_FILE, ShardSet, read_lines

NUM_PICTURES = 40
NUM_COLUMNS = 8
PICTURE_SIZE = 128
NUM_FAMILIES = 20
NUM_REFUSED = 200
NUM_BINS = 20
LIMITED = ("label_error", "disagreement", "solid_to_source")
"""Quality numbers with a limit, in the order in which they break ties."""

Row = dict[str, Any]


def write_report(path: Path, *, run: Mapping[str, Any]) -> dict[str, Any]:
    """Write the report of a complete set into its folder.

    Args:
        path: the folder.
        run: JSON values about the run: command, machine, versions.

    Returns:
        The content of `report.json`.

    Raises:
        FileNotFoundError: if there is no complete set.
    """
    shards, limits = ShardSet(path), QualityLimits()
    refused = read_lines(path / QUARANTINE_FILE)
    chosen = {"worst": worst(shards.shapes, limits), "typical": typical(shards.shapes)}
    report = {
        "run": dict(run),
        "counts": _counts(shards.shapes, refused, limits),
        "histograms": _histograms(shards.shapes),
        "throughput": _throughput(_read_times(path)),
        "leakage": _leakage(shards),
        "limits": asdict(limits),
        "sheets": {
            name: [_entry(shards.shapes[row], limits) for row in rows]
            for name, rows in chosen.items()
        },
        "refused": refused[:NUM_REFUSED],
    }
    (path / "report").mkdir(exist_ok=True)
    for name, rows in chosen.items():
        file = path / "report" / f"{name}.png"
        file.unlink(missing_ok=True)
        if rows:
            save_png(file, _draw(shards, rows, limits))
    write_whole(path / "report.json", json.dumps(report, indent=1) + "\n")
    write_whole(path / "report.html", make_page(report, path / "report"))
    return report


# --- counts --------------------------------------------------------------------------------


def _counts(rows: Sequence[Row], refused: Sequence[Row], limits: QualityLimits) -> dict[str, Any]:
    flags = [limits.flags(row) for row in rows]
    return {
        "objects": len(rows) + len(refused),
        "prepared": len(rows),
        "flagged": sum(map(bool, flags)),
        "refused": len(refused),
        "bytes": sum(row["size"] for row in rows),
        "flags": _most_common(name for names in flags for name in names),
        "refusals": _most_common(f"{row['stage']}: {row['code']}" for row in refused),
        "splits": _most_common(row["split"] for row in rows),
        "licences": _most_common(row["licence"] for row in rows),
        "families": _most_common((row["family"] for row in rows), NUM_FAMILIES),
        "num_families": len({row["family"] for row in rows}),
    }


def _most_common(names: Iterable[str], num: int | None = None) -> dict[str, int]:
    """Names with their counts, the most frequent first, ties in alphabetical order."""
    counted = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    return dict(counted[:num])


# --- distributions -------------------------------------------------------------------------


def _histograms(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Histograms by name; numbers that no object has are left out."""
    quality = dict.fromkeys(name for row in rows for name in row["quality"])
    values = {
        "faces": [row["num_faces"] for row in rows if "num_faces" in row],
        "longest over shortest side": [_aspect(row) for row in rows if "extents" in row],
        "captions": [len(row["captions"]) for row in rows],
        "volume share": [row["volume_share"] for row in rows],
        "bytes": [row["size"] for row in rows],
        **{name: [row["quality"][name] for row in rows if row["quality"]] for name in quality},
    }
    by_factors = {"faces", "longest over shortest side", "num_components", "volume_ratio"}
    return {
        name: _histogram(np.asarray(numbers, dtype=np.float64), name in by_factors)
        for name, numbers in values.items()
        if numbers
    }


def _aspect(row: Row) -> float:
    """Longest over shortest side of the bounding box, at most 1000."""
    shortest, longest = min(row["extents"]), max(row["extents"])
    return min(longest / shortest, 1000.0) if shortest > 0 else 1000.0


def _histogram(values: np.ndarray, by_factors: bool) -> dict[str, Any]:
    """Counts in bins of equal width or ratio; the last one holds all above the 99th percentile."""
    low, high = float(values.min()), float(np.quantile(values, 0.99))
    if by_factors:
        low = max(low, 1e-3)
        edges = np.geomspace(low, max(high, low * 1.01), NUM_BINS + 1)
    elif (values == np.rint(values)).all() and high - low < NUM_BINS:
        edges = np.arange(low, high + 2) - 0.5
    else:
        edges = np.linspace(low, max(high, low + 1e-9), NUM_BINS + 1)
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    return {
        "edges": [float(edge) for edge in edges],
        "counts": [int(count) for count in counts],
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "least": float(values.min()),
        "most": float(values.max()),
    }


# --- speed ---------------------------------------------------------------------------------


def _read_times(path: Path) -> list[dict[str, float]]:
    """Seconds by stage of every object that has any."""
    files = sorted((path / "times").glob("*.json"))
    times = [t for file in files for t in json.loads(file.read_text("utf-8")).values()]
    return [seconds for seconds in times if seconds]


def _throughput(times: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    stages = dict.fromkeys(name for seconds in times for name in seconds)
    table = {name: np.array([s[name] for s in times if name in s]) for name in stages}
    total = sum(float(seconds.sum()) for seconds in table.values())
    drawing = float(table["render"].sum()) if "render" in table else 0.0
    return {
        "objects": len(times),
        "core_hours": total / 3600,
        "objects_per_core_hour": 3600 * len(times) / total if total else 0.0,
        "objects_per_core_hour_without_rendering": (
            3600 * len(times) / (total - drawing) if total > drawing else 0.0
        ),
        "stages": {
            name: {
                "objects": len(seconds),
                "mean": float(seconds.mean()),
                "median": float(np.median(seconds)),
                "p95": float(np.quantile(seconds, 0.95)),
                "share": float(seconds.sum()) / total if total else 0.0,
            }
            for name, seconds in table.items()
        },
    }


# --- leakage -------------------------------------------------------------------------------


def _leakage(shards: ShardSet) -> dict[str, Any]:
    train = [row for row in shards.shapes if row["split"] == "train"]
    others = [row for row in shards.shapes if row["split"] != "train"]
    leaks = find_leaks(train, others, num_queries=shards.prepare.num_volume_queries)
    return {"validation": len(others), "twins": [asdict(leak) for leak in leaks]}


# --- contact sheets ------------------------------------------------------------------------


def worst(rows: Sequence[Row], limits: QualityLimits) -> list[int]:
    """Rows with measured quality, the worst first.

    Objects are ranked by their largest ratio of a number to its limit; ties are broken by
    label_error, disagreement and solid_to_source, in this order.
    """
    measured = [number for number, row in enumerate(rows) if row["quality"]]
    ratios = {number: _ratios(rows[number], limits) for number in measured}
    order = sorted(measured, key=lambda n: (max(ratios[n]), *ratios[n]), reverse=True)
    return order[:NUM_PICTURES]


def typical(rows: Sequence[Row]) -> list[int]:
    """Rows nearest to the median in all numbers together, by mean distance of ranks."""
    numbers = [_numbers_of(row) for row in rows]
    names = dict.fromkeys(name for known in numbers for name in known)
    distance = np.zeros(len(rows))
    for name in names:
        has = np.array([name in known for known in numbers])
        ranks = rankdata([known[name] for known in numbers if name in known])
        distance[has] += np.abs(ranks / (has.sum() + 1) - 0.5)
        distance[~has] += 0.5
    return [int(row) for row in np.argsort(distance, kind="stable")[:NUM_PICTURES]]


def _numbers_of(row: Row) -> dict[str, float]:
    quality = {name: row["quality"][name] for name in LIMITED if name in row["quality"]}
    faces = {"num_faces": row["num_faces"]} if "num_faces" in row else {}
    return {"volume_share": row["volume_share"], "size": row["size"], **faces, **quality}


def _ratios(row: Row, limits: QualityLimits) -> tuple[float, ...]:
    """Ratios of the numbers to their limits."""
    return tuple(row["quality"][n] / max(getattr(limits, n), 1e-9) for n in LIMITED)


def _entry(row: Row, limits: QualityLimits) -> dict[str, Any]:
    """Caption data of a picture on the page."""
    entry = {"id": row["id"], "family": row["family"]}
    if not row["quality"]:
        return entry
    ratios = _ratios(row, limits)
    quality = {name: row["quality"][name] for name in LIMITED}
    worst_of = LIMITED[ratios.index(max(ratios))]
    return {**entry, **quality, "worst_of": worst_of, "times_limit": round(max(ratios), 3)}


def _draw(
    shards: ShardSet, rows: Sequence[int], limits: QualityLimits
) -> UInt8[np.ndarray, "H W 3"]:
    """The canonical pictures of some rows, numbered."""
    pictures = [_framed(shards.picture(row, 0)) for row in rows]
    labels = [
        _label(number, _entry(shards.shapes[row], limits)) for number, row in enumerate(rows, 1)
    ]
    starts = range(0, len(rows), NUM_COLUMNS)
    return sheet(
        [pictures[start : start + NUM_COLUMNS] for start in starts],
        [labels[start : start + NUM_COLUMNS] for start in starts],
        gap=8,
    )


def _label(number: int, entry: Mapping[str, Any]) -> str:
    """A label for one line below a picture; the page has the full id."""
    name = " ".join(entry["id"].replace("\\", "/").split("/")[-1].split())
    shown = "".join(char if char.isprintable() else "?" for char in name)
    ratio = f"{entry['times_limit']:.1f}x  " if "times_limit" in entry else ""
    return f"{number}  {ratio}{shown}"


def _framed(picture: UInt8[np.ndarray, "S S 4"]) -> UInt8[np.ndarray, "P P 4"]:
    if silhouette_box(picture) is None:  # seen from its edge, a sheet shows nothing
        return np.zeros((PICTURE_SIZE, PICTURE_SIZE, 4), dtype=np.uint8)
    return frame_object(picture, PICTURE_SIZE, fill=0.95)
