"""`g3pt train RECIPE`: train either stage from a named run config."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import tyro

from g3pt.cli.speech import listen
from g3pt.config import save_json
from g3pt.recipes import RECIPES, SIZES, recipe
from g3pt.training.checkpoint import CheckpointError
from g3pt.training.cost import estimate_cost
from g3pt.training.kinds.car import CarRun
from g3pt.training.kinds.flow import FlowRun
from g3pt.training.kinds.stream import StreamRun
from g3pt.training.loop import TrainingDivergedError, TrainResult
from g3pt.training.runs import CONFIG_FILE, Run, load_run
from g3pt.training.start import complete, start

DONE, FAILED, WRONG_INPUT = 0, 1, 2


def main(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit code.

    Args:
        arguments: what follows `g3pt train`.
    """
    name, others = _take_recipe(arguments)
    options, overrides = _parser().parse_known_args(others)
    try:
        run, folder = _resolve(name, options, overrides)
        if options.write_config is not None:
            return _write_config(run, options)
        if options.dry_run:
            _print_cost(run, as_json=options.json)
            return DONE
    except (ValueError, FileNotFoundError) as error:
        print(f"g3pt train: {error}", file=sys.stderr)
        return WRONG_INPUT
    listen(logging.INFO, "%(asctime)s %(message)s")
    return _train(run, folder, options)


def _take_recipe(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Split off the recipe, wherever it stands: not every flag says whether a value follows."""
    known = [argument for argument in arguments if argument in RECIPES | SIZES]
    first = [argument for argument in arguments[:1] if not argument.startswith("-")]
    name = next(iter(known + first), None)
    others = list(arguments)
    if name is not None:
        others.remove(name)
    return name, others


def _parser() -> argparse.ArgumentParser:
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
        "--resume", action="store_true", help="go on with the run in DIR, or begin it"
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes that prepare shapes"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"))
    parser.add_argument("--weights", help="weights whose tokenizer a generator is trained on")
    parser.add_argument("--seed", type=int, help="of the initial weights and of all training")
    parser.add_argument(
        "--dry-run", action="store_true", help="print parameters, operations and memory of a step"
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


def _named(name: str) -> Run:
    if "/" not in name:
        return recipe(name)
    from g3pt.reproduce.catalogue import row_recipe  # all tables: only when one is asked for

    return row_recipe(name)


def _resolve(
    name: str | None, options: argparse.Namespace, overrides: list[str]
) -> tuple[Run, Path]:
    """The recipe, or the run that is to be resumed, with the command line's changes; its folder."""
    if name is None:
        raise ValueError(f"name a recipe: {', '.join(RECIPES | SIZES)}")
    run = _named(name)
    folder = options.run or Path("runs") / name
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


def _write_config(run: Run, options: argparse.Namespace) -> int:
    complete_run, _ = complete(run, workers=options.workers)
    save_json(options.write_config, complete_run)
    print(json.dumps({"path": str(options.write_config)}) if options.json else options.write_config)
    return DONE


def _print_cost(run: Run, *, as_json: bool) -> None:
    cost = estimate_cost(run)
    if as_json:
        print(json.dumps({"recipe": run.name, **asdict(cost)}))
        return
    print(f"{run.name}: {cost.parameters:,} parameters")
    for part, number in cost.parameters_by_part.items():
        print(f"  {part}: {number:,}")
    print(f"operations per step: {cost.flops_per_step / 1e12:.3g} TFLOP")
    print(f"memory: {cost.memory_bytes / 2**30:.2f} GiB")


def _train(run: Run, folder: Path, options: argparse.Namespace) -> int:
    try:
        result = start(run, folder, resume=options.resume, workers=options.workers)
    except (FileExistsError, FileNotFoundError, ValueError) as error:
        print(f"g3pt train: {error}", file=sys.stderr)
        return FAILED if isinstance(error, CheckpointError) else WRONG_INPUT
    except TrainingDivergedError as error:
        print(f"g3pt train: {error}", file=sys.stderr)
        return FAILED
    _print_result(result, as_json=options.json)
    return DONE if result.finished else FAILED


def _print_result(result: TrainResult, *, as_json: bool) -> None:
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
