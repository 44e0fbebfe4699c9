"""Objects of Objaverse 1.0 through its own package, which caches downloads."""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from g3pt.files import parse_json, read_text
from g3pt.preparation.inputs.configs import ObjaverseSourceConfig
from g3pt.preparation.inputs.refs import MeshRef

logger = logging.getLogger(__name__)

LICENCES = {
    "by": "CC-BY-4.0",
    "by-sa": "CC-BY-SA-4.0",
    "by-nd": "CC-BY-ND-4.0",
    "by-nc": "CC-BY-NC-4.0",
    "by-nc-sa": "CC-BY-NC-SA-4.0",
    "by-nc-nd": "CC-BY-NC-ND-4.0",
    "cc0": "CC0-1.0",
}
"""SPDX identifiers of the licences by their short names in the annotations."""


def objaverse_refs(config: ObjaverseSourceConfig) -> Iterator[tuple[str, MeshRef]]:
    """List objects with their annotations; objects that pass the filters are downloaded if missing.

    Raises:
        ImportError: without the `objaverse` package.
        ValueError: if no ids are given, one is unknown or the list cannot be read.
        ConnectionError: if a download fails.
    """
    uids = _uids(config)
    if config.limit and not config.licences:
        uids = uids[: config.limit]
    package: Any = _package()
    try:
        notes: Mapping[str, Any] = package.load_annotations(uids)
        wanted = [uid for uid in uids if _is_wanted(notes.get(uid, {}), config)]
        wanted = wanted[: config.limit] if config.limit else wanted
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about ids, which are checked here
            paths: Mapping[str, str] = package.load_objects(wanted, config.download_processes)
    except KeyError as error:
        raise ValueError(f"objaverse: there is no object called {error.args[0]}") from None
    except (OSError, EOFError) as error:
        raise ConnectionError(f"objaverse: could not be downloaded or read: {error}") from None
    for uid in wanted:
        yield f"objaverse:{uid}", _ref(uid, paths[uid], notes.get(uid, {}))


def _package() -> Any:
    try:
        return import_module("objaverse")
    except ImportError:
        raise ImportError("objaverse: needs its package: pip install g3pt[data]") from None


def _uids(config: ObjaverseSourceConfig) -> list[str]:
    uids = list(config.uids)
    if config.path:
        path = Path(config.path)
        if not path.is_file():
            raise FileNotFoundError(f"source.path: no file of Objaverse names at {path}")
        text = read_text(path)
        uids += _json_names(path, text) if text.lstrip()[:1] in ("[", "{") else text.split()
    uids = [uid.removesuffix(".glb") for uid in uids]
    if not uids:
        raise ValueError("objaverse: expected names of objects in source.uids or source.path")
    return uids


def _json_names(path: Path, text: str) -> list[str]:
    """Ids from a JSON list, or the keys of a JSON object."""
    return [str(name) for name in parse_json(text.encode(), str(path))]


def _licence(note: Mapping[str, Any]) -> str:
    short = str(note.get("license") or "unknown")
    return LICENCES.get(short, short)


def _is_wanted(note: Mapping[str, Any], config: ObjaverseSourceConfig) -> bool:
    if config.split:
        return False
    return not config.licences or _licence(note) in config.licences


def _ref(uid: str, path: str, note: Mapping[str, Any]) -> MeshRef:
    categories = [str(entry.get("name", "")) for entry in note.get("categories") or []]
    author = note.get("user") or {}
    details = {
        "attribution": author.get("displayName") or author.get("username"),
        "source": note.get("viewerUrl") or note.get("uri"),
    }
    return MeshRef(
        id=uid,
        location=path,
        captions=(str(note["name"]),) if note.get("name") else (),
        category=categories[0] if categories else "",
        licence=_licence(note),
        size=os.path.getsize(path),
        details={key: value for key, value in details.items() if value},
    )
