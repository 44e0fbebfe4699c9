"""Seconds and memory of a device, the same way on a CPU and on a GPU."""

import gc
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch

from g3pt.benchmarks.rows import BenchmarkRow

Run = Callable[[], object]


def wait_for(device: torch.device) -> None:
    """Let a device finish what it was given; a CPU has nothing outstanding."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def median_seconds(
    run: Run, device: torch.device, *, repeats: int = 5, warmup: int = 1, budget: float = 20.0
) -> float:
    """Median time of a call on the wall, the device waited for before and after.

    Args:
        run: what is timed.
        device: where it runs.
        repeats: timed calls at most.
        warmup: calls before, not timed.
        budget: seconds after which no further call is begun; one is timed at least.
    """
    began = time.perf_counter()
    for _ in range(warmup):
        run()
    wait_for(device)
    seconds: list[float] = []
    while len(seconds) < repeats and (
        not seconds or time.perf_counter() - began + seconds[-1] < budget
    ):
        started = time.perf_counter()
        run()
        wait_for(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


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
        unit: likewise.
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
