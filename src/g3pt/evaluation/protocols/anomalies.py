"""Does likelihood tell unusual shapes? Damaged shapes against the undamaged ones.

Scores are nats per token without any prompt. N surface points, T tokens; unit frame.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int

from g3pt.evaluation.bootstrap import NUM_RESAMPLES, Interval, percentile_interval
from g3pt.evaluation.objects import ObjectList
from g3pt.generation.likelihood import token_likelihood
from g3pt.generation.pipeline import G3PT
from g3pt.generation.surface import encode_samples
from g3pt.geometry.isosurface import extract_surface
from g3pt.geometry.sampling import SurfaceSamples, sample_surface
from g3pt.models.conditioning import ConditionBatch
from g3pt.training.usable import load_models

KINDS = ("fine_scrambled", "fine_of_another", "half_missing", "rough", "blob")
"""Tokens of the finest scale in another order; coarse scales of one shape with the finer ones of
the next; no points on one side of a random plane through the middle; points moved along their
normals by a random wave; a lump of noise instead of the shape."""

COARSE_SCALES = 2
"""Scales that `fine_of_another` keeps."""

ROUGHNESS = 0.04
"""Height of the wave in unit-frame lengths."""

BLOB_RESOLUTION = 48
"""Grid cells per axis of the lumps."""

OnProgress = Callable[[int, int], None]


def evaluate_anomalies(
    weights: str | Path,
    objects: ObjectList,
    *,
    device: str = "auto",
    adapter: Path | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Score shapes and what `KINDS` makes of them.

    Args:
        weights: weights with a generator, as `G3PT.from_pretrained` takes them.
        objects: the shapes.
        device: where the models run.
        adapter: folder of an adapter for the weights.
        seed: of the intervals.
        on_progress: is told how many objects are done.

    Returns:
        JSON values: the score of every object and kind, and for every kind the AUROC of telling
        it from the shapes, with its 95 % interval, and the share of objects that score higher
        after the damage.

    Raises:
        ValueError: if the weights have no generator.
    """
    pipeline = G3PT(load_models(weights, device, dtype="auto", adapter=adapter))
    pipeline.read_prompts()  # raises if there is no generator
    rows = [(ref.id, np.random.default_rng([seed, slot])) for slot, ref in enumerate(objects.refs)]
    tokens: list[dict[str, Int[torch.Tensor, " T"]]] = []
    for slot, (_, rng) in enumerate(rows):
        samples = objects.load(slot).sample_surface(pipeline.weights.config.num_points, rng)
        tokens.append(_tokens_of_kinds(pipeline, samples, rng))
        if on_progress is not None:
            on_progress(slot + 1, len(rows))
    first = sum(pipeline.tokenizer.scale_lengths[:COARSE_SCALES])
    for own, following in zip(tokens, tokens[1:] + tokens[:1], strict=True):
        own["fine_of_another"] = torch.cat([own["shape"][:first], following["shape"][first:]])
    scores = {
        kind: np.array([_score(pipeline, own[kind]) for own in tokens])
        for kind in ("shape", *KINDS)
    }
    return {
        "weights": {"name": pipeline.weights.name, "sha256": pipeline.weights.sha256},
        "data": objects.name,
        "kinds": [_summary(kind, scores["shape"], scores[kind], seed) for kind in KINDS],
        "objects": [
            {"id": name, **{kind: float(values[slot]) for kind, values in scores.items()}}
            for slot, (name, _) in enumerate(rows)
        ],
    }


def auroc(usual: Float64[np.ndarray, " N"], unusual: Float64[np.ndarray, " M"]) -> float:
    """How often an unusual score is above a usual one, ties counting half."""
    above = (unusual[:, None] > usual).mean()
    return float(above + (unusual[:, None] == usual).mean() / 2)


def _summary(
    kind: str, usual: Float64[np.ndarray, " N"], unusual: Float64[np.ndarray, " N"], seed: int
) -> dict[str, Any]:
    return {
        "kind": kind,
        "auroc": asdict(auroc_interval(usual, unusual, seed=seed)),
        "higher_after_damage": float((unusual > usual).mean()),
        "nats_per_token": {"shape": float(usual.mean()), "damaged": float(unusual.mean())},
    }


def auroc_interval(
    usual: Float64[np.ndarray, " N"], unusual: Float64[np.ndarray, " N"], *, seed: int = 0
) -> Interval:
    """AUROC with its bootstrap interval; a shape and what was made of it are drawn together."""
    rng = np.random.default_rng([seed, len(usual)])
    above_NN = (unusual[:, None] > usual) + 0.5 * (unusual[:, None] == usual)
    draws = rng.integers(len(usual), size=(NUM_RESAMPLES, len(usual)))
    values = np.array([above_NN[np.ix_(draw, draw)].mean() for draw in draws])
    return percentile_interval(values, auroc(usual, unusual), len(usual))


def _tokens_of_kinds(
    pipeline: G3PT, samples: SurfaceSamples, rng: np.random.Generator
) -> dict[str, Int[torch.Tensor, " T"]]:
    """Tokens of a shape, and of the damaged versions that need no other shape."""
    own_T = _tokenize(pipeline, samples)
    finest = pipeline.tokenizer.scale_lengths[-1]
    order = torch.from_numpy(rng.permutation(finest))
    return {
        "shape": own_T,
        "fine_scrambled": torch.cat([own_T[:-finest], own_T[-finest:][order]]),
        "half_missing": _tokenize(pipeline, half_of(samples, rng)),
        "rough": _tokenize(pipeline, roughened(samples, rng)),
        "blob": _tokenize(pipeline, blob(len(samples.points), rng)),
    }


def _tokenize(pipeline: G3PT, samples: SurfaceSamples) -> Int[torch.Tensor, " T"]:
    return encode_samples(pipeline.tokenizer, samples).cpu()


def _score(pipeline: G3PT, indices_T: Int[torch.Tensor, " T"]) -> float:
    assert pipeline.car is not None
    nothing = ConditionBatch(batch_size=1)
    found = token_likelihood(pipeline.tokenizer, pipeline.car, indices_T[None], nothing)
    return found.nats_per_token.item()


# --- damage --------------------------------------------------------------------------------


def half_of(samples: SurfaceSamples, rng: np.random.Generator) -> SurfaceSamples:
    """The points on one side of a random plane through their median, as often as it takes."""
    along = samples.points @ _direction(rng)
    kept = np.flatnonzero(along <= np.median(along))
    chosen = np.resize(kept, len(samples.points))
    return SurfaceSamples(samples.points[chosen], samples.normals[chosen], samples.faces[chosen])


def roughened(samples: SurfaceSamples, rng: np.random.Generator) -> SurfaceSamples:
    """Points moved along their normals by a wave of some ten crests across the object."""
    waves = np.stack([_direction(rng) for _ in range(3)]) * 30.0
    height = np.sin(samples.points @ waves.T + rng.uniform(0, 2 * np.pi, 3)).mean(axis=1)
    moved = samples.points + ROUGHNESS * height[:, None] * samples.normals
    return SurfaceSamples(np.clip(moved, -1.0, 1.0), samples.normals, samples.faces)


def blob(num_points: int, rng: np.random.Generator) -> SurfaceSamples:
    """Points on a random lump: a ball whose radius is disturbed by waves."""
    waves = np.stack([_direction(rng) for _ in range(12)]) * rng.uniform(2, 9, (12, 1))
    phases = rng.uniform(0, 2 * np.pi, 12)

    def field(points: np.ndarray) -> np.ndarray:
        wave = np.sin(points.astype(np.float64) @ waves.T + phases).sum(axis=1) / 12**0.5
        return (0.65 + 0.3 * wave - np.linalg.norm(points, axis=1)).astype(np.float32)

    return sample_surface(extract_surface(field, resolution=BLOB_RESOLUTION).mesh, num_points, rng)


def _direction(rng: np.random.Generator) -> Float64[np.ndarray, " 3"]:
    vector = rng.standard_normal(3)
    return vector / np.linalg.norm(vector)
