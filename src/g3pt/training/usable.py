"""Models ready for use, whether exported or still in the folder of their run."""

from dataclasses import replace
from pathlib import Path

import torch

from g3pt.config import ConfigError
from g3pt.hashes import tensors_sha256
from g3pt.models.alternatives.kl import require_gaussian
from g3pt.models.car import Car
from g3pt.models.devices import resolve_device
from g3pt.models.rivals.flow import Flow
from g3pt.models.rivals.regressor import Regressor
from g3pt.models.sampling import STANDARD
from g3pt.models.tokenizer import Tokenizer
from g3pt.models.weights.config import WeightsConfig
from g3pt.models.weights.folder import stored_tensors
from g3pt.models.weights.load import LoadedWeights, load_weights
from g3pt.models.weights.places import located
from g3pt.models.weights.precision import DtypeName, cast_weights, resolve_dtype
from g3pt.training.checkpoint import is_run_folder
from g3pt.training.kinds.car import CarRun
from g3pt.training.kinds.flow import FlowRun
from g3pt.training.kinds.stream import StreamRun
from g3pt.training.origins import origin_of
from g3pt.training.runs import load_run
from g3pt.training.trained import load_trained


def load_models(
    source: str | Path,
    device: str | torch.device = "auto",
    *,
    dtype: DtypeName | torch.dtype = "float32",
    adapter: str | Path | None = None,
) -> LoadedWeights:
    """Load what shapes are tokenized and generated with, from a run folder or from weights.

    A run gives what `g3pt export` would write, in float32: the averaged weights of its newest
    sound checkpoint, or the best ones if it kept them. The run of a generator also gives the
    tokenizer that it names.

    Args:
        source: a run folder, a weights folder, a bundled name, or OWNER/NAME on the hub.
        device: `auto`, `cpu`, `cuda`, `mps` or a torch device.
        dtype: number format of a CAR, see `resolve_dtype`.
        adapter: folder of an adapter for these weights; not for runs.

    Returns:
        The models. `sha256` of a run covers the tensors of all of them.

    Raises:
        FileNotFoundError: if there is nothing of that name, or the tokenizer of a run is gone.
        CheckpointError: if a run has no sound checkpoint.
        ConfigError: if the run is of a regressor, or an adapter is given for a run.
        ValueError: if the generator was trained with another tokenizer; also as `load_weights`.
    """
    if not is_run_folder(source):
        return load_weights(located(source), device, dtype=dtype, adapter=adapter)
    if adapter is not None:
        raise ConfigError(
            f"{adapter}: adapts weights, and {source} is a run: write weights with `g3pt export`"
        )
    target = resolve_device(device)
    number_format = resolve_dtype(dtype, target)
    loaded = _of_run(str(source))
    if loaded.car is not None:
        cast_weights(loaded.car, number_format)
    return replace(
        loaded,
        tokenizer=loaded.tokenizer.to(target),
        car=None if loaded.car is None else loaded.car.to(target),
        flow=None if loaded.flow is None else loaded.flow.to(target),
        rounded=number_format != torch.float32,
    )


def _of_run(folder: str) -> LoadedWeights:
    """The models of a run on the CPU."""
    model, origin = load_trained(folder), origin_of(folder)
    if isinstance(model, Regressor):
        raise ConfigError(
            f"{folder}: is the run of a regressor, which has no tokenizer: write weights with "
            "`g3pt export --regressor`"
        )
    stage1 = None if isinstance(model, Tokenizer) else _stage1_of(folder, model)
    tokenizer = model if isinstance(model, Tokenizer) else None
    if stage1 is not None:
        tokenizer = stage1.tokenizer
    assert tokenizer is not None
    car = model if isinstance(model, Car) else None
    flow = model if isinstance(model, Flow) else None
    parts = {"tokenizer": tokenizer, "car": car, "flow": flow}
    tensors = {
        name: stored_tensors(name, part, "float32")
        for name, part in parts.items()
        if part is not None
    }
    everything = {name: tensor for part in tensors.values() for name, tensor in part.items()}
    num_points = origin.num_points or (stage1.config.num_points if stage1 else None)
    assert num_points, "every run says how many points its tokenizer reads"
    config = WeightsConfig(
        name=folder,
        storage="float32",
        sha256=tensors_sha256(everything),
        tokenizer=tokenizer.config,
        car=None if car is None else car.config,
        flow=None if flow is None else flow.config,
        num_points=num_points,
        classes=origin.classes,
        sampling=(origin.sampling or STANDARD).over(STANDARD),
    )
    fingerprint = stage1.fingerprint if stage1 else tensors_sha256(tensors["tokenizer"])
    return LoadedWeights(
        config=config, tokenizer=tokenizer, car=car, fingerprint=fingerprint, flow=flow
    )


def _stage1_of(folder: str, model: Car | Flow) -> LoadedWeights:
    """The tokenizer that the run of a generator names."""
    run = load_run(folder)
    assert isinstance(run, CarRun | StreamRun | FlowRun), "only generators need a tokenizer"
    named = run.tokenizer
    try:
        stage1 = load_models(named, "cpu")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{folder}: its tokenizer is not there any more ({error}); run this where {named} is"
        ) from None
    if isinstance(model, Car):
        check_fit(stage1.tokenizer, model)
    else:
        check_latents(stage1.tokenizer, model, named)
    return stage1


def check_fit(tokenizer: Tokenizer, car: Car) -> None:
    """Check that a generator fits a tokenizer; it only works with the one it was trained on.

    Raises:
        ValueError: if scales, bits or channels differ.
    """
    of_tokenizer = (tokenizer.scale_lengths, tokenizer.num_bits, tokenizer.dim)
    of_car = (car.config.scale_lengths, car.config.num_bits, car.config.input_dim)
    if of_tokenizer != of_car:
        raise ValueError(
            f"the generator was trained with another tokenizer: scales, bits and channels are "
            f"{of_car}, those of the tokenizer {of_tokenizer}"
        )


def check_latents(tokenizer: Tokenizer, flow: Flow, name: str) -> None:
    """Check that a flow fits a KL tokenizer; it only works with the one it was trained on.

    Raises:
        ValueError: if the number of latents or their channels differ, or it is no KL tokenizer.
    """
    kl = require_gaussian(tokenizer, name).config
    of_flow = (flow.config.num_latents, flow.config.latent_dim)
    if of_flow != (kl.num_latents, kl.latent_dim):
        raise ValueError(
            f"the flow was trained with another tokenizer: latents and channels are {of_flow}, "
            f"those of the tokenizer {(kl.num_latents, kl.latent_dim)}"
        )
