"""Procedural shapes made in chunks by worker processes of a training.

A chunk depends only on its number, whichever process makes it, so a resumed stream continues with
exactly the same shapes.
"""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from g3pt.procedural import ASSEMBLY, AssemblyFamily, ProceduralShape, make_shape
from g3pt.processes import worker_pool

AHEAD = 3
"""Chunks in progress per worker process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkConfig:
    """Contents of a chunk."""

    num_grammar: int = 48
    """Number of assemblies of the grammar."""
    num_families: int = 16
    """Number of shapes of the training families."""
    assembly: AssemblyFamily = ASSEMBLY
    """Which assemblies: "cut-assembly" adds bevels and intersections."""
    first_seed: int = 0
    """First seed of chunk 0; each chunk takes as many seeds as it has shapes."""

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
    """Procedural shapes, those of the grammar first."""

    shapes: tuple[ProceduralShape, ...]
    captions: tuple[str, ...]
    """A caption for each shape of a family; empty for the others."""


def make_chunk(config: ChunkConfig, number: int) -> Chunk:
    """Make the chunk with a number."""
    first = config.first_seed + number * config.size
    shapes: list[ProceduralShape] = []
    captions: list[str] = []
    for place in range(config.size):
        seed, named = first + place, place >= config.num_grammar
        shape = make_shape(seed, None if named else config.assembly)
        shapes.append(shape)
        captions.append(shape.caption(seed % 4) if named else "")
    return Chunk(tuple(shapes), tuple(captions))


def iterate_chunks(
    config: ChunkConfig, *, first: int = 0, stride: int = 1, workers: int = 0
) -> Iterator[Chunk]:
    """Yield chunk `first`, then every `stride`-th chunk after it, without end.

    Args:
        config: contents of the chunks.
        first: number of the first chunk.
        stride: number of streams that share the chunk numbers.
        workers: worker processes; 0 makes chunks in this process, on demand.
    """
    numbers = iter(range(first, 2**31, stride))
    if not workers:
        yield from (make_chunk(config, number) for number in numbers)
        return
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # inherited by the workers, which need one thread each
    with worker_pool(workers) as pool:
        make = partial(make_chunk, config)
        pending: deque[Future[Chunk]] = deque()
        for number in numbers:
            pending.append(pool.submit(make, number))
            if len(pending) >= AHEAD * workers:
                yield pending.popleft().result()
