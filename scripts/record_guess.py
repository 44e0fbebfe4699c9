"""Record the training examples for the bundled generator's first guess (`g3pt train guess-small`).

    python scripts/record_guess.py --stock STOCK --out cache/guess --workers 2

Every source has its own folder, and an existing one is continued. A shape takes about a tenth of a
second on one core. STOCK is made by `g3pt prepare MODELS STOCK --stock --split train`; without it
the sources that need meshes are left out.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> None:
    """Record all sources, several of them in parallel."""
    from g3pt.processes import worker_context
    from g3pt.recipes.guess import sources

    arguments = parse()
    if arguments.stock is not None and not arguments.stock.is_file():
        raise SystemExit(f"--stock: there is no file {arguments.stock}")
    stock = str(arguments.stock or "unused")
    wanted = [
        arguments.stock is not None or source.config.source != "meshes" for source in sources(stock)
    ]
    if not all(wanted):
        print("no --stock: the sources that are made of meshes are left out", flush=True)
    jobs = [
        (number, stock, str(arguments.out), arguments.limit)
        for number, taken in enumerate(wanted)
        if taken
    ]
    with worker_context().Pool(min(arguments.workers, len(jobs))) as pool:
        for name, num in pool.imap_unordered(one, jobs):
            print(f"{name}: {num} examples", flush=True)


def one(job: tuple[int, str, str, int]) -> tuple[str, int]:
    """Record one source."""
    import torch

    from g3pt.models.tokenizer import require_tokens
    from g3pt.recipes.guess import GENERATOR, sources
    from g3pt.recipes.pools import record_pool
    from g3pt.training.trained import load_tokenizer

    torch.set_num_threads(1)
    number, stock, out, limit = job
    source = sources(stock)[number]
    tokenizer = require_tokens(load_tokenizer(GENERATOR), GENERATOR).eval()
    num = min(source.num, limit) if limit else source.num
    held = record_pool(
        source,
        out,
        num,
        tokenizer,
        on_part=lambda done, total: print(f"{source.name}: part {done} of {total}", flush=True),
    )
    return source.name, held


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stock", type=Path, help="stock of meshes to warp")
    parser.add_argument("--out", type=Path, default=Path("cache/guess"), help="folder of sources")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--limit", type=int, default=0, help="examples of each source at most")
    return parser.parse_args()


if __name__ == "__main__":
    main()
