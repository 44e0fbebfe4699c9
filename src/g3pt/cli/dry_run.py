"""What `g3pt train --dry-run` prints: the size and cost of a run, and its minutes here."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from g3pt.cli.options import say

if TYPE_CHECKING:
    from g3pt.cli.train import Plan
    from g3pt.training.cost import RunCost
    from g3pt.training.runs import Run


@dataclass(frozen=True)
class _Item:
    """A part of the work, and how long it takes."""

    what: str
    minutes: float | None
    """None where nobody knows before it is done."""
    details: dict[str, Any]
    words: str


def print_cost(plan: "Plan", *, workers: int, as_json: bool) -> None:
    """Print what a run costs, and how long it and everything before it take on this machine.

    Args:
        plan: the run whose inputs were checked.
        workers: processes that will prepare shapes.
        as_json: print one JSON object instead of lines.
    """
    from g3pt.training.cost import estimate_cost

    run = plan.run
    cost = estimate_cost(run)
    items = _items(plan, cost, workers)
    minutes = sum(item.minutes or 0.0 for item in items)
    if as_json:
        answer = {
            "recipe": run.name,
            **asdict(cost),
            "before": [str(folder) for folder in plan.before],
            "made": [*map(str, plan.yardsticks), *plan.made],
            "left_out": list(plan.left_out),
            "minutes": minutes,
            "minutes_of": [{"what": i.what, "minutes": i.minutes, **i.details} for i in items],
        }
        print(json.dumps(answer))
        return
    print(f"{run.name}: {cost.parameters:,} parameters")
    for part, number in cost.parameters_by_part.items():
        print(f"  {part}: {number:,}")
    print(f"operations per step: {cost.flops_per_step / 1e12:.3g} TFLOP")
    print(f"memory: {cost.memory_bytes / 2**30:.2f} GiB")
    for line in _time_lines(items, minutes):
        print(line)


def _time_lines(items: list[_Item], minutes: float) -> list[str]:
    from g3pt.training.tracking import duration

    unknown = "" if all(item.minutes is not None for item in items) else ", and what is not known"
    return [
        f"time on this machine: about {duration(60 * minutes)}{unknown}, "
        "without evaluations and checkpoints",
        *(f"  {item.what}: {item.words}" for item in items),
    ]


def _items(plan: "Plan", cost: "RunCost", workers: int) -> list[_Item]:
    """Shapes that are prepared, runs that are trained first, and the run itself."""
    from g3pt.training.cost import estimate_cost

    say("measuring how fast this machine is")
    runs = [*plan.before.values(), plan.run]
    names = [*map(str, plan.before), plan.run.name]
    costs = [*(estimate_cost(run) for run in plan.before.values()), cost]
    return [
        *_preparations(runs, workers),
        *(_training(*one) for one in zip(names, runs, costs, strict=True)),
    ]


def _preparations(runs: "list[Run]", workers: int) -> list[_Item]:
    from g3pt.training.input_checks import is_prepared
    from g3pt.training.pace import NUM_PREPARED, preparation_seconds
    from g3pt.training.tracking import duration

    sets = {
        one.path: one
        for run in runs
        for one in (*getattr(run, "shapes", ()), *getattr(run, "held_out", ()))
        if not is_prepared(one.path)
    }
    items: list[_Item] = []
    for path, one in sets.items():
        seconds = preparation_seconds(one, workers=workers)
        if seconds is None:
            words = "not known, see g3pt prepare --estimate"
            items.append(_Item(path, None, {"by": "unknown"}, words))
            continue
        words = f"{duration(seconds)} to prepare, {workers} shapes at once, timed on {NUM_PREPARED}"
        items.append(_Item(path, seconds / 60, {"by": "sample", "workers": workers}, words))
    return items


def _training(name: str, run: "Run", cost: "RunCost") -> _Item:
    from g3pt.training.pace import run_time
    from g3pt.training.tracking import duration

    found = run_time(run, cost)
    source = "timed here" if found.is_timed else "by operations and the rate of a matrix product"
    each = f"{found.seconds_per_step:.2g} s each, {source}"
    if found.by_clock:
        words = f"{duration(found.seconds)} by its time limit, about {found.steps:,} steps, {each}"
    else:
        words = f"{duration(found.seconds)} for {found.steps:,} steps, {each}"
    details = {
        "by": "clock" if found.by_clock else "timed" if found.is_timed else "operations",
        "steps": found.steps,
        "seconds_per_step": found.seconds_per_step,
    }
    return _Item(name, found.seconds / 60, details, words)
