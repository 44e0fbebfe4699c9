"""`g3pt doctor`: what this machine can do, what is missing, and how to get it."""

import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from g3pt import __version__
from g3pt.cli.options import CommonOptions, parse, report, say

Status = Literal["ok", "note", "problem"]

GIB = 2.0**30
SCARCE_DISK = 1.0 * GIB
"""Bytes of free space below which a run or an installation is likely to fail."""

USES = {
    "hub": "DINOv2 and CLIP encoders",
    "cluster": "preparing meshes and making shapes on many machines",
    "data": "Parquet lists, Draco-compressed glTF, Objaverse",
    "heic": "photographs of iPhones",
    "eval": "plots of evaluations",
    "export": "face budgets, levels of detail, Draco files, textures",
    "usd": "USDZ files",
    "app": "web page and jobs over HTTP",
    "mcp": "tools for agents",
    "bench": "packages that preparation is measured against",
    "ray-serve": "jobs of g3pt serve on replicas of a Ray cluster",
}
MARKS: dict[Status, str] = {"ok": "ok", "note": "note", "problem": "PROBLEM"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The result of one examination."""

    name: str
    detail: str
    """What was found, in words."""
    status: Status = "ok"
    advice: str = ""
    """What to do about it; empty if there is nothing to do."""
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    """What was found as JSON values, for programs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorOptions(CommonOptions):
    """Examine machine and installation; nothing is changed, the network is not used."""

    recipes: bool = False
    """Also say what each published recipe needs and whether it fits; this takes half a minute."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(DoctorOptions, "doctor", arguments)
    findings = examine(
        options.weights, lambda name: say(f"looking at {name}"), recipes=options.recipes
    )
    report(options, as_json(findings), [as_text(findings)])
    return 0


def examine(
    weights: str | None = None,
    on_start: Callable[[str], None] | None = None,
    *,
    recipes: bool = False,
) -> list[Finding]:
    """Examine machine and installation. Nothing is changed and the network is not used.

    Args:
        weights: a weights folder to examine along with the bundled weights.
        on_start: called with the name of each examination when it begins.
        recipes: also say what each published recipe costs; this takes a second or two per recipe.
    """
    findings: list[Finding] = []
    examinations = dict(EXAMINATIONS)
    if recipes:
        examinations["recipes"] = _recipes
    if weights is not None:
        examinations["weights"] = partial(_weights, weights)
    for name, examination in examinations.items():
        if on_start is not None:
            on_start(name)
        try:
            findings.extend(examination())
        except Exception as error:  # one broken part must not hide the others
            detail = f"cannot be examined: {type(error).__name__}: {error}"
            findings.append(Finding(name=name, status="problem", detail=detail))
    return findings


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """The findings as one JSON object; `ok` is false when there is a problem."""
    return {
        "version": __version__,
        "ok": all(finding.status != "problem" for finding in findings),
        "findings": [asdict(finding) for finding in findings],
    }


def as_text(findings: list[Finding]) -> str:
    """The findings as lines for a terminal."""
    width = max(len(finding.name) for finding in findings)
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{MARKS[finding.status]:<8} {finding.name:<{width}}  {finding.detail}")
        if finding.advice:
            lines.append(f"{'':<8} {'':<{width}}  -> {finding.advice}")
    return "\n".join(lines)


# --- software ------------------------------------------------------------------------------


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    old = sys.version_info < (3, 11)
    yield Finding(
        name="python",
        status="problem" if old else "ok",
        detail=f"{version}, g3pt {__version__} in {Path(__file__).resolve().parents[1]}",
        advice="install Python 3.11 or newer" if old else "",
        values={"version": version, "system": platform.platform(terse=True)},
    )


def requirements() -> dict[str, list[str]]:
    """Distributions that g3pt requires: extra -> names; `""` holds those that are always needed."""
    found: dict[str, list[str]] = {"": []}
    for line in metadata.requires("g3pt") or []:
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", line)
        name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
        found.setdefault(extra.group(1) if extra else "", []).append(name)
    return found


def _versions(names: list[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _libraries() -> Iterator[Finding]:
    versions = _versions(requirements()[""])
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        detail, advice = f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}"
    else:
        detail, advice = f"all {len(versions)} present, torch {versions.get('torch')}", ""
    yield Finding(
        name="libraries",
        status="problem" if missing else "ok",
        detail=detail,
        advice=advice,
        values=versions,
    )


def _extras() -> Iterator[Finding]:
    for extra, names in requirements().items():
        if not extra:
            continue
        versions = _versions(names)
        missing = [name for name, version in versions.items() if version is None]
        use = USES.get(extra, ", ".join(names))
        yield Finding(
            name=f"extra {extra}",
            status="note" if missing else "ok",
            detail=f"{use}: " + (f"without {', '.join(missing)}" if missing else "present"),
            advice=f"pip install 'g3pt[{extra}]'" if missing else "",
            values={"installed": not missing, "versions": versions},
        )


# --- machine -------------------------------------------------------------------------------


def _processor() -> Iterator[Finding]:
    import torch

    flags = _cpu_flags()
    speeds = {name: _gemm_speed(getattr(torch, name)) for name in ("float32", "bfloat16")}
    ratio = speeds["bfloat16"] / speeds["float32"]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    values = {
        "cores": cores,
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "bf16_instructions": "avx512_bf16" in flags or "bf16" in flags,
        "amx": "amx_tile" in flags,
        "gemm_gflops": {name: round(speed, 1) for name, speed in speeds.items()},
    }
    instructions = values["capability"] + (", AMX" if values["amx"] else "")
    yield Finding(
        name="processor",
        detail=f"{cores} cores, torch uses {values['threads']} threads, {instructions}; matrix "
        f"product {speeds['float32']:.0f} GFLOP/s, in bf16 {speeds['bfloat16']:.0f}",
        advice="on this CPU large models train faster with --train.precision bf16"
        if ratio > 1.5
        else "",
        values=values,
    )


def _cpu_flags() -> frozenset[str]:
    """Instruction sets by the system's names; empty if the system does not list them."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return frozenset()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", info.read_text(), flags=re.MULTILINE)
    return frozenset(found.group(1).split()) if found else frozenset()


def _gemm_speed(dtype: Any, size: int = 768, repeats: int = 3) -> float:
    """Speed of the fastest of a few matrix products, in GFLOP/s."""
    import torch

    left = torch.ones(size, size, dtype=dtype)
    torch.mm(left, left)
    seconds: list[float] = []
    for _ in range(repeats):
        start = time.perf_counter()
        torch.mm(left, left)
        seconds.append(time.perf_counter() - start)
    return 2.0 * size**3 / min(seconds) / 1e9


def _accelerator() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            yield Finding(
                name=f"cuda:{index}",
                detail=f"{properties.name}, {properties.total_memory / GIB:.0f} GiB, bf16 "
                + ("supported" if torch.cuda.is_bf16_supported() else "not supported"),
                values={"name": properties.name, "memory_bytes": properties.total_memory},
            )
    elif torch.backends.mps.is_available():
        yield Finding(name="mps", detail="Apple GPU")
    else:
        yield Finding(name="gpu", detail="none that torch can use; everything runs on the CPU")


def available_memory() -> int | None:
    """Bytes of memory that a process can still allocate; None if the system does not tell."""
    candidates: list[int] = []
    info = Path("/proc/meminfo")
    if info.is_file():
        found = re.search(r"^MemAvailable:\s*(\d+) kB", info.read_text(), flags=re.MULTILINE)
        candidates += [int(found.group(1)) * 1024] if found else []
    group = Path("/sys/fs/cgroup")
    limit, used = group / "memory.max", group / "memory.current"
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()) != "max":
        candidates.append(int(text) - int(used.read_text()))
    return min(candidates, default=None)


def _memory_and_disk() -> Iterator[Finding]:
    memory = available_memory()
    if memory is None:
        yield Finding(name="memory", status="note", detail="this system does not say")
    else:
        yield Finding(
            name="memory", detail=f"{memory / GIB:.1f} GiB free", values={"free_bytes": memory}
        )
    disk = shutil.disk_usage(Path.cwd())
    scarce = disk.free < SCARCE_DISK
    yield Finding(
        name="disk",
        status="note" if scarce else "ok",
        detail=f"{disk.free / GIB:.1f} GiB free in the current folder",
        advice="runs and caches soon fill this: work in another folder" if scarce else "",
        values={"free_bytes": disk.free, "total_bytes": disk.total},
    )


# --- weights and recipes -------------------------------------------------------------------


def _weights(folder: str | None = None) -> Iterator[Finding]:
    from g3pt.models.weights.load import DEFAULT_WEIGHTS, load_weights
    from g3pt.models.weights.places import bundled_weights

    names = list(bundled_weights())
    if not names:
        yield Finding(
            name="weights",
            status="problem",
            detail="this installation brought none along",
            advice="install a released package, or name a folder with --weights",
        )
    if folder is not None and folder != DEFAULT_WEIGHTS and folder not in names:
        names.append(folder)
    for name in names:
        try:
            loaded = load_weights(name, device="cpu")
        except (ValueError, FileNotFoundError) as error:
            yield Finding(name=f"weights {name}", status="problem", detail=str(error))
            continue
        modules = [loaded.tokenizer] + ([loaded.car] if loaded.car is not None else [])
        count = sum(parameter.numel() for module in modules for parameter in module.parameters())
        yield Finding(
            name=f"weights {name}",
            detail=f"{count / 1e6:.1f}M parameters, checksum right ({loaded.sha256[:12]})",
            values={"name": name, "parameters": count, "sha256": loaded.sha256},
        )


def device_memory() -> int | None:
    """Bytes of free memory for training: of the first GPU, or else of the machine."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.mem_get_info(0)[0]
    return available_memory()


def published_recipes() -> list[str]:
    """Names of the recipes without their smoke twins, which only test the code."""
    from g3pt.recipes import RECIPES

    return [name for name in RECIPES if not name.endswith("-smoke")]


def _recipes() -> Iterator[Finding]:
    from g3pt.recipes import recipe
    from g3pt.training.cost import estimate_cost

    free = device_memory()
    for name in published_recipes():
        cost = estimate_cost(recipe(name))
        fits = free is None or cost.memory_bytes <= free
        yield Finding(
            name=f"recipe {name}",
            status="ok" if fits else "note",
            detail=f"{cost.parameters / 1e6:.0f}M parameters, {cost.memory_bytes / GIB:.1f} GiB, "
            f"{cost.flops_per_step / 1e12:.3g} TFLOP a step" + ("" if fits else ": does not fit"),
            advice="" if fits else "raise --train.accumulation, or train on a larger device",
            values={
                "parameters": cost.parameters,
                "memory_bytes": cost.memory_bytes,
                "flops_per_step": cost.flops_per_step,
                "fits": fits,
            },
        )


EXAMINATIONS: dict[str, Callable[[], Iterator[Finding]]] = {
    "python": _python,
    "libraries": _libraries,
    "processor": _processor,
    "accelerator": _accelerator,
    "memory and disk": _memory_and_disk,
    "weights": _weights,
    "extras": _extras,
}
