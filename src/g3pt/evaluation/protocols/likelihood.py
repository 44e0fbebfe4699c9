"""Likelihood of held-out tokens under a generator, object by object (Fig. 6).

Legend: B batch, T tokens of all scales end to end.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from g3pt.evaluation.protocols.generation import known_conditions
from g3pt.evaluation.report.summary import cell, summarise
from g3pt.evaluation.results import Measured, Row
from g3pt.evaluation.run import Evaluation
from g3pt.evaluation.systems import generator_of
from g3pt.generation.likelihood import token_likelihood
from g3pt.generation.prompts import read_prompts
from g3pt.models.car import Car
from g3pt.models.conditioning import ConditionBatch
from g3pt.models.tokenizer import DiscreteTokenizer, require_tokens
from g3pt.shapes.cache.tokens import TokenCache
from g3pt.shapes.shards import ShardSet
from g3pt.training.usable import load_models

PROTOCOL = "g3pt-likelihood-v1"
"""First resampling, canonical view, first caption; teacher forcing with clean inputs."""


@dataclass(frozen=True)
class TokenizedShapes:
    """Held-out shapes and their tokens."""

    name: str
    shards: ShardSet
    tokens: TokenCache
    num: int
    """The first so many are measured."""

    @property
    def sha256(self) -> str:
        """Of shapes and tokens, and how many count."""
        parts = (self.shards.fingerprint, self.tokens.shapes_fingerprint, self.num)
        digest = hashlib.sha256(json.dumps(parts).encode())
        digest.update(self.tokens.tokens[: self.num].tobytes())
        return digest.hexdigest()


def evaluate_likelihood(
    weights: str | Path,
    shapes: TokenizedShapes,
    *,
    device: str = "cpu",
    batch_size: int = 16,
    out: Path | None = None,
) -> dict[str, Any]:
    """Measure the cross-entropy of every object's tokens.

    Each row holds `ce` (nats a token over all scales), `ce_1` to `ce_S` (scale by scale, the
    coarsest first), `bits_per_shape`, and `unconditional_ce`, without conditions: the more
    that lies above `ce`, the more the generator uses them.

    Args:
        weights: a weights folder, a run folder or a bundled name, with a generator.
        shapes: what to measure.
        device: where the generator runs.
        batch_size: objects at a time; does not change what is measured.
        out: folder of the results; a rerun with the same arguments takes them as they are.

    Returns:
        The report, as JSON values.

    Raises:
        FileNotFoundError, ValueError: if weights, tokens or `out` cannot be used.
    """
    loaded = load_models(weights, device)
    car = generator_of(loaded)
    tokenizer = require_tokens(loaded.tokenizer, loaded.name)
    _check_layout(shapes, tokenizer, loaded.name)
    conditions = known_conditions(car, ())

    def measure(slots: Sequence[int]) -> Iterator[Measured]:
        for first in range(0, len(slots), batch_size):
            batch = slots[first : first + batch_size]
            rows = _measure(car, tokenizer, shapes, batch, conditions)
            yield from (Measured(slot, (row,)) for slot, row in zip(batch, rows, strict=True))

    return Evaluation(
        kind="likelihood",
        protocol=PROTOCOL,
        config={
            "kind": "likelihood",
            "settings": {"conditions": conditions, "num": shapes.num},
            "weights": loaded.sha256,
            "data": shapes.sha256,
        },
        slots=range(min(shapes.num, len(shapes.shards))),
        measure=measure,
        describe=lambda results: {"summary": summarise(results.rows)},
        table=_table,
        about={
            "data": shapes.name,
            "weights": {"name": loaded.name, "sha256": loaded.sha256},
        },
    ).run(out)


def _check_layout(shapes: TokenizedShapes, tokenizer: DiscreteTokenizer, name: str) -> None:
    """Refuse tokens of another layout, which would be misread.

    Raises:
        ValueError: if they differ.
    """
    identity = shapes.tokens.identity
    found = (identity.scale_lengths, identity.num_bits)
    wanted = (tuple(tokenizer.scale_lengths), tokenizer.num_bits)
    if found != wanted:
        raise ValueError(
            f"{shapes.tokens.path}: holds scales {found[0]} of {found[1]} bits, weights {name} "
            f"read {wanted[0]} of {wanted[1]}: tokenize the shapes with these weights"
        )


def _measure(
    car: Car,
    tokenizer: DiscreteTokenizer,
    shapes: TokenizedShapes,
    slots: Sequence[int],
    conditions: Sequence[str],
) -> Iterator[Row]:
    indices_BT = torch.stack([torch.from_numpy(shapes.tokens.indices(slot, 0)) for slot in slots])
    condition = _condition(car, shapes.shards, slots, conditions)
    found = token_likelihood(tokenizer, car, indices_BT, condition)
    null = found
    if conditions:
        null = token_likelihood(tokenizer, car, indices_BT, condition.without_conditions())
    for place, slot in enumerate(slots):
        shape = shapes.shards.shapes[slot]
        row: Row = {
            "id": shape["id"],
            "family": shape["family"],
            "ce": float(found.nats_per_token[place]),
            "bits_per_shape": float(found.bits_per_shape[place]),
            "unconditional_ce": float(null.nats_per_token[place]),
        }
        by_scale = enumerate(found.scale_nats_per_token[place].tolist(), start=1)
        yield {**row, **{f"ce_{scale}": value for scale, value in by_scale}}


def _condition(
    car: Car, shards: ShardSet, slots: Sequence[int], conditions: Sequence[str]
) -> ConditionBatch:
    """Canonical views and first captions, prepared as a user's are.

    Raises:
        ValueError: if a shape lacks what the generator is conditioned on.
    """
    pictures, texts = None, None
    if "image" in conditions:
        for slot in slots:
            if not shards.num_views(slot):
                raise ValueError(f"{shards.path}: {shards.shapes[slot]['id']} has no picture")
        pictures = [shards.picture(slot, 0) for slot in slots]
    if "text" in conditions:
        for slot in slots:
            if not shards.captions(slot):
                raise ValueError(f"{shards.path}: {shards.shapes[slot]['id']} has no caption")
        texts = [shards.captions(slot)[0] for slot in slots]
    if pictures is None and texts is None:
        return ConditionBatch(batch_size=len(slots))
    return read_prompts(car, image=pictures, text=texts).condition


def _table(report: Mapping[str, Any]) -> str:
    lines = [
        f"# Likelihood of {report['data']} under {report['weights']['name']}",
        "",
        f"Protocol {report['protocol']}, {report['counts']['objects']} objects. Mean [95 % "
        "interval], nats a token where it does not say bits.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {cell(entry)} |" for name, entry in report["summary"].items()),
    ]
    return "\n".join(lines) + "\n"
