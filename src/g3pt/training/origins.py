"""Settings and files that exported weights inherit from the origin of their models.

A model comes from a weights folder, or from a run that may have started from weights or from
another run, and so on. By default, exported weights take sampling settings, storage format and
credits from the weights at the beginning of this chain.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from g3pt.files import read_text
from g3pt.models.sampling import Sampling
from g3pt.models.weights.config import (
    RegressorWeightsConfig,
    StorageType,
    WeightsConfig,
)
from g3pt.models.weights.folder import read_config
from g3pt.models.weights.load import holds_regressor
from g3pt.models.weights.places import find_weights
from g3pt.training.checkpoint import is_run_folder
from g3pt.training.runs import kind_of, load_run

NOTHING = "nothing"
"""Given in place of weights to inherit from: nothing is inherited."""

ValueT = TypeVar("ValueT")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a model comes from; settings that are not known are None."""

    words: str
    """Description of the origin for the model card, in Markdown."""
    trained: bool
    """Whether the model comes from a run, so that no weights folder holds it."""
    weights: Path | None = None
    """The weights folder at the beginning; None if training started from random weights."""
    config: WeightsConfig | RegressorWeightsConfig | None = None
    """Config of these weights."""
    num_points: int | None = None
    """Surface points that the tokenizer reads."""
    classes: tuple[str, ...] = ()
    sampling: Sampling | None = None

    @property
    def storage(self) -> StorageType | None:
        """Number format of the weights at the beginning."""
        return None if self.config is None else self.config.storage

    @property
    def compact(self) -> tuple[str, ...]:
        """Prefixes of the tensors that these weights store as 8-bit rows."""
        return self.config.compact if isinstance(self.config, WeightsConfig) else ()


def origin_of(source: str, inherit: str | None = None) -> Origin:
    """Follow a model back to what it started from.

    Args:
        source: run folder, weights folder or name of bundled weights.
        inherit: weights or run to use instead of what the run started from, or `nothing`.

    Raises:
        FileNotFoundError: if there is nothing of that name.
        ValueError: if what a run started from is gone.
    """
    if not is_run_folder(source):
        folder = find_weights(source)
        if holds_regressor(folder):
            config = read_config(folder, RegressorWeightsConfig)
            points, sampling = None, None
        else:
            config = read_config(folder, WeightsConfig)
            points, sampling = config.num_points, config.sampling
        return Origin(
            words=f"weights {config.name}",
            trained=False,
            weights=folder,
            config=config,
            num_points=points,
            classes=config.classes,
            sampling=sampling,
        )
    run = load_run(source)
    initial = run.initial if inherit is None else "" if inherit == NOTHING else inherit
    kind = kind_of(run)
    own = Origin(
        words=f"run `{source}` ({run.name})", trained=True, **vars(kind.exported_settings(run))
    )
    if not initial:
        return own
    try:
        start = origin_of(initial)
    except FileNotFoundError:
        raise ValueError(
            f"{source}: started from {initial}, which is not there any more; name weights to "
            f"inherit settings from with --inherit, or --inherit {NOTHING}"
        ) from None
    return replace(
        own,
        words=f"{own.words}, which started from {start.words}",
        weights=start.weights,
        config=start.config,
        # The origin of a generator does not determine this; its tokenizer does.
        num_points=own.num_points if kind.trains_tokenizer else None,
        classes=own.classes or start.classes,
        sampling=start.sampling,
    )


def inherited_storage(origins: Sequence[Origin]) -> StorageType:
    """Number format of the first origin that has one; float16 if none has."""
    for one in origins:
        if one.storage is not None:
            return one.storage
    return "float16"


def inherited_compact(tokenizer: Origin, generator: Origin | None) -> tuple[str, ...]:
    """Prefixes stored as 8-bit rows; each model keeps the storage of its own weights."""
    of_tokenizer = tuple(name for name in tokenizer.compact if name.startswith("tokenizer"))
    others = () if generator is None else generator.compact
    of_generator = tuple(name for name in others if not name.startswith("tokenizer"))
    ours = of_generator + of_tokenizer
    # If the generator's weights list the same prefixes, their order is kept.
    return others if set(ours) == set(others) else ours


def inherited_text(origins: Sequence[Origin], name: str) -> str | None:
    """Text of a file of the weights at the beginning, joined if several have it; None if none."""
    folders = dict.fromkeys(one.weights for one in origins if one.weights is not None)
    texts = [read_text(one / name) for one in folders if (one / name).is_file()]
    return "\n".join(dict.fromkeys(texts)) if texts else None


def are_copies(
    origins: Sequence[Origin], written: WeightsConfig | RegressorWeightsConfig
) -> Path | None:
    """The one weights folder whose models and config are written unchanged; None if not so."""
    folders = {one.weights for one in origins}
    first = origins[0]
    if len(folders) != 1 or any(one.trained for one in origins) or first.config is None:
        return None
    checksums = {"sha256": "", "vocabulary_sha256": ""}  # writing fills them in
    same = replace(first.config, **checksums) == replace(written, **checksums)
    return first.weights if same else None
