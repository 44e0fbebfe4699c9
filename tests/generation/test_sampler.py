import copy
from dataclasses import replace

import pytest
import torch

from conditions import draw_pictures
from g3pt.generation import drawing
from g3pt.generation.drawing import draw_bits, draw_entries
from g3pt.generation.sampler import generate_tokens
from g3pt.generation.scale_steps import RecordedScales
from g3pt.models.car import Car, CarConfig
from g3pt.models.conditioning import (
    ClassConditionConfig,
    ConditionBatch,
    ImageConditionConfig,
)
from g3pt.models.cqt import CqtConfig
from g3pt.models.cvq import CvqConfig, CvqTokenizer
from g3pt.models.guess import GuessConfig
from g3pt.models.quantizers import LfqConfig
from g3pt.models.sampling import UNCHANGED, Sampling
from g3pt.models.teacher import teacher_inputs

SCALES = (1, 4, 8, 16)
BITS = 6


@pytest.fixture(scope="module")
def tokenizer():
    torch.manual_seed(0)
    config = CvqConfig(
        num_latents=16,
        dim=32,
        num_heads=2,
        encoder_layers=1,
        decoder_layers=1,
        cqt=CqtConfig(scale_lengths=SCALES),
        quantizer=LfqConfig(num_bits=BITS),
    )
    return CvqTokenizer(config).eval()


@pytest.fixture(
    scope="module",
    params=[
        ("softmax", 0, None),
        ("bitwise", 0, None),
        ("softmax", 2, None),
        ("softmax", 0, GuessConfig(image_size=32, place_width=4, width=16)),
    ],
)
def car(request):
    torch.manual_seed(0)
    image = ImageConditionConfig(image_size=16, patch_size=4, depth=1, width=16, num_heads=2)
    config = CarConfig(
        scale_lengths=SCALES,
        num_bits=BITS,
        input_dim=32,
        depth=2,
        width=32,
        num_heads=2,
        conditions=(image, ClassConditionConfig(num_classes=4, width=16)),
        head=request.param[0],
        bitwise_scales=request.param[1],
        guess=request.param[2],
    )
    car = Car(config).eval()
    with torch.no_grad():
        for parameter in car.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return car


def drawn(**told) -> Sampling:
    return replace(UNCHANGED, **told)


def draw_condition(rows=(0, 1, 2)):
    pictures = draw_pictures(3, 16, generator=1)
    larger = draw_pictures(3, 32, generator=2)
    return ConditionBatch(
        batch_size=len(rows),
        pictures_BSS4=pictures[list(rows)],
        guess_pictures_BZZ4=larger[list(rows)],
        labels_B=torch.tensor([3, 0, 1])[list(rows)],
    )


def sample_uncached(
    tokenizer, car, condition, seeds, *, temperature=1.0, guidance=None, known=None
):
    """The slow, obvious twin: the whole model again for every scale."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    guidance = guidance or [1.0] * len(SCALES)
    indices = torch.zeros(len(seeds), 0, dtype=torch.int64)
    for scale, length in enumerate(SCALES):
        missing = torch.zeros(len(seeds), length, dtype=torch.int64)
        so_far = torch.cat([indices, missing], dim=1)
        logits, null = (
            car(
                teacher_inputs(
                    tokenizer, so_far, guess_BLC=car.shown_features(tokenizer, batch)
                ).inputs_BTC,
                batch,
                scale + 1,
            )[-1]
            for batch in (condition, condition.without_conditions())
        )
        logits = null + guidance[scale] * (logits - null)
        draw = draw_entries if car.config.heads[scale] == "softmax" else draw_bits
        shape = (length,) if draw is draw_entries else (length, BITS)
        noise = torch.stack([torch.rand(shape, generator=g) for g in generators])
        drawn = draw(logits, noise, temperature=temperature)
        if known is not None and indices.shape[1] < known.shape[1]:
            drawn = known[:, indices.shape[1] :][:, :length]
        indices = torch.cat([indices, drawn], dim=1)
    return indices


@torch.no_grad()
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_cached_sampling_gives_the_tokens_of_the_full_model(tokenizer, car, temperature, guidance):
    seeds = [5, 6, 7]
    options = {"seeds": seeds, "sampling": drawn(temperature=temperature, guidance=guidance)}
    ours = generate_tokens(tokenizer, car, draw_condition(), **options)
    for kind in ("growing", "none"):
        again = generate_tokens(tokenizer, car, draw_condition(), cache=kind, **options)
        assert torch.equal(ours.indices_BT, again.indices_BT)
    ramp = [1 + (guidance - 1) * scale / 3 for scale in range(4)]
    twin = sample_uncached(
        tokenizer, car, draw_condition(), seeds, temperature=temperature, guidance=ramp
    )
    assert torch.equal(ours.indices_BT, twin)


def test_buffers_change_no_bit(tokenizer, car):
    options = {"seeds": [5, 6, 7], "sampling": drawn(guidance=3.0, top_p=0.9)}
    whole = generate_tokens(tokenizer, car, draw_condition(), cache="growing", **options)
    ours = generate_tokens(tokenizer, car, draw_condition(), cache="static", **options)
    assert torch.equal(ours.indices_BT, whole.indices_BT)
    assert torch.equal(ours.nll_B, whole.nll_B)


def test_recorded_scales_give_the_same_shapes_whatever_came_before(tokenizer, car):
    recorded, other = RecordedScales(), drawn(guidance=1.5, temperature=0.8, num_scales=3)
    asked = [
        ([0, 1, 2], [5, 6, 7], drawn(guidance=3.0, top_p=0.9)),
        ([2, 0, 1], [8, 6, 9], drawn(guidance=3.0, top_p=0.9)),  # replayed
        ([0, 1], [5, 6], other),
        ([0, 1, 2], [5, 6, 7], drawn(guidance=3.0, top_p=0.9)),  # replayed
    ]
    held = []
    for rows, seeds, sampling in asked:
        options = {"seeds": seeds, "sampling": sampling}
        heard = []
        with torch.inference_mode(len(held) == 0):  # as the first call of a server may be
            ours = generate_tokens(
                tokenizer,
                car,
                draw_condition(rows),
                recorded=recorded,
                on_scale=heard.append,
                **options,
            )
        plain = generate_tokens(tokenizer, car, draw_condition(rows), **options)
        held.append((ours, plain, heard))
    assert len(recorded._kept) == 2
    for ours, plain, heard in held:  # what came later overwrites nothing
        for name in ("indices_BT", "nll_B", "summed_BLC"):
            assert torch.equal(getattr(ours, name), getattr(plain, name)), name
        for event in heard:
            length = event.indices_BT.shape[1]
            assert torch.equal(event.indices_BT, plain.indices_BT[:, :length])


def test_recorded_scales_keep_what_is_given(tokenizer, car):
    recorded = RecordedScales()
    for seed in (1, 2):
        known = torch.randint(2**BITS, (3, 5), generator=torch.Generator().manual_seed(seed))
        options = {"seeds": [seed, 6, 7], "known_BT": known}
        ours = generate_tokens(tokenizer, car, draw_condition(), recorded=recorded, **options)
        plain = generate_tokens(tokenizer, car, draw_condition(), **options)
        assert torch.equal(ours.indices_BT, plain.indices_BT)
    assert len(recorded._kept) == 1


def test_other_weights_are_recorded_anew_and_old_recordings_forgotten(tokenizer, car):
    recorded = RecordedScales()
    moved = copy.deepcopy(car)
    for model in (car, moved):
        generate_tokens(tokenizer, model, draw_condition(), seeds=[1, 2, 3], recorded=recorded)
    assert len(recorded._kept) == 2
    for num in (1, 2, 3):
        sampling = drawn(num_scales=num)
        options = {"seeds": [1, 2, 3], "sampling": sampling}
        generate_tokens(tokenizer, car, draw_condition(), recorded=recorded, **options)
    assert len(recorded._kept) == 4


@pytest.mark.gpu
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_graphs_give_the_tokens_of_single_kernels(tokenizer, car, guidance):
    device = torch.device("cuda")
    stage_1, stage_2 = copy.deepcopy(tokenizer).to(device), copy.deepcopy(car).to(device)
    recorded = RecordedScales()
    for first in (1, 4, 7):
        condition = draw_condition().to(device)
        options = {"seeds": [first, 2, 3], "sampling": drawn(guidance=guidance, top_p=0.9)}
        ours = generate_tokens(stage_1, stage_2, condition, recorded=recorded, **options)
        plain = generate_tokens(stage_1, stage_2, condition, **options)
        assert torch.equal(ours.indices_BT, plain.indices_BT)

    def refuse_to_wait(event):
        torch.cuda.set_sync_debug_mode("error")

    try:  # no scale after the first waits for the GPU
        generate_tokens(stage_1, stage_2, condition, on_scale=refuse_to_wait, **options)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_likelihood_is_that_of_the_full_model_without_guidance(tokenizer, car):
    sampling = drawn(guidance=2.5, temperature=0.7, top_p=0.9)
    out = generate_tokens(tokenizer, car, draw_condition(), seeds=[1, 2, 3], sampling=sampling)
    with torch.no_grad():
        guess = car.shown_features(tokenizer, draw_condition())
        inputs, targets = teacher_inputs(tokenizer, out.indices_BT, guess_BLC=guess)
        logits = car(inputs, draw_condition())
    parts = enumerate(zip(logits, targets.split(SCALES, dim=1), strict=True))
    losses = torch.cat([car.losses_of_scale(*pair, scale) for scale, pair in parts], dim=1)
    # a sum of 29 float32 terms
    torch.testing.assert_close(out.nll_B, losses.sum(dim=1), rtol=1e-4, atol=1e-4)


def test_tokens_do_not_depend_on_who_shares_the_batch(tokenizer, car):
    sampling = drawn(guidance=2.0)
    together = generate_tokens(tokenizer, car, draw_condition(), seeds=[8, 9, 8], sampling=sampling)
    for row, seed in ((0, 8), (1, 9), (2, 8)):
        alone = generate_tokens(
            tokenizer, car, draw_condition([row]), seeds=[seed], sampling=sampling
        )
        assert torch.equal(alone.indices_BT[0], together.indices_BT[row])


def test_equal_seeds_give_equal_shapes_and_others_do_not(tokenizer, car):
    condition = draw_condition([0, 0, 0])
    indices = generate_tokens(tokenizer, car, condition, seeds=[4, 4, 5]).indices_BT
    assert torch.equal(indices[0], indices[1])
    assert not torch.equal(indices[0], indices[2])


@pytest.mark.parametrize("num_scales", [1, 2, 3])
def test_fewer_scales_give_the_first_tokens(tokenizer, car, num_scales):
    sampling = drawn(guidance=3.0, top_p=0.9)
    seeds = [1, 2, 3]
    whole = generate_tokens(tokenizer, car, draw_condition(), seeds=seeds, sampling=sampling)
    fewer = replace(sampling, num_scales=num_scales)
    part = generate_tokens(tokenizer, car, draw_condition(), seeds=seeds, sampling=fewer)
    assert torch.equal(part.indices_BT, whole.indices_BT[:, : sum(SCALES[:num_scales])])


@pytest.mark.parametrize("num_known", [1, 2, 3, 4])
def test_a_shapes_own_first_scales_and_seed_give_the_shape_again(tokenizer, car, num_known):
    options = {"seeds": [1, 2, 3], "sampling": drawn(guidance=3.0, top_p=0.9)}
    whole = generate_tokens(tokenizer, car, draw_condition(), **options)
    known = whole.indices_BT[:, : sum(SCALES[:num_known])]
    again = generate_tokens(tokenizer, car, draw_condition(), known_BT=known, **options)
    assert torch.equal(again.indices_BT, whole.indices_BT)
    assert torch.equal(again.nll_B, whole.nll_B)
    assert torch.equal(again.summed_BLC, whole.summed_BLC)


@torch.no_grad()
def test_scales_after_given_ones_are_those_of_the_full_model(tokenizer, car):
    foreign = torch.randint(0, 2**BITS, (3, 5), generator=torch.Generator().manual_seed(7))
    ours = generate_tokens(tokenizer, car, draw_condition(), seeds=[5, 6, 7], known_BT=foreign)
    twin = sample_uncached(tokenizer, car, draw_condition(), [5, 6, 7], known=foreign)
    assert torch.equal(ours.indices_BT[:, :5], foreign)
    assert torch.equal(ours.indices_BT, twin)
    fresh = generate_tokens(tokenizer, car, draw_condition(), seeds=[5, 6, 7])
    assert not torch.equal(ours.indices_BT[:, 5:], fresh.indices_BT[:, 5:])


def test_greedy_tokens_do_not_depend_on_the_seed(tokenizer, car):
    condition = draw_condition([0, 0])
    greedy = drawn(temperature=0.0)
    indices = generate_tokens(tokenizer, car, condition, seeds=[1, 2], sampling=greedy).indices_BT
    assert torch.equal(indices[0], indices[1])
    one = drawn(top_k=1)
    top_1 = generate_tokens(tokenizer, car, condition, seeds=[1, 2], sampling=one).indices_BT
    assert torch.equal(indices, top_1)


def test_one_setting_per_scale_is_taken_as_it_is(tokenizer, car):
    seeds = [1, 2, 3]
    ramped = generate_tokens(
        tokenizer, car, draw_condition(), seeds=seeds, sampling=drawn(guidance=4.0)
    )
    each = drawn(guidance_by_scale=(1.0, 2.0, 3.0, 4.0), temperature=(1.0,) * 4, top_k=(0,) * 4)
    explicit = generate_tokens(tokenizer, car, draw_condition(), seeds=seeds, sampling=each)
    assert torch.equal(ramped.indices_BT, explicit.indices_BT)


def test_each_scale_is_announced_with_what_decodes_so_far(tokenizer, car):
    heard = []
    sampling = drawn(num_scales=3)
    out = generate_tokens(
        tokenizer,
        car,
        draw_condition(),
        seeds=[1, 2, 3],
        sampling=sampling,
        on_scale=heard.append,
    )
    assert [(event.scale, event.num_scales) for event in heard] == [(0, 3), (1, 3), (2, 3)]
    for event in heard:
        with torch.no_grad():
            expected = tokenizer.decode_indices(event.indices_BT)
        torch.testing.assert_close(event.summed_BLC, expected)
    assert torch.equal(heard[-1].summed_BLC, out.summed_BLC)


def test_several_samples_of_a_condition_are_those_of_its_repeated_row(tokenizer, car):
    seeds = [1, 2, 5, 6, 9, 10]
    options = {"seeds": seeds, "sampling": drawn(guidance=2.0)}
    sampled = generate_tokens(tokenizer, car, draw_condition(), samples_each=2, **options)
    twin = generate_tokens(tokenizer, car, draw_condition().repeat(2), **options)
    assert torch.equal(sampled.indices_BT, twin.indices_BT)
    torch.testing.assert_close(sampled.nll_B, twin.nll_B)
    with pytest.raises(ValueError, match="6 seeds for 3 conditions of 3 samples"):
        generate_tokens(tokenizer, car, draw_condition(), seeds=seeds, samples_each=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": [1]}, "1 seeds for 3 conditions"),
        ({"sampling": drawn(num_scales=5)}, "within 1 to 4"),
        ({"sampling": drawn(top_k=(1, 2))}, "top_k needs one value or 4, got 2"),
        ({"sampling": drawn(guidance_by_scale=(1.0, 2.0))}, "needs 4 numbers, one a scale, got 2"),
        ({"known_BT": torch.zeros(2, 5, dtype=torch.int64)}, "of 2 shapes for 3 seeds"),
        ({"known_BT": torch.zeros(3, 6, dtype=torch.int64)}, "do not end with a scale"),
        (
            {"known_BT": torch.zeros(3, 13, dtype=torch.int64), "sampling": drawn(num_scales=2)},
            "cover 3 scales, num_scales is 2",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(tokenizer, car, options, message):
    with pytest.raises(ValueError, match=message):
        generate_tokens(tokenizer, car, draw_condition(), **{"seeds": [1, 2, 3], **options})


def test_entries_are_drawn_with_their_probability():
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    noise = (torch.arange(10_000) + 0.5) / 10_000
    drawn = draw_entries(logits.expand(1, 10_000, 4), noise[None])
    shares = torch.bincount(drawn.flatten(), minlength=4) / 10_000
    # evenly spread noise is off by one draw at each border
    torch.testing.assert_close(shares, logits.softmax(0), atol=2e-4, rtol=0)


def test_temperature_divides_the_logits():
    noise = torch.rand(1, 500, generator=torch.Generator().manual_seed(0))
    logits = torch.randn(1, 500, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(
        draw_entries(logits, noise, temperature=0.5), draw_entries(logits * 2, noise)
    )


def test_top_k_keeps_the_likeliest_in_proportion():
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    noise = (torch.arange(10_000) + 0.5) / 10_000
    drawn = draw_entries(logits.expand(1, 10_000, 4), noise[None], top_k=2)
    shares = torch.bincount(drawn.flatten(), minlength=4) / 10_000
    expected = torch.tensor([0, *logits[1:3].softmax(0), 0])
    torch.testing.assert_close(shares, expected, atol=2e-4, rtol=0)


def test_top_p_keeps_the_smallest_set_that_holds_it():
    logits = torch.tensor([0.1, 0.5, 0.3, 0.1]).log().expand(1, 1000, 4)
    noise = torch.linspace(0, 0.999, 1000)[None]
    assert set(draw_entries(logits, noise, top_p=0.5).flatten().tolist()) == {1}
    assert set(draw_entries(logits, noise, top_p=0.6).flatten().tolist()) == {1, 2}
    assert len(set(draw_entries(logits, noise, top_p=0.95).flatten().tolist())) == 4


@pytest.mark.parametrize("sharpness", [0.3, 3.0])
def test_top_p_of_a_large_vocabulary_equals_sorting_all_of_it(sharpness):
    logits = torch.randn(1, 50, 5000, generator=torch.Generator().manual_seed(0)) * sharpness
    noise = torch.rand(1, 50, generator=torch.Generator().manual_seed(1))
    probabilities, entries = logits.softmax(-1).double().sort(-1, descending=True)
    kept = probabilities * (probabilities.cumsum(-1) - probabilities < 0.9)
    chosen = torch.searchsorted(kept.cumsum(-1), noise[..., None] * kept.sum(-1, keepdim=True))
    expected = entries.gather(-1, chosen).squeeze(-1)
    assert torch.equal(draw_entries(logits, noise, top_p=0.9), expected)


@pytest.mark.parametrize("precision", [torch.float64, torch.float32])
def test_noise_at_either_end_never_draws_an_impossible_entry(monkeypatch, precision):
    monkeypatch.setitem(drawing._SUMS, "cpu", precision)
    logits = torch.tensor([[[-torch.inf, 0.0, -torch.inf]]]).expand(1, 2, 3)
    noise = torch.tensor([[0.0, 1 - 2**-24]])
    assert draw_entries(logits, noise).tolist() == [[1, 1]]


@pytest.mark.parametrize("top_p", [0.9, 1.0])
def test_sums_in_float32_draw_almost_the_same_entries(monkeypatch, top_p):
    logits = torch.randn(1, 2000, 512, generator=torch.Generator().manual_seed(0)) * 2
    noise = torch.rand(1, 2000, generator=torch.Generator().manual_seed(1))
    exact = draw_entries(logits, noise, top_p=top_p)
    monkeypatch.setitem(drawing._SUMS, "cpu", torch.float32)
    # a threshold within 1e-6 of a border between two entries may fall on its other side
    assert (draw_entries(logits, noise, top_p=top_p) != exact).sum() <= 3


def test_bits_are_drawn_with_their_probability():
    logits = torch.tensor([0.5, -2.0])
    noise = torch.rand(1, 20_000, 2, generator=torch.Generator().manual_seed(0))
    drawn = draw_bits(logits.expand(1, 20_000, 2), noise)
    shares = torch.stack([(drawn % 2).float().mean(), (drawn // 2).float().mean()])
    # four standard errors of 20,000 draws
    torch.testing.assert_close(shares, torch.sigmoid(logits), atol=0.015, rtol=0)


def test_bits_that_are_sure_enough_are_not_drawn():
    logits = torch.tensor([2.0, 0.1]).expand(1, 2, 2)
    noise = torch.tensor([[[0.99, 0.99], [0.99, 0.01]]])
    assert draw_bits(logits, noise, top_p=0.8).tolist() == [[1, 3]]
