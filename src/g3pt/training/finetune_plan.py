"""How long and how fast a finetuning trains, for 10 to 5,000 meshes."""

from dataclasses import dataclass
from typing import Literal

from g3pt.models.car import CarConfig
from g3pt.models.conditioning import PictureConfig
from g3pt.models.sampling import STANDARD, Sampling
from g3pt.stream.fields import QueryCounts
from g3pt.stream.maker import MakerConfig
from g3pt.stream.recording import RecordingConfig
from g3pt.training.config import TrainConfig
from g3pt.training.finetuning import WATCHED, FinetuneLoss
from g3pt.training.next_scale import CarLossConfig
from g3pt.training.optim import AdamWConfig, ScheduleConfig

WARPS = 40
"""Examples of each mesh, every one in another warp."""
MIN_EXAMPLES, MAX_EXAMPLES = 512, 20_000
REPLAYED = 0.5
"""Procedural examples for each example of a mesh: without them old kinds are forgotten."""
NUM_EVALUATIONS = 6
PART = 64
"""Examples that are recorded at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneConfig:
    """What is trained of which weights, and how."""

    kind: Literal["finetune"] = "finetune"
    version: Literal[1] = 1
    weights: str
    """Name or folder of the weights."""
    sha256: str
    """Their checksum."""
    full: bool = False
    """Train all weights of the generator in place of adapters."""
    decoder: bool = False
    """Train the decoder of the tokenizer, too."""
    rank: int = 16
    """Inner rank of the adapters."""
    lr: float = 0.0
    """Peak learning rate; 0 is 5e-4 for adapters and 1e-4 for all weights."""
    held_out: float = 0.25
    """Share of the meshes that are held out."""
    warps: int = WARPS
    """Examples of each mesh."""
    replay: float = REPLAYED
    """Examples of procedural shapes for each example of a mesh."""
    steps: int = 0
    """Most steps; 0 follows from the number of meshes."""
    batch_size: int = 64
    """Examples of a step that the first guess sees."""
    car_examples: int = 4
    """Examples of a step that the generator sees."""
    num_points: int = 4096
    """Surface points from which an example is tokenized."""
    max_faces: int = 3000
    """Meshes with more faces are decimated to about so many for warps; held-out ones are not."""
    seed: int = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int = 0
    """Threads of torch; 0 is torch's default."""

    def __post_init__(self) -> None:
        for name in ("rank", "warps", "batch_size", "car_examples", "num_points"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out must lie between 0 and 1, got {self.held_out:g}")
        if self.replay < 0 or self.lr < 0 or self.steps < 0:
            raise ValueError(
                "replay, lr and steps must not be negative, got "
                f"{self.replay:g}, {self.lr:g} and {self.steps}"
            )

    @property
    def is_whole(self) -> bool:
        """Whether the result is whole weights, since an adapter cannot hold it."""
        return self.full or self.decoder

    @property
    def peak_lr(self) -> float:
        """The learning rate, with 0 resolved."""
        return self.lr or (1e-4 if self.full else 5e-4)

    def num_examples(self, num_meshes: int) -> int:
        """Examples made of the meshes."""
        return min(max(self.warps * num_meshes, MIN_EXAMPLES), MAX_EXAMPLES)

    def num_replayed(self, num_meshes: int) -> int:
        """Examples of each of the two procedural sources."""
        return round(self.replay * self.num_examples(num_meshes) / 2)

    def num_steps(self, num_meshes: int) -> int:
        """Steps at most: more for more meshes, not in proportion."""
        return self.steps or min(max(self.num_examples(num_meshes) // 6, 120), 4000)

    def train(self, num_meshes: int) -> TrainConfig:
        """The loop."""
        steps = self.num_steps(num_meshes)
        every = max(1, steps // NUM_EVALUATIONS)
        return TrainConfig(
            steps=steps,
            seed=self.seed,
            device=self.device,
            threads=self.threads,
            prefetch=False,
            ema_decay=0.98,
            log_every=max(1, min(10, every)),
            eval_every=every,
            checkpoint_every=every,
            keep_checkpoints=1,
            keep_best=WATCHED,
            patience=3,
        )

    def optim(self, num_meshes: int) -> AdamWConfig:
        """The optimiser."""
        warmup = min(20, self.num_steps(num_meshes) // 4)
        return AdamWConfig(
            lr=self.peak_lr,
            weight_decay=0.0,
            schedule=ScheduleConfig(warmup_steps=warmup, final_share=0.05),
        )

    def loss(self, car: CarConfig, sampling: Sampling) -> FinetuneLoss:
        """The losses: the scales that are sampled by default, and the guess with its field."""
        has_guess = car.guess is not None
        return FinetuneLoss(
            generator=CarLossConfig(
                dropout=0.1,
                single_share=0.0,
                # Few examples: the field of one alone would drown the error of the features.
                guess_field=0.25 if has_guess else 0.0,
            ),
            car_examples=self.car_examples,
            num_scales=sampling.over(STANDARD).num_scales or car.num_scales,
            decoder=1.0 if self.decoder else 0.0,
        )

    def recording(
        self,
        source: Literal["meshes", "families", "grammar"],
        car: CarConfig,
        num_scales: int,
        stock: str,
    ) -> RecordingConfig:
        """What is recorded of a source: two pictures of every example, and its tokens."""
        return RecordingConfig(
            source=source,
            stock=stock if source == "meshes" else "",
            first_seed=300_000_000,
            part=PART,
            tokenizer=self.weights,
            num_scales=num_scales,
            features=car.guess is not None,
            maker=MakerConfig(
                num_points=self.num_points,
                image_size=picture_side(car),
                num_views=2,
                queries=QueryCounts(num_volume=256, num_near=255),
                seed=self.seed + 7,
            ),
        )


def picture_side(car: CarConfig) -> int:
    """Side of the recorded pictures: the first guess reads them as they are, CAR may shrink them.

    Raises:
        ValueError: if the generator reads no pictures, or larger ones than its guess.
    """
    sizes = [each.image_size for each in car.conditions if isinstance(each, PictureConfig)]
    if not sizes:
        raise ValueError("finetuning shows pictures, and this generator reads none")
    if car.guess is None:
        return sizes[0]
    if sizes[0] > car.guess.image_size:
        raise ValueError(
            f"the generator reads pictures of {sizes[0]} pixels and its first guess of "
            f"{car.guess.image_size}: finetuning needs a guess that reads as many or more"
        )
    return car.guess.image_size
