"""How processes share the cores of a machine, and end together.

Waiting threads sleep, workers are not forked, and no worker outlives the process that started it.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

WAIT_POLICY = "OMP_WAIT_POLICY"
"""How a thread of OpenMP waits for others: PASSIVE sleeps at once, ACTIVE keeps its core busy."""


def let_waiting_threads_sleep() -> None:
    """Choose `OMP_WAIT_POLICY=PASSIVE` for this process, unless the user has chosen.

    By default threads keep a core busy for a while whenever they wait. A second busy process then
    holds up every short operation (docs/performance.md). OpenMP reads the variable once, when
    torch is loaded, so call this before. Processes that are started later inherit it.
    """
    os.environ.setdefault(WAIT_POLICY, "PASSIVE")


def worker_context() -> SpawnContext:
    """The context that starts worker processes: spawned, and their waiting threads sleep.

    A forked process would inherit locks and the GPU of this one, and the threads of torch do not
    survive a fork.
    """
    let_waiting_threads_sleep()
    return multiprocessing.get_context("spawn")


def prepared_context(*modules: str) -> Any:
    """A context whose processes start from one that has imported modules, where there is a way.

    That one has started no threads, so that its children may; a worker is then replaced at once
    instead of after the seconds that imports take. Elsewhere it is `worker_context`.
    """
    let_waiting_threads_sleep()
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return worker_context()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    return context


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes, which have ended when the block is left, however it is left.

    Whoever asks this process to stop, by a signal or by closing a generator, asks the workers as
    well: they get SIGTERM, and what they were not given yet is dropped. After any other error they
    finish what they are at.

    Args:
        workers: how many.
    """
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, worker_context(), _begin, (os.getpid(),)) as pool:
        try:
            yield pool
        except (KeyboardInterrupt, GeneratorExit):
            _end(set(multiprocessing.active_children()) - others)
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _end(workers: set[BaseProcess]) -> None:
    """Ask workers to stop until they have.

    Once is not enough: one that saves its work first may then wait for more, behind another that
    ended while it held the queue.
    """
    while workers:
        for worker in workers:
            worker.terminate()
        ended = wait([worker.sentinel for worker in workers], timeout=1.0)
        workers = {worker for worker in workers if worker.sentinel not in ended}


def _begin(parent: int) -> None:
    """Settle a worker: it is stopped by the process that started it, not by the user's keys."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent)


def end_with(parent: int) -> None:
    """Let this process end when the one that started it has ended, also when that was killed.

    Args:
        parent: number of the process that started this one.
    """
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> NoReturn:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
