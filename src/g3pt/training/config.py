"""How long, where and how a training goes; what it learns from is the run's to say."""

from dataclasses import dataclass
from typing import Literal

from g3pt.arguments import check_ranges
from g3pt.training.engines import EngineName

MAX_STEPS = 2**53
MAX_TRAIN_SEED = 2**31 - 1
"""Largest seed: those of all steps, which are counted up from it, fit into 64 bits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Length, device, precision, and intervals of logging, evaluation and checkpoints."""

    steps: int = 1000
    """Optimiser steps; 0 sets no limit, so that `minutes` ends the run."""
    minutes: float = 0.0
    """Wall-clock limit in minutes, summed over all resumptions; 0 is none. The schedule follows
    steps or clock, whichever is further on. Only runs counted in steps resume exactly."""
    seed: int = 0
    accumulation: int = 1
    """Number of pieces into which each process splits its share of the batch, to save memory."""
    slices: int = 0
    """Number of pieces of the batch over all processes, in place of `accumulation`: what is learnt
    then stays the same when processes go or come. It must be a multiple of their number. 0 leaves
    it to `accumulation`."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16` uses autocast; weights, optimiser state and losses stay float32."""
    recompute_blocks: bool = False
    """Gradient checkpointing: transformer blocks run a second time for the backward pass instead
    of keeping their activations. It takes a third more time and a fraction of the memory."""
    compile: bool = False
    """Compile every transformer block with `torch.compile`, which needs a compiler on the machine
    (a warning says what is missing). The first step takes a minute longer, all others less time.
    Losses change in their last bits."""
    engine: EngineName = "auto"
    """How several processes train together. `auto` and `ddp`: each holds all weights (torch's
    DistributedDataParallel). `fsdp`: weights, gradients and optimiser state are cut among them
    (FSDP2), for a model that does not fit on one device."""
    hang_seconds: float = 60.0
    """If a process spends longer than this at one place of a step, or gives no sign of life, all
    processes leave with a message that names it; 0 waits for half an hour."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int = 0
    """Threads of torch; 0 is torch's default. Another number may change the last bits of losses."""
    prefetch: bool = True
    """Build the next batch in a thread while this one is computed."""
    ema_decay: float = 0.999
    log_every: int = 20
    eval_every: int = 1000
    """Steps between evaluations with EMA weights (one more at the end); 0 is never."""
    checkpoint_every: int = 1000
    keep_checkpoints: int = 2
    keep_best: str = ""
    """Name of an evaluation metric. The averaged weights with the largest value of it are kept in
    `best/` and are those that are used afterwards. Empty uses the last ones."""
    patience: int = 0
    """The run ends after this many evaluations in a row without a better `keep_best`; 0 goes on.
    With it, the initial state is evaluated, too, and kept if nothing is better."""
    max_skips: int = 3
    """Steps with a non-finite loss or gradient in a row before the run rolls back. Such a step
    changes nothing."""
    check_every: int = 8
    """Steps between two looks at whether losses and gradients were finite, on a GPU. To look makes
    the host wait for the GPU. The result does not depend on it: what a GPU computed after steps
    that make the run roll back is discarded. Processors and FSDP look at every step."""
    max_rollbacks: int = 3
    """Rollbacks, each of which halves the learning rate, before the run gives up."""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            "train",
            steps=(0, MAX_STEPS),
            seed=(-MAX_TRAIN_SEED, MAX_TRAIN_SEED),
            threads=(0, 4096),
            ema_decay=(0, 1),
            max_skips=(0, MAX_STEPS),
            max_rollbacks=(0, MAX_STEPS),
            eval_every=(0, MAX_STEPS),
        )
        if self.minutes < 0 or not (self.steps or self.minutes):
            raise ValueError("train needs steps > 0 or minutes > 0, so that it ends")
        positive = ("accumulation", "log_every", "checkpoint_every", "keep_checkpoints")
        for name in (*positive, "check_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be at least 1, got {getattr(self, name)}")
        if self.slices < 0:
            raise ValueError(f"train.slices must not be negative, got {self.slices}")
        if self.hang_seconds < 0:
            raise ValueError(f"train.hang_seconds must not be negative, got {self.hang_seconds}")
        if self.patience < 0 or (self.patience and not (self.keep_best and self.eval_every)):
            raise ValueError(
                "train.patience counts evaluations without a better keep_best: it needs keep_best "
                f"and eval_every, and must not be negative, got {self.patience}"
            )

    def pieces(self, processes: int) -> int:
        """Number of pieces into which each of so many processes splits its share of the batch.

        Raises:
            ValueError: if the processes cannot share `slices` equally.
        """
        if not self.slices:
            return self.accumulation
        if self.slices % processes:
            raise ValueError(
                f"train.slices is {self.slices}, which {processes} processes cannot share equally: "
                f"choose a multiple of {processes}"
            )
        return self.slices // processes

    def share_of(self, step: int, elapsed: float) -> float:
        """Share of the run that is over, by steps or by seconds, whichever is further on."""
        by_steps = step / self.steps if self.steps else 0.0
        by_clock = elapsed / (60 * self.minutes) if self.minutes else 0.0
        return max(by_steps, by_clock)
