"""A device: seconds and memory in the same way on a CPU and on a GPU, and what it reaches at best.

A matrix product and a copy are what other rows are compared with.
"""

import gc
import resource
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch

from g3pt.benchmarks.rows import BenchmarkRow, BenchmarkSettings, OnProgress
from g3pt.models.devices import resolve_device
from g3pt.models.speed import gemm_rate, gemm_size, median_seconds


def reset_peak(device: torch.device) -> None:
    """Forget how much memory was held; a process on a CPU cannot."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """Most memory held: on a GPU by tensors since `reset_peak`, otherwise by the process ever."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "not enough memory" in text
    )


def row_that_fits(
    name: str, unit: str, measure: Callable[[int], BenchmarkRow], batch_sizes: Sequence[int]
) -> BenchmarkRow:
    """Measure a row with the first batch size that fits in memory.

    Args:
        name: of the row, for when none fits.
        unit: of the row, for when none fits.
        measure: makes the row of a batch size; what it held is free again when it returns.
        batch_sizes: to try, one after the other.

    Returns:
        The row, or one without numbers whose note says why.
    """
    for batch_size in batch_sizes:
        try:
            return measure(batch_size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        release()
    note = f"out of memory with a batch of {batch_sizes[-1]}"
    return BenchmarkRow(name=name, unit=unit, note=note)


def release() -> None:
    """Give back what is no longer used, on the machine and on a GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def device_name(device: torch.device) -> str:
    """Name of a GPU, or the kind of the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def working_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU; processors mostly emulate it."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast | nullcontext[None]:
    """Autocast to a dtype; nothing in float32."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype)


# --- the best it reaches ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Probe:
    """What a device reaches at best, measured in the same run as what is compared with it."""

    flops_per_second: float
    """Of a square matrix product."""
    bytes_per_second: float
    """Of a copy, reading and writing counted."""


def probe(device: torch.device, dtype: torch.dtype, *, quick: bool = False) -> Probe:
    """Time a matrix product and a copy.

    Args:
        device: which.
        dtype: of the matrices.
        quick: small sizes, which fill nothing.
    """
    return Probe(
        flops_per_second=gemm_rate(device, dtype, gemm_size(device, dtype, quick=quick)),
        bytes_per_second=_copy_rate(device, quick=quick),
    )


def _copy_rate(device: torch.device, *, quick: bool) -> float:
    num_bytes = 2**20 if quick else 2**30 if device.type == "cuda" else 2**27
    source = torch.zeros(num_bytes // 4, device=device)
    target = torch.empty_like(source)
    seconds = median_seconds(partial(target.copy_, source), device, repeats=7, warmup=2, budget=5.0)
    return 2.0 * num_bytes / seconds


def benchmark_gemm(settings: BenchmarkSettings, on_progress: OnProgress) -> list[BenchmarkRow]:
    """What the device reaches in matrix products and copies: the floor of all other rows."""
    device = resolve_device(settings.device)
    rows: list[BenchmarkRow] = []
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    for done, (name, dtype) in enumerate(dtypes.items(), start=1):
        emulated = device.type == "cpu" and dtype == torch.bfloat16
        size = 256 if emulated else gemm_size(device, dtype, quick=settings.quick)
        rate = gemm_rate(device, dtype, size)
        rows.append(
            BenchmarkRow(
                name=f"gemm/{name}",
                unit="TFLOP/s",
                ours=rate / 1e12,
                note="most processors emulate it" if emulated else "",
                details={"device": device_name(device), "size": size, "tf32": allows_tf32()},
            )
        )
        on_progress("gemm", done, len(dtypes) + 1)
    rate = _copy_rate(device, quick=settings.quick)
    rows.append(
        BenchmarkRow(
            name="copy",
            unit="GB/s",
            ours=rate / 1e9,
            note="read and written",
            details={"device": device_name(device)},
        )
    )
    return rows


def allows_tf32() -> bool:
    """Whether float32 products may be rounded to 10 bits of mantissa on a GPU."""
    return torch.get_float32_matmul_precision() != "highest"
