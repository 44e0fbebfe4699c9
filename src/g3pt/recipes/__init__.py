"""Named runs: what `g3pt train NAME` trains."""

from collections.abc import Callable

from g3pt.recipes import car, tokenizer
from g3pt.training.runs import Run

RECIPES: dict[str, Callable[[], Run]] = {
    "tokenizer-tiny-procedural": tokenizer.tiny_procedural,
    "tokenizer-tiny": tokenizer.tiny,
    "tokenizer-tiny-smoke": tokenizer.tiny_smoke,
    "tokenizer-paper": tokenizer.paper,
    "tokenizer-paper-smoke": tokenizer.paper_smoke,
    "car-tiny": car.tiny,
    "car-tiny-smoke": car.tiny_smoke,
    "car-paper": car.paper,
    "car-paper-smoke": car.paper_smoke,
    "car-paper-l": car.paper_large,
    "car-paper-l-smoke": car.paper_large_smoke,
    "car-paper-xl": car.paper_xl,
    "car-paper-xl-smoke": car.paper_xl_smoke,
}
"""By the name that the run carries, too."""


def recipe(name: str) -> Run:
    """The complete config of a named run.

    Raises:
        ValueError: if there is no recipe of that name.
    """
    if name not in RECIPES:
        raise ValueError(f"{name}: there is no such recipe; there are {', '.join(RECIPES)}")
    return RECIPES[name]()
