"""Take away one guard at a time, and tell which of them no test misses: docs/mutation.md.

python scripts/mutate_guards.py                   # every suite below
python scripts/mutate_guards.py files g3t         # some of them
python scripts/mutate_guards.py --modules geometry/clouds.py --tests tests/geometry/test_clouds.py
"""

import argparse
import ast
import importlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "g3pt"

SUITES = {
    "files": (["files.py"], ["tests/test_files.py"]),
    "g3t": (["models/g3t.py"], ["tests/models/test_g3t.py"]),
    "checkpoint": (
        ["training/checkpoint.py", "training/loop_state.py", "training/optim.py"],
        [
            "tests/training/test_checkpoint.py",
            "tests/training/test_loop_state.py",
            "tests/training/test_optim.py",
        ],
    ),
    "weights": (["models/weights/*.py"], ["tests/models/weights"]),
    "formats": (
        ["geometry/formats/*.py", "geometry/mesh.py"],
        ["tests/geometry/formats", "tests/geometry/test_mesh.py"],
    ),
    "shapes": (
        [
            "shapes/array_files.py",
            "shapes/mesh_stock.py",
            "shapes/packs.py",
            "shapes/rows.py",
            "shapes/shards.py",
            "shapes/stock_streams.py",
            "shapes/stored.py",
            "shapes/yardstick.py",
        ],
        [
            "tests/shapes/test_array_files.py",
            "tests/shapes/test_mesh_stock.py",
            "tests/shapes/test_packs.py",
            "tests/shapes/test_shards.py",
            "tests/shapes/test_stored.py",
            "tests/shapes/test_yardstick.py",
        ],
    ),
    "results": (["evaluation/results.py"], ["tests/evaluation/test_results.py"]),
    "sources": (
        ["work/tables.py", "preparation/inputs/*.py"],
        ["tests/work/test_tables.py", "tests/preparation/test_inputs.py"],
    ),
    "clouds": (["geometry/clouds.py"], ["tests/geometry/test_clouds.py"]),
    "manifests": (["generation/bulk/manifest.py"], ["tests/generation/bulk/test_manifest.py"]),
    "caches": (["shapes/cache/*.py"], ["tests/shapes/cache"]),
    "pixels": (["generation/pixels.py"], ["tests/generation/test_pixels.py"]),
}
"""Modules (patterns under src/g3pt) and the tests that must notice, by name."""

HEAVY = ("torch", "scipy.spatial", "trimesh", "igl", "skimage", "pytest")
"""What tests import; loaded once, before the processes of the mutants are forked."""

PROCESSOR_SECONDS = 300
WALL_SECONDS = 300
PASSED, INTERRUPTED, BROKEN = 0, 2, 3  # exit codes of pytest; what cannot be loaded interrupts


@dataclass(frozen=True)
class Mutant:
    """A module with one guard that does not act."""

    line: int
    """Where the guard stands."""
    guard: str
    """What was taken away, as code."""
    source: str
    """The whole text of the changed module."""


def mutants(source: str) -> Iterator[Mutant]:
    """The text of a module with each of its guards taken away in turn.

    A guard is a statement `raise`. Under an `if`, its condition, and each operand of an `or` in
    it, is still evaluated but never holds. In a handler, the error that was caught goes on as it
    is. Anywhere else nothing is raised.
    """
    tree = ast.parse(source)
    for parent in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(parent, field, None)
            for statement in block if isinstance(block, list) else ():
                if not isinstance(statement, ast.Raise):
                    continue
                if isinstance(parent, ast.If) and field == "body":
                    yield _replaced(source, parent.test, "(({}) and False)", "if {}")
                    test = parent.test
                    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or):
                        for operand in test.values:
                            yield _replaced(source, operand, "(({}) and False)", "... or {}")
                elif isinstance(parent, ast.ExceptHandler):
                    if statement.exc is not None:
                        yield _replaced(source, statement, "raise", "{}")
                else:
                    yield _replaced(source, statement, "pass", "{}")


def _replaced(source: str, node: ast.expr | ast.stmt, by: str, shown: str) -> Mutant:
    """Put `by` in place of a node; `{}` stands for the code that was there."""
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    assert node.end_lineno is not None and node.end_col_offset is not None
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    data = b"".join(lines)
    changed = data[:start] + by.format(data[start:end].decode()).encode() + data[end:]
    return Mutant(node.lineno, shown.format(ast.unparse(node)), changed.decode())


def run_tests(package: Path, tests: list[str], log: Path) -> int:
    """Run tests in a process of their own that imports g3pt from `package`.

    Returns:
        Exit code of pytest, or minus the signal that ended it where it took too long.
    """
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = BROKEN
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
        signal.alarm(WALL_SECONDS)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.path.insert(0, str(package.parent))
        os.environ["PYTHONPATH"] = str(package.parent)
        code = importlib.import_module("pytest").main(
            ["-x", "-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}", *tests]
        )
    except BaseException:
        traceback.print_exc()
        code = BROKEN
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def try_suite(modules: list[Path], tests: list[str]) -> list[str]:
    """Run the tests against every mutant of the modules; say what came of each.

    Returns:
        A line for every mutant that no test noticed.
    """
    survivors: list[str] = []
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        package, log = Path(folder) / "g3pt", Path(folder) / "log"
        shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("pretrained", "__pycache__"))
        os.symlink(SOURCE / "pretrained", package / "pretrained")
        if run_tests(package, tests, log) != PASSED:
            raise SystemExit(
                f"{' '.join(tests)} fail before anything is changed:\n{log.read_text()}"
            )
        for module in modules:
            name = module.relative_to(SOURCE)
            for mutant in mutants(module.read_text()):
                count += 1
                (package / name).write_text(mutant.source)
                # Compiled code is known by the seconds of its source's time, and its size.
                os.utime(package / name, (count, count))
                code = run_tests(package, tests, log)
                if code > INTERRUPTED:
                    raise SystemExit(f"pytest ended with {code}:\n{log.read_text()}")
                line = f"{name}:{mutant.line}: {mutant.guard}"
                print(f"{'SURVIVED' if code == PASSED else 'killed  '} {line}", flush=True)
                if code == PASSED:
                    survivors.append(line)
            shutil.copy2(module, package / name)
    print(f"{count} mutants, {count - len(survivors)} killed", flush=True)
    return survivors


def main() -> int:
    """Try the named suites; exit code 1 if a guard can go without a test that fails."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(SUITES)}; none: all of them")
    parser.add_argument("--modules", nargs="+", help="patterns under src/g3pt, in place of suites")
    parser.add_argument("--tests", nargs="+", help="tests that must notice, for --modules")
    arguments = parser.parse_args()
    if unknown := set(arguments.suites) - set(SUITES):
        parser.error(f"suites are {', '.join(SUITES)}, got {', '.join(sorted(unknown))}")
    if bool(arguments.modules) != bool(arguments.tests):
        parser.error("--modules and --tests go together")
    chosen = {name: SUITES[name] for name in arguments.suites or SUITES}
    if arguments.modules:
        chosen = {"named modules": (arguments.modules, arguments.tests)}

    os.chdir(ROOT)
    for module in HEAVY:
        importlib.import_module(module)
    survivors = []
    for name, (patterns, tests) in chosen.items():
        modules = sorted(path for pattern in patterns for path in SOURCE.glob(pattern))
        if not modules:
            raise SystemExit(f"nothing under {SOURCE} is named {' or '.join(patterns)}")
        start = time.monotonic()
        print(f"{name}: {len(modules)} modules, {' '.join(tests)}", flush=True)
        survivors += try_suite(modules, tests)
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    for line in survivors:
        print(f"no test misses {line}")
    return int(bool(survivors))


if __name__ == "__main__":
    sys.exit(main())
