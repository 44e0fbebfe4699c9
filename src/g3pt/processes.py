"""How processes share the cores of a machine: waiting threads sleep, workers are not forked."""

import multiprocessing
import os
from multiprocessing.context import SpawnContext
from typing import Any

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
