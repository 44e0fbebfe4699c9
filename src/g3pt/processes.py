"""How processes share the cores of a machine: waiting threads sleep, workers start afresh."""

import multiprocessing
import os
from multiprocessing.context import SpawnContext

WAIT_POLICY = "OMP_WAIT_POLICY"
"""How a thread of OpenMP waits for others: PASSIVE sleeps at once, ACTIVE keeps its core busy."""


def let_waiting_threads_sleep() -> None:
    """Choose `OMP_WAIT_POLICY=PASSIVE` for this process, unless the user has chosen.

    By default threads keep a core busy for a while whenever they wait. A second busy process then
    holds up every short operation (docs/performance.md). OpenMP reads the variable once, when
    torch is loaded, so this comes before; processes that are started later inherit it.
    """
    os.environ.setdefault(WAIT_POLICY, "PASSIVE")


def worker_context() -> SpawnContext:
    """How worker processes start: afresh, with waiting threads that sleep.

    A copy of this process (fork) would hold its locks and its GPU, and threads of torch do not
    survive it.
    """
    let_waiting_threads_sleep()
    return multiprocessing.get_context("spawn")
