"""What the paper leaves open or we made otherwise: a row for each choice, with a control.

`choices` are those inside CVQ, with equal steps, tokens and parameters. `car_choices` are those
inside CAR, with equal tokens, steps and depth.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from g3pt.models.cvq import CvqConfig
from g3pt.models.sampling import STANDARD, Sampling
from g3pt.recipes.matching import matched, num_parameters
from g3pt.reproduce.car_sizes import CarSize, car_size, rung
from g3pt.reproduce.experiments import Claim, Experiment, Scale, Variant
from g3pt.reproduce.tables import cvq, tokenizer_run
from g3pt.reproduce.tokenizer_sizes import TokenizerSize, size
from g3pt.training.curriculum import CurriculumConfig
from g3pt.training.kinds.car import CarRun

Change = Callable[[Variant], Variant]
CarChange = Callable[[CarRun], CarRun]


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


# --- inside CAR --------------------------------------------------------------------------------


def car_choices(scale: Scale) -> Experiment:
    """Every choice that the paper leaves open or that we made otherwise, in stage 2.

    The control is the rung of Figure 6 with the depth of `CarSize.run`: cumulative input, bits
    chosen one by one, clean inputs, all scales from the start, tokens counted alike, learned
    positions, guidance that rises.
    """
    of = car_size(scale)
    model = of.run.model
    control = replace(rung(of, model.depth), label="control")
    trained = [_trained(control, *choice) for choice in _car_trainings(of)]
    sampled = [_sampled(control, *choice) for choice in _car_samplings(model.num_scales)]
    claims = [_car_claim(control, row, metric) for row in trained for metric in ("ce", "iou")]
    claims += [_car_claim(control, row, "iou") for row in sampled]
    return Experiment(
        name="car-choices",
        title="Choices inside CAR",
        scale=scale,
        variants=(control, *trained, *sampled),
        claims=tuple(claims),
        evaluation=of.sets,
        before=(of.stage1,),
    )


def _car_trainings(of: CarSize) -> list[tuple[str, str, CarChange]]:
    lengths = of.run.model.scale_lengths
    return [
        ("previous", "reads the scale before alone (Fig. 3)", _car_model(input_kind="previous")),
        ("softmax", "one choice among all entries (the paper)", _car_model(head="softmax")),
        ("bit-softmax", "the same, started from bits", _car_model(head="bit_softmax")),
        ("sinusoidal", "sinusoidal positions", _car_model(positions="sinusoidal")),
        ("no-positions", "no positions", _car_model(positions="none")),
        ("flips", "half of the inputs with flipped bits", _car_loss(flip_share=0.5)),
        (
            "progressive",
            "one scale after the other (the paper)",
            _car_loss(curriculum=CurriculumConfig(progressive_share=0.5)),
        ),
        ("scales", "every scale counts alike", _car_loss(weighting="scales")),
        (
            "root-weights",
            "scales count by the root of their length",
            _car_loss(scale_weights=tuple(length**0.5 for length in lengths)),
        ),
    ]


def _car_samplings(num_scales: int) -> list[tuple[str, str, Sampling]]:
    falling = tuple(2.0 - scale / max(num_scales - 1, 1) for scale in range(num_scales))
    return [
        ("unguided", "no guidance", Sampling(guidance=1.0)),
        ("constant", "constant guidance", Sampling(guidance_schedule="constant")),
        (
            "last-half",
            "guidance of the finer half",
            Sampling(guidance_schedule="last_half"),
        ),
        ("falling", "guidance that falls", Sampling(guidance_by_scale=falling)),
    ]


def _trained(control: Variant, name: str, label: str, change: CarChange) -> Variant:
    assert isinstance(control.run, CarRun)
    return replace(control, name=f"car-choice-{name}", label=label, run=change(control.run))


def _sampled(control: Variant, name: str, label: str, sampling: Sampling) -> Variant:
    return replace(
        control,
        name=f"car-choice-{name}",
        label=label,
        trained_as=control.name,
        sampling=sampling.over(STANDARD),
    )


def _car_claim(control: Variant, row: Variant, metric: str) -> Claim:
    what = {"ce": "cross-entropy", "iou": "IoU of generated meshes"}[metric]
    return Claim(
        text=f"the control is better than: {row.label} ({what})",
        better=control.name,
        worse=row.name,
        metric=metric,
        higher_is_better=metric == "iou",
        of_paper=False,
    )


def _car_model(**changes: Any) -> CarChange:
    return lambda run: replace(run, model=replace(run.model, **changes))


def _car_loss(**changes: Any) -> CarChange:
    return lambda run: replace(run, loss=replace(run.loss, **changes))
