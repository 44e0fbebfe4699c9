"""The engine that flags ask for: processes of this machine, or a Ray cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from g3pt.work.engines import Engine, Limits

EngineName = Literal["local", "ray"]

Address = Annotated[
    str,
    tyro.conf.arg(
        help="Address of the Ray cluster: `auto`, `ip:port`, `ray://ip:port` of a Ray client "
        "server, or `local` for one on this machine only."
    ),
]


def check_engine(engine: EngineName, workers: int, address: str) -> None:
    """Refuse flags that do not go together.

    Raises:
        ValueError: naming the flag.
    """
    if workers < 1:
        raise ValueError(f"--workers must be at least 1, got {workers}")
    if engine == "ray" and workers != 1:
        raise ValueError("--workers counts processes here; --engine ray takes those of the cluster")
    check_address(engine, address)


def check_address(engine: EngineName, address: str) -> None:
    """Refuse the address of a cluster that would not be asked.

    Raises:
        ValueError: naming the flag.
    """
    if engine == "local" and address != "local":
        raise ValueError("--address is that of a Ray cluster: give --engine ray as well")


@contextmanager
def open_engine(
    engine: EngineName, workers: int, address: str, limits: "Limits", *, on_gpus: bool = False
) -> "Iterator[Engine]":
    """The engine; a Ray that was started for it is shut down behind the block.

    Args:
        engine: which.
        workers: processes of the local one.
        address: of the Ray cluster.
        limits: time and memory of each task.
        on_gpus: every task of the Ray cluster gets a GPU of its own.

    Raises:
        ImportError: without the extra `cluster`.
        ConnectionError: if there is no cluster at `address`.
    """
    if engine == "local":
        from g3pt.work.engines import ProcessEngine

        yield ProcessEngine(workers, limits)
        return
    from g3pt.work.ray_engine import RayEngine

    with RayEngine(address, limits, on_gpus=on_gpus) as opened:
        yield opened
