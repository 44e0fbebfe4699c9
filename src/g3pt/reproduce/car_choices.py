"""Choices inside CAR, one row each beside a control with equal tokens, steps and depth."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from g3pt.models.sampling import STANDARD, Sampling
from g3pt.reproduce.car_sizes import CarSize, car_size
from g3pt.reproduce.experiments import Claim, Experiment, Scale, Variant
from g3pt.reproduce.figures import rung
from g3pt.training.curriculum import CurriculumConfig
from g3pt.training.kinds.car import CarRun

Change = Callable[[CarRun], CarRun]


def car_choices(scale: Scale) -> Experiment:
    """Every choice that the paper leaves open or that we made otherwise, in stage 2.

    The control is the rung of Figure 6 with the depth of `CarSize.run`: cumulative input, bits
    chosen one by one, clean inputs, all scales from the start, tokens counted alike, learned
    positions, guidance that rises.
    """
    of = car_size(scale)
    model = of.run.model
    control = replace(rung(of, model.depth), label="control")
    trained = [_trained(control, *choice) for choice in _trainings(of)]
    sampled = [_sampled(control, *choice) for choice in _samplings(model.num_scales)]
    claims = [_better(control, row, metric) for row in trained for metric in ("ce", "iou")]
    claims += [_better(control, row, "iou") for row in sampled]
    return Experiment(
        name="car-choices",
        title="Choices inside CAR",
        scale=scale,
        variants=(control, *trained, *sampled),
        claims=tuple(claims),
        evaluation=of.sets,
        before=(of.stage1,),
    )


def _trainings(of: CarSize) -> list[tuple[str, str, Change]]:
    lengths = of.run.model.scale_lengths
    return [
        ("previous", "reads the scale before alone (Fig. 3)", _model(input_kind="previous")),
        ("softmax", "one choice among all entries (the paper)", _model(head="softmax")),
        ("bit-softmax", "the same, started from bits", _model(head="bit_softmax")),
        ("sinusoidal", "sinusoidal positions", _model(positions="sinusoidal")),
        ("no-positions", "no positions", _model(positions="none")),
        ("flips", "half of the inputs with flipped bits", _loss(flip_share=0.5)),
        (
            "progressive",
            "one scale after the other (the paper)",
            _loss(curriculum=CurriculumConfig(progressive_share=0.5)),
        ),
        ("scales", "every scale counts alike", _loss(weighting="scales")),
        (
            "root-weights",
            "scales count by the root of their length",
            _loss(scale_weights=tuple(length**0.5 for length in lengths)),
        ),
    ]


def _samplings(num_scales: int) -> list[tuple[str, str, Sampling]]:
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


def _trained(control: Variant, name: str, label: str, change: Change) -> Variant:
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


def _better(control: Variant, row: Variant, metric: str) -> Claim:
    what = {"ce": "cross-entropy", "iou": "IoU of generated meshes"}[metric]
    return Claim(
        text=f"the control is better than: {row.label} ({what})",
        better=control.name,
        worse=row.name,
        metric=metric,
        higher_is_better=metric == "iou",
        of_paper=False,
    )


def _model(**changes: Any) -> Change:
    return lambda run: replace(run, model=replace(run.model, **changes))


def _loss(**changes: Any) -> Change:
    return lambda run: replace(run, loss=replace(run.loss, **changes))
