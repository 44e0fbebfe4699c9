"""How far a run over shards has come, seen from outside while it writes."""

import os
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path


def num_done(out: Path) -> int:
    """Results that are written down, finished shards and those at work together.

    The run moves and removes files and folders meanwhile: `os.walk` passes over a folder that
    vanishes, where `Path.glob` raises.
    """
    done = 0
    for folder, _, names in os.walk(out):
        for name in names:
            if folder == str(out) and fnmatch(name, "shard-*.jsonl"):
                with suppress(FileNotFoundError):
                    done += Path(folder, name).read_text().count("\n")
            elif folder != str(out) and fnmatch(name, "[0-9]*.json"):
                done += 1
    return done
