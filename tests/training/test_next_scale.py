"""A step of stage 2: what it computes in low precision, and that the host waits for nothing."""

import copy
from dataclasses import replace

import pytest
import torch

from g3pt.recipes import recipe
from g3pt.training import next_scale
from g3pt.training.cost import open_without_data
from g3pt.training.optim import Ema, Optimizer


@pytest.fixture(scope="module")
def task():
    run = recipe("car-paper-smoke")
    run = replace(run, loss=replace(run.loss, flip_share=0.0))
    torch.manual_seed(0)
    task = open_without_data(run)
    with torch.no_grad():  # away from the start, where much is zero
        for parameter in task.module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return task


def stepper(task, device):
    """A step as the loop makes it between two looks."""
    optimizer, ema = Optimizer(task.module, recipe("car-paper-smoke").optim), Ema(task.module, 0.9)

    def step():
        with torch.autocast(device, torch.bfloat16):
            loss = task.synthetic_loss(2, device)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(optimizer.parameters, 1.0)
        sound = torch.isfinite(loss.detach()) & torch.isfinite(norm)
        optimizer.step(1e-3, sound=sound)
        ema.update(0, sound=sound)
        optimizer.zero_grad()

    return step


def watch_the_host(monkeypatch):
    """Note by name what a device would have to finish its work for."""
    waits = []

    def watched(name, asked):
        return lambda *args, **kw: waits.append(name) or asked(*args, **kw)

    numbers = ("tolist", "item", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__")
    for name in (*numbers, "new_tensor"):
        monkeypatch.setattr(torch.Tensor, name, watched(name, getattr(torch.Tensor, name)))
    for name in ("tensor", "as_tensor", "from_numpy"):
        monkeypatch.setattr(torch, name, watched(name, getattr(torch, name)))
    return waits


def test_a_step_neither_asks_the_device_nor_copies_from_the_host(task, monkeypatch):
    step = stepper(copy.deepcopy(task), "cpu")
    step()  # copies what stays, such as the weights of scales
    waits = watch_the_host(monkeypatch)
    step()
    assert not waits
    assert torch.tensor(1.0).item() == 1.0 and waits == ["tensor", "item"]


def test_querying_in_low_precision_changes_the_loss_by_rounding(task, monkeypatch):
    dtypes = set()
    resampling = type(task.tokenizer.resampling)
    down = resampling.down

    def watched(self, scale, features):
        made = down(self, scale, features)
        dtypes.add(made.dtype)
        return made

    monkeypatch.setattr(resampling, "down", watched)

    def loss():
        dtypes.clear()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return task.synthetic_loss(2)

    exact = loss()
    assert dtypes == {torch.float32}
    monkeypatch.setattr(next_scale, "_ROUNDED_QUERYING", {"cpu"})
    rounded = loss()
    assert dtypes == {torch.bfloat16}
    # inputs have eight bits in the model's first layer anyway
    torch.testing.assert_close(rounded, exact, rtol=0.01, atol=0)


def test_querying_that_decides_signs_stays_exact(task, monkeypatch):
    monkeypatch.setattr(next_scale, "_ROUNDED_QUERYING", {"cpu"})
    asked = []
    teacher = next_scale.teacher_inputs
    monkeypatch.setattr(
        next_scale,
        "teacher_inputs",
        lambda *args, **kw: asked.append(torch.is_autocast_enabled("cpu")) or teacher(*args, **kw),
    )
    flips = replace(task._objective._loss, flip_share=1.0)
    monkeypatch.setattr(task._objective, "_loss", flips)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        task.synthetic_loss(2)
    assert asked == [False]


def test_no_mask_is_passed_where_none_is_needed(monkeypatch):
    from g3pt.nn import attention
    from g3pt.nn.attention import KeyValues
    from g3pt.nn.scale_attention import plan_attention
    from g3pt.recipes import car

    lengths = car.of_size("0.1B").model.scale_lengths
    pairs = {True: 0, False: 0}

    def counted(queries, keys, values, attn_mask=None, scale=None):
        pairs[attn_mask is not None] += queries.shape[2] * keys.shape[2]
        return queries

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", counted)
    num_prefix = 196
    x = torch.zeros(1, 1, num_prefix + sum(lengths), 1)
    plan_attention((num_prefix, *lengths))(x, KeyValues(x, x))
    # picture and coarse scales share one call with a mask; the fine ones are flash attention
    assert pairs[False] > 20 * pairs[True] > 0
    pairs.update({True: 0, False: 0})
    held = num_prefix
    for length in lengths:
        query = torch.zeros(1, 1, length, 1)
        keys = torch.zeros(1, 1, held + length, 1)
        plan_attention((length,), first_key=held)(query, KeyValues(keys, keys))
        held += length
    assert pairs[True] == 0 < pairs[False]


@pytest.mark.gpu
def test_a_step_on_a_gpu_waits_for_nothing(task):
    task = copy.deepcopy(task)
    task.module.cuda()
    task.tokenizer.cuda()
    step = stepper(task, "cuda")
    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
