"""The run of a generator on a stream; readable where nothing that reads meshes is installed."""

from dataclasses import dataclass, field
from typing import Literal

from g3pt.models.car import CarConfig
from g3pt.stream.dataset import StreamConfig
from g3pt.stream.recorded import RecordedConfig
from g3pt.training.loop import TrainConfig
from g3pt.training.next_scale import CarLossConfig
from g3pt.training.optim import AdamWConfig, OptimConfig
from g3pt.training.stream_task import WatchConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamRun:
    """A training of stage 2 on shapes that are made while it runs."""

    kind: Literal["stream"] = "stream"
    name: str = "car-stream"
    initial: str = ""
    """Run folder, weights folder or bundled name whose weights training starts from; empty
    starts afresh."""
    tokenizer: str = "g3pt-small"
    """Run folder of a tokenizer, weights folder, or name of bundled weights."""
    model: CarConfig = field(default_factory=CarConfig)
    """Its scale lengths, bits and input width are taken from the tokenizer, the words of its text
    condition from families and stock if it names none."""
    trained: Literal["all", "guess"] = "all"
    """All of the model, or its first guess alone: all else is as `initial` has it, and the guess
    begins anew."""
    num_scales: int = 0
    """Scales of the tokenizer that are learnt, the coarsest ones; 0 is all."""
    data: StreamConfig | RecordedConfig = field(default_factory=lambda: StreamConfig(meshes=0))
    watch: WatchConfig = field(default_factory=WatchConfig)
    loss: CarLossConfig = field(default_factory=CarLossConfig)
    optim: OptimConfig = field(default_factory=AdamWConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
