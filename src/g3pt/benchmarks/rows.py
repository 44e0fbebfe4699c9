"""What a benchmark is told, and the rows it gives, which say where they were measured."""

import os
import platform
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Any, Literal

from g3pt.versions import code_version

OnProgress = Callable[[str, int, int], None]
"""Is told the name of a step, how much of it is done, and of how much."""

DISTRIBUTIONS = ("g3pt", "numpy", "torch", "libigl", "embreex", "mesh2sdf", "point-cloud-utils")
"""Packages whose versions go into every row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkSettings:
    """What all benchmarks are told; each takes what concerns it."""

    meshes: Path | None = None
    """Folder of meshes to measure on; None for shapes of our own."""
    num: int = 40
    """How many of them."""
    quick: bool = False
    """Small sizes, to see that everything runs: no floor is compared."""
    seed: int = 0
    """Seed of the first shape of our own."""
    seconds: float = 120.0
    """Time limit of everything that is tried on one object."""
    device: str = "auto"
    """Where models run."""
    sizes: tuple[str, ...] = ()
    """Names of model sizes; none for those that suit the device."""
    resolutions: tuple[int, ...] = ()
    """Cells per axis of meshes; none for those that suit."""
    weights: str = "g3pt-small"
    """Trained weights, where some are needed."""

    def __post_init__(self) -> None:
        if self.num < 1 or self.seconds <= 0:
            raise ValueError(
                f"a benchmark needs --num and --seconds above 0, got {self.num} and {self.seconds}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where something was measured."""

    processor: str
    cores: int
    load: float | None
    """Processes that ran or waited when the row was made, ours among them; above the number of
    cores times are worth little."""


@cache
def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = None
    if info.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), flags=re.MULTILINE)
    return found.group(1) if found else platform.processor() or platform.machine()


def this_machine() -> Machine:
    """The machine as it is now."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return Machine(processor=_processor(), cores=cores or 1, load=load)


@cache
def versions() -> dict[str, str | None]:
    """Versions of what is compared; None for what is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkRow:
    """One number of ours, and that of the software it is compared with, if there is any."""

    name: str
    unit: str
    ours: float | None = None
    """None if it could not be measured; `note` says why."""
    other: float | None = None
    lower_is_better: bool = False
    floor: float | None = None
    """What to reach: at least this, or at most this where lower is better."""
    floor_of: Literal["ours", "ratio"] = "ours"
    """What the floor is compared with; a ratio is always to be at least its floor."""
    note: str = ""
    """Why a number is missing, or what to know of it."""
    details: dict[str, Any] = field(default_factory=dict[str, Any])
    """More numbers, as JSON values."""
    machine: Machine = field(default_factory=this_machine)
    versions: dict[str, str | None] = field(default_factory=versions)
    commit: str = field(default_factory=code_version)

    @property
    def ratio(self) -> float | None:
        """How many times better ours is; None where there is nothing to divide (by)."""
        if self.ours is None or self.other is None:
            return None
        better, worse = (self.other, self.ours) if self.lower_is_better else (self.ours, self.other)
        return better / worse if worse else None

    @property
    def meets(self) -> bool | None:
        """Whether the floor is reached; None without a floor or a number."""
        value = self.ours if self.floor_of == "ours" else self.ratio
        if self.floor is None or value is None:
            return None
        at_most = self.lower_is_better and self.floor_of == "ours"
        return value <= self.floor if at_most else value >= self.floor

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {**asdict(self), "ratio": self.ratio, "meets": self.meets}


def missing_package(module: str, distribution: str, extra: str) -> str:
    """Why a package cannot be used here, and what to do; empty if it can."""
    if util.find_spec(module) is not None:
        return ""
    return f"skipped: {distribution} is not installed; pip install 'g3pt[{extra}]'"
