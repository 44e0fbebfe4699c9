"""The closed union of run configs, and the kind that belongs to each."""

from pathlib import Path
from typing import Any

from g3pt.config import (
    YAML_SUFFIXES,
    ConfigError,
    Retired,
    from_json,
    refuse_yaml,
    without_retired,
)
from g3pt.files import MAX_CONFIG_BYTES, read_json
from g3pt.models.weights.config import RETIRED_OF_MODELS
from g3pt.preparation.sources import as_once_meant
from g3pt.training.kinds.car import CAR, CarRun
from g3pt.training.kinds.contract import RunKind
from g3pt.training.kinds.flow import FLOW, FlowRun
from g3pt.training.kinds.regressor import REGRESSOR, RegressorRun
from g3pt.training.kinds.stream import STREAM, StreamRun
from g3pt.training.kinds.tokenizer import TOKENIZER, TokenizerRun

CONFIG_FILE = "config.json"

Run = TokenizerRun | CarRun | StreamRun | FlowRun | RegressorRun

KINDS: dict[str, RunKind[Any]] = {
    kind.config().kind: kind for kind in (TOKENIZER, CAR, STREAM, FLOW, REGRESSOR)
}
"""All kinds of runs, by the `kind` field of their configs."""


RETIRED: Retired = {
    **{("model", *path): value for path, value in RETIRED_OF_MODELS.items()},
    ("data", "only_with_images"): False,
    ("loss", "guess_features"): 1.0,
    ("loss", "time_mean"): 0.0,
    ("loss", "time_deviation"): 1.0,
    ("optim", "min_dim"): 16,
    ("watch", "temperature"): 0.5,
    ("watch", "guidance"): 1.5,
    ("watch", "num_scales"): 0,
}
"""Retired fields of the configs of runs."""


def kind_of(run: Run) -> RunKind[Any]:
    """The kind of a run."""
    return KINDS[run.kind]


def load_run(folder: str | Path) -> Run:
    """Read the config of a run folder.

    Raises:
        FileNotFoundError: if there is none.
        ConfigError: if it is not one.
    """
    refuse_yaml_config(Path(folder))
    return read_run(Path(folder) / CONFIG_FILE)


def refuse_yaml_config(folder: Path) -> None:
    """Refuse a run folder that has a config in YAML in the place of the one that is read.

    Raises:
        ConfigError: naming that file.
    """
    path = folder / CONFIG_FILE
    if not path.exists():
        for suffix in YAML_SUFFIXES:
            if path.with_suffix(suffix).exists():
                refuse_yaml(path.with_suffix(suffix))


def read_run(path: Path) -> Run:
    """Read the config of a run, of any kind.

    Raises:
        FileNotFoundError: if there is none.
        ConfigError: if it is not one.
    """
    refuse_yaml(path)
    data: Any = as_once_meant(read_json(path, ConfigError, most=MAX_CONFIG_BYTES))
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(f"{path}: kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    return from_json(KINDS[kind].config, without_retired(data, RETIRED), origin=str(path))
