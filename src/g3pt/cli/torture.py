"""`g3pt torture`: hostile files at every door of g3pt, and which promises were kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from g3pt.cli.options import CommonOptions, parse, report

if TYPE_CHECKING:
    from g3pt.torture.trials import DoorResult

SHOWN = 5
"""Violations of a door that are printed; `--json` has all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TortureOptions(CommonOptions):
    """Try damaged and malicious files and requests at every door of g3pt, in processes with limits.

    A trial may take 10 seconds and 1 GB. Trial n of a door has the seed --seed + n, so one trial is
    repeated by its door and seed: --door pictures --seed 1234 --trials 1 --keep FOLDER.
    """

    profile: Literal["ci", "night"] = "ci"
    """How many trials: 2 000 (ci) or 10 000 (night)."""

    door: tuple[str, ...] = ()
    """Names of doors (default: all): pictures, tokens, weights, adapters, configs, manifests,
    caches, checkpoints, meshes, shards, packs, stocks, yardsticks, bodies (of HTTP requests; extra
    `app`)."""

    trials: int = 0
    """Trials a door, in place of those of the profile."""

    workers: int = 2
    """Processes that try at once."""

    keep: Path | None = None
    """A new folder to leave the inputs in."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; 1 if a promise was broken."""
    options = parse(TortureOptions, "torture", arguments)
    if options.trials < 0 or options.workers < 1:
        raise ValueError("--trials must be 0 or more and --workers 1 or more")

    from g3pt.cli.progress import steps
    from g3pt.torture.catalogue import DOORS, TRIALS
    from g3pt.torture.trials import process_engine, torture

    unknown = [name for name in options.door if name not in DOORS]
    if unknown:
        raise ValueError(f"there is no door {unknown[0]!r}; there are: {', '.join(DOORS)}")
    missing = {name: extra for name in DOORS if (extra := DOORS[name].missing())}
    for name in options.door:
        if name in missing:
            raise ImportError(f"door {name}: pip install 'g3pt[{missing[name]}]'")
    if options.keep is not None:
        options.keep.mkdir(parents=True)
    num = options.trials or TRIALS[options.profile]
    with steps() as shown:
        results = torture(
            [DOORS[name] for name in dict.fromkeys(options.door or DOORS) if name not in missing],
            num,
            process_engine(options.workers),
            seed=options.seed,
            keep=options.keep,
            on_trial=lambda done, total: shown.show("trials", done, total),
        )
    lines = as_text(results)
    if not options.door:
        lines += [f"{name:<12} not tried: pip install 'g3pt[{missing[name]}]'" for name in missing]
    report(options, as_json(results), lines)
    return int(any(result.violations for result in results))


def as_json(results: Sequence["DoorResult"]) -> dict[str, object]:
    """The results for programs."""
    return {
        "doors": [result.as_json() for result in results],
        "trials": sum(result.trials for result in results),
        "violations": sum(len(result.violations) for result in results),
    }


def as_text(results: Sequence["DoorResult"]) -> list[str]:
    """A row a promise, and the first violations of each."""
    lines = [f"{'door':<12}{'trials':>7}{'refused':>9}{'opened':>8}{'broken':>8}  promise"]
    for one in results:
        counts = f"{one.trials:>7}{one.refusals:>9}{one.successes:>8}{len(one.violations):>8}"
        lines.append(f"{one.door:<12}{counts}  {one.promise}")
        lines += [
            f"    seed {each.seed}: {each.kind}: {each.what}: {each.message}"[:400]
            for each in one.violations[:SHOWN]
        ]
    return lines
