"""Times the rows of a table: seconds for a shape, on the same machine under the same load.

What is timed is the way from a picture to a field, and from the field to a mesh, one shape at a
time. Rows take turns, each once a round, so that a disturbance affects all of them alike.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from g3pt.evaluation.systems import Systems, SystemSettings, open_systems
from g3pt.generation.prompts import read_prompts
from g3pt.geometry.cameras import canonical_camera
from g3pt.geometry.isosurface import extract_surface
from g3pt.reproduce.experiments import WEIGHTS_FOLDER, EvaluationSet, Experiment, Variant
from g3pt.reproduce.series import run_folder

ROUNDS = 5
PICTURE_SIZE = 256


@dataclass(frozen=True, kw_only=True)
class RowTiming:
    """Seconds of one row for one shape, the median over rounds."""

    variant: str
    label: str
    sample: float
    """From the picture to tokens or latents and the decoder's memory."""
    extract: float
    """From there to a mesh."""
    ratio: float
    """`sample` as a multiple of that of the row which all are compared with."""
    ratio_low: float
    ratio_high: float
    """Smallest and largest ratio of a single round."""


def time_rows(
    experiment: Experiment, root: Path, *, rounds: int = ROUNDS, device: str = "cpu"
) -> list[RowTiming]:
    """Time the rows of an experiment that generate, on one thread.

    Args:
        experiment: names the row to compare with in `timed`.
        root: folder of the finished runs.
        rounds: how often each is asked, after once to warm up.
        device: where they run.

    Raises:
        ValueError: if the experiment times nothing.
    """
    if not experiment.timed:
        raise ValueError(f"{experiment.name}: its rows are not timed")
    one = next(one for one in experiment.evaluation if isinstance(one, EvaluationSet))
    picture = _picture(one)
    variants = [variant for variant in experiment.variants if variant.answers_pictures]
    systems = [_open(experiment, variant, root, device) for variant in variants]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        asked = [
            [_ask(system, picture, one.settings.resolution, seed) for system in systems]
            for seed in range(rounds + 1)
        ][1:]
    finally:
        torch.set_num_threads(threads)
    return _medians(variants, np.array(asked), experiment.timed)


def _picture(one: EvaluationSet) -> np.ndarray:
    shape = one.objects().load(0)
    return shape.scene().render(canonical_camera(), size=PICTURE_SIZE, supersample=1)


def _open(experiment: Experiment, variant: Variant, root: Path, device: str) -> Systems:
    lender = next(
        other for other in experiment.variants if other.name == (variant.trained_as or variant.name)
    )
    folder = run_folder(root, experiment, lender, variant.seeds[0]) / WEIGHTS_FOLDER
    settings = SystemSettings(
        sampling=variant.sampling, consensus=variant.consensus, num_steps=variant.num_steps
    )
    return open_systems(folder, device, settings)


def _ask(systems: Systems, picture: np.ndarray, resolution: int, seed: int) -> tuple[float, float]:
    """Seconds to a field and from there to a mesh."""
    prompts = read_prompts(systems.generator, image=picture)
    made = (systems.consensus or systems.guided).generate(prompts.condition, [seed])
    began = time.perf_counter()
    extract_surface(made.fields[0], resolution=resolution)
    return made.seconds, time.perf_counter() - began


def _medians(variants: Sequence[Variant], asked_RV2: np.ndarray, compared: str) -> list[RowTiming]:
    base = [variant.name for variant in variants].index(compared)
    ratios_RV = asked_RV2[..., 0] / asked_RV2[:, base : base + 1, 0]
    return [
        RowTiming(
            variant=variant.name,
            label=variant.label,
            sample=statistics.median(asked_RV2[:, place, 0].tolist()),
            extract=statistics.median(asked_RV2[:, place, 1].tolist()),
            ratio=statistics.median(ratios_RV[:, place].tolist()),
            ratio_low=float(ratios_RV[:, place].min()),
            ratio_high=float(ratios_RV[:, place].max()),
        )
        for place, variant in enumerate(variants)
    ]
