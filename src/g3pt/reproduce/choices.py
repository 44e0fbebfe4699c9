"""Choices inside CVQ, one row each beside a control with equal steps, tokens and parameters."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from g3pt.models.cvq import CvqConfig
from g3pt.recipes.matching import matched, num_parameters
from g3pt.reproduce.experiments import Claim, Experiment, Scale, Variant
from g3pt.reproduce.tables import cvq, tokenizer_run
from g3pt.reproduce.tokenizer_sizes import TokenizerSize, size

Change = Callable[[Variant], Variant]


def choices(scale: Scale) -> Experiment:
    """Every choice that the paper leaves open or that we made otherwise."""
    of = size(scale)
    control = cvq(of, of.ladder[-1])
    control = replace(control, label="control", seeds=of.more_seeds)
    rows = [_row(of, control, *choice) for choice in (*_many_seeds(), *_one_seed(of))]
    claims = tuple(
        Claim(
            text=f"the control is better than: {row.label}",
            better=control.name,
            worse=row.name,
            of_paper=False,
        )
        for row in rows
    )
    return Experiment(
        name="choices",
        title="Choices inside CVQ",
        scale=scale,
        variants=(control, *rows),
        claims=claims,
        evaluation=of.evaluation,
    )


def _row(
    of: TokenizerSize, control: Variant, name: str, label: str, change: Change, many: bool
) -> Variant:
    """The control with one change, its parameters matched again."""
    seeds = of.more_seeds if many else of.seeds[:1]
    changed = change(replace(control, name=f"choice-{name}", label=label, seeds=seeds))
    model = matched(tokenizer_run(changed).model, num_parameters(tokenizer_run(control).model))
    return replace(changed, run=replace(changed.run, model=model))


def _many_seeds() -> list[tuple[str, str, Change, bool]]:
    """The six that matter most."""
    literal = _all(
        _cqt(keys="content", init="random", center=False),
        _loss(latent_weight=0.0, warmup_share=0.0),
    )
    found: list[tuple[str, str, Change]] = [
        ("literal", "the equations read literally", literal),
        ("content-keys", "keys without slots", _cqt(keys="content")),
        ("no-warmup", "no LayerNorm warm-up", _loss(warmup_share=0.0)),
        ("scale-dropout", "scale dropout .25", _loss(scale_dropout=0.25)),
        ("fps", "queries are farthest points", _model(query_init="fps")),
        ("distance", "truncated distance as target", _loss(target="distance")),
    ]
    return [(*row, True) for row in found]


def _one_seed(of: TokenizerSize) -> list[tuple[str, str, Change, bool]]:
    found: list[tuple[str, str, Change]] = [
        ("per-scale-cqt", "CQT weights per scale", _cqt(share_weights=False)),
        ("per-scale-projection", "projections per scale", _lfq(share_projection=False)),
        ("rms-bits", "bit features keep their mean", _lfq(normalization="rms")),
        ("no-locality", "attention starts by chance", _model(local_gain=0.0)),
        ("no-latent-loss", "no latent loss", _loss(latent_weight=0.0)),
        ("near-weight-high", "near-surface weight 4", _loss(near_weight=4.0)),
        ("commitment", "commitment loss .1", _loss(commitment_weight=0.1)),
        ("entropy", "entropy loss .1", _loss(entropy_weight=0.1)),
        *(
            (f"scales-{len(lengths)}", f"number of scales {lengths}", _lengths(lengths))
            for lengths in of.by_count
        ),
        ("evener", f"less in the last scale {of.evener}", _lengths(of.evener)),
    ]
    return [(*row, False) for row in found]


def _model(**changes: Any) -> Change:
    return lambda row: replace(row, run=replace(row.run, model=replace(_of(row), **changes)))


def _cqt(**changes: Any) -> Change:
    return lambda row: _model(cqt=replace(_of(row).cqt, **changes))(row)


def _lfq(**changes: Any) -> Change:
    return lambda row: _model(quantizer=replace(_of(row).quantizer, **changes))(row)


def _lengths(lengths: tuple[int, ...]) -> Change:
    def change(row: Variant) -> Variant:
        latents = max(_of(row).num_latents, lengths[-1])
        cqt = replace(_of(row).cqt, scale_lengths=lengths)
        return _model(num_latents=latents, cqt=cqt)(row)

    return change


def _loss(**changes: Any) -> Change:
    def change(row: Variant) -> Variant:
        loss = replace(tokenizer_run(row).loss, **changes)
        return replace(row, run=replace(row.run, loss=loss))

    return change


def _all(*changes: Change) -> Change:
    def change(row: Variant) -> Variant:
        for one in changes:
            row = one(row)
        return row

    return change


def _of(row: Variant) -> CvqConfig:
    model = tokenizer_run(row).model
    assert isinstance(model, CvqConfig)
    return model
