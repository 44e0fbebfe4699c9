"""Where weights are: a folder, a bundled name, or the hub. Nothing is loaded here."""

import re
from collections.abc import Iterable
from pathlib import Path

from g3pt.models.weights.bundled import bundled_root

MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
VOCABULARY_FILE = "vocab.txt"
CARD_FILE = "README.md"
EVALUATION_FILE = "evaluation.json"
ATTRIBUTION_FILE = "ATTRIBUTION.md"
LICENCE_FILE = "LICENSE"
ADAPTER_FILE = "adapter.json"
HUB_PREFIX = "hub:"
PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".npy", ".npz", ".joblib")
"""Suffixes of files of weights that can hold pickles."""
EXPORT = "write a folder with `g3pt export`"
"""How to get rid of a pickle."""
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
"""OWNER/NAME."""


class WeightsError(ValueError):
    """A weights folder that is incomplete, damaged, or of another model."""


def bundled_weights() -> tuple[str, ...]:
    """Names of the weights that are bundled with this installation."""
    root = bundled_root()
    if not root.is_dir():
        return ()
    return tuple(sorted(path.parent.name for path in root.glob(f"*/{CONFIG_FILE}")))


def find_weights(weights: str | Path) -> Path:
    """Find the folder of a path, a bundled name, or `hub:OWNER/NAME[@REVISION]`.

    Only the last form may reach the network, and only for files that are not in the local cache.

    Raises:
        FileNotFoundError: if there is none of them.
        WeightsError: if the path is a file, or the hub does not give the weights.
    """
    if isinstance(weights, str) and weights.startswith(HUB_PREFIX):
        return _from_hub(weights)
    path = Path(weights)
    if path.is_dir():
        return path
    if isinstance(weights, str) and weights in bundled_weights():
        return bundled_root() / weights
    if path.is_file():
        raise WeightsError(
            f"{path}: is a file; weights are a folder with {CONFIG_FILE} and {MODEL_FILE}"
            f"{pickle_advice([path])}"
        )
    known = ", ".join(bundled_weights()) or "none in this installation"
    raise FileNotFoundError(
        f"{weights}: there is no such weights folder, nor bundled weights of that name "
        f"(bundled: {known}; from the Hugging Face hub: {HUB_PREFIX}OWNER/NAME)"
    )


def pickle_advice(files: Iterable[Path], remedy: str = EXPORT) -> str:
    """What to do with pickled weights among files; empty if there are none."""
    pickled = sorted(path.name for path in files if path.suffix.lower() in PICKLED)
    if not pickled:
        return ""
    return (
        f"; {pickled[0]} may be a pickle, which can start programs and is never opened: have "
        f"whoever made it {remedy}"
    )


def _from_hub(weights: str) -> Path:
    from huggingface_hub import snapshot_download

    name, _, revision = weights.removeprefix(HUB_PREFIX).partition("@")
    wanted = [MODEL_FILE, CONFIG_FILE, VOCABULARY_FILE]
    wanted += [CARD_FILE, EVALUATION_FILE, ATTRIBUTION_FILE, LICENCE_FILE]
    try:
        folder = snapshot_download(name, revision=revision or None, allow_patterns=wanted)
    except Exception as error:  # many kinds: no network, no such repository, no such revision
        reason = " ".join(str(error).split())
        raise WeightsError(f"{weights}: the hub does not give these weights ({reason})") from error
    return Path(folder)


def located(weights: str | Path) -> str | Path:
    """Weights as `load_weights` takes them: OWNER/NAME means the hub if there is no such folder."""
    if not isinstance(weights, str) or Path(weights).exists():
        return weights
    name, _, revision = weights.partition("@")
    is_name = HUB_NAME.fullmatch(name) is not None and not re.search(r"[\s/]", revision)
    return HUB_PREFIX + weights if is_name else weights


def is_adapter(folder: str | Path) -> bool:
    """Whether a folder holds an adapter."""
    return (Path(folder) / ADAPTER_FILE).is_file()


def check_adapter(folder: str | Path) -> None:
    """Look whether a folder holds an adapter.

    Raises:
        WeightsError: if it does not.
    """
    if not is_adapter(folder):
        raise WeightsError(
            f"{folder}: holds no adapter, there is no {ADAPTER_FILE}; whole weights go with "
            "--weights"
        )


def check_weights(weights: str, adapter: str | Path | None = None) -> None:
    """Look whether weights and an adapter are where they are said to be; the hub is not asked.

    Raises:
        FileNotFoundError: if there are none.
        WeightsError: if something else is there.
    """
    if adapter is not None:
        check_adapter(adapter)
    source = located(weights)
    if str(source).startswith(HUB_PREFIX):
        return
    folder = find_weights(source)
    if not any((folder / name).is_file() for name in (CONFIG_FILE, MODEL_FILE)):
        raise WeightsError(
            f"{folder}: holds neither weights, which are {CONFIG_FILE} and {MODEL_FILE}, nor a run"
            f"{pickle_advice(folder.iterdir())}"
        )
