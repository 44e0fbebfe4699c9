"""The contents of `config.json` in a weights folder."""

from dataclasses import dataclass
from typing import Literal

from g3pt.arguments import MAX_POINTS, check_ranges
from g3pt.config import Retired
from g3pt.models.car import CarConfig
from g3pt.models.rivals.flow import FlowConfig
from g3pt.models.rivals.regressor import RegressorConfig
from g3pt.models.sampling import STANDARD, Sampling
from g3pt.models.tokenizers import TokenizerConfig

MAX_NAME = 256
"""Most characters of a name."""

StorageType = Literal["float32", "float16", "bfloat16"]


RETIRED_OF_MODELS: Retired = {
    ("adaln",): "shared",
    ("adaln_rank",): 32,
    ("attention",): "scales",
    ("conditions", "stem"): "conv",
}
"""Retired fields of the configs of CAR and its rivals."""

RETIRED: Retired = {
    (model, *path): value
    for model in ("car", "flow", "regressor")
    for path, value in RETIRED_OF_MODELS.items()
}
"""Retired fields of the configs of weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsConfig:
    """What `config.json` of a weights folder says."""

    kind: Literal["g3pt-weights"] = "g3pt-weights"
    version: Literal[1] = 1

    name: str
    """Name of the weights, e.g. `g3pt-small`."""

    storage: StorageType = "float16"
    """Number format of the stored tensors, independent of the format that the models run in."""

    compact: tuple[str, ...] = ()
    """Prefixes of tensor names, such as `car.`, whose matrices are stored as 8-bit rows."""

    sha256: str = ""
    """SHA-256 of `model.safetensors`."""

    vocabulary_sha256: str = ""
    """SHA-256 of `vocab.txt`, which holds the words of the text condition; empty if there are none.
    Weights of earlier versions list the words in the condition."""

    tokenizer: TokenizerConfig
    car: CarConfig | None = None
    """The generator; None if the folder holds only a tokenizer, which is enough to reconstruct."""

    flow: FlowConfig | None = None
    """The diffusion rival in place of `car`, on a tokenizer with continuous latents."""

    num_points: int = 8192
    """Surface points with normals sampled on a shape to tokenize it; the tokenizer reads any
    number. `g3pt export` takes the number that the generator's tokens were made from, or else the
    number that the tokenizer was trained on."""

    classes: tuple[str, ...] = ()
    """Names of the class labels, in the order of their numbers."""

    sampling: Sampling = STANDARD
    """Default sampling settings, chosen for these weights."""

    def __post_init__(self) -> None:
        check_ranges(self, "", num_points=(1, MAX_POINTS))
        _check_names(self)
        said = self.sampling.over(STANDARD)
        if said.spread_limit is not None and said.consensus == 1:
            raise ValueError(
                "sampling.guess_above compares samples, so sampling.consensus must be at least 2, "
                f"got {said.consensus}"
            )


def _check_names(config: "WeightsConfig | RegressorWeightsConfig") -> None:
    """Check that names can be shown on a line.

    Raises:
        ValueError: naming the field.
    """
    for field, name in (("name", config.name), *(("classes", each) for each in config.classes)):
        if len(name) > MAX_NAME or not name.isprintable():
            raise ValueError(
                f"{field} must have at most {MAX_NAME} characters, none of them a control "
                f"character, got {name!r:.60}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressorWeightsConfig:
    """The contents of `config.json` of a regressor, which needs no tokenizer."""

    kind: Literal["g3pt-regressor"] = "g3pt-regressor"
    version: Literal[1] = 1
    name: str
    storage: StorageType = "float16"
    sha256: str = ""
    """SHA-256 of `model.safetensors`."""
    vocabulary_sha256: str = ""
    """As in `WeightsConfig`."""
    regressor: RegressorConfig
    classes: tuple[str, ...] = ()
    """Names of the class labels, in the order of their numbers."""

    def __post_init__(self) -> None:
        _check_names(self)
