"""`g3pt train RECIPE`: train either stage by a named recipe."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from g3pt.cli.options import STOPPED, say
from g3pt.cli.speech import WITH_TIME, listen

if TYPE_CHECKING:
    from g3pt.training.distributed import World
    from g3pt.training.loop import TrainResult
    from g3pt.training.runs import Run

DONE, FAILED, WRONG_INPUT = 0, 1, 2


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: the arguments after `g3pt train`.
    """
    say("g3pt train: loading")  # takes seconds
    name, others = _take_recipe(arguments)
    options, overrides = _parser().parse_known_args(others)
    from g3pt.training.launch import process_group, require_resumable

    try:
        require_resumable(resume=options.resume or options.dry_run)
        run, folder = _resolve(name, options, overrides)
        listen(logging.INFO, layout=WITH_TIME)
        if options.write_config is not None:
            return _write_config(run, options)
        if options.dry_run:
            from g3pt.cli.dry_run import print_cost

            plan = _make_plan(run, folder, options)
            _say_all(plan.lines)
            print_cost(plan, workers=options.workers, as_json=options.json)
            return DONE
        with process_group(run.train.device) as world:
            plan = _make_plan(run, folder, options)
            world.meet()  # nobody writes before all have looked
            if world.speaks:
                _say_all(plan.lines)
            return _train(plan, options, world)
    except (ValueError, FileExistsError, FileNotFoundError) as error:
        print(f"g3pt train: {error}", file=sys.stderr)
        return WRONG_INPUT


def _take_recipe(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Split off the recipe, which may stand anywhere: not every flag says if a value follows it."""
    from g3pt.recipes import RECIPES, SIZES

    known = [argument for argument in arguments if argument in RECIPES | SIZES]
    first = [argument for argument in arguments[:1] if not argument.startswith("-")]
    name = next(iter(known + first), None)
    others = list(arguments)
    if name is not None:
        others.remove(name)
    return name, others


def _parser() -> argparse.ArgumentParser:
    from g3pt.recipes import RECIPES, SIZES

    parser = argparse.ArgumentParser(
        prog="g3pt train",
        usage="g3pt train RECIPE [--run DIR] [--resume] [--field.name VALUE ...] [--dry-run]",
        description="Train a recipe. Any other --field.name VALUE overrides a field of its "
        "config; `g3pt train RECIPE --fields` lists them.",
        epilog=f"recipes: {', '.join(RECIPES | SIZES)}",
        allow_abbrev=False,
    )
    parser.add_argument("--run", type=Path, metavar="DIR", help="run folder (runs/RECIPE)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in DIR and with the runs it builds on, or begin them",
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes that prepare shapes"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"))
    parser.add_argument("--weights", help="weights whose tokenizer a generator is trained on")
    parser.add_argument("--seed", type=int, help="of the initial weights and of all training")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="look at every path and name, print parameters, operations, memory, and the minutes "
        "that all of it takes on this machine",
    )
    parser.add_argument(
        "--write-config",
        type=Path,
        metavar="FILE",
        help="prepare what is missing, write the complete config as JSON, and train nothing",
    )
    parser.add_argument("--fields", action="store_true", help="list the fields of the recipe")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _named(name: str) -> "Run":
    from g3pt.config import refuse_yaml

    refuse_yaml(name)
    if "/" not in name:
        from g3pt.recipes import recipe

        return recipe(name)
    from g3pt.reproduce.catalogue import row_recipe  # all tables: only when one is asked for

    return row_recipe(name)


def _resolve(
    name: str | None, options: argparse.Namespace, overrides: list[str]
) -> "tuple[Run, Path]":
    """The config of the recipe or of the resumed run, with the changes by flags, and its folder."""
    import tyro

    from g3pt.recipes import RECIPES, SIZES
    from g3pt.training.kinds.car import CarRun
    from g3pt.training.kinds.flow import FlowRun
    from g3pt.training.kinds.stream import StreamRun
    from g3pt.training.runs import CONFIG_FILE, load_run, refuse_yaml_config

    if name is None:
        raise ValueError(f"name a recipe: {', '.join(RECIPES | SIZES)}")
    run = _named(name)
    folder = options.run or Path("runs") / name
    refuse_yaml_config(folder)
    if options.resume and (folder / CONFIG_FILE).is_file():
        begun = load_run(folder)
        if begun.name != run.name:
            raise ValueError(f"{folder} holds a run of {begun.name}, not of {run.name}")
        run = begun
    changes = {key: getattr(options, key) for key in ("device", "seed")}
    changes = {key: value for key, value in changes.items() if value is not None}
    if changes:
        run = replace(run, train=replace(run.train, **changes))
    if options.weights:
        if not isinstance(run, CarRun | StreamRun | FlowRun):
            raise ValueError(f"--weights names the tokenizer of a generator; {name} trains one")
        run = replace(run, tokenizer=options.weights)
    if options.fields:
        overrides = [*overrides, "--help"]
    changed = tyro.cli(
        type(run),
        default=run,
        args=overrides,
        prog=f"g3pt train {name}",
        config=(tyro.conf.AvoidSubcommands,),
    )
    return changed, folder


def _write_config(run: "Run", options: argparse.Namespace) -> int:
    from g3pt.config import save_json
    from g3pt.training.start import complete

    complete_run, _ = complete(run, workers=options.workers)
    save_json(options.write_config, complete_run)
    print(json.dumps({"path": str(options.write_config)}) if options.json else options.write_config)
    return DONE


# --- before the first step -------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What a command will do, after every path and name was checked."""

    run: "Run"
    folder: Path
    before: "dict[Path, Run]"
    """Folder -> run, of the runs that are trained first, in this order."""
    yardsticks: tuple[Path, ...]
    """Yardstick files that are made first."""
    made: tuple[str, ...]
    """Data that are made first, one line each."""
    left_out: tuple[str, ...]
    """Optional inputs that do not exist, one line each."""

    @property
    def lines(self) -> list[str]:
        """The plan as readable lines."""
        return [
            *self.left_out,
            *(f"{folder}: is trained first, by {run.name}" for folder, run in self.before.items()),
            *(f"{file}: is made first" for file in self.yardsticks),
            *self.made,
        ]


def _make_plan(run: "Run", folder: Path, options: argparse.Namespace) -> Plan:
    """Check everything that the run, and the runs it builds on, will read.

    Raises:
        FileExistsError: if the folder holds a run and --resume is not given.
        FileNotFoundError, ValueError: if a path or name is wrong.
    """
    from g3pt.cli.evaluate_yardsticks import missing_yardsticks
    from g3pt.recipes import runs_before
    from g3pt.training.kinds.stream import StreamRun
    from g3pt.training.start import require_unused, take_stock

    if not options.resume and not options.dry_run:
        require_unused(folder)
    before = runs_before(run, resume=options.resume)
    if options.device is not None:
        before = {
            place: replace(one, train=replace(one.train, device=options.device))
            for place, one in before.items()
        }
    files = missing_yardsticks(run.watch.yardsticks) if isinstance(run, StreamRun) else ()
    promised = [str(path) for path in (*before, *files)]
    stocks = [take_stock(one, promised=promised) for one in (*before.values(), run)]
    # Optional inputs that do not exist are removed, so that they are reported only once.
    return Plan(
        run=stocks[-1].run,
        folder=folder,
        before={place: stock.run for place, stock in zip(before, stocks[:-1], strict=True)},
        yardsticks=files,
        made=tuple(dict.fromkeys(line for stock in stocks for line in stock.made)),
        left_out=tuple(dict.fromkeys(line for stock in stocks for line in stock.left_out)),
    )


def _say_all(lines: Sequence[str]) -> None:
    for line in lines:
        say(line)


# --- training --------------------------------------------------------------------------------


def _train(plan: Plan, options: argparse.Namespace, world: "World") -> int:
    from g3pt.training.checkpoint import CheckpointError
    from g3pt.training.distributed import OtherRankError
    from g3pt.training.loop import TrainingDivergedError
    from g3pt.training.start import start

    try:
        world.lead(lambda: _make_missing(plan.yardsticks))
        for folder, run in plan.before.items():
            result = start(run, folder, resume=True, workers=options.workers)
            if not result.finished:
                say(f"{folder}: stopped early, go on with --resume")
                return STOPPED
        result = start(plan.run, plan.folder, resume=options.resume, workers=options.workers)
    except (FileExistsError, FileNotFoundError, ValueError) as error:
        print(f"g3pt train: {error}", file=sys.stderr)
        return FAILED if isinstance(error, CheckpointError) else WRONG_INPUT
    except (TrainingDivergedError, OtherRankError) as error:
        print(f"g3pt train: {error}", file=sys.stderr)
        return FAILED
    if world.speaks:
        _print_result(result, as_json=options.json)
    return DONE if result.finished else STOPPED


def _make_missing(yardsticks: Sequence[Path]) -> None:
    from g3pt.cli.evaluate_yardsticks import make_yardstick

    for file in yardsticks:
        if not file.is_file():  # another process may have made it
            make_yardstick(file)


def _print_result(result: "TrainResult", *, as_json: bool) -> None:
    if as_json:
        answer = {
            "run": str(result.run),
            "steps": result.step,
            "loss": result.loss,
            "finished": result.finished,
            "checkpoints": [str(path) for path in result.checkpoints],
            "metrics": result.metrics,
        }
        print(json.dumps(answer))
        return
    state = "done" if result.finished else "stopped early, go on with --resume"
    print(f"{result.run}: {state} after {result.step} steps, loss {result.loss:.4f}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
