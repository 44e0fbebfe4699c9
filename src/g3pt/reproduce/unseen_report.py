"""The table `unseen` as Markdown, CSV and JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from g3pt.evaluation.bootstrap import bootstrap
from g3pt.evaluation.report.yardsticks import FLAGGED
from g3pt.evaluation.results import Row, to_csv
from g3pt.evaluation.sets.yardsticks import NEAREST_PICTURE
from g3pt.files import write_whole
from g3pt.reproduce.table_report import rounded_json
from g3pt.reproduce.unseen import NAME, UnseenTable
from g3pt.training.yardsticks import TOKENS

_DASH = "-"


def write_unseen(table: UnseenTable, rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write `unseen-SCALE.md`, `.csv` and `.json`; each appears whole or not at all.

    Raises:
        ValueError: if no trained row is finished, or two were measured on other objects.
    """
    if all(row["name"] == NEAREST_PICTURE for row in rows):
        raise ValueError(f"{NAME}: no row is finished yet")
    whole = rounded_json({"name": NAME, "scale": table.scale, **_ids_once(rows)})
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / f"{NAME}-{table.scale}"
    files = [base.with_suffix(suffix) for suffix in (".md", ".csv", ".json")]
    write_whole(files[0], markdown(table, rows))
    write_whole(files[1], to_csv([_flat(row) for row in rows]))
    write_whole(files[2], whole)
    return files


def _ids_once(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The rows with the ids of their objects, which are the same in all trained ones, told once.

    Raises:
        ValueError: if two rows were measured on other objects.
    """
    ids: dict[str, list[str]] = {}
    kept: list[Mapping[str, Any]] = []
    for row in rows:
        if row["name"] == NEAREST_PICTURE:
            kept.append(row)
            continue
        sets: list[dict[str, Any]] = []
        for one in row["rows"]:
            objects = dict(one["objects"])
            if ids.setdefault(one["set"], found := objects.pop("ids")) != found:
                raise ValueError(f"{row['name']}: was measured on other objects of {one['set']}")
            sets.append({**one, "objects": objects})
        kept.append({**row, "rows": sets})
    return {"ids": ids, "rows": kept}


def markdown(table: UnseenTable, rows: Sequence[Mapping[str, Any]]) -> str:
    """Cross-entropies, then the IoU of every answer, then who is ahead of the nearest picture."""
    trained = [row for row in rows if row["name"] != NEAREST_PICTURE]
    copied = [row for row in rows if row["name"] == NEAREST_PICTURE]
    wanted = sum(len(row.seeds) for row in table.rows)
    lines = [f"# What a generator has to learn from to know new things, {table.scale} scale", ""]
    lines += [_preamble(table, trained), ""]
    if len(trained) < wanted:
        lines += [f"**Not complete:** {wanted - len(trained)} runs are not finished.", ""]
    lines += _cross_entropies(trained)
    lines += _ious(trained, copied)
    if copied:
        lines += _ahead(trained, copied[0])
    return "\n".join(lines)


def _preamble(table: UnseenTable, trained: Sequence[Mapping[str, Any]]) -> str:
    maker = table.pools[0].config.maker
    parameters = sorted(row["parameters"] / 1e6 for row in trained)
    sizes = f"{parameters[0]:.1f} to {parameters[-1]:.1f}M parameters"
    return (
        f"CAR of depth 4 over the first three scales (21 tokens) of `{table.tokenizer}`, {sizes}, "
        f"{table.steps} steps of {table.batch_size} by Muon on one thread, pictures of "
        f"{maker.image_size} pixels, {maker.num_points:,} points a shape. The first "
        f"{table.num_objects} objects of every yardstick, flagged ones left out; IoU at "
        f"{table.num_queries:,} points, temperature .5, guidance 1.5. A row of `distinct` examples "
        "sees each as often as its steps allow, all rows the same recordings."
    )


def _cross_entropies(trained: Sequence[Mapping[str, Any]]) -> list[str]:
    names = list(_sets(trained[0]))
    lines = [
        "## Cross-entropy by scale, nats a token",
        "",
        "Raw, then at the temperature that suits each scale best. Chance is 9.01.",
        "",
        "| row | seed | distinct | core-minutes | "
        + " | ".join(f"{name} | calibrated" for name in names)
        + " |",
        "|---|---|---|---|" + "---|---|" * len(names),
    ]
    for row in trained:
        sets = _sets(row)
        cells = [
            " ".join(f"{entry['mean']:.1f}" for entry in sets[name][what])
            for name in names
            for what in ("ce", "ce_calibrated")
        ]
        lines.append(
            f"| {row['label']} | {row['seed']} | {row['distinct']:,} | {row['core_minutes']:.0f} | "
            + " | ".join(cells)
            + " |"
        )
    return [*lines, ""]


def _ious(trained: Sequence[Mapping[str, Any]], copied: Sequence[Mapping[str, Any]]) -> list[str]:
    answers = list(dict.fromkeys(name for row in trained for name in _sets(row)["known"]["iou"]))
    answers = [name for name in answers if name != TOKENS]
    names = list(_sets(trained[0]))
    lines = ["## IoU of the field", ""]
    for name in names:
        lines += [
            f"### {name}",
            "",
            "| row | seed | " + " | ".join(answer.replace("_", " ") for answer in answers) + " |",
            "|---|---|" + "---|" * len(answers),
        ]
        for row in trained:
            found = _sets(row)[name]["iou"]
            cells = [_cell(found[one]) if one in found else _DASH for one in answers]
            lines.append(f"| {row['label']} | {row['seed']} | " + " | ".join(cells) + " |")
        for row in copied:
            value = _mean(_copied(row)[name].values())
            rest = f" {_DASH} |" * (len(answers) - 1)
            lines.append(f"| {row['label']} | {_DASH} | {value} |{rest}")
        ceiling = _sets(trained[0])[name]["iou"][TOKENS]
        rest = f" {_DASH} |" * (len(answers) - 1)
        lines += [f"| ceiling: the objects' own tokens | {_DASH} | {_cell(ceiling)} |{rest}", ""]
    return lines


def _ahead(trained: Sequence[Mapping[str, Any]], copied: Mapping[str, Any]) -> list[str]:
    """Every answer less the nearest picture, object by object."""
    names = list(_sets(trained[0]))
    lines = [
        "## Ahead of the nearest picture",
        "",
        "Mean difference in IoU over the objects [95 % interval].",
        "",
        "| row | seed | answer | " + " | ".join(names) + " |",
        "|---|---|---|" + "---|" * len(names),
    ]
    for row in trained:
        sets = _sets(row)
        for answer in sets["known"]["iou"]:
            if answer == TOKENS:
                continue
            cells = [
                _difference(sets[name]["objects"], answer, _copied(copied)[name]) for name in names
            ]
            lines.append(
                f"| {row['label']} | {row['seed']} | {answer.replace('_', ' ')} | "
                + " | ".join(cells)
                + " |"
            )
    return [*lines, ""]


def _difference(objects: Mapping[str, Any], answer: str, copied: Mapping[str, float]) -> str:
    pairs = zip(objects["ids"], objects["iou"][answer], strict=True)
    differences = np.array([value - copied[one] for one, value in pairs])
    found = bootstrap({"": differences})[""]
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _sets(row: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured of the objects whose labels can be trusted, by yardstick."""
    return {entry["set"]: entry for entry in row["rows"] if not entry["set"].endswith(FLAGGED)}


def _copied(row: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Yardstick -> object -> IoU."""
    return {one["set"]: dict(zip(one["ids"], one["iou"], strict=True)) for one in row["sets"]}


def _cell(entry: Mapping[str, float]) -> str:
    return f"{entry['mean']:.3f} +- {entry['error']:.3f}"


def _mean(values: Any) -> str:
    array = np.array(list(values))
    error = array.std(ddof=1) / len(array) ** 0.5 if len(array) > 1 else 0.0
    return f"{array.mean():.3f} +- {error:.3f}"


def _flat(row: Mapping[str, Any]) -> Row:
    """A line of the CSV."""
    if row["name"] == NEAREST_PICTURE:
        means = {name: float(np.mean(list(of.values()))) for name, of in _copied(row).items()}
        return {
            "name": row["name"],
            "distinct": row["distinct"],
            **{f"iou/{name}/{NEAREST_PICTURE}": mean for name, mean in means.items()},
        }
    keys = ("name", "seed", "distinct", "steps", "parameters", "core_minutes")
    flat: Row = {key: row[key] for key in keys}
    for name, entry in _sets(row).items():
        for what in ("ce", "ce_calibrated"):
            flat |= {
                f"{what}/{name}/{scale}": one["mean"]
                for scale, one in enumerate(entry[what], start=1)
            }
        flat |= {f"iou/{name}/{answer}": one["mean"] for answer, one in entry["iou"].items()}
    return flat
