"""Coverage-guided fuzzing of a door of `g3pt torture`: docs/torture.md.

    pip install atheris==3.0.0
    python scripts/fuzz_doors.py pictures --seconds 600 --corpus cache/fuzz/pictures

The door writes some inputs, as for its trials. libFuzzer then changes the bytes of one file in one
of them, keeps what reaches new code, and goes on from there. The first input that breaks a
promise ends the run with code 77 and is left in --out. A corpus that is kept is gone on with.

An input is the number of a template, a byte, and the content of its file.
"""

import argparse
import atexit
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib import import_module, util
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np

from g3pt.torture.catalogue import DOORS
from g3pt.torture.doors import Door, Hostile
from g3pt.torture.trials import judge

INSTALL = "coverage-guided fuzzing needs atheris: pip install atheris==3.0.0"
MAX_TEMPLATES = 256
"""As many as a byte can name."""
MAX_FILE_BYTES = 2**16
"""Larger files are left out: most of what is changed in them is never looked at."""
NUM_WRITTEN = 400
"""Inputs that the door writes for templates."""
NUM_TRIED = 200
"""First inputs that are tried before code is counted."""
COUNTED = ("g3pt.", "PIL.", "trimesh.")
"""Modules whose code counts: ours, and what reads bytes for us in Python."""
KEPT = ("refused", "opened")
"""Outcomes that keep the promises."""


class BrokenPromiseError(AssertionError):
    """An input broke a promise of the door."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """An input that a door wrote, of which one file is changed."""

    files: Mapping[str, bytes]
    """Path in the folder of the trial -> content, of all files but the changed one."""
    changed: str
    """Path of the file that is changed."""
    entered: str
    """Path that the door reads: the changed file or a folder."""


def main() -> int:
    """Fuzz one door."""
    arguments = parse()
    if util.find_spec("atheris") is None:
        print(INSTALL, file=sys.stderr)
        return 1
    door = DOORS[arguments.door]
    if missing := door.missing():
        print(f"{door.name}: pip install g3pt[{missing}]", file=sys.stderr)
        return 1
    templates, seeds = written_inputs(door, NUM_WRITTEN, arguments.seed)
    for folder in (arguments.corpus, arguments.out):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (arguments.corpus / sha256(seed).hexdigest()[:16]).write_bytes(seed)
    trial = Path(tempfile.mkdtemp(prefix="g3pt-fuzz-")) / "trial"
    atexit.register(shutil.rmtree, trial.parent, ignore_errors=True)
    for seed in seeds[:NUM_TRIED]:  # what is imported at the first use has to be there
        try_input(door, templates, seed, trial)
    fuzzer = import_module("atheris")
    num = instrument(fuzzer)
    print(
        f"{door.name}: {len(templates)} templates, {len(seeds)} first inputs, {num} functions",
        flush=True,
    )
    options = [
        f"-max_total_time={arguments.seconds}",
        f"-max_len={MAX_FILE_BYTES + 1}",
        f"-artifact_prefix={arguments.out}{os.sep}",
        "-rss_limit_mb=8192",
        "-timeout=20",
        "-print_final_stats=1",
        f"-seed={arguments.seed + 1}",
    ]
    fuzzer.Setup(
        [sys.argv[0], *options, str(arguments.corpus)],
        partial(try_input, door, templates, trial=trial),
    )
    fuzzer.Fuzz()  # ends the process
    return 0


def instrument(fuzzer: Any) -> int:
    """Let the functions of `COUNTED` that are there tell which of their code runs; how many."""
    found = [
        value
        for value in gc.get_objects()
        if isinstance(value, FunctionType)
        and (value.__module__ or "").startswith(COUNTED)
        and not value.__module__.startswith("g3pt.torture.")
    ]
    for function in found:
        fuzzer.instrument_func(function)
    return len(found)


def parse() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("door", choices=sorted(DOORS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", type=Path, help="gone on with (default: cache/fuzz/DOOR)")
    parser.add_argument("--out", type=Path, default=Path("cache/fuzz/broken"))
    arguments = parser.parse_args()
    arguments.corpus = arguments.corpus or Path("cache/fuzz") / arguments.door
    return arguments


# --- inputs ----------------------------------------------------------------------------------


def written_inputs(door: Door, num: int, seed: int) -> tuple[list[Template], list[bytes]]:
    """Templates and the inputs to start from, of `num` inputs that the door writes.

    Templates that differ in the content of the changed file alone are one.
    """
    templates: dict[tuple[str, ...], Template] = {}
    seeds: list[bytes] = []
    for number in range(num):
        with tempfile.TemporaryDirectory(prefix="g3pt-fuzz-") as name:
            folder = Path(name)
            rng = np.random.default_rng((seed + number, *door.name.encode()))
            hostile = door.write(folder, rng)
            for template, content in _templates_of(hostile, folder):
                key = (template.changed, *map(str, sorted(template.files.items())))
                if key not in templates and len(templates) == MAX_TEMPLATES:
                    continue
                templates.setdefault(key, template)
                seeds.append(bytes([list(templates).index(key)]) + content)
    return list(templates.values()), list(dict.fromkeys(seeds))


def _templates_of(hostile: Hostile, folder: Path) -> list[tuple[Template, bytes]]:
    plain = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    if any(path.stat().st_size > MAX_FILE_BYTES for path in plain):
        return []
    files = {str(path.relative_to(folder)): path.read_bytes() for path in plain}
    entered = str(hostile.path.relative_to(folder))
    if list(files) == [entered]:  # by its ending alone: doors number their files
        suffix = entered[entered.index(".") :] if "." in entered else ""
        files, entered = {f"input{suffix}": files[entered]}, f"input{suffix}"
    changed = [entered] if entered in files else sorted(files)
    return [
        (
            Template(
                files={path: data for path, data in files.items() if path != name},
                changed=name,
                entered=entered,
            ),
            files[name],
        )
        for name in changed
    ]


def try_input(door: Door, templates: Sequence[Template], data: bytes, trial: Path) -> None:
    """Write an input into `trial`, a folder of its own, and enter the door with it.

    Raises:
        BrokenPromiseError: if a promise was broken.
    """
    if not data:
        return
    template = templates[data[0] % len(templates)]
    shutil.rmtree(trial, ignore_errors=True)
    for name, content in {**template.files, template.changed: data[1:]}.items():
        (trial / name).parent.mkdir(parents=True, exist_ok=True)
        (trial / name).write_bytes(content)
    row = judge(door, Hostile(trial / template.entered, "changed by libFuzzer"), trial)
    if row["outcome"] not in KEPT:
        raise BrokenPromiseError(
            f"{door.name}: {row['outcome']}: {template.changed} changed: {row['message']}"
        )


if __name__ == "__main__":
    sys.exit(main())
