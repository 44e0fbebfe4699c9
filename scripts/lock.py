"""Write constraints.lock: what `make develop` installs, each file by its SHA-256.

python scripts/lock.py                 # from constraints.txt and pyproject.toml
python scripts/lock.py --check         # say whether the package index still gives the same files

It runs on the machine that it is for (Linux x86_64, Python 3.11) and asks the package index that
pip is set up for; torch must be offered there without CUDA (`--index`: another index for it).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
LOCK = ROOT / "constraints.lock"
HEAD = """\
# The files of constraints.txt for Linux x86_64, Python 3.11 and torch without CUDA, by SHA-256.
# `make locked` installs them and nothing else. Written by scripts/lock.py: do not edit.
"""
LEFT_OUT = ("bench", "heic", "docs")
"""Extras and groups that `make develop` does not install."""


def pins() -> list[str]:
    """Lines of constraints.txt that the lock has, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["project"]["optional-dependencies"] | project["dependency-groups"]
    left_out = {
        canonicalize_name(Requirement(line).name) for key in LEFT_OUT for line in groups[key]
    }
    lines = CONSTRAINTS.read_text().splitlines()
    chosen = [line for line in lines if line and not line.startswith("#")]
    return sorted(
        line for line in chosen if canonicalize_name(Requirement(line).name) not in left_out
    )


def locked(lines: list[str], index: str | None) -> str:
    """Ask pip which file it would take for each pin.

    Args:
        lines: pins.
        index: address of a further index.

    Returns:
        The text of the lock: a line `name==version --hash=sha256:...` for every pin.

    Raises:
        ValueError: if torch is offered only with CUDA.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted, report = Path(folder) / "pins.txt", Path(folder) / "report.json"
        wanted.write_text("\n".join(lines))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--no-deps", "--report", str(report), "-r", str(wanted)]
        command += ["--extra-index-url", index] if index else []
        subprocess.run(command, check=True)
        files = json.loads(report.read_text())["install"]
    rows = {}
    for file in files:
        name, version = canonicalize_name(file["metadata"]["name"]), file["metadata"]["version"]
        sha256 = file["download_info"]["archive_info"]["hashes"]["sha256"]
        rows[name] = f"{name}=={version} --hash=sha256:{sha256}"
    if "+cpu" not in rows["torch"]:
        raise ValueError(
            f"pip would take {rows['torch'].split()[0]}, which needs CUDA; expected one that ends "
            "in +cpu. Name an index that has it: --index https://download.pytorch.org/whl/cpu"
        )
    return HEAD + "".join(f"{rows[name]}\n" for name in sorted(rows))


def main() -> int:
    """Write the lock, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--index", help="a further package index, for torch without CUDA")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    arguments = parser.parse_args()
    text = locked(pins(), arguments.index)
    if not arguments.check:
        LOCK.write_text(text)
        return 0
    differing = sorted(set(text.splitlines()) ^ set(LOCK.read_text().splitlines()))
    print("\n".join(differing) or f"{LOCK.name} names the files that the index has")
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())
