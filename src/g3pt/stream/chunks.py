"""Procedural shapes made by processes beside the one that trains, a chunk at a time.

A chunk follows from its number alone, whichever process makes it, so a stream that was cut off
goes on with the very shapes that it would have had.
"""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

from g3pt.procedural import ASSEMBLY, ProceduralShape, make_shape
from g3pt.processes import worker_context

AHEAD = 3
"""Chunks under way for every process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkConfig:
    """What a chunk is made of."""

    num_grammar: int = 48
    """Assemblies of the grammar, which have no kind."""
    num_families: int = 16
    """Shapes of the training families."""
    first_seed: int = 0
    """Of chunk 0; each chunk takes as many seeds as it has shapes."""

    def __post_init__(self) -> None:
        if min(self.num_grammar, self.num_families) < 0 or not self.size:
            raise ValueError(
                "a chunk needs num_grammar >= 0 and num_families >= 0, not both 0, got "
                f"{self.num_grammar} and {self.num_families}"
            )

    @property
    def size(self) -> int:
        """Shapes of a chunk."""
        return self.num_grammar + self.num_families


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some shapes, those of the grammar first."""

    shapes: tuple[ProceduralShape, ...]
    captions: tuple[str, ...]
    """A sentence about each that is of a family; empty for the others."""


def make_chunk(config: ChunkConfig, number: int) -> Chunk:
    """Make one chunk."""
    first = config.first_seed + number * config.size
    shapes: list[ProceduralShape] = []
    captions: list[str] = []
    for place in range(config.size):
        seed, named = first + place, place >= config.num_grammar
        shape = make_shape(seed, None if named else ASSEMBLY)
        shapes.append(shape)
        captions.append(shape.caption(seed % 4) if named else "")
    return Chunk(tuple(shapes), tuple(captions))


def iterate_chunks(
    config: ChunkConfig, *, first: int = 0, stride: int = 1, workers: int = 0
) -> Iterator[Chunk]:
    """Give chunk `first`, then every `stride`-th after it, without end.

    Args:
        config: what they are made of.
        first: number of the first one.
        stride: how many of such streams share the numbers.
        workers: processes that make them; 0 makes them here, when they are asked for.
    """
    numbers = iter(range(first, 2**31, stride))
    if not workers:
        yield from (make_chunk(config, number) for number in numbers)
        return
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # they inherit it: there are enough of them
    with ProcessPoolExecutor(workers, mp_context=worker_context()) as pool:
        make = partial(make_chunk, config)
        pending: deque[Future[Chunk]] = deque()
        try:
            for number in numbers:
                pending.append(pool.submit(make, number))
                if len(pending) >= AHEAD * workers:
                    yield pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
