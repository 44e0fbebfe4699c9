"""Measurements of named models at named sizes, and of all that lies below them."""

from g3pt.benchmarks import BENCHMARKS as OF_THE_LIBRARY
from g3pt.benchmarks import Benchmark
from g3pt.benchmarks.generation import benchmark_generation
from g3pt.benchmarks.steps import benchmark_car_step, benchmark_tokenizer_step

BENCHMARKS: dict[str, Benchmark] = {
    **OF_THE_LIBRARY,
    "car-step": benchmark_car_step,
    "tokenizer-step": benchmark_tokenizer_step,
    "generation-sizes": benchmark_generation,
}
"""Name on the command line -> function."""
