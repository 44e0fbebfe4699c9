"""Two weights on the same yardsticks, files of held-out objects that hold no meshes.

The IoU is that of the field at labelled points. Pictures are asked with; answers are compared by
name: `default`, whichever each gives by default, and `guess`.

Legend: B objects.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from g3pt.config import to_json
from g3pt.evaluation.protocols.before_after import Show, answers_of, measure
from g3pt.evaluation.protocols.comparison import label_of, spread_objects
from g3pt.evaluation.protocols.sides import PICTURE, WeightsSide
from g3pt.evaluation.report.comparison import Comparison, Picture, Shown
from g3pt.evaluation.report.yardsticks import compare_reports
from g3pt.evaluation.results import Row
from g3pt.evaluation.systems import load_generator
from g3pt.generation.pipeline import G3PT
from g3pt.geometry.cameras import canonical_camera
from g3pt.geometry.render import render
from g3pt.models.tokenizer import require_tokens
from g3pt.models.weights.load import LoadedRegressor, LoadedWeights
from g3pt.shapes.yardstick import Yardstick
from g3pt.training.yardsticks import TOKENS, object_seed
from g3pt.versions import code_version

DEFAULT = "default"
"""Name of the answer that weights give by default."""


def compare_on_yardsticks(
    sides: tuple[WeightsSide, WeightsSide],
    yardsticks: Sequence[Yardstick],
    *,
    num_shown: int = 8,
    seed: int = 0,
    device: str = "cpu",
    show: Show,
) -> Comparison:
    """Measure both weights on the yardsticks and compare them, set by set and object by object.

    Args:
        sides: A and B; both must hold a CAR that is asked with pictures.
        yardsticks: the objects; flagged ones are in sets of their own.
        num_shown: objects on the sheet, from the greatest loss of B to its greatest gain.
        seed: see `measure_yardstick`.
        device: where models run.
        show: is told how many yardsticks are done.

    Raises:
        FileNotFoundError, ValueError: if weights cannot be used.
    """
    loaded = (_load_car(sides[0], device), _load_car(sides[1], device))
    reports = [
        _measured(letter, side, weights, yardsticks, seed, show)
        for letter, side, weights in zip("AB", sides, loaded, strict=True)
    ]
    rows, per_object = _compared(*reports, same_tokenizer=_same_tokenizer(loaded))
    default = [row for row in per_object if row["task"].endswith(f", {DEFAULT}")]
    names = spread_objects([{**row, "task": DEFAULT} for row in default], num_shown)
    about = {
        letter: {
            "kind": side.kind,
            "name": weights.name,
            "weights": weights.sha256,
            "sampling": to_json(side.sampling),
            "label": label_of(side, weights.name),
        }
        for letter, side, weights in zip("ab", sides, loaded, strict=True)
    }
    result = {
        "protocol": reports[0]["protocol"],
        "kind": "comparison",
        "data": ", ".join(each.name for each in yardsticks),
        **about,
        "counts": {"objects": sum(map(len, yardsticks)), "left_out": 0, "problems": 0},
        "notes": [],
        "rows": rows,
        "objects": per_object,
        "hashes": {"code": code_version()},
    }
    return Comparison(result, tuple(_shown(sides, loaded, yardsticks, names, seed, show)))


def _load_car(side: WeightsSide, device: str) -> LoadedWeights:
    weights = load_generator(side.weights, device, adapter=side.adapter)
    if isinstance(weights, LoadedRegressor) or weights.car is None:
        raise ValueError(
            f"{side.weights}: yardsticks measure a CAR, and these weights hold none; give --data "
            "procedural, or a folder of shards or meshes"
        )
    return weights


def _same_tokenizer(loaded: tuple[LoadedWeights, LoadedWeights]) -> bool:
    return loaded[0].fingerprint == loaded[1].fingerprint


def _measured(
    letter: str,
    side: WeightsSide,
    weights: LoadedWeights,
    yardsticks: Sequence[Yardstick],
    seed: int,
    show: Show,
) -> dict[str, Any]:
    """The report of a side, in which its default answer is called `DEFAULT`."""
    assert weights.car is not None
    report = measure(
        weights,
        weights.car,
        require_tokens(weights.tokenizer, weights.name),
        yardsticks,
        None,
        show,
        name=f"yardsticks of {letter}",
        told=side.sampling,
        seed=seed,
    )
    default = next(iter(answers_of(weights, weights.car, side.sampling))).name

    def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
        return {DEFAULT if name == default else name: value for name, value in values.items()}

    for row in report["rows"]:
        row["iou"] = renamed(row["iou"])
        row["objects"]["iou"] = renamed(row["objects"]["iou"])
    return report


def _compared(
    a: Mapping[str, Any], b: Mapping[str, Any], *, same_tokenizer: bool
) -> tuple[list[dict[str, Any]], list[Row]]:
    """Rows of the table, and a row of every object and answer."""
    of_b = {row["set"]: row for row in b["rows"]}
    differences = {(row["set"], row["what"]): row for row in compare_reports(b, a)}
    rows: list[dict[str, Any]] = []
    per_object: list[Row] = []
    for row in a["rows"]:
        other = of_b[row["set"]]
        for answer in row["iou"]:
            if answer not in other["iou"] or (answer == TOKENS and same_tokenizer):
                continue
            found = differences[row["set"], f"iou/{answer}"]
            name = f"{row['set']}, {answer}"
            a_B, b_B = (np.array(each["objects"]["iou"][answer]) for each in (row, other))
            rows.append(
                {
                    "task": name,
                    "metric": "iou",
                    "objects": found["num"],
                    "a": row["iou"][answer],
                    "b": other["iou"][answer],
                    "difference": {key: found[key] for key in ("mean", "low", "high", "num")},
                    "better": {"a": int((a_B > b_B).sum()), "b": int((b_B > a_B).sum())},
                }
            )
            per_object += [
                {"id": one, "task": name, "iou_a": x, "iou_b": y, "iou_difference": y - x}
                for one, x, y in zip(row["objects"]["ids"], a_B.tolist(), b_B.tolist(), strict=True)
            ]
    return rows, per_object


def _shown(
    sides: tuple[WeightsSide, WeightsSide],
    loaded: tuple[LoadedWeights, LoadedWeights],
    yardsticks: Sequence[Yardstick],
    names: Sequence[str],
    seed: int,
    show: Show,
) -> list[Shown]:
    """Ask for the objects of the sheet once more, as `g3pt generate` does, and draw the meshes."""
    pictures = {
        one: picture
        for each in yardsticks
        for one, picture in zip(each.ids, each.pictures_BSS4, strict=True)
    }
    pipelines = [G3PT(weights) for weights in loaded]
    found: list[Shown] = []
    for number, name in enumerate(names, start=1):
        drawn: list[Picture | None] = []
        for side, pipeline in zip(sides, pipelines, strict=True):
            made = pipeline.generate(
                image=pictures[name],
                seed=object_seed(name, seed),
                sampling=side.sampling,
                resolution=96,
                min_share=0.0,
                color="none",
            )
            mesh = made.shapes[0].mesh
            drawn.append(
                None
                if mesh.is_empty
                else render(mesh, canonical_camera(), size=PICTURE, supersample=1)
            )
        found.append(Shown(name, pictures[name], {DEFAULT: (drawn[0], drawn[1])}))
        show("sheet", number, len(names))
    return found
