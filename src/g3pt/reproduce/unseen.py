"""The table `unseen`: which data and which parts help a generator with kinds it never saw.

Small generators of the first scales of the bundled tokenizer are trained on selections of the same
recordings (`unseen_pools`) and measured by the three yardsticks (`unseen_series`). Rows are in
order of importance: a table can be read before it is complete.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, assert_never

import numpy as np

from g3pt.evaluation.bootstrap import bootstrap
from g3pt.evaluation.report.yardsticks import FLAGGED
from g3pt.evaluation.results import Row, to_csv
from g3pt.evaluation.sets.yardsticks import NEAREST_PICTURE
from g3pt.files import write_whole
from g3pt.models.car import CarConfig
from g3pt.models.conditioning import PretrainedImageConditionConfig
from g3pt.models.guess import GuessConfig
from g3pt.recipes.pools import Pool, PoolName, smoke_pools, spread_families, toy_pools
from g3pt.stream.recorded import RecordedConfig
from g3pt.stream.recording import Selection
from g3pt.training.kinds.stream import StreamRun
from g3pt.training.loop import TrainConfig
from g3pt.training.next_scale import CarLossConfig
from g3pt.training.optim import MuonConfig, ScheduleConfig
from g3pt.training.yardsticks import TOKENS

NAME = "unseen"
_DASH = "-"
_FITTED = (0.03, 0.08, 0.14)
"""Temperatures of soft targets that fit how draws of 2,048 points differ."""
GuessKind = Literal["none", "features", "field"]
UnseenScale = Literal["smoke", "toy"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A part of what a row learns from."""

    pool: PoolName
    num: int
    """Examples; 0 is all that the pool is to hold."""
    num_families: int = 0
    """Of so many families alone; 0 is any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnseenRow:
    """A row: what data is learnt from, and by which model."""

    name: str
    label: str
    shares: tuple[Share, ...]
    guess: GuessKind = "none"
    features: Literal["own", "both"] = "own"
    """`both`: a frozen pretrained network encodes the pictures, too, not our own encoder alone."""
    dropout: float = 0.0
    """Of blocks, and as large for stochastic depth."""
    soft_targets: tuple[float, ...] = ()
    """Temperature of the targets of each scale; empty learns tokens as they are."""
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnseenTable:
    """The table at a scale."""

    scale: UnseenScale
    rows: tuple[UnseenRow, ...]
    pools: tuple[Pool, ...]
    yardsticks: str
    """Folder of them."""
    stock: str
    tokenizer: str = "g3pt-small"
    steps: int = 500
    batch_size: int = 64
    width: int = 192
    guess_width: int = 768
    num_objects: int = 64
    """Of each yardstick, the first ones."""
    num_queries: int = 4096
    """Labelled points that their fields are asked at."""
    field_queries: int = 128
    """Labelled points of an example that a guess of fields is trained on, half of each kind."""
    consensus: int = 8

    def run(self, row: UnseenRow, seed: int, root: Path) -> StreamRun:
        """The training of a row."""
        maker = self.pools[0].config.maker
        image = PretrainedImageConditionConfig(
            image_size=maker.image_size,
            depth=3,
            width=self.width,
            num_heads=self.width // 64 or 1,
            features=row.features,
            pool=2,
        )
        guess = GuessConfig(image_size=maker.image_size, width=self.guess_width)
        return StreamRun(
            name=f"{row.name}-seed{seed}",
            tokenizer=self.tokenizer,
            num_scales=3,
            model=CarConfig(
                depth=4,
                width=self.width,
                num_heads=self.width // 64 or 1,
                conditions=(image,),
                head="bit_softmax",
                dropout=row.dropout,
                stochastic_depth=row.dropout,
                guess=None if row.guess == "none" else guess,
            ),
            data=RecordedConfig(
                selections=tuple(self.selection(share, root) for share in row.shares),
                batch_size=self.batch_size,
                num_points=maker.num_points,
                image_size=maker.image_size,
                num_queries=self.field_queries if row.guess == "field" else 0,
                seed=seed,
            ),
            loss=CarLossConfig(
                dropout=0.1,
                single_share=0.0,
                scale_weights=(1.0, 2.0, 4.0),
                soft_targets=row.soft_targets,
                guess_field=1.0 if row.guess == "field" else 0.0,
                guess_field_share=0.125,
            ),
            optim=MuonConfig(
                lr=2e-3,
                betas=(0.9, 0.95),
                weight_decay=0.05,
                schedule=ScheduleConfig(warmup_steps=self.steps // 20, final_share=0.02),
            ),
            train=TrainConfig(
                steps=self.steps,
                seed=seed,
                prefetch=False,
                ema_decay=0.98,
                log_every=20,
                eval_every=0,
                checkpoint_every=100,
                keep_checkpoints=1,
                device="cpu",
                threads=1,
            ),
        )

    def selection(self, share: Share, root: Path) -> Selection:
        """What a share stands for in the recordings below `root`."""
        families = spread_families(share.num_families) if share.num_families else ()
        return Selection(
            folder=str(self.pool(share.pool).folder(root / "pools")),
            num=share.num,
            families=families,
        )

    def pool(self, name: PoolName) -> Pool:
        """The recording of a name."""
        (found,) = (pool for pool in self.pools if pool.name == name)
        return found


def unseen(scale: UnseenScale) -> UnseenTable:
    """The table at a scale.

    Smoke makes pools, yardsticks and rows of seconds. Toy wants the stock and the yardsticks that
    `recipes.stream` names, and takes hours on a core.
    """
    match scale:
        case "smoke":
            shapes = (Share(pool="grammar", num=16), Share(pool="families", num=16))
            few = (Share(pool="few_families", num=8, num_families=6),)
            return UnseenTable(
                scale=scale,
                rows=(
                    UnseenRow(name="all-field", label="everything", shares=shapes, guess="field"),
                    UnseenRow(
                        name="all-pretrained",
                        label="+ pretrained, dropout",
                        shares=shapes,
                        features="both",
                        guess="features",
                        dropout=0.1,
                    ),
                    UnseenRow(
                        name="families-6",
                        label="6 families; soft targets",
                        shares=few,
                        soft_targets=(0.1, 0.1, 0.1),
                    ),
                ),
                pools=smoke_pools(),
                yardsticks="",
                stock="",
                steps=2,
                batch_size=4,
                width=32,
                guess_width=32,
                num_objects=2,
                num_queries=64,
                field_queries=96,
                consensus=2,
            )
        case "toy":
            stock = "cache/meshes-train.safetensors"
            return UnseenTable(
                scale=scale,
                rows=_toy_rows(),
                pools=toy_pools(stock),
                yardsticks="cache/yardsticks",
                stock=stock,
            )
        case _:
            assert_never(scale)


def _toy_rows() -> tuple[UnseenRow, ...]:
    grammar, families = Share(pool="grammar", num=8192), Share(pool="families", num=4096)
    real, warped = Share(pool="real", num=0), Share(pool="warped", num=4096)
    everything = (grammar, families, real, warped)
    label = "grammar, families, real, warped"

    def of_families(num: int, pool: PoolName = "families") -> UnseenRow:
        return UnseenRow(
            name=f"families-{num}",
            label=f"{num} families, 2,048",
            shares=(Share(pool=pool, num=2048, num_families=num),),
        )

    return (
        UnseenRow(
            name="all-field",
            label=f"{label}; guess, field",
            shares=everything,
            guess="field",
            seeds=(0, 1),
        ),
        UnseenRow(name="all", label=label, shares=everything, seeds=(0, 1)),
        UnseenRow(
            name="all-pretrained-field",
            label=f"{label}; pretrained; guess, field",
            shares=everything,
            features="both",
            guess="field",
            seeds=(0, 1),
        ),
        UnseenRow(
            name="grammar-16384",
            label="grammar, 16,384",
            shares=(Share(pool="grammar", num=16_384),),
        ),
        UnseenRow(name="families", label="all families, 4,096", shares=(families,)),
        UnseenRow(
            name="all-features",
            label=f"{label}; guess",
            shares=everything,
            guess="features",
        ),
        UnseenRow(
            name="all-pretrained",
            label=f"{label}; pretrained",
            shares=everything,
            features="both",
        ),
        UnseenRow(
            name="all-dropout",
            label=f"{label}; dropout .1",
            shares=everything,
            dropout=0.1,
        ),
        UnseenRow(
            name="all-soft",
            label=f"{label}; soft targets",
            shares=everything,
            soft_targets=_FITTED,
            seeds=(0, 1),
        ),
        UnseenRow(
            name="all-pretrained-features-soft",
            label=f"{label}; pretrained; guess; soft targets",
            shares=everything,
            features="both",
            guess="features",
            soft_targets=_FITTED,
        ),
        UnseenRow(name="grammar-families", label="grammar, families", shares=(grammar, families)),
        UnseenRow(
            name="grammar-families-real",
            label="grammar, families, real",
            shares=(grammar, families, real),
        ),
        UnseenRow(
            name="grammar-4096", label="grammar, 4,096", shares=(replace(grammar, num=4096),)
        ),
        UnseenRow(
            name="grammar-4096-soft",
            label="grammar, 4,096; soft targets",
            shares=(replace(grammar, num=4096),),
            soft_targets=_FITTED,
        ),
        UnseenRow(
            name="families-all-2048",
            label="all families, 2,048",
            shares=(replace(families, num=2048),),
        ),
        of_families(6, "few_families"),
        of_families(12),
        of_families(24),
    )


# --- as Markdown, CSV and JSON -----------------------------------------------------------------


def write_unseen(table: UnseenTable, rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write `unseen-SCALE.md`, `.csv` and `.json`; each appears whole or not at all.

    Raises:
        ValueError: if no trained row is finished.
    """
    if all(row["name"] == NEAREST_PICTURE for row in rows):
        raise ValueError(f"{NAME}: no row is finished yet")
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / f"{NAME}-{table.scale}"
    files = [base.with_suffix(suffix) for suffix in (".md", ".csv", ".json")]
    write_whole(files[0], markdown(table, rows))
    write_whole(files[1], to_csv([_flat(row) for row in rows]))
    whole = json.dumps({"name": NAME, "scale": table.scale, "rows": list(rows)}, allow_nan=False)
    # Rows hold numbers of every object: five digits are below their noise.
    rounded = json.loads(whole, parse_float=lambda digits: float(f"{float(digits):.5g}"))
    write_whole(files[2], json.dumps(rounded, separators=(",", ":")) + "\n")
    return files


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
