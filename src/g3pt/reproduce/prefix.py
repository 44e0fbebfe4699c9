"""Prefix quality at equal bits: is a prefix of CVQ a better shape than a rival of as many bits?

Rows are trained as those of Tables 2 and 4, whose runs they share. What is new is the axis: every
codec is measured at every number of bits that it has (`evaluation/codecs/field_rate.py`). A row of
another package is added by `scripts/prefix_quality.py`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from g3pt.evaluation.bootstrap import Interval, outcome
from g3pt.evaluation.codecs.field_codecs import (
    FieldCodec,
    KlLatents,
    PrefixCodec,
    RoundedLatentsCodec,
)
from g3pt.evaluation.codecs.field_rate import evaluate_field_rate
from g3pt.evaluation.report.field_rate import (
    METRICS,
    RateCurve,
    compare_at_equal_bits,
    plot_rates,
)
from g3pt.evaluation.report.summary import cell, scored
from g3pt.evaluation.results import Row
from g3pt.files import write_whole
from g3pt.geometry.sampling import SurfaceSamples
from g3pt.models.alternatives.kl import KlConfig
from g3pt.models.weights.load import load_weights
from g3pt.reproduce.experiments import WEIGHTS_FOLDER, EvaluationSet, Experiment, Scale, Variant
from g3pt.reproduce.series import finished_rows, run_folder
from g3pt.reproduce.table_report import rounded_json
from g3pt.reproduce.tables import cvq, kl, pooling, tokenizer_run, trained_longer, vq
from g3pt.reproduce.tokenizer_sizes import size
from g3pt.shapes.datasets.tokenizer import TokenizerDataConfig, TokenizerDataset
from g3pt.training.ingredients import ensure_shapes
from g3pt.training.kinds.tokenizer import TokenizerRun

NUM_KNOWN = 512
"""Training shapes, at most, that ranges of latents are taken from."""

NUM_OBJECTS: dict[Scale, int] = {"smoke": 2, "toy": 96, "small": 200, "paper": 200}
"""Of each set."""


def prefix(scale: Scale, factor: int = 1, seeds: tuple[int, ...] = (0,)) -> Experiment:
    """The rows that this package trains.

    CVQ and pooling are there as in Table 4, and with the losses that make their prefixes decodable:
    without them the decoder only ever saw all scales.

    Args:
        scale: as of the tables.
        factor: trains for so many times the steps.
        seeds: of every row.
    """
    of = size(scale)
    few, many = cvq(of, of.ladder[of.few]), cvq(of, of.ladder[-1])
    pooled = pooling(of, many)
    variants = [
        with_prefix_losses(many),
        many,
        with_prefix_losses(pooled),
        pooled,
        *(vq(of, like, {}) for like in (few, many)),
        *(kl(of, like, {}) for like in (few, many)),
    ]
    if factor > 1:
        variants = [trained_longer(variant, factor) for variant in variants]
    return Experiment(
        name="prefix" if factor == 1 else f"prefix-x{factor}",
        title="Prefix quality at equal bits"
        + ("" if factor == 1 else f", {factor} times the steps"),
        scale=scale,
        variants=tuple(replace(variant, seeds=seeds) for variant in variants),
        claims=(),
        evaluation=(),
    )


def with_prefix_losses(variant: Variant) -> Variant:
    """The same row, trained so that each prefix of scales decodes to a shape."""
    run = tokenizer_run(variant)
    loss = replace(run.loss, scale_dropout=0.25, prefix_weight=0.5)
    return replace(
        variant,
        name=f"{variant.name}-prefixes",
        label=f"{variant.label}, prefixes trained",
        run=replace(run, loss=loss),
    )


def prefix_sets(scale: Scale) -> tuple[EvaluationSet, ...]:
    """Held-out seeds of the training families, and families that no row was trained on."""
    (procedural, *_) = size(scale).evaluation
    known = replace(procedural, source=replace(procedural.source, num=NUM_OBJECTS[scale]))
    unseen = replace(known, name="unseen", source=replace(known.source, families="held_out"))
    return known, unseen


# --- rows ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RatedRun:
    """A trained codec that is to be measured."""

    seed: int
    folder: Path
    """Of the run; the scores are kept in it."""
    open: Callable[[], FieldCodec]


@dataclass(frozen=True, kw_only=True)
class RatedRow:
    """A row: its runs differ in nothing but the seed."""

    name: str
    label: str
    parameters: int
    steps: int
    """Of its training, over all stages."""
    is_ours: bool = False
    """A pyramid of ours, which all other rows are compared with."""
    is_rounded: bool = False
    """Continuous latents: bits are those of rounded numbers, not of a prefix."""
    runs: tuple[RatedRun, ...]


def own_rows(experiment: Experiment, root: Path) -> list[RatedRow]:
    """The rows of `prefix` with the seeds that are finished; those without any are left out."""
    finished = finished_rows(experiment, root)
    rows: list[RatedRow] = []
    for variant in experiment.variants:
        own = [row for row in finished if row.variant == variant.name]
        if not own:
            continue
        model = tokenizer_run(variant).model
        rows.append(
            RatedRow(
                name=variant.name,
                label=variant.label,
                parameters=own[0].summary["parameters"],
                steps=own[0].summary["steps"],
                is_ours=model.kind == "cvq",
                is_rounded=isinstance(model, KlConfig),
                runs=tuple(_own_run(experiment, root, variant, row.seed) for row in own),
            )
        )
    return rows


def _own_run(experiment: Experiment, root: Path, variant: Variant, seed: int) -> RatedRun:
    run = tokenizer_run(variant)
    folder = run_folder(root, experiment, variant, seed)

    def open_codec() -> FieldCodec:
        weights = load_weights(folder / WEIGHTS_FOLDER, run.train.device)
        if not isinstance(run.model, KlConfig):
            return PrefixCodec(weights)
        return RoundedLatentsCodec(KlLatents(weights), known_surfaces(run))

    return RatedRun(seed=seed, folder=folder, open=open_codec)


def known_surfaces(run: TokenizerRun) -> list[SurfaceSamples]:
    """Surfaces of training shapes, as many points each as the run reads.

    Raises:
        FileNotFoundError, ValueError: if the prepared shapes of the run cannot be used.
    """
    data = training_data(run)
    num = min(NUM_KNOWN, TokenizerDataset(data).num_shapes)
    batch = TokenizerDataset(replace(data, batch_size=num)).batch(0)
    return [
        SurfaceSamples(points, normals, np.zeros(len(points), np.int64))
        for points, normals in zip(
            batch.points_BN3.numpy().astype(np.float64),
            batch.normals_BN3.numpy().astype(np.float64),
            strict=True,
        )
    ]


def training_data(run: TokenizerRun) -> TokenizerDataConfig:
    """The data of a run with the folders of its shapes, which are prepared if missing."""
    return replace(run.data, shards=run.data.shards or ensure_shapes(run.shapes))


# --- measuring and reporting -----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class PrefixQuality:
    """All rows, measured."""

    experiment: Experiment
    rows: tuple[RatedRow, ...]
    notes: tuple[str, ...]
    """What a reader must know about rows that are missing or differ."""
    protocol: str
    commits: tuple[str, ...]
    curves: dict[str, dict[str, RateCurve]]
    """By set and name of the row."""

    def comparisons(self, name: str) -> list[dict[str, Any]]:
        """Of our rows with all others at equal bits, on a set."""
        curves, ours = self.curves[name], [row for row in self.rows if row.is_ours]
        return [
            entry
            for own in ours
            for row in self.rows
            if not row.is_ours
            for entry in compare_at_equal_bits(curves[own.name], curves[row.name])
        ]

    def to_json(self) -> dict[str, Any]:
        """Rows, means and comparisons as JSON values, without single objects and seeds."""
        return {
            "scale": self.experiment.scale,
            "protocol": self.protocol,
            "commits": list(self.commits),
            "notes": list(self.notes),
            "rows": [
                {
                    "name": row.name,
                    "label": row.label,
                    "parameters": row.parameters,
                    "steps": row.steps,
                    "seeds": [run.seed for run in row.runs],
                }
                for row in self.rows
            ],
            "sets": {
                name: {
                    "objects": self.num_objects(name),
                    "means": {row: curve.means() for row, curve in curves.items()},
                    "comparisons": self.comparisons(name),
                }
                for name, curves in self.curves.items()
            },
        }

    def num_objects(self, name: str) -> int:
        """Of a set."""
        return len(next(iter(self.curves[name].values())).ids)


def measure_prefixes(
    experiment: Experiment,
    rows: Sequence[RatedRow],
    sets: Sequence[EvaluationSet],
    *,
    notes: Sequence[str] = (),
    on_row: Callable[[str], None] | None = None,
) -> PrefixQuality:
    """Measure all rows on all sets; what was measured before is taken as it is.

    Args:
        experiment: which the rows belong to.
        rows: trained codecs.
        sets: the objects.
        notes: for the report.
        on_row: is told the name and seed of every run that is about to be measured.

    Raises:
        ValueError: if there is no row, or a folder holds the scores of something else.
    """
    if not rows:
        raise ValueError("prefix: no row is trained, so there is nothing to measure")
    curves: dict[str, dict[str, RateCurve]] = {one.name: {} for one in sets}
    commits: list[str] = []
    for row in rows:
        scores: dict[str, list[list[Row]]] = {one.name: [] for one in sets}
        for run in row.runs:
            if on_row is not None:
                on_row(f"{row.name}, seed {run.seed}")
            codec = run.open()
            for one in sets:
                report = evaluate_field_rate(
                    codec,
                    one.objects(),
                    one.settings,
                    name=row.name,
                    out=run.folder / f"field-rate-{one.name}",
                )
                scores[one.name].append(scored(report["objects"]))
                commits += report["hashes"]["code"].split(", ")
        for name, rows_by_seed in scores.items():
            curves[name][row.name] = RateCurve.from_rows(row.name, rows_by_seed)
    return PrefixQuality(
        experiment=experiment,
        rows=tuple(rows),
        notes=tuple(notes),
        protocol=sets[0].settings.protocol,
        commits=tuple(dict.fromkeys(commits)),
        curves=curves,
    )


def write_quality(quality: PrefixQuality, folder: Path, command: str) -> list[Path]:
    """Write `NAME-SCALE.md`, `.json` and `.png`; each appears whole or not at all.

    Args:
        quality: what was measured.
        folder: where the files go.
        command: that makes them, for the first line.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / f"{quality.experiment.name}-{quality.experiment.scale}"
    files = [base.with_suffix(suffix) for suffix in (".md", ".json", ".png")]
    (first, *_) = quality.curves
    plot_rates(
        files[2],
        {row.label: quality.curves[first][row.name] for row in quality.rows},
        dashed=[row.label for row in quality.rows if row.is_rounded],
        title=f"{quality.experiment.title} ({quality.experiment.scale}, {first})",
    )
    write_whole(files[0], markdown(quality, command, files[2].name))
    write_whole(files[1], rounded_json(quality.to_json()))
    return files


def markdown(quality: PrefixQuality, command: str, picture: str) -> str:
    """The report as Markdown.

    Args:
        quality: what was measured.
        command: that makes it.
        picture: file of the plot, beside the page.
    """
    experiment = quality.experiment
    commits = ", ".join(commit[:10] for commit in quality.commits)
    lines = [
        f"# {experiment.title}, {experiment.scale} scale",
        "",
        f"`{command}`; commit {commits}; protocol {quality.protocol}. "
        "IoU is that of the field at uniform points, accuracy that of its labels near the "
        "true surface. Mean [95 % interval] over seeds and objects. Bits are those of tokens or of "
        "rounded numbers, without header and entropy code. Continuous latents have no prefixes: "
        "nothing orders a set by importance. Their numbers are rounded to 1 to 8 bits each, in "
        f"ranges fitted to at most {NUM_KNOWN} training shapes.",
        "",
        *(f"- {note}" for note in quality.notes),
        *([""] if quality.notes else []),
        "| row | parameters | steps | seeds |",
        "|---|---|---|---|",
        *(
            f"| {row.label} | {row.parameters:,} | {row.steps} | {len(row.runs)} |"
            for row in quality.rows
        ),
    ]
    labels = {row.name: row.label for row in quality.rows}
    for name in quality.curves:
        lines += ["", *_set_lines(quality, name, labels)]
    return "\n".join([*lines, "", f"![{experiment.title}]({picture})"]) + "\n"


def _set_lines(quality: PrefixQuality, name: str, labels: dict[str, str]) -> list[str]:
    lines = [
        f"## {name}: {quality.num_objects(name)} objects",
        "",
        "| row | setting | bits a shape | " + " | ".join(METRICS.values()) + " |",
        "|---" * (3 + len(METRICS)) + "|",
    ]
    for row, curve in quality.curves[name].items():
        for method, entry in curve.means().items():
            cells = [cell(entry[metric]) for metric in METRICS]
            lines.append(
                f"| {labels[row]} | {method} | {entry['bits']:.0f} | " + " | ".join(cells) + " |"
            )
    heads = [f"{metric}: ours | theirs | difference | outcome" for metric in METRICS.values()]
    comparisons = quality.comparisons(name)
    lines += [
        "",
        "At equal bits, ours minus theirs, object by object; between two settings of a codec its "
        "scores are taken as linear in the logarithm of the bits, and nothing is extrapolated.",
        "",
        *_counts(comparisons, labels),
        "",
        "| ours | theirs | bits | " + " | ".join(heads) + " |",
        "|---" * (3 + 4 * len(METRICS)) + "|",
    ]
    for entry in comparisons:
        cells = [_compared(entry[metric]) for metric in METRICS]
        lines.append(
            f"| {labels[entry['ours']]} | {labels[entry['theirs']]} | {entry['bits']:.0f} | "
            + " | ".join(cells)
            + " |"
        )
    return lines


_WORDS = {"reproduced": "better", "not reproduced": "worse", "within the interval": "open"}
"""What the interval of a difference says of our row."""


def _word(entry: dict[str, Any]) -> str:
    return _WORDS[outcome(Interval(**entry["difference"]))]


def _counts(comparisons: Sequence[dict[str, Any]], labels: dict[str, str]) -> list[str]:
    lines: list[str] = []
    for name in dict.fromkeys(entry["ours"] for entry in comparisons):
        own = [entry for entry in comparisons if entry["ours"] == name]
        parts: list[str] = []
        for metric, title in METRICS.items():
            found = Counter(_word(entry[metric]) for entry in own)
            counts = ", ".join(f"{found[word]} {word}" for word in _WORDS.values())
            parts.append(f"{title} {counts}")
        lines.append(f"- {labels[name]}, {len(own)} comparisons: {'; '.join(parts)}.")
    return lines


def _compared(entry: dict[str, Any]) -> str:
    difference = Interval(**entry["difference"])
    return (
        f"{entry['ours']:.3f} | {entry['theirs']:.3f} | {difference.mean:+.3f} "
        f"[{difference.low:+.3f}, {difference.high:+.3f}] | {_word(entry)}"
    )
