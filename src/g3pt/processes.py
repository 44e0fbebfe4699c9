"""How processes share the cores of a machine: waiting threads sleep, workers are spawned."""

import multiprocessing
import os
from multiprocessing.context import SpawnContext

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
