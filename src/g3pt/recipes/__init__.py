"""Named runs: what `g3pt train NAME` trains."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from g3pt.models.sizes import LADDER
from g3pt.models.weights.places import MODEL_FILE
from g3pt.recipes import car, guess, rivals, stream, tokenizer
from g3pt.training.checkpoint import list_checkpoints
from g3pt.training.runs import CONFIG_FILE, Run, load_run
from g3pt.training.trained import share_trained

RUN_FOLDERS = Path("runs")
"""Parent of the default run folders; a recipe is trained in the subfolder of its name."""

RECIPES: dict[str, Callable[[], Run]] = {
    "tokenizer-first": tokenizer.first,
    "tokenizer-first-smoke": tokenizer.first_smoke,
    "car-first": car.first,
    "car-first-smoke": car.first_smoke,
    "tokenizer-tiny-procedural": tokenizer.tiny_procedural,
    "tokenizer-tiny": tokenizer.tiny,
    "tokenizer-tiny-smoke": tokenizer.tiny_smoke,
    "tokenizer-small": tokenizer.small,
    "tokenizer-small-smoke": tokenizer.small_smoke,
    "tokenizer-paper": tokenizer.paper,
    "tokenizer-paper-smoke": tokenizer.paper_smoke,
    "car-tiny": car.tiny,
    "car-tiny-smoke": car.tiny_smoke,
    "car-small": car.small,
    "car-small-smoke": car.small_smoke,
    "car-stream-small": stream.small,
    "car-stream-small-smoke": stream.small_smoke,
    "guess-small": guess.small,
    "guess-small-smoke": guess.small_smoke,
    "car-paper": car.paper,
    "car-paper-smoke": car.paper_smoke,
    "car-paper-text": car.paper_text,
    "car-paper-text-smoke": car.paper_text_smoke,
    "car-paper-l": car.paper_large,
    "car-paper-l-smoke": car.paper_large_smoke,
    "car-paper-xl": car.paper_xl,
    "car-paper-xl-smoke": car.paper_xl_smoke,
    "tokenizer-kl-tiny": rivals.kl_tiny,
    "tokenizer-kl-tiny-smoke": rivals.kl_tiny_smoke,
    "tokenizer-kl-paper": rivals.kl_paper,
    "tokenizer-kl-paper-smoke": rivals.kl_paper_smoke,
    "flow-tiny": rivals.flow_tiny,
    "flow-tiny-smoke": rivals.flow_tiny_smoke,
    "flow-paper": rivals.flow_paper,
    "flow-paper-smoke": rivals.flow_paper_smoke,
    "regressor-tiny": rivals.regressor_tiny,
    "regressor-tiny-smoke": rivals.regressor_tiny_smoke,
    "regressor-paper": rivals.regressor_paper,
    "regressor-paper-smoke": rivals.regressor_paper_smoke,
}
"""Name of the run -> function that returns its config."""

SIZES: dict[str, Callable[[], Run]] = {f"car-{size}": partial(car.of_size, size) for size in LADDER}
"""The paper's generator at every size of the ladder."""


def recipe(name: str) -> Run:
    """The complete config of a named run.

    Args:
        name: a key of `RECIPES` or `SIZES`. Names of table rows are in `reproduce.catalogue`.

    Raises:
        ValueError: if there is no recipe of that name.
    """
    known = RECIPES | SIZES
    if name not in known:
        raise ValueError(f"{name}: there is no such recipe; there are {', '.join(known)}")
    return known[name]()


def runs_before(run: Run, *, resume: bool = False) -> dict[Path, Run]:
    """The runs that must be trained before another run, because it reads their results.

    They are recognised by their folders, `runs/RECIPE`; other folders belong to the user.

    Args:
        run: the run; its `initial` and `tokenizer` name what it reads.
        resume: also return runs that were stopped before their end.

    Returns:
        Folder -> run, in the order in which they are trained.

    Raises:
        ConfigError: if the folder of a begun run holds no valid config.
    """
    found: dict[Path, Run] = {}
    for source in (run.initial, getattr(run, "tokenizer", "")):
        folder = Path(source)
        if folder.parent != RUN_FOLDERS or folder.name not in RECIPES | SIZES:
            continue
        begun = bool(list_checkpoints(folder / "checkpoints"))
        if begun or (folder / MODEL_FILE).is_file():
            if not (resume and begun and share_trained(folder) < 1):
                continue
        first = load_run(folder) if (folder / CONFIG_FILE).is_file() else recipe(folder.name)
        found |= runs_before(first, resume=resume) | {folder: first}
    return found
