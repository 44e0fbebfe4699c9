"""The benchmarks by name.

A file of its own: the child processes of a benchmark import what they need of the package, and are
not to wait for, or hold in memory, what all other benchmarks need.
"""

from collections.abc import Callable

from g3pt.benchmarks.bulk import benchmark_bulk
from g3pt.benchmarks.device import benchmark_gemm
from g3pt.benchmarks.extraction import benchmark_extraction
from g3pt.benchmarks.generation import benchmark_generation
from g3pt.benchmarks.loader import benchmark_loader
from g3pt.benchmarks.preparation import benchmark_preparation
from g3pt.benchmarks.rows import BenchmarkRow, BenchmarkSettings, OnProgress
from g3pt.benchmarks.steps import benchmark_car_step, benchmark_tokenizer_step
from g3pt.benchmarks.streaming import benchmark_stream
from g3pt.benchmarks.training import benchmark_training
from g3pt.benchmarks.waiting import benchmark_waiting

Benchmark = Callable[[BenchmarkSettings, OnProgress], list[BenchmarkRow]]

BENCHMARKS: dict[str, Benchmark] = {
    "prepare": benchmark_preparation,
    "gemm": benchmark_gemm,
    "extraction": benchmark_extraction,
    "waiting": benchmark_waiting,
    "car-step": benchmark_car_step,
    "tokenizer-step": benchmark_tokenizer_step,
    "stream": benchmark_stream,
    "train": benchmark_training,
    "loader": benchmark_loader,
    "generation-sizes": benchmark_generation,
    "bulk": benchmark_bulk,
}
"""Name on the command line -> function."""
