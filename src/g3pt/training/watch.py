"""A watch over the processes of a run: if one hangs, all leave, and the message says which one.

In a step every process waits for all others, so one that hangs holds up all. Each process tells the
others through the store of the process group where it is; the one that is furthest behind is the
one they wait for. A process that tells nothing (stopped, or its machine is gone) is named as well.
One that cannot reach the store any more, because its own machine is cut off, leaves by itself.
Outside steps (evaluation, saving, the first step, which opens the data) nobody can say what is too
long; there the limit of the collectives holds.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch.distributed as dist

from g3pt.training.distributed import World

LOGGER = logging.getLogger(__name__)
HUNG = 70
"""Exit code of every process after one has hung."""

Stage = Literal["outside", "batch", "compute", "update"]
_ORDER: tuple[Stage, ...] = ("outside", "batch", "compute", "update")


@dataclass(frozen=True)
class Beat:
    """What a process told last."""

    rank: int
    host: str
    process: int
    count: int
    """Number of times it has told anything; grows as long as the process lives."""
    step: int
    stage: Stage
    moves: int
    """Number of times it came to another place."""
    is_done: bool = False

    @property
    def place(self) -> tuple[int, int]:
        """How far it is; can be compared between processes."""
        return self.step, _ORDER.index(self.stage)

    def encode(self) -> str:
        """One line of text."""
        values = (self.rank, self.host, self.process, self.count, self.step, self.stage)
        return " ".join(map(str, (*values, self.moves, int(self.is_done))))

    @staticmethod
    def decode(text: str) -> "Beat":
        """Inverse of `encode`."""
        rank, host, process, count, step, stage, moves, done = text.split(" ")
        assert stage in _ORDER
        place = int(count), int(step), stage, int(moves)
        return Beat(int(rank), host, int(process), *place, is_done=done == "1")


class Judge:
    """Decides from the beats of all processes, and the clock, which of them hang."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._alive: dict[int, tuple[int, float]] = {}
        self._moved: dict[int, tuple[int, float]] = {}

    def complaint(self, beats: Sequence[Beat], now: float) -> str:
        """A sentence that names the processes that hang; empty if none does.

        Args:
            beats: the last beat of every process.
            now: seconds of a steady clock.
        """
        living = [beat for beat in beats if not beat.is_done]
        silent = [b for b in living if self._waited(self._alive, b.rank, b.count, now)]
        if silent:
            return f"{_names(silent)}: no sign of life for {self._limit:g} s"
        stuck = {b.rank for b in living if self._waited(self._moved, b.rank, b.moves, now)}
        behind = [b for b in living if b.place == min(each.place for each in living)]
        hung = [b for b in behind if b.rank in stuck and b.stage != "outside"]
        if not hung:
            return ""
        first = hung[0]
        where = f"in step {first.step + 1} ({first.stage}) for {self._limit:g} s"
        others = "all are there" if len(hung) == len(living) else "the others wait"
        return f"{_names(hung)}: {where}, {others}"

    def _waited(
        self, seen: dict[int, tuple[int, float]], rank: int, value: int, now: float
    ) -> bool:
        """Whether a number has not changed for longer than the limit."""
        if rank not in seen or seen[rank][0] != value:
            seen[rank] = value, now
        return now - seen[rank][1] > self._limit


def _names(beats: Sequence[Beat]) -> str:
    return ", ".join(f"rank {b.rank} (process {b.process} on {b.host})" for b in beats)


class Watch:
    """Tells the other processes where this one is, and ends it when one of them hangs."""

    def __init__(
        self, world: World, limit: float, *, leave: Callable[[int], None] = os._exit
    ) -> None:
        """Start the threads; all processes must do so together.

        Args:
            world: this process and the others; one alone is not watched.
            limit: seconds that a process may spend at one place of a step; 0 switches it off.
            leave: ends the process with an exit code, without waiting for its other threads.
        """
        self._world, self._limit, self._leave = world, limit, leave
        self._place: tuple[int, Stage, int] = (0, "outside", 0)
        self._count = 0
        self._steps = 0
        self._closed = threading.Event()
        self._pause = min(limit / 8, 5.0)
        self._threads: list[threading.Thread] = []
        if world.size == 1 or not limit:
            return
        self._store = _own_connection()
        self._keys = [str(rank) for rank in range(world.size)]
        self._tell()
        world.meet()
        self._heard = self._exchange()
        self._lost = ""
        for name, work in (("beats", self._beat), ("watch", self._watch)):
            self._threads.append(threading.Thread(target=work, name=name, daemon=True))
            self._threads[-1].start()

    def at(self, step: int, stage: Stage) -> None:
        """Say where this process is; the first step counts as outside."""
        if stage == "update":
            self._steps += 1
        if not self._steps:
            stage = "outside"
        self._place = step, stage, self._place[2] + 1

    def close(self) -> None:
        """Say that this process leaves, and end the threads."""
        self._closed.set()
        for thread in self._threads:
            thread.join(self._limit)  # a store that is gone answers nobody

    def _tell(self, *, is_done: bool = False) -> None:
        self._count += 1
        step, stage, moves = self._place
        me = self._world.rank, socket.gethostname(), os.getpid(), self._count
        beat = Beat(*me, step, stage, moves, is_done)
        self._store.set(str(self._world.rank), beat.encode())

    def _exchange(self) -> tuple[float, list[Beat]]:
        """Tell where this process is; give the time, and what all have told."""
        self._tell()
        beats = [Beat.decode(text.decode()) for text in self._store.multi_get(self._keys)]
        return time.monotonic(), beats

    def _beat(self) -> None:
        """Exchange beats until the end; waits without limit for a network that is gone."""
        try:
            while not self._closed.wait(self._pause):
                self._heard = self._exchange()
            self._tell(is_done=True)
        except RuntimeError as error:  # also torch's DistError
            self._lost = str(error)

    def _watch(self) -> None:
        judge = Judge(self._limit)
        while not self._closed.wait(self._pause):
            (last, beats), now = self._heard, time.monotonic()
            if self._lost:
                complaint = f"the store of the process group cannot be reached: {self._lost}"
            elif now - last > self._limit:
                complaint = f"the store of the process group gave no answer for {self._limit:g} s"
            else:
                complaint = judge.complaint(beats, now)
            if complaint:
                LOGGER.error(
                    "%s. Rank %d leaves with code %d; the run goes on from its last checkpoint "
                    "(train.hang_seconds sets the limit)",
                    complaint,
                    self._world.rank,
                    HUNG,
                )
                self._leave(HUNG)
                return


def _own_connection() -> Any:
    """The store that the process group began with, through a connection that nobody else blocks."""
    parts: Any = dist.distributed_c10d
    return parts.PrefixStore("g3pt/watch", parts._get_default_store().clone())
