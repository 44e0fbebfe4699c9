"""Tokens of whole shapes by generators of named sizes, weights random: speed, memory, floors.

Cached generation against its slow twin, which computes keys and values of coarser scales again,
both with guidance on pictures. What a floor says: operations at the rate of a matrix product, and
weights, keys and values read once at the rate of a copy, both measured in the same run.
"""

from dataclasses import replace
from functools import partial

import torch

from g3pt.benchmarks.device import (
    Probe,
    device_name,
    peak_bytes,
    probe,
    release,
    reset_peak,
    row_that_fits,
    working_dtype,
)
from g3pt.benchmarks.rows import BenchmarkRow, BenchmarkSettings, OnProgress
from g3pt.benchmarks.steps import default_sizes, resampling_alone
from g3pt.generation.sampler import SampledTokens, generate_tokens
from g3pt.models.car import Car, CarConfig
from g3pt.models.conditioning.contract import ConditionBatch
from g3pt.models.conditioning.image import ImageConditionConfig
from g3pt.models.cvq import CvqTokenizer
from g3pt.models.devices import resolve_device
from g3pt.models.flops import (
    condition_operations,
    generation_bytes,
    generation_operations,
    prefix_length,
)
from g3pt.models.sampling import UNCHANGED
from g3pt.models.speed import median_seconds
from g3pt.models.weights.precision import cast_weights
from g3pt.recipes import car

SPEEDUP_TO_REACH = 2.0
"""Of cached generation over uncached."""

GUIDANCE = 3.0
UNIT = "tokens/s"


def benchmark_generation(
    settings: BenchmarkSettings, on_progress: OnProgress
) -> list[BenchmarkRow]:
    """All tokens of one shape at some sizes; on a GPU also of a batch.

    Uncached generation is left out where it would take longer than `settings.seconds`.
    """
    device = resolve_device(settings.device)
    sizes = default_sizes(settings, device)
    configs = {name: car.of_size(name).model for name in sizes}
    dtype = working_dtype(device)
    reached = probe(device, dtype, quick=settings.quick)
    tokenizer = resampling_alone().to(device)
    rows: list[BenchmarkRow] = []
    for done, (name, config) in enumerate(configs.items(), start=1):
        generator = partial(random_generator, config, device, dtype)
        for batch_size in (1, 16) if device.type == "cuda" else (1,):
            title = f"generation/{name}" + (f"/batch-{batch_size}" if batch_size > 1 else "")
            measure = partial(_measure, title, generator, tokenizer, reached, settings)
            rows.append(row_that_fits(title, UNIT, measure, (batch_size,)))
            release()
        on_progress("generation", done, len(sizes))
    return rows


def random_generator(config: CarConfig, device: torch.device, dtype: torch.dtype) -> Car:
    """A generator with random weights, drawn where it will run."""
    with device:
        model = Car(config)
    cast_weights(model, dtype)
    return model.eval().requires_grad_(False)


def random_pictures(config: CarConfig, batch_size: int, device: torch.device) -> ConditionBatch:
    """Pictures of random bytes for a generator whose only condition they are."""
    (image,) = config.conditions
    assert isinstance(image, ImageConditionConfig)
    side = image.image_size
    sizes = (batch_size, side, side, 4)
    pictures_BSS4 = torch.randint(256, sizes, dtype=torch.uint8, device=device)
    return ConditionBatch(batch_size=batch_size, pictures_BSS4=pictures_BSS4)


def _measure(
    title: str,
    generator: "partial[Car]",
    tokenizer: CvqTokenizer,
    reached: Probe,
    settings: BenchmarkSettings,
    batch_size: int,
) -> BenchmarkRow:
    model = generator()
    config, weight = model.config, model.positions
    condition = random_pictures(config, batch_size, weight.device)

    def generate(*, cached: bool) -> SampledTokens:
        return generate_tokens(
            tokenizer,
            model,
            condition,
            seeds=range(settings.seed, settings.seed + batch_size),
            sampling=replace(UNCHANGED, guidance=GUIDANCE, top_p=0.95),
            cache="static" if cached else "none",
        )

    warm = replace(UNCHANGED, num_scales=2)
    generate_tokens(tokenizer, model, condition, seeds=range(batch_size), sampling=warm)
    seconds: dict[bool, float] = {}
    peaks: dict[bool, int] = {}
    floors = _floors(config, tokenizer, reached, batch_size, weight.element_size())
    allowed = floors["flops_uncached"] / floors["flops"]
    for cached in (True, False) if batch_size == 1 else (True,):
        if not cached and seconds[True] * allowed > settings.seconds:
            break
        reset_peak(weight.device)
        seconds[cached] = median_seconds(
            partial(generate, cached=cached),
            weight.device,
            repeats=1 if settings.quick else 5,
            warmup=1 if weight.is_cuda else 0,
            budget=settings.seconds / 20,
        )
        peaks[cached] = peak_bytes(weight.device)
    num_tokens = config.num_tokens * batch_size
    uncached = seconds.get(False)
    return BenchmarkRow(
        name=title,
        unit=UNIT,
        ours=num_tokens / seconds[True],
        other=None if uncached is None else num_tokens / uncached,
        floor=SPEEDUP_TO_REACH if uncached and allowed >= SPEEDUP_TO_REACH else None,
        floor_of="ratio",
        note="quick sizes, not to be published"
        if settings.quick
        else f"without cache {allowed:.2g} times the operations",
        details={
            "device": device_name(weight.device),
            "dtype": str(weight.dtype).removeprefix("torch."),
            "parameters": sum(p.numel() for p in model.parameters()),
            "batch_size": batch_size,
            "tokens": num_tokens,
            "guidance": GUIDANCE,
            "seconds": seconds[True],
            "seconds_uncached": uncached,
            "peak_bytes": peaks[True],
            "peak_bytes_uncached": peaks.get(False),
            **floors,
            "share_of_floor": max(floors["floor_seconds_flops"], floors["floor_seconds_bytes"])
            / seconds[True],
        },
    )


def _floors(
    config: CarConfig,
    tokenizer: CvqTokenizer,
    reached: Probe,
    batch_size: int,
    element_bytes: int,
) -> dict[str, float]:
    """Operations and traffic by formula, and the seconds that they take at best."""
    num_prefix = prefix_length(config.conditions)
    flops = {
        cached: sum(
            generation_operations(
                config,
                tokenizer.config,
                batch_size=batch_size,
                num_prefix=num_prefix,
                guided=True,
                cached=cached,
            ),
            start=batch_size * condition_operations(config.conditions, config.width).forward,
        )
        for cached in (True, False)
    }
    moved = generation_bytes(
        config,
        batch_size=batch_size,
        num_prefix=num_prefix,
        guided=True,
        element_bytes=element_bytes,
    )
    return {
        "flops": flops[True],
        "flops_uncached": flops[False],
        "bytes": moved,
        "probe_flops_per_second": reached.flops_per_second,
        "probe_bytes_per_second": reached.bytes_per_second,
        "floor_seconds_flops": flops[True] / reached.flops_per_second,
        "floor_seconds_bytes": moved / reached.bytes_per_second,
    }
