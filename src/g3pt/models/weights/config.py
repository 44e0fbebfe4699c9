"""What `config.json` of a weights folder says."""

from dataclasses import dataclass, field
from typing import Literal

from g3pt.models.car import CarConfig
from g3pt.models.guidance import GuidanceSchedule, guidance_per_scale
from g3pt.models.rivals.flow import FlowConfig
from g3pt.models.rivals.regressor import RegressorConfig
from g3pt.models.tokenizers import TokenizerConfig

StorageType = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingDefaults:
    """How tokens are sampled when nobody says otherwise; chosen with the weights."""

    guidance: float = 2.0
    """Classifier-free guidance at the finest scale; 1 is none."""

    guidance_schedule: GuidanceSchedule = "ramp"
    """How it reaches the other scales."""

    guidance_by_scale: tuple[float, ...] = ()
    """Guidance of every scale, coarsest first, in place of the two; empty leaves it to them."""

    temperature: float = 1.0
    top_k: int = 0
    """Entries kept per token; 0 keeps all."""

    top_p: float = 0.95
    """Probability mass kept per token; 1 keeps all."""

    num_scales: int = 0
    """Scales that are sampled; 0 is all."""

    consensus: int = 1
    """Samples whose mean is the answer to a picture where a single one is asked for; 1 is a plain
    sample."""

    guess: bool = False
    """Answer with the first guess where one answer is wanted of a picture."""

    guess_above: float | None = None
    """The first guess answers in place of the consensus where the samples are further apart than
    this (`sample_spread`); None: never."""

    def __post_init__(self) -> None:
        if self.consensus < 1:
            raise ValueError(f"sampling.consensus must be at least 1, got {self.consensus}")
        if self.guess_above is not None and self.consensus < 2:
            raise ValueError(
                "sampling.guess_above compares samples, so sampling.consensus must be at least 2, "
                f"got {self.consensus}"
            )

    def guidance_of(self, num_scales: int) -> tuple[float, ...]:
        """Guidance of each scale, coarsest first.

        Raises:
            ValueError: if `guidance_by_scale` names another number of scales.
        """
        if not self.guidance_by_scale:
            return guidance_per_scale(self.guidance, num_scales, self.guidance_schedule)
        if len(self.guidance_by_scale) != num_scales:
            raise ValueError(
                f"sampling.guidance_by_scale needs {num_scales} numbers, one a scale, got "
                f"{len(self.guidance_by_scale)}"
            )
        return self.guidance_by_scale


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsConfig:
    """What `config.json` of a weights folder says."""

    kind: Literal["g3pt-weights"] = "g3pt-weights"
    version: Literal[1] = 1

    name: str
    """Under which the weights are known, e.g. `g3pt-small`."""

    storage: StorageType = "float16"
    """Number format of the file, whatever the models are used in."""

    compact: tuple[str, ...] = ()
    """Beginnings of tensor names, such as `car.`, whose matrices are stored as 8-bit rows."""

    sha256: str = ""
    """Of `model.safetensors`."""

    vocabulary_sha256: str = ""
    """Of `vocab.txt`, which holds the words of the text condition; empty where there are none. The
    weights of earlier versions list them in the condition."""

    tokenizer: TokenizerConfig
    car: CarConfig | None = None
    """None: no generator; a tokenizer alone is enough to reconstruct."""

    flow: FlowConfig | None = None
    """The diffusion rival in place of `car`, on a tokenizer with continuous latents."""

    num_points: int = 8192
    """Surface points with normals that a shape is sampled with before it becomes tokens; the
    tokenizer reads any number. `g3pt export` takes as many as the generator's tokens were made of,
    or else as the tokenizer was trained on."""

    classes: tuple[str, ...] = ()
    """Names of the class labels, in the order of their numbers."""

    sampling: SamplingDefaults = field(default_factory=SamplingDefaults)


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressorWeightsConfig:
    """What `config.json` of a regressor says, which needs no tokenizer."""

    kind: Literal["g3pt-regressor"] = "g3pt-regressor"
    version: Literal[1] = 1
    name: str
    storage: StorageType = "float16"
    sha256: str = ""
    """Of `model.safetensors`."""
    vocabulary_sha256: str = ""
    """As in `WeightsConfig`."""
    regressor: RegressorConfig
    classes: tuple[str, ...] = ()
    """Names of the class labels, in the order of their numbers."""
