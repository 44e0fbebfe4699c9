"""How many bits of tokens depend on which points of a surface were drawn?

Every object is tokenized from two draws of points, and bits that differ are counted by scale: once
as they are, and once given the first draw's coarser tokens, without what follows from bits that
differ already.

Legend: N surface points, K bits, M bits of one scale of all objects.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from g3pt.evaluation.bootstrap import bootstrap
from g3pt.evaluation.objects import ObjectList
from g3pt.generation.surface import Samplable, sample_well_spread, surface_tensors
from g3pt.models.quantizers import unpack_bits
from g3pt.models.tokenizer import DiscreteTokenizer, require_tokens
from g3pt.training.usable import load_models

TEMPERATURES = tuple(2.0 ** (step / 8) for step in range(-64, 17))
"""Temperatures that are tried for every scale."""

OnProgress = Callable[[int, int], None]


def evaluate_stability(
    weights: str | Path,
    objects: ObjectList,
    *,
    num_points: int | None = None,
    spread: int = 1,
    device: str = "auto",
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Compare the tokens of two draws of every object.

    Args:
        weights: weights with a tokenizer, as `load_models` takes them.
        objects: the shapes.
        num_points: surface points of a draw; None takes as many as the weights want.
        spread: candidates of every point: more than 1 keeps well-spread ones.
        device: where the tokenizer runs.
        seed: of the points and of the intervals.
        on_progress: is told how many objects are done.

    Returns:
        JSON values. For every scale the share of bits that differ, the same given the first draw's
        coarser tokens, both with 95 % intervals over objects, and the temperature at which
        `bit_chances` of one draw fit the bits of the other best. For every object both shares.

    Raises:
        ValueError: if the tokenizer has no tokens, or a number is less than 1.
    """
    if spread < 1 or (num_points is not None and num_points < 1):
        raise ValueError(f"spread and num_points must be at least 1, got {spread} and {num_points}")
    loaded = load_models(weights, device)
    tokenizer = require_tokens(loaded.tokenizer, loaded.name).eval()
    num_points = loaded.config.num_points if num_points is None else num_points
    rows: list[dict[str, Any]] = []
    margins: list[list[np.ndarray]] = [[] for _ in tokenizer.scale_lengths]
    kept: list[list[np.ndarray]] = [[] for _ in tokenizer.scale_lengths]
    for slot, ref in enumerate(objects.refs):
        draws = compare_draws(tokenizer, objects.load(slot), num_points, [seed, slot], spread)
        rows.append(
            {
                "id": ref.id,
                "differ": [float(part.mean()) for part in draws.differ],
                "differ_given": [float(part.mean()) for part in draws.differ_given],
            }
        )
        for scale, (size, flipped) in enumerate(
            zip(draws.margins, draws.differ_given, strict=True)
        ):
            margins[scale].append(size)
            kept[scale].append(~flipped)
        if on_progress is not None:
            on_progress(slot + 1, len(objects.refs))
    columns = {
        f"{name}/{scale}": np.array([row[name][scale] for row in rows])
        for name in ("differ", "differ_given")
        for scale in range(tokenizer.num_scales)
    }
    intervals = bootstrap(columns, seed=seed)
    return {
        "weights": {"name": loaded.name, "sha256": loaded.sha256},
        "data": objects.name,
        "num_points": num_points,
        "spread": spread,
        "scales": [
            {
                "tokens": tokenizer.scale_lengths[scale],
                "differ": asdict(intervals[f"differ/{scale}"]),
                "differ_given": asdict(intervals[f"differ_given/{scale}"]),
                "temperature": fit_temperature(
                    np.concatenate(margins[scale]), np.concatenate(kept[scale])
                ),
            }
            for scale in range(tokenizer.num_scales)
        ],
        "objects": rows,
    }


@dataclass(frozen=True, eq=False)
class DrawComparison:
    """Two draws of one object, scale by scale, bits end to end."""

    differ: tuple[Bool[np.ndarray, " _"], ...]
    """Whether the bit differs."""
    differ_given: tuple[Bool[np.ndarray, " _"], ...]
    """Whether it would if the coarser tokens were those of the first draw."""
    margins: tuple[Float[np.ndarray, " _"], ...]
    """How far the first draw's bit was from flipping, in units of the normalised bit features."""


@torch.no_grad()
def compare_draws(
    tokenizer: DiscreteTokenizer,
    shape: Samplable,
    num_points: int,
    seed: list[int],
    spread: int = 1,
) -> DrawComparison:
    """Tokenize an object from two independent draws of points.

    Raises:
        MeshError: if a mesh has no area, or nearly all of its surface lies inside the solid.
    """
    device = next(tokenizer.parameters()).device
    latents = [
        tokenizer.encode(
            *surface_tensors(
                sample_well_spread(shape, num_points, np.random.default_rng([*seed, draw]), spread),
                device,
            )
        )
        for draw in range(2)
    ]
    first, second = (tokenizer.quantize(each) for each in latents)
    given = tokenizer.project_given(latents[1], first)
    lengths = list(tokenizer.scale_lengths)
    bits = [
        unpack_bits(each.indices_BT, tokenizer.num_bits)[0].split(lengths)
        for each in (first, second)
    ]
    return DrawComparison(
        differ=tuple(_flat(a != b) for a, b in zip(*bits, strict=True)),
        differ_given=tuple(
            _flat((a > 0) != (b > 0)) for a, b in zip(first.projected, given, strict=True)
        ),
        margins=tuple(_flat(part.abs()) for part in first.projected),
    )


def _flat(values: torch.Tensor) -> np.ndarray:
    return values.flatten().cpu().numpy()


def fit_temperature(margins_M: Float[np.ndarray, " M"], kept_M: Bool[np.ndarray, " M"]) -> float:
    """The temperature of `TEMPERATURES` at which sigmoid(margin / T) tells best what is kept."""
    odds_TM = margins_M.astype(np.float64) / np.array(TEMPERATURES)[:, None]
    surprise_TM = np.logaddexp(0.0, np.where(kept_M, -odds_TM, odds_TM))
    return TEMPERATURES[int(surprise_TM.mean(axis=1).argmin())]
