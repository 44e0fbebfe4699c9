"""Hostile configs of training runs."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from g3pt.config import ConfigError, to_json
from g3pt.torture.damage import FOREIGN, Rng, damaged_json_bytes, pick, replace_by_special
from g3pt.torture.doors import Door, Hostile
from g3pt.training.runs import CONFIG_FILE, KINDS, load_run


class RunConfigs(Door):
    """Configs of runs."""

    name = "configs"
    promise = "the config of a run is read as it was written, or refused by file and field"
    errors = (ConfigError, FileNotFoundError)

    def write(self, folder: Path, rng: Rng) -> Hostile:
        """A run folder with a config."""
        path = folder / CONFIG_FILE
        data = json.loads(pick(_configs(), rng))
        match int(rng.integers(12)):
            case 0:
                path.write_text(json.dumps(data))
                return Hostile(folder, f"sound {data['kind']}", "open")
            case 1:
                what = pick(tuple(FOREIGN), rng)
                path.write_bytes(FOREIGN[what])
                return Hostile(folder, what, "refuse")
            case 2:
                return Hostile(folder, replace_by_special(path, rng), "refuse")
            case _:
                what, content = damaged_json_bytes(data, rng)
                path.write_bytes(content)
                return Hostile(folder, f"{data['kind']}: {what}")

    def enter(self, path: Path) -> None:
        """Read it, write it, and read it again."""
        run: Any = load_run(path)
        text = json.dumps(to_json(run))
        assert to_json(run) == json.loads(text), "is not read as it was written"


@lru_cache(maxsize=1)
def _configs() -> tuple[str, ...]:
    """Configs of all kinds of runs, as JSON."""
    return tuple(json.dumps(to_json(kind.config())) for kind in KINDS.values())
