"""The flow: closed gates, conditions as in CAR, velocities of straight paths."""

from dataclasses import replace

import pytest
import torch

from conditions import draw_pictures
from g3pt.models.conditioning import (
    ClassConditionConfig,
    ConditionBatch,
    ImageConditionConfig,
    TextConditionConfig,
)
from g3pt.models.rivals.flow import (
    Flow,
    FlowConfig,
    gaussian_sample,
    logit_normal,
    straight_path,
    velocity_errors,
)
from g3pt.models.rivals.trunk import concatenate_contexts

CONFIG = FlowConfig(
    num_latents=6,
    latent_dim=4,
    depth=2,
    width=16,
    num_heads=2,
    conditions=(
        ImageConditionConfig(image_size=16, patch_size=8, depth=1, width=16, num_heads=2),
        TextConditionConfig(vocabulary=("a", "mug"), depth=1, width=16, num_heads=2),
        ClassConditionConfig(num_classes=3, width=8),
    ),
)


def awake(config: FlowConfig = CONFIG) -> Flow:
    """A flow whose gates are open and whose head answers."""
    torch.manual_seed(0)
    flow = Flow(config).eval()
    with torch.no_grad():
        for parameter in (flow.head.weight, flow.trunk.ada_ln.offsets):
            parameter.normal_(std=0.3)
        if flow.trunk.ada_ln.expand is not None:
            flow.trunk.ada_ln.expand.weight.normal_(std=0.1)
    return flow


def inputs(num: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(num, 6, 4), torch.rand(num)


def conditions(num: int = 3, **changes: object) -> ConditionBatch:
    torch.manual_seed(2)
    batch = ConditionBatch(
        batch_size=num,
        pictures_BSS4=draw_pictures(num, 16),
        text_ids_BN=torch.ones(num, 5, dtype=torch.int64),
        labels_B=torch.arange(num) % 3,
    )
    return replace(batch, **changes)


def test_gates_and_head_start_closed() -> None:
    torch.manual_seed(0)
    flow = Flow(CONFIG)
    noisy, time = inputs()
    assert not flow(noisy, time, conditions()).any()
    context = flow.encode_condition(conditions())
    x = torch.randn(3, 6, 16)
    assert torch.equal(flow.trunk(x, context), x)


def test_time_and_every_condition_reach_the_velocity() -> None:
    flow = awake()
    noisy, time = inputs()
    before = flow(noisy, time, conditions())
    assert before.dtype == torch.float32 and before.shape == noisy.shape
    others = (
        conditions(pictures_BSS4=draw_pictures(3, 16, generator=1)),
        conditions(text_ids_BN=torch.full((3, 5), 2)),
        conditions(labels_B=torch.tensor([1, 2, 0])),
    )
    for other in others:
        assert not torch.allclose(flow(noisy, time, other), before)
    assert not torch.allclose(flow(noisy, 1 - time, conditions()), before)


def test_latents_see_one_another_and_conditions_do_not_see_latents() -> None:
    flow = awake()
    noisy, time = inputs()
    changed = noisy.clone()
    changed[:, 0] += 1
    context = flow.encode_condition(conditions())
    assert not torch.allclose(
        flow(changed, time, context)[:, 1:], flow(noisy, time, context)[:, 1:]
    )
    # So what the steps of a sampler share is all there is to know of a condition.
    assert torch.equal(flow(noisy, time, context), flow(noisy, time, conditions()))


@pytest.mark.parametrize("kind", ["images", "text", "labels"])
def test_a_dropped_condition_equals_an_absent_one(kind: str) -> None:
    flow = awake()
    noisy, time = inputs()
    field = {"images": "pictures_BSS4", "text": "text_ids_BN", "labels": "labels_B"}[kind]
    dropped = {f"{kind}_dropped_B": torch.tensor([True, False, True])}
    mixed = flow(noisy, time, conditions(**dropped))
    absent = flow(noisy, time, conditions(**{field: None}))
    present = flow(noisy, time, conditions())
    # Attention over padded keys sums in another order.
    torch.testing.assert_close(mixed[[0, 2]], absent[[0, 2]], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(mixed[1], present[1], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(absent[0], present[0])


def test_two_batches_of_contexts_after_one_another_answer_as_each_alone() -> None:
    flow = awake()
    noisy, time = inputs()
    full, null = conditions(), conditions().without_conditions()
    both = concatenate_contexts(flow.encode_condition(full), flow.encode_condition(null))
    answers = flow(noisy.repeat(2, 1, 1), time.repeat(2), both).chunk(2)
    torch.testing.assert_close(answers[0], flow(noisy, time, full), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(answers[1], flow(noisy, time, null), rtol=1e-5, atol=1e-6)


def test_a_flow_without_conditions_works() -> None:
    flow = awake(replace(CONFIG, conditions=()))
    noisy, time = inputs()
    empty = ConditionBatch(batch_size=3)
    velocity = flow(noisy, time, empty)
    assert velocity.abs().sum() > 0
    doubled = concatenate_contexts(flow.encode_condition(empty), flow.encode_condition(empty))
    torch.testing.assert_close(flow(noisy.repeat(2, 1, 1), time.repeat(2), doubled)[3:], velocity)


def test_normalised_latents_have_the_spread_of_noise_and_come_back() -> None:
    flow = Flow(CONFIG)
    torch.manual_seed(0)
    latents = torch.randn(500, 6, 4) * torch.tensor([1.0, 2.0, 3.0, 4.0]) + 5
    flow.set_statistics(latents.mean(dim=(0, 1)), latents.std(dim=(0, 1)))
    normalized = flow.normalize(latents)
    torch.testing.assert_close(normalized.mean(dim=(0, 1)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalized.std(dim=(0, 1)), torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(flow.denormalize(normalized), latents)
    assert {"shift_E", "scale_E"} <= set(flow.state_dict())
    with pytest.raises(ValueError, match="constant"):
        flow.set_statistics(torch.zeros(4), torch.tensor([1.0, 0.0, 1.0, 1.0]))


def test_a_path_runs_from_noise_to_data_and_an_oracle_makes_no_error() -> None:
    noise, time = inputs()
    data = torch.randn(3, 6, 4)
    assert torch.equal(straight_path(noise, data, torch.zeros(3)), noise)
    assert torch.equal(straight_path(noise, data, torch.ones(3)), data)
    # The derivative of the path is the velocity that is asked for.
    step = 1e-2
    ahead, here = straight_path(noise, data, time + step), straight_path(noise, data, time)
    assert float(velocity_errors((ahead - here) / step, noise, data).max()) < 1e-7
    assert not velocity_errors(data - noise, noise, data).any()
    torch.testing.assert_close(
        velocity_errors(data - noise + 2, noise, data), torch.full((3,), 4.0)
    )


def test_times_lie_on_the_path_and_gather_in_its_middle() -> None:
    torch.manual_seed(0)
    time = logit_normal(torch.randn(20_000))
    assert 0 < float(time.min()) and float(time.max()) < 1
    # Of a standard normal, |z| < log 3 for 72.8 %: there the time is within 1/4 to 3/4.
    inside = ((time > 0.25) & (time < 0.75)).float().mean()
    assert float(inside) == pytest.approx(0.728, abs=0.015)


def test_a_posterior_is_drawn_from_as_its_moments_say() -> None:
    torch.manual_seed(0)
    drawn = gaussian_sample(
        torch.full((20_000,), 3.0), torch.full((20_000,), 2.0).log() * 2, torch.randn(20_000)
    )
    assert float(drawn.mean()) == pytest.approx(3.0, abs=0.06)
    assert float(drawn.std()) == pytest.approx(2.0, abs=0.04)


def test_a_config_that_cannot_be_built_is_refused() -> None:
    with pytest.raises(ValueError, match="not divisible by num_heads"):
        FlowConfig(width=10, num_heads=3)
    with pytest.raises(ValueError, match="same thing twice"):
        FlowConfig(conditions=(ClassConditionConfig(), ClassConditionConfig()))
