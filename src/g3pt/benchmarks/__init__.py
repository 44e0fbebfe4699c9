"""Measurements of what g3pt promises, and of other software on the same inputs.

Every number belongs to the machine and moment it was taken at, so both are in its row.
"""

from collections.abc import Callable

from g3pt.benchmarks.device import benchmark_gemm
from g3pt.benchmarks.extraction import benchmark_extraction
from g3pt.benchmarks.generation import benchmark_generation
from g3pt.benchmarks.preparation import benchmark_preparation
from g3pt.benchmarks.rows import BenchmarkRow, BenchmarkSettings, OnProgress
from g3pt.benchmarks.steps import benchmark_car_step, benchmark_tokenizer_step
from g3pt.benchmarks.waiting import benchmark_waiting

Benchmark = Callable[[BenchmarkSettings, OnProgress], list[BenchmarkRow]]

BENCHMARKS: dict[str, Benchmark] = {
    "prepare": benchmark_preparation,
    "gemm": benchmark_gemm,
    "extraction": benchmark_extraction,
    "waiting": benchmark_waiting,
    "car-step": benchmark_car_step,
    "tokenizer-step": benchmark_tokenizer_step,
    "generation-sizes": benchmark_generation,
}
"""Name on the command line -> function."""
