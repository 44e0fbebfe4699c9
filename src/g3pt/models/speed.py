"""How fast a device is: the time of a call, and the rate of a matrix product."""

import statistics
import time
from collections.abc import Callable

import torch

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


def gemm_rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Operations per second of a product of two `size` x `size` matrices."""
    left = torch.randn(size, size, device=device).to(dtype)
    right = torch.randn(size, size, device=device).to(dtype)
    # several products a call, so that launching and waiting do not count
    num_calls = 10 if device.type == "cuda" else 1

    def run() -> None:
        for _ in range(num_calls):
            torch.mm(left, right)

    seconds = median_seconds(run, device, repeats=7, warmup=2, budget=5.0)
    return 2.0 * size**3 * num_calls / seconds


def gemm_size(device: torch.device, dtype: torch.dtype, *, quick: bool = False) -> int:
    """Side of matrices that keep a device busy; `quick` ones fill nothing."""
    if quick:
        return 256
    if device.type == "cuda":
        return 8192 if dtype == torch.bfloat16 else 4096
    return 1024
