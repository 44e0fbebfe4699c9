"""The training loop of both stages.

A step is a function of only the run's state, the step number and, if `minutes` is set, the clock.
Batches, dropout and schedules hold no state between steps. A run that is counted in steps therefore
gives the same losses bit for bit on the same machine, even if it was killed and resumed.
"""

import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from g3pt.files import staying
from g3pt.models.devices import resolve_device
from g3pt.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    CheckpointWriter,
    discard_after,
    host_copies,
    list_checkpoints,
    load_module_tensors,
    load_newest_checkpoint,
    module_tensors,
)
from g3pt.training.compilation import compile_blocks
from g3pt.training.config import TrainConfig
from g3pt.training.distributed import World, whole
from g3pt.training.engines import build_engine
from g3pt.training.feed import BatchFeed
from g3pt.training.loop_state import LoopState, loop_state
from g3pt.training.optim import Ema, OptimConfig, Optimizer
from g3pt.training.recomputation import recompute_blocks
from g3pt.training.signals import StopSignals
from g3pt.training.statistics import RunningStatistics
from g3pt.training.task import Task
from g3pt.training.tracking import MetricsFile, ProgressDisplay, Standing
from g3pt.training.watch import Watch

LOGGER = logging.getLogger(__name__)
BEST_FOLDER = "best"
"""Folder in a run for the averaged weights of `TrainConfig.keep_best`, as a checkpoint."""


@dataclass(frozen=True)
class TrainResult:
    """How a call of `train` ended."""

    run: Path
    step: int
    loss: float
    """Mean since the last log record before the end; NaN if nothing was logged."""
    finished: bool
    """False when a signal stopped it early."""
    checkpoints: list[Path]
    metrics: dict[str, float]
    """Metrics of the last evaluation."""


_LATE_DEVICES = {"cuda"}
"""Devices that compute while the host goes on, so that looking at their numbers costs time."""


@dataclass(frozen=True)
class _StepNumbers:
    """What a step has computed, still on the device."""

    step: int
    names: tuple[str, ...]
    values: torch.Tensor
    """Means over the global batch, the loss first, and last the norm of the gradient."""
    ids: list[str]
    """Samples of this process."""

    def sound(self) -> torch.Tensor:
        """Whether loss and gradient are finite."""
        return torch.isfinite(self.values[0]) & torch.isfinite(self.values[-1])


class TrainingDivergedError(RuntimeError):
    """Losses stayed non-finite after every allowed rollback."""


def train(
    task: Task,
    *,
    optim: OptimConfig,
    config: TrainConfig,
    run_dir: Path,
    resume: bool = False,
    description: dict[str, Any] | None = None,
) -> TrainResult:
    """Train `task.module` until the steps or the minutes are over, or a signal comes.

    Args:
        task: the stage to train; its module is moved to the configured device.
        optim: optimiser and schedule.
        config: everything about the loop.
        run_dir: folder for `metrics.jsonl` and `checkpoints/`.
        resume: continue from the newest sound checkpoint in `run_dir`, if there is one.
        description: JSON values kept in every checkpoint (recipe, versions, commit).

    Raises:
        FileExistsError: if there are checkpoints and `resume` is False.
        CheckpointError: if none of the checkpoints is sound or they are of another model.
        TrainingDivergedError: if the loss stays non-finite.
        RuntimeError: if someone removes the folder meanwhile.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    loop = _Loop(task, optim, config, Path(run_dir), description or {})
    # Rank 0 checks for all processes: it may save before the others get to check.
    if loop.world.share(bool(list_checkpoints(loop.folder))) and not resume:
        raise FileExistsError(f"{run_dir} holds a run already; resume it or choose another folder")
    if resume:
        loop.restore()
    with staying(loop.run_dir):
        return loop.run()


def restore(task: Task, *, optim: OptimConfig, config: TrainConfig, run_dir: Path) -> LoopState:
    """Put the newest sound checkpoint of a run into `task.module`, as `train` does to resume it.

    Arguments are those of `train`.

    Returns:
        Where the run goes on; at step 0 if it has no complete checkpoint.

    Raises:
        CheckpointError: if none of its checkpoints is sound, or they are of another model.
    """
    loop = _Loop(task, optim, config, Path(run_dir), {})
    loop.restore()
    return loop.state


class _Loop:
    def __init__(
        self,
        task: Task,
        optim: OptimConfig,
        config: TrainConfig,
        run_dir: Path,
        description: dict[str, Any],
    ) -> None:
        self.task = task
        self.optim = optim
        self.config = config
        self.run_dir = run_dir
        self.folder = run_dir / "checkpoints"
        self.description = description
        self.world = World.current()
        self.device = resolve_device(config.device)
        self.module = task.module.to(self.device)
        if config.compile:
            compile_blocks(self.module, self.device)
        if config.recompute_blocks:
            recompute_blocks(self.module)
        self.engine = build_engine(
            task, config.engine, self.world, bfloat16=config.precision == "bf16"
        )
        self.pieces = config.pieces(self.world.size)
        self.statistics = RunningStatistics(self.module, self.world, num_slices=self.pieces)
        self.optimizer = Optimizer(self.module, optim)
        self.ema = Ema(self.module, config.ema_decay)
        self.writer = CheckpointWriter()
        self.state = LoopState()
        self.metrics: dict[str, float] = {}
        self.over = ""
        shares = config.engine == "fsdp" and self.world.size > 1
        self._is_late = self.device.type in _LATE_DEVICES and not shares
        self._unread: list[tuple[_StepNumbers, float]] = []
        """Steps whose numbers the host has not seen, with their learning rates."""
        self._clock = time.monotonic()

    # -- running ------------------------------------------------------------------------------

    def run(self) -> TrainResult:
        self._start_clock()
        self.display = ProgressDisplay(
            self.run_dir.name, start=self.progress(), by_clock=self.config.minutes > 0
        )
        self.log = MetricsFile(
            self.run_dir / "metrics.jsonl",
            resume_step=self.state.step,
            writes=self.world.speaks,
        )
        parts = self.world.parts(self.pieces)
        self.world.require_same("the order of samples", self.task.order_key(parts[0]))
        self.feed = BatchFeed(self.task, parts, self.device, ahead=self.config.prefetch)
        self.watch = Watch(self.world, self.config.hang_seconds)
        try:
            if self.state.step == 0:
                self.save()
            with StopSignals() as signals:
                stopped = self._run_until(signals)
        finally:
            self.feed.close()
            self.display.close()
            self.log.close()
            self.writer.close()
            self.watch.close()
        return TrainResult(
            run=self.run_dir,
            step=self.state.step,
            loss=math.nan if self.state.last_loss is None else self.state.last_loss,
            finished=not stopped,
            checkpoints=[self.folder / f"step-{step}" for step in list_checkpoints(self.folder)],
            metrics=self.metrics,
        )

    def _run_until(self, signals: StopSignals) -> bool:
        config = self.config
        progress, _ = self.world.decide(self.progress(), False)
        if self.state.step == 0 and config.patience:
            self.evaluate(progress)
        while progress < 1 and not self._is_stale():
            self.step(progress)
            progress, stop = self.world.decide(self.progress(), signals.received)
            if (stop or progress >= 1) and self._unread:
                self._read_numbers()  # which may lead back to an earlier step
                progress, stop = self.world.decide(self.progress(), stop)
            self.watch.at(self.state.step, "outside")
            over = progress >= 1
            if self.state.step % config.log_every == 0 or over:
                self.report(progress)
            due = config.eval_every and self.state.step % config.eval_every == 0
            if due or (over and config.eval_every):
                self.evaluate(min(progress, 1.0))
                over = over or self._is_stale()
            if self.state.step % config.checkpoint_every == 0 or over or stop:
                self.save()
            if stop and not over:
                LOGGER.warning("stopped by a signal after step %d", self.state.step)
                return True
            self.display.advance(progress)
        return False

    def _is_stale(self) -> bool:
        """Whether `keep_best` has not improved for as long as the run may wait."""
        patience = self.config.patience
        return bool(patience and self.state.stale >= patience)

    def progress(self) -> float:
        """Share of the run that is over, by steps or by the clock."""
        self.state.elapsed = time.monotonic() - self._clock
        return self.config.share_of(self.state.step, self.state.elapsed)

    def _start_clock(self) -> None:
        self._clock = time.monotonic() - self.state.elapsed
        self._reported = (self.state.step, self.state.elapsed)

    # -- one step -----------------------------------------------------------------------------

    def step(self, progress: float) -> None:
        state = self.state
        step = state.step
        state.step += 1
        if step in state.avoided:
            return
        self.module.train()
        self.statistics.begin_step()
        numbers = self._gradients(step, progress)
        lr = self.optim.lr * self.optim.schedule.factor(step, progress) * state.lr_scale
        if self._is_late:
            self._update_if_sound(numbers, lr)
        else:
            self._update(numbers, lr)
        self.optimizer.zero_grad()

    def _update(self, numbers: _StepNumbers, lr: float) -> None:
        """Look at the numbers of a step, and take or skip it."""
        values = numbers.values.tolist()
        self.watch.at(numbers.step, "update")
        if _are_finite(values):
            self.optimizer.step(lr)
            self.ema.update(numbers.step)
        else:
            self.statistics.undo()
        self._account(numbers, values, lr)

    def _update_if_sound(self, numbers: _StepNumbers, lr: float) -> None:
        """Let the device take or skip a step, and look at several at a time."""
        sound = numbers.sound()
        self.watch.at(numbers.step, "update")
        self.optimizer.step(lr, sound=sound)
        self.ema.update(numbers.step, sound=sound)
        self.statistics.undo_unless(sound)
        self._unread.append((numbers, lr))
        config, done = self.config, numbers.step + 1
        intervals = (config.log_every, config.eval_every, config.checkpoint_every)
        is_due = any(every and done % every == 0 for every in intervals)
        if is_due or len(self._unread) >= config.check_every:
            self._read_numbers()

    def _read_numbers(self) -> None:
        """Look at the numbers of all steps since the last look, in order."""
        unread, self._unread = self._unread, []
        sizes = [len(numbers.values) for numbers, _ in unread]
        on_host = torch.cat([numbers.values for numbers, _ in unread]).cpu().split(sizes)
        for (numbers, lr), values in zip(unread, on_host, strict=True):
            rollbacks = self.state.rollbacks
            self._account(numbers, values.tolist(), lr)
            if self.state.rollbacks != rollbacks:
                return  # the later steps are undone

    def _account(self, numbers: _StepNumbers, values: list[float], lr: float) -> None:
        """Note the numbers of a step, or that it was skipped, which may roll the run back."""
        named = dict(zip(numbers.names, values, strict=True))
        if not _are_finite(values):
            self._skip(numbers.step, named, numbers.ids)
            return
        self.state.skips_in_a_row = 0
        for name, value in {**named, "lr": lr}.items():
            sums = self.state.window.setdefault(name, [0.0, 0.0])
            sums[0] += value
            sums[1] += 1

    def _gradients(self, step: int, progress: float) -> _StepNumbers:
        """Compute the gradients of the global batch."""
        parts = self.world.parts(self.pieces)
        ids: list[str] = []
        totals: dict[str, torch.Tensor] = {}
        for part in parts:
            self.watch.at(step, "batch")
            batch = self.feed.get(step, part)
            self.watch.at(step, "compute")
            # Dropout in the module draws from torch's global generator. It is seeded here, so its
            # state need not be saved. The constants keep the seeds of neighbouring steps apart.
            torch.manual_seed((self.config.seed * 1_000_003 + step) * 4096 + part.index)
            with self.engine.piece(last=part == parts[-1]):
                with torch.autocast(
                    self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"
                ):
                    output = self.engine.run(batch, step=step, progress=progress)
                (output.loss / len(parts)).backward()
            self.statistics.end_slice()
            self.over = output.over
            ids += self.task.sample_ids(batch)
            for name, value in {"loss": output.loss, **output.metrics}.items():
                share = value.detach().float() / part.count
                totals[name] = totals[name] + share if name in totals else share
        self.engine.finish_gradients()
        self.statistics.end_step()
        norm = self._clip()
        summed = self.world.sum_values(torch.stack([v.to(self.device) for v in totals.values()]))
        values = torch.cat([summed, norm.detach().reshape(1).to(summed)])
        return _StepNumbers(step, (*totals, "grad_norm"), values, ids)

    def _clip(self) -> torch.Tensor:
        """Limit the norm of the whole gradient; return what it was."""
        updated = [p for p in self.optimizer.parameters if p.grad is not None]
        gradients = [p.grad for p in updated if p.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(gradients))
        if self.optim.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(updated, self.optim.clip_norm, norm)
        return norm

    # -- when numbers go wrong ----------------------------------------------------------------

    def _skip(self, step: int, values: dict[str, float], ids: list[str]) -> None:
        state = self.state
        state.skips_in_a_row += 1
        LOGGER.warning("step %d: loss %s is not finite, skipped", step, values["loss"])
        if self.world.speaks:
            self.log.write(
                "skipped",
                step + 1,
                loss=str(values["loss"]),
                samples=ids,
                grad_norm=str(values["grad_norm"]),
            )
        if state.skips_in_a_row < self.config.max_skips:
            return
        troubled = range(step - state.skips_in_a_row + 1, step + 1)
        rollbacks, lr_scale = state.rollbacks + 1, state.lr_scale * 0.5
        avoided = sorted({*state.avoided, *troubled})
        if rollbacks > self.config.max_rollbacks:
            raise TrainingDivergedError(
                f"the loss was not finite {state.skips_in_a_row} times in a row at step {step}, "
                f"after {state.rollbacks} rollbacks; see the skipped samples in "
                f"{self.run_dir / 'metrics.jsonl'}, or lower optim.lr"
            )
        elapsed = state.elapsed
        self.restore()
        state = self.state
        state.rollbacks, state.lr_scale, state.avoided = rollbacks, lr_scale, avoided
        state.skips_in_a_row, state.elapsed = 0, max(elapsed, state.elapsed)
        self._start_clock()
        if self.world.speaks:
            self.log.write("rollback", step + 1, to=state.step, lr_scale=lr_scale)
        self.save()

    # -- saving and restoring -----------------------------------------------------------------

    def save(self) -> None:
        tensors = {
            "model": module_tensors(self.module),
            "ema": self.ema.state_tensors(),
            "optimizer": self.optimizer.state_tensors(),
        }
        state = {"loop": asdict(self.state), **self.description}
        self._write(self.folder, tensors, state, keep=self.config.keep_checkpoints)

    def _write(
        self,
        folder: Path,
        tensors: dict[str, dict[str, torch.Tensor]],
        state: dict[str, Any],
        *,
        keep: int,
    ) -> None:
        """Copy what is saved to the host, and let it be written while training goes on."""
        self.writer.wait()  # copies of one checkpoint at a time
        copies = {
            name: host_copies(group, keep=self.world.speaks) for name, group in tensors.items()
        }
        if self.world.speaks:
            checkpoint = Checkpoint(step=self.state.step, tensors=copies, state=state)
            self.writer.save(folder, checkpoint, keep=keep)

    def _keep_if_best(self) -> None:
        """Save the module, which holds the averaged weights, if `keep_best` has improved."""
        name, state = self.config.keep_best, self.state
        if not name:
            return
        if name not in self.metrics:
            raise ValueError(
                f"train.keep_best is {name!r}; evaluations of this run give "
                f"{', '.join(self.metrics) or 'nothing'}"
            )
        if state.best is not None and self.metrics[name] <= state.best:
            state.stale += 1
            return
        state.best, state.stale = self.metrics[name], 0
        self._write(
            self.run_dir / BEST_FOLDER,
            {"model": module_tensors(self.module)},
            {"metrics": self.metrics, **self.description},
            keep=1,
        )

    def restore(self) -> None:
        self.writer.wait()
        checkpoint = self._read()
        if checkpoint is None:
            return
        state = loop_state(checkpoint)
        load_module_tensors(self.module, checkpoint.group("model"), checkpoint.file("model"))
        self.ema.load_state_tensors(checkpoint.group("ema"), checkpoint.file("ema"))
        self.optimizer.load_state_tensors(
            checkpoint.group("optimizer"), checkpoint.file("optimizer")
        )
        self.state = state

    def _read(self) -> Checkpoint | None:
        """The newest sound checkpoint, which rank 0 reads for all processes.

        Raises:
            CheckpointError: on all processes, if there are some and none is sound.
        """
        found, error = None, ""
        if self.world.speaks:
            try:
                found = load_newest_checkpoint(self.folder)
            except CheckpointError as raised:
                error = str(raised)
        if error := self.world.share(error):
            raise CheckpointError(error)
        header = self.world.share(
            None if found is None else [found.step, dict(found.state), list(found.tensors)]
        )
        if header is None:
            return None
        step, state, groups = header
        if self.world.speaks:
            discard_after(self.folder, step)
        held = {} if found is None else found.tensors
        tensors = {name: self.world.share_tensors(held.get(name, {})) for name in groups}
        folder = self.folder / f"step-{step}"
        return Checkpoint(step=step, tensors=tensors, state=state, folder=folder)

    # -- looking ------------------------------------------------------------------------------

    def report(self, progress: float) -> None:
        state = self.state
        means = {name: total / count for name, (total, count) in state.window.items()}
        state.window = {}
        if not means:
            return
        state.last_loss = means["loss"]
        before, self._reported = self._reported, (state.step, state.elapsed)
        rate = (state.step - before[0]) / max(state.elapsed - before[1], 1e-9)
        if self.world.speaks:
            self.log.write(
                "train",
                state.step,
                **means,
                progress=progress,
                seconds=round(state.elapsed, 3),
                steps_per_second=round(rate, 4),
            )
            self.display.report(
                Standing(
                    step=state.step,
                    progress=progress,
                    elapsed=state.elapsed,
                    loss=means["loss"],
                    over=self.over,
                    rate=rate,
                )
            )

    def evaluate(self, progress: float) -> None:
        self.module.eval()
        with self.ema.applied(), torch.no_grad():
            with self.engine.whole():
                metrics = dict(self.task.evaluate(self.state.step, progress))
            self.metrics = self.world.share(metrics)
            self._keep_if_best()
        if not self.world.speaks:
            return
        self.log.write("evaluation", self.state.step, **self.metrics)
        LOGGER.info(
            "step %d  %s",
            self.state.step,
            "  ".join(f"{name} {value:.4g}" for name, value in self.metrics.items()),
        )


def _are_finite(values: list[float]) -> bool:
    """Whether the loss, which comes first, and the norm of the gradient, the last, are finite."""
    return math.isfinite(values[0]) and math.isfinite(values[-1])
