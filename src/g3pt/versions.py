"""The version of the code, which every published number names."""

import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path


@cache
def code_version() -> str:
    """Git commit of this installation, with `+changes` if files differ from it.

    Outside a git checkout it is the version of the package.
    """
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        tracked = _git(folder, "ls-files", Path(__file__).name)
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no", ".")
    except (OSError, subprocess.SubprocessError):
        return metadata.version("g3pt")
    if not tracked:
        return metadata.version("g3pt")
    return f"{commit}+changes" if changes else commit


def _git(folder: Path, *arguments: str) -> str:
    found = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10
    )
    return found.stdout.strip()
