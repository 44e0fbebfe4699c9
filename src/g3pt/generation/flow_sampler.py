"""Sampling of latents: the flow's velocity is integrated from noise to a shape.

Every shape starts from the noise of its own seed, so it does not depend on the rest of its batch.

Legend: B batch, L latents, E channels of the narrow latent.
"""

from collections.abc import Callable, Sequence
from typing import Literal, assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from g3pt.models.conditioning.contract import ConditionBatch
from g3pt.models.rivals.flow import Flow
from g3pt.models.rivals.trunk import concatenate_contexts

Method = Literal["euler", "heun"]
"""`euler`: one evaluation per step; `heun`: two, at both ends of the step."""

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(points_BLE, time_B) -> velocities_BLE."""


@torch.no_grad()
def generate_latents(
    flow: Flow,
    condition: ConditionBatch,
    *,
    seeds: Sequence[int],
    num_steps: int = 50,
    guidance: float = 1.0,
    method: Method = "euler",
) -> Float[Tensor, "B L E"]:
    """Sample the latents of one shape per seed, as `KlTokenizer.expand` takes them.

    Args:
        flow: in evaluation mode.
        condition: raw conditions, one row per seed.
        seeds: one per shape.
        num_steps: steps of equal length from noise to shape.
        guidance: classifier-free guidance; 1 is none, at half the cost of any other value.
        method: integration method.

    Raises:
        ValueError: if counts do not fit or a setting is out of range.
    """
    if len(seeds) != condition.batch_size:
        raise ValueError(f"{len(seeds)} seeds for {condition.batch_size} conditions")
    if guidance < 0:
        raise ValueError(f"guidance must not be negative, got {guidance}")
    shape = (flow.config.num_latents, flow.config.latent_dim)
    # Drawn on the CPU, so that a seed means the same on every device.
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    noise_BLE = torch.stack(noise).to(flow.positions.device)
    velocity = guided_velocity(flow, condition, guidance)
    latents_BLE = integrate(velocity, noise_BLE, num_steps=num_steps, method=method)
    return flow.denormalize(latents_BLE)


def guided_velocity(flow: Flow, condition: ConditionBatch, guidance: float) -> Velocity:
    """The velocity of a batch, pushed away from the unconditional one.

    Conditions are encoded here, once for all steps.
    """
    context = flow.encode_condition(condition)
    if guidance == 1:
        return lambda points_BLE, time_B: flow(points_BLE, time_B, context)
    null = flow.encode_condition(condition.without_conditions())
    both = concatenate_contexts(context, null)

    def velocity(points_BLE: Tensor, time_B: Tensor) -> Tensor:
        answers_BLE = flow(points_BLE.repeat(2, 1, 1), time_B.repeat(2), both)
        conditional_BLE, null_BLE = answers_BLE.chunk(2)
        return torch.lerp(null_BLE, conditional_BLE, guidance)

    return velocity


def integrate(
    velocity: Velocity,
    start_BLE: Float[Tensor, "B L E"],
    *,
    num_steps: int,
    method: Method = "euler",
) -> Float[Tensor, "B L E"]:
    """Integrate a velocity from time 0 to 1 in equal steps.

    Raises:
        ValueError: if the number of steps is below 1.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    points_BLE, length = start_BLE, 1 / num_steps
    for step in range(num_steps):
        time_B = start_BLE.new_full((len(start_BLE),), step * length)
        slope_BLE = velocity(points_BLE, time_B)
        match method:
            case "euler":
                pass
            case "heun":
                ahead_BLE = velocity(points_BLE + length * slope_BLE, time_B + length)
                slope_BLE = (slope_BLE + ahead_BLE) / 2
            case _:
                assert_never(method)
        points_BLE = points_BLE + length * slope_BLE
    return points_BLE
