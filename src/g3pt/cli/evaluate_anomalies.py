"""`g3pt evaluate anomalies`: is an unusual shape told by its likelihood?"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from g3pt.cli.options import CommonOptions, make_folder_for, parse, report, require_suffix, working
from g3pt.cli.progress import steps


@dataclass(frozen=True, kw_only=True, slots=True)
class AnomaliesOptions(CommonOptions):
    """Score held-out shapes and damaged versions of them, and say how well the two are told apart.

    The score is that of `g3pt score` without a prompt: nats per token.
    """

    data: str = "procedural"
    """`procedural` (held-out seeds), `procedural-held-out-families`, a folder of shards, or a
    folder of meshes."""

    split: str = "val"
    """Of a folder of shards, or of meshes with a manifest: objects of this split."""

    limit: int = 50
    """So many objects: the first, or spread evenly over a folder."""

    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o", "--out"])] = None
    """JSON file for all scores."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(AnomaliesOptions, "evaluate anomalies", arguments)
    if options.output is not None:
        require_suffix(options.output, (".json",), "-o")

    from g3pt.evaluation.objects import list_objects
    from g3pt.evaluation.protocols.anomalies import evaluate_anomalies
    from g3pt.files import write_whole

    objects = list_objects(options.data, limit=options.limit, split=options.split)
    with steps() as shown:
        result = evaluate_anomalies(
            options.weights,
            objects,
            device=options.device,
            seed=options.seed,
            on_progress=partial(shown.show, "objects"),
        )
    if options.output is not None:
        with working("writing"):
            make_folder_for(options.output)
            content = json.dumps(result, indent=2, allow_nan=False) + "\n"
            write_whole(options.output, content)
    lines = [
        f"{row['kind']:<16} AUROC {row['auroc']['mean']:.3f} "
        f"[{row['auroc']['low']:.3f}, {row['auroc']['high']:.3f}], higher than the shape itself in "
        f"{row['higher_after_damage']:.0%}"
        for row in result["kinds"]
    ]
    report(options, result, lines)
    return 0
