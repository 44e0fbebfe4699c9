"""Following velocities: exact where they are constant, guided as asked, one seed a shape."""

import math
from dataclasses import replace

import pytest
import torch

from g3pt.generation.flow_sampler import generate_latents, guided_velocity, integrate
from g3pt.models.conditioning import ClassConditionConfig, ConditionBatch
from g3pt.models.rivals.flow import Flow, FlowConfig, straight_path, velocity_errors


@pytest.fixture(scope="module")
def flow() -> Flow:
    torch.manual_seed(0)
    config = FlowConfig(
        num_latents=5,
        latent_dim=4,
        depth=2,
        width=16,
        num_heads=2,
        conditions=(ClassConditionConfig(num_classes=3, width=8),),
    )
    flow = Flow(config).eval().requires_grad_(False)
    flow.head.weight.normal_(std=0.3)
    flow.trunk.ada_ln.offsets.normal_(std=0.3)
    flow.set_statistics(torch.arange(4.0), torch.arange(4.0) + 0.5)
    return flow


LABELS = ConditionBatch(batch_size=3, labels_B=torch.tensor([0, 1, 2]))


@pytest.mark.parametrize("method", ["euler", "heun"])
@pytest.mark.parametrize("num_steps", [1, 8])
def test_a_constant_velocity_is_followed_exactly(method: str, num_steps: int) -> None:
    start, velocity = torch.randn(2, 5, 4), torch.randn(2, 5, 4)
    end = integrate(lambda x, t: velocity, start, num_steps=num_steps, method=method)
    torch.testing.assert_close(end, start + velocity)


def test_the_oracle_of_straight_paths_leads_from_any_noise_to_the_data() -> None:
    start, data = torch.randn(2, 5, 4), torch.randn(2, 5, 4)

    def oracle(x: torch.Tensor, time_B: torch.Tensor) -> torch.Tensor:
        return (data - x) / (1 - time_B[:, None, None])

    torch.testing.assert_close(integrate(oracle, start, num_steps=10), data)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2)])
def test_errors_fall_with_the_order_of_the_method(method: str, order: int) -> None:
    start = torch.ones(1, 1, 1, dtype=torch.float64)
    errors = []
    for num_steps in (32, 64):
        end = integrate(lambda x, t: x, start, num_steps=num_steps, method=method)
        errors.append(abs(float(end) - math.e))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


def test_times_run_from_noise_to_the_last_step_before_the_shape() -> None:
    seen: list[float] = []

    def velocity(x: torch.Tensor, time_B: torch.Tensor) -> torch.Tensor:
        seen.append(float(time_B[0]))
        return x

    integrate(velocity, torch.zeros(1, 1, 1), num_steps=4)
    assert seen == [0.0, 0.25, 0.5, 0.75]


def test_guidance_one_is_no_guidance_and_takes_one_pass(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    points, time = torch.randn(3, 5, 4), torch.full((3,), 0.3)
    alone = flow(points, time, LABELS)
    sizes: list[int] = []
    forward = Flow.forward

    def spy(self: Flow, noisy: torch.Tensor, *others: object) -> torch.Tensor:
        sizes.append(len(noisy))
        return forward(self, noisy, *others)

    monkeypatch.setattr(Flow, "forward", spy)
    assert torch.equal(guided_velocity(flow, LABELS, 1.0)(points, time), alone)
    guided_velocity(flow, LABELS, 2.0)(points, time)
    assert sizes == [3, 6]


def test_guidance_pushes_away_from_the_unconditional_velocity(flow: Flow) -> None:
    points, time = torch.randn(3, 5, 4), torch.full((3,), 0.3)
    told = flow(points, time, LABELS)
    untold = flow(points, time, LABELS.without_conditions())
    for guidance in (0.0, 1.0 + 1e-6, 3.0):
        expected = untold + guidance * (told - untold)
        # Batches of other sizes round differently.
        torch.testing.assert_close(
            guided_velocity(flow, LABELS, guidance)(points, time), expected, rtol=1e-4, atol=1e-5
        )


def test_a_shape_depends_on_its_seed_and_condition_alone(flow: Flow) -> None:
    together = generate_latents(flow, LABELS, seeds=[5, 6, 5], num_steps=3, guidance=2.0)
    alone = ConditionBatch(batch_size=1, labels_B=torch.tensor([1]))
    again = generate_latents(flow, alone, seeds=[6], num_steps=3, guidance=2.0)
    torch.testing.assert_close(again[0], together[1], rtol=1e-4, atol=1e-5)
    other = generate_latents(flow, alone, seeds=[7], num_steps=3, guidance=2.0)
    assert not torch.allclose(other[0], together[1])
    assert not torch.allclose(together[0], together[2])


def test_latents_come_back_in_the_units_of_the_tokenizer(flow: Flow) -> None:
    silent = Flow(replace(flow.config, conditions=()))
    silent.set_statistics(torch.arange(4.0), torch.arange(4.0) + 0.5)
    latents = generate_latents(silent, ConditionBatch(batch_size=1), seeds=[3], num_steps=1)
    noise = torch.randn(5, 4, generator=torch.Generator().manual_seed(3))
    expected = noise * (torch.arange(4.0) + 0.5) + torch.arange(4.0)
    torch.testing.assert_close(latents[0], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": [1]}, "1 seeds for 3 conditions"),
        ({"num_steps": 0}, "num_steps must be at least 1"),
        ({"guidance": -1.0}, "guidance must not be negative"),
    ],
)
def test_settings_that_make_no_sense_are_refused(flow: Flow, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate_latents(flow, LABELS, **{"seeds": [1, 2, 3], **options})


def test_four_shapes_that_were_learnt_come_back_by_their_labels() -> None:
    torch.manual_seed(0)
    config = FlowConfig(
        num_latents=2,
        latent_dim=4,
        depth=1,
        width=32,
        num_heads=2,
        conditions=(ClassConditionConfig(num_classes=4, width=16),),
    )
    flow, shapes = Flow(config), torch.randn(4, 2, 4)
    optimizer = torch.optim.AdamW(flow.parameters(), lr=1e-2)
    labels_B = torch.arange(4).repeat(8)
    told = ConditionBatch(batch_size=32, labels_B=labels_B)
    for _ in range(120):
        noise, data, time = torch.randn(32, 2, 4), shapes[labels_B], torch.rand(32)
        velocity = flow(straight_path(noise, data, time), time, told)
        velocity_errors(velocity, noise, data).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    asked = ConditionBatch(batch_size=4, labels_B=torch.arange(4))
    made = generate_latents(flow.eval(), asked, seeds=[1, 2, 3, 4], num_steps=20)
    distances = torch.cdist(made.flatten(1), shapes.flatten(1))
    assert distances.argmin(dim=1).tolist() == [0, 1, 2, 3]
    # Eight numbers of unit variance lie about 2.8 from their mean.
    assert float(distances.diagonal().max()) < 1.0
