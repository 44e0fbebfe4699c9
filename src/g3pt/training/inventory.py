"""Check of a run's inputs before any work: what exists, what will be made, what is left out.

A training may first prepare data for minutes or hours. A wrong name that is found only then costs
all that time. So every path and name of a run is checked here, and nothing is made.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from g3pt.models.conditioning import FrozenConfig
from g3pt.models.conditioning.frozen import HUB_PREFIX as FROZEN_HUB_PREFIX
from g3pt.models.conditioning.frozen import source_arguments
from g3pt.models.weights.folder import CONFIG_FILE, HUB_PREFIX, MODEL_FILE, find_weights
from g3pt.preparation.build import check_folder
from g3pt.preparation.sources import ObjaverseSourceConfig, list_shapes
from g3pt.shapes.packs import is_pack
from g3pt.shapes.shards import is_complete
from g3pt.training.checkpoint import list_checkpoints
from g3pt.training.ingredients import PreparedShapes

RunT = TypeVar("RunT", bound=Any)

CACHES = ("tokens", "latents", "image_features", "text_features")
"""Fields of data configs that name folders next to sets of shapes."""


class Looker:
    """Checks paths and names one after another, and collects what it finds."""

    def __init__(self, promised: Collection[str]) -> None:
        self._promised = {Path(path) for path in promised}
        self._missing: list[str] = []
        self._wrong: list[str] = []
        self.left_out: list[str] = []
        self.made: list[str] = []

    def raise_problems(self, name: str) -> None:
        """Raise one error that lists all problems that were found, if there are any."""
        problems = self._missing + self._wrong
        if not problems:
            return
        kind = FileNotFoundError if self._missing else ValueError
        raise kind(f"{name} cannot start:\n  " + "\n  ".join(problems))

    def wrong(self, message: str) -> None:
        """Note a value that cannot be used."""
        self._wrong.append(message)

    def promised(self, path: str) -> bool:
        """Whether a path will exist when training begins."""
        return Path(path) in self._promised

    def require(self, field: str, there: bool, message: str) -> None:
        """Note something as missing unless it is there."""
        if not there:
            self._missing.append(f"{field}: {message}")

    def attempt(self, field: str, look: Callable[[], Any]) -> bool:
        """Call `look` and note the error that it raises; return whether it succeeded."""
        try:
            look()
        except FileNotFoundError as error:
            self._missing.append(f"{field}: {error}")
            return False
        except ValueError as error:
            self._wrong.append(f"{field}: {error}")
            return False
        return True

    def weights(self, field: str, source: str) -> None:
        """Check a run folder, a weights folder, a bundled name, or weights on the hub."""
        if not source or self.promised(source) or source.startswith(HUB_PREFIX):
            return
        checkpoints = Path(source) / "checkpoints"
        if checkpoints.is_dir():
            self.require(
                field,
                bool(list_checkpoints(checkpoints)),
                f"the run in {source} has written no checkpoint yet",
            )
        elif self.attempt(field, lambda: find_weights(source)):
            folder = find_weights(source)
            self.require(
                field,
                all((folder / name).is_file() for name in (CONFIG_FILE, MODEL_FILE)),
                f"expected a run folder with checkpoints, or {CONFIG_FILE} and {MODEL_FILE} of "
                f"weights, in {source}",
            )

    def folders(self, field: str, paths: Collection[str]) -> None:
        """Check the cache folders of a data config."""
        for path in paths:
            self.require(field, Path(path).is_dir(), f"there is no folder {path}")

    def shards(self, field: str, paths: Collection[str]) -> None:
        """Check prepared sets that the user named."""
        for path in paths:
            self.require(
                field, _is_prepared(path), f"expected a pack or a complete set of shapes at {path}"
            )

    def prepared(self, field: str, shapes: PreparedShapes) -> bool:
        """Check that shapes exist or can be made; False if they are optional and cannot."""
        if _is_prepared(shapes.path):
            return True
        source, problems = shapes.source, len(self._missing)
        if isinstance(source, ObjaverseSourceConfig):  # is listed over the network
            self.made.append(f"{shapes.path}: prepared from Objaverse")
            return True
        refs: list[Any] = []
        sound = self.attempt(field, lambda: refs.extend(list_shapes(source)))
        if not sound and shapes.optional and len(self._missing) > problems:
            del self._missing[problems:]
            self.left_out.append(
                f"{shapes.path}: there are no meshes at {getattr(source, 'path', source.kind)}; "
                "training goes without them"
            )
            return False
        if sound and self.attempt(field, lambda: check_folder(Path(shapes.path), shapes.config)):
            self.made.append(f"{shapes.path}: prepared from {len(refs)} {source.kind} shapes")
        return True


def _is_prepared(path: str) -> bool:
    return is_complete(Path(path)) or is_pack(Path(path))


def look_at_shapes(run: RunT, looker: Looker, *, num_held_out: int | None = None) -> RunT:
    """Check the inputs of a run that learns from prepared shapes.

    Args:
        run: with `data`, `shapes`, `validation`, `held_out` and `model`.
        looker: collects what is found.
        num_held_out: number of sets of held-out shapes that such a run uses; None is all.

    Returns:
        The run without optional inputs that do not exist.
    """
    data, validation = run.data, run.validation
    for name, config in (("data", data), ("validation", validation)):
        for cache in CACHES:
            looker.folders(f"{name}.{cache}", getattr(config, cache, ()))
    for condition in getattr(run.model, "conditions", ()):
        if isinstance(condition, FrozenConfig) and not getattr(data, f"{condition.slot}_features"):
            _look_at_frozen(condition, looker)
    kept: list[bool] = []
    if data.shards:
        looker.shards("data.shards", data.shards)
    else:
        kept = [looker.prepared("shapes", shapes) for shapes in run.shapes]
        if run.shapes and not any(kept):
            looker.wrong("shapes: nothing of them is there, and nothing is left to learn from")
    num_parts = len(data.shards or run.shapes)
    if data.weights and len(data.weights) != num_parts:
        looker.wrong(
            f"data.weights: expected one for each of {num_parts} sets of shapes, got {data.weights}"
        )
    elif not all(kept) and data.weights:
        shares = tuple(w for w, keep in zip(data.weights, kept, strict=True) if keep)
        data = replace(data, weights=shares)
    shapes = run.shapes
    if not data.shards:
        shapes = tuple(one for one, keep in zip(shapes, kept, strict=True) if keep)
    return replace(run, data=data, shapes=shapes, held_out=_held_out(run, looker, num_held_out))


def _held_out(run: Any, looker: Looker, num: int | None) -> tuple[PreparedShapes, ...]:
    named = run.validation.shards
    if named:
        looker.shards("validation.shards", (named,) if isinstance(named, str) else named)
        return run.held_out
    found = list[PreparedShapes]()
    for shapes in run.held_out:
        if looker.prepared("held_out", shapes):
            found.append(shapes)
        if len(found) == num:
            break
    return tuple(found)


def _look_at_frozen(condition: FrozenConfig, looker: Looker) -> None:
    field = f"model.conditions: {condition.kind}"
    if find_spec("transformers") is None:
        looker.wrong(f"{field}: needs transformers: pip install 'g3pt[hub]'")
    if not condition.source.startswith(FROZEN_HUB_PREFIX):
        looker.attempt(field, lambda: source_arguments(condition.kind, condition.source))
