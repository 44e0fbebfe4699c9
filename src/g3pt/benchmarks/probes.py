"""What a device reaches at best: a matrix product and a copy, which other rows are held against."""

from dataclasses import dataclass
from functools import partial

import torch

from g3pt.benchmarks.device import device_name, median_seconds
from g3pt.benchmarks.rows import BenchmarkRow, BenchmarkSettings, OnProgress
from g3pt.models.devices import resolve_device


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
        flops_per_second=gemm_rate(device, dtype, _gemm_size(device, dtype, quick=quick)),
        bytes_per_second=_copy_rate(device, quick=quick),
    )


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


def _gemm_size(device: torch.device, dtype: torch.dtype, *, quick: bool) -> int:
    if quick:
        return 256
    if device.type == "cuda":
        return 8192 if dtype == torch.bfloat16 else 4096
    return 1024


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
        size = 256 if emulated else _gemm_size(device, dtype, quick=settings.quick)
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
