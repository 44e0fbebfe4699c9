"""The rivals of Table 1, each for one CAR: same data, conditions, steps and number of parameters.

`flow_for` and `regressor_for` make a rival for any training of stage 2. The named runs are rivals
of the runs of `recipes/car.py`.
"""

from dataclasses import fields, replace
from typing import Any

from g3pt.models.alternatives.kl import KlConfig
from g3pt.models.cvq import FieldDecoderConfig, LatentSetConfig
from g3pt.models.rivals.flow import FlowConfig
from g3pt.models.rivals.regressor import RegressorConfig
from g3pt.models.rivals.trunk import TrunkConfig
from g3pt.recipes import car, tokenizer
from g3pt.recipes.matching import (
    matched,
    matched_rival,
    num_generator_parameters,
    num_parameters,
)
from g3pt.shapes.datasets.rivals import FlowDataConfig, RegressorDataConfig
from g3pt.shapes.datasets.tokenizer import ConditionedDataConfig, TokenizerDataConfig
from g3pt.training.conditioning import ConditionLossConfig
from g3pt.training.kinds.car import CarRun
from g3pt.training.kinds.flow import FlowLossConfig, FlowRun, FlowValidationConfig
from g3pt.training.kinds.regressor import (
    RegressorLossConfig,
    RegressorRun,
    RegressorValidationConfig,
)
from g3pt.training.kinds.tokenizer import TokenizerRun


def kl_for(stage1: TokenizerRun, *, name: str, latent_dim: int | None = None) -> TokenizerRun:
    """The KL tokenizer of a flow, with the latents, layers and size of another tokenizer.

    Args:
        stage1: a training of a tokenizer with a latent set.
        name: name of the run.
        latent_dim: channels of the narrow latents (default: an eighth of the width, as in CLAY).
    """
    model = stage1.model
    assert isinstance(model, LatentSetConfig)
    shared = {field.name: getattr(model, field.name) for field in fields(LatentSetConfig)}
    kl = KlConfig(**shared, latent_dim=latent_dim or model.dim // 8)
    return replace(
        stage1,
        name=name,
        model=matched(kl, num_parameters(model)),
        initial="",
        loss=replace(stage1.loss, scale_dropout=0.0, prefix_weight=0.0, warmup_share=0.0),
    )


def flow_for(car: CarRun, stage1: TokenizerRun, *, name: str, tokenizer: str = "") -> FlowRun:
    """The flow that a CAR is compared with.

    Args:
        car: the training of stage 2.
        stage1: the training of the KL tokenizer.
        name: name of the run.
        tokenizer: folder of the trained KL tokenizer (default: the run folder of `stage1`).
    """
    assert isinstance(stage1.model, KlConfig)
    model = FlowConfig(
        num_latents=stage1.model.num_latents,
        latent_dim=stage1.model.latent_dim,
        **_trunk(car),
    )
    return FlowRun(
        name=name,
        tokenizer=tokenizer or f"runs/{stage1.name}",
        model=matched_rival(model, num_generator_parameters(car.model)),
        shapes=car.shapes,
        held_out=car.held_out,
        latents=car.tokens,
        data=FlowDataConfig(**_data(car)),
        validation=FlowValidationConfig(
            selection=car.validation.selection,
            num_shapes=car.validation.num_shapes,
            batch_size=car.validation.batch_size,
        ),
        loss=FlowLossConfig(**_condition_loss(car)),
        optim=car.optim,
        train=car.train,
    )


def regressor_for(car: CarRun, stage1: TokenizerRun, *, name: str) -> RegressorRun:
    """The regressor that a CAR is compared with.

    Args:
        car: the training of stage 2.
        stage1: the training of its tokenizer; the regressor gets the same decoder and queries.
        name: name of the run.
    """
    assert isinstance(stage1.model, LatentSetConfig)
    decoder = {
        field.name: getattr(stage1.model, field.name) for field in fields(FieldDecoderConfig)
    }
    model = RegressorConfig(decoder=FieldDecoderConfig(**decoder), **_trunk(car))
    queries: TokenizerDataConfig = stage1.data
    return RegressorRun(
        name=name,
        model=matched_rival(model, num_generator_parameters(car.model)),
        shapes=car.shapes,
        held_out=car.held_out,
        data=RegressorDataConfig(
            num_volume_queries=queries.num_volume_queries,
            num_near_queries=queries.num_near_queries,
            near_sigmas=queries.near_sigmas,
            **_data(car),
        ),
        validation=RegressorValidationConfig(
            selection=car.validation.selection,
            num_shapes=car.validation.num_shapes,
            batch_size=car.validation.batch_size,
            num_volume_queries=stage1.validation.num_volume_queries,
            num_near_queries=len(queries.near_sigmas) * stage1.validation.num_near_queries,
        ),
        loss=RegressorLossConfig(**{**_condition_loss(car), "dropout": 0.0}),
        optim=car.optim,
        train=car.train,
    )


def _trunk(car: CarRun) -> dict[str, Any]:
    """Depth, width, conditions and norms of the transformer."""
    shared = {field.name for field in fields(TrunkConfig)} - {"mlp_ratio"}
    return {name: getattr(car.model, name) for name in shared}


def _data(car: CarRun) -> dict[str, Any]:
    """Which shapes are drawn, and which of their pictures."""
    shared = {field.name for field in fields(ConditionedDataConfig)} - {"shards"}
    return {name: getattr(car.data, name) for name in shared}


def _condition_loss(car: CarRun) -> dict[str, Any]:
    return {field.name: getattr(car.loss, field.name) for field in fields(ConditionLossConfig)}


def kl_tiny() -> TokenizerRun:
    """The KL tokenizer of `flow_tiny`; its one run has the steps of both of `tokenizer-tiny`."""
    first, last = tokenizer.tiny_procedural(), tokenizer.tiny()
    run = kl_for(last, name="tokenizer-kl-tiny")
    return replace(run, train=replace(run.train, steps=first.train.steps + last.train.steps))


def flow_tiny() -> FlowRun:
    """The flow that `car-tiny` is compared with."""
    return flow_for(car.tiny(), kl_tiny(), name="flow-tiny")


def regressor_tiny() -> RegressorRun:
    """The regressor that `car-tiny` is compared with."""
    return regressor_for(car.tiny(), tokenizer.tiny(), name="regressor-tiny")


def kl_paper() -> TokenizerRun:
    """A KL tokenizer of the paper's size, with 64 channels per latent (CLAY)."""
    return kl_for(tokenizer.paper(), name="tokenizer-kl-paper")


def flow_paper() -> FlowRun:
    """The flow of 0.1B that `car-paper` is compared with."""
    return flow_for(car.paper(), kl_paper(), name="flow-paper")


def regressor_paper() -> RegressorRun:
    """The regressor of 0.1B that `car-paper` is compared with."""
    return regressor_for(car.paper(), tokenizer.paper(), name="regressor-paper")


def kl_tiny_smoke() -> TokenizerRun:
    """`kl_tiny` in seconds."""
    return kl_for(tokenizer.tiny_smoke(), name="tokenizer-kl-tiny-smoke")


def kl_paper_smoke() -> TokenizerRun:
    """`kl_paper` in seconds."""
    return kl_for(tokenizer.paper_smoke(), name="tokenizer-kl-paper-smoke")


def flow_tiny_smoke() -> FlowRun:
    """`flow_tiny` in seconds, on the latents of `tokenizer-kl-tiny-smoke`."""
    return flow_for(car.tiny_smoke(), kl_tiny_smoke(), name="flow-tiny-smoke")


def flow_paper_smoke() -> FlowRun:
    """`flow_paper` in seconds, on the latents of `tokenizer-kl-paper-smoke`."""
    return flow_for(car.paper_smoke(), kl_paper_smoke(), name="flow-paper-smoke")


def regressor_tiny_smoke() -> RegressorRun:
    """`regressor_tiny` in seconds."""
    return regressor_for(car.tiny_smoke(), tokenizer.tiny_smoke(), name="regressor-tiny-smoke")


def regressor_paper_smoke() -> RegressorRun:
    """`regressor_paper` in seconds."""
    return regressor_for(car.paper_smoke(), tokenizer.paper_smoke(), name="regressor-paper-smoke")
