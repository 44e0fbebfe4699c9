"""What `g3pt serve` can be told, and what a worker process is told of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MIB = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """Weights that workers load."""

    name: str
    """What requests call them."""
    weights: str
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    adapter: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RaySettings:
    """Replicas on a Ray cluster in the place of worker processes.

    Raises:
        ValueError: if a number is out of range.
    """

    cluster: str = "local"
    """`local` starts Ray on this machine; `auto`, `IP:PORT` or `ray://IP:PORT` join a cluster."""
    max_replicas: int | None = None
    """Ray Serve adds replicas up to so many while jobs wait; None keeps `workers` of them."""
    replica_cpus: float = 1.0
    """Processors that a replica takes of the cluster."""
    replica_gpus: float = 0.0
    """GPUs that a replica takes of the cluster."""
    up_seconds: float = 5.0
    """Jobs wait so long before a replica is added."""
    down_seconds: float = 300.0
    """A replica is idle so long before it is removed."""

    def __post_init__(self) -> None:
        for name in ("replica_cpus", "replica_gpus", "up_seconds", "down_seconds"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name):g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeSettings:
    """Limits and places of a server.

    Raises:
        ValueError: if a limit is out of range, or there are no weights.
    """

    models: Sequence[ModelSource]
    """Weights to serve; the first are the default."""
    folder: Path
    """Jobs and their files; a server that starts here again knows them."""
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    """Secret that every request must carry; None asks for none."""
    allowed_hosts: tuple[str, ...] = ()
    """Names besides `host` and those of loopback by which the server may be called."""
    workers: int = 1
    """Processes that hold the models; each runs one job at a time."""
    ray: RaySettings | None = None
    """Where `workers` replicas on a Ray cluster are to take the place of processes here."""
    max_queued: int = 64
    max_per_client: int = 4
    """Jobs of one client that wait or run."""
    deadline: float = 300.0
    """Seconds that a job may run."""
    grace: float = 2.0
    """Seconds after which a worker that does not hear of a cancellation is ended."""
    keep_seconds: float = 3600.0
    """Results are deleted so long after a job ended."""
    keep_bytes: int = 2 * 2**30
    """Files of ended jobs beyond this many bytes are deleted, oldest first."""
    max_body: int = 25 * MIB
    """Bytes of a request."""
    max_pixels: int = 64_000_000
    """Pixels of a picture."""
    receive_seconds: float = 30.0
    """Seconds between two parts of a request; a slower client is answered 408."""
    header_seconds: float = 10.0
    """Seconds until the headers of a request are complete."""
    body_seconds: float = 300.0
    """Seconds until the body of a request is complete."""

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("models: name at least one set of weights to serve")
        names = [model.name for model in self.models]
        if len(set(names)) < len(names):
            raise ValueError(f"models: names must differ, got {', '.join(names)}")
        for name in (
            "workers",
            "max_queued",
            "max_per_client",
            "max_body",
            "max_pixels",
            "keep_bytes",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in (
            "deadline",
            "grace",
            "keep_seconds",
            "receive_seconds",
            "header_seconds",
            "body_seconds",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name):g}")
        most = None if self.ray is None else self.ray.max_replicas
        if most is not None and most < self.workers:
            raise ValueError(f"max_replicas must be at least workers, {self.workers}, got {most}")
        if not 0 <= self.port < 65536:
            raise ValueError(f"port must lie in 0..65535, got {self.port}")
        if self.host not in LOOPBACK and self.token is None:
            raise ValueError(f"host {self.host} can be reached by others: a token is needed there")
        if self.token is not None and not re.fullmatch(r"[A-Za-z0-9._~-]{8,200}", self.token):
            raise ValueError("token needs 8 to 200 letters, digits, or any of . _ ~ -")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models."""
        return tuple(model.name for model in self.models)
