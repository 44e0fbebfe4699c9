"""The start of a process group: under `torchrun`, or any launcher that sets the same variables."""

import logging
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from g3pt.models.devices import resolve_device
from g3pt.training.distributed import OtherRankError, World

LOGGER = logging.getLogger(__name__)
COLLECTIVE_LIMIT = timedelta(minutes=30)
"""How long a process waits for the others in one exchange. Steps are watched more closely
(`watch.py`)."""


def require_resumable(*, resume: bool) -> None:
    """Check that a restart of `torchrun` would go on with the run; warn if no machine could join.

    Raises:
        ValueError: if there may be restarts, which are refused without --resume.
    """
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
    if restarts and not resume:
        raise ValueError(
            f"torchrun may restart this {restarts} times (--max-restarts), but a restart goes on "
            "with the run only with --resume: add it; a run that does not exist yet is begun"
        )
    several = int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if restarts and several and shared and os.environ.get("RANK") == "0":
        LOGGER.warning(
            "a machine that is lost cannot join again, since the launchers share their store: set "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun on every machine"
        )


@contextmanager
def process_group(device: str) -> Iterator[World]:
    """Join the processes that a launcher started; without one, this is a world of one process.

    Args:
        device: where this process trains: `auto`, `cpu` or `cuda`. With CUDA, each process of a
            machine takes the device of its `LOCAL_RANK`.

    Raises:
        ValueError: if the launcher's variables are incomplete or the device cannot be shared.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or dist.is_initialized():
        yield World.current()
        return
    needed = ("RANK", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in needed if name not in os.environ]:
        raise ValueError(
            f"WORLD_SIZE is {size}, but {', '.join(missing)} is not set: start with torchrun, or "
            "unset WORLD_SIZE to train on one process"
        )
    resolved = resolve_device(device)
    backend = "gloo"
    if resolved.type == "cuda":
        _take_gpu(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    elif resolved.type != "cpu":
        raise ValueError(f"{size} processes train on cpu or cuda, not on {resolved.type}")
    rank = int(os.environ["RANK"])
    store = _fresh_store(rank, size)
    dist.init_process_group(
        backend, store=store, rank=rank, world_size=size, timeout=COLLECTIVE_LIMIT
    )
    world = World.current()
    yield world
    # Only after success: a process that failed leaves at once, and the launcher ends the others.
    world.part_ways()  # together: rank 0 holds the store that the others still watch


def _fresh_store(rank: int, size: int) -> Any:
    """A store for this start of the processes alone.

    `torchrun` gives every restart the store of the first start, in which the addresses of dead
    processes are still found (pytorch issue 167288). So rank 0 opens another one and leaves its
    port there; whoever finds the port of a former start cannot connect, and looks again.
    """
    store, _, _ = next(rendezvous("env://", rank, size))
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return store
    tcp_store: Any = dist.TCPStore  # pyright: ignore[reportPrivateImportUsage]
    address, key = os.environ["MASTER_ADDR"], "g3pt/store"
    if rank == 0:
        fresh = tcp_store(address, 0, is_master=True, wait_for_workers=False)
        name = uuid.uuid4().hex
        fresh.set("name", name)
        store.set(key, f"{fresh.port} {name}")
        return fresh
    deadline = time.monotonic() + COLLECTIVE_LIMIT.total_seconds()
    while time.monotonic() < deadline:
        port, name = store.get(key).decode().split()
        try:
            fresh = tcp_store(address, int(port), timeout=timedelta(seconds=2))
            if fresh.check(["name"]) and fresh.get("name").decode() == name:
                fresh.set_timeout(COLLECTIVE_LIMIT)
                return fresh
        except RuntimeError:  # also torch's DistError
            pass
        time.sleep(0.2)
    raise OtherRankError(f"rank 0 on {address} opened no store within {COLLECTIVE_LIMIT}")


def _take_gpu(local_rank: int) -> None:
    if local_rank >= torch.cuda.device_count():
        raise ValueError(
            f"LOCAL_RANK is {local_rank}, but this machine has {torch.cuda.device_count()} GPUs: "
            "start at most one process for each (--nproc-per-node)"
        )
    torch.cuda.set_device(local_rank)
