import pytest
import torch

from g3pt.models.cqt import CqtConfig
from g3pt.models.cvq import CvqConfig, CvqTokenizer
from g3pt.models.quantizers import LfqConfig
from g3pt.models.teacher import ScaleInputs, teacher_inputs

SCALES = (1, 4, 8, 16)


@pytest.fixture
def tokenizer():
    torch.manual_seed(0)
    config = CvqConfig(
        num_latents=16,
        dim=32,
        num_heads=2,
        encoder_layers=1,
        decoder_layers=1,
        cqt=CqtConfig(scale_lengths=SCALES),
        quantizer=LfqConfig(num_bits=6),
    )
    tokenizer = CvqTokenizer(config).eval()
    tokenizer.cqt.mean_LC.normal_()
    return tokenizer


@pytest.fixture
def indices():
    return torch.randint(64, (3, sum(SCALES)), generator=torch.Generator().manual_seed(1))


def split(x):
    return x.split(SCALES, dim=1)


def generator():
    return torch.Generator().manual_seed(2)


def test_clean_targets_are_the_tokens(tokenizer, indices):
    assert torch.equal(teacher_inputs(tokenizer, indices).targets_BT, indices)


def test_the_coarsest_scale_gets_no_input(tokenizer, indices):
    inputs, _ = teacher_inputs(tokenizer, indices)
    assert not split(inputs)[0].any()


def test_inputs_are_the_downsampled_sum_of_coarser_scales_without_the_mean(tokenizer, indices):
    inputs = split(teacher_inputs(tokenizer, indices).inputs_BTC)
    known = tokenizer.decode_indices(indices[:, : sum(SCALES[:2])]) - tokenizer.cqt.mean_LC
    torch.testing.assert_close(inputs[2], tokenizer.cqt.down(2, known))


def test_previous_inputs_read_the_last_scale_alone(tokenizer, indices):
    inputs = split(teacher_inputs(tokenizer, indices, "previous").inputs_BTC)
    last = tokenizer.cqt.up(1, tokenizer.quantizer.embed(split(indices)[1], 1))
    torch.testing.assert_close(inputs[2], tokenizer.cqt.down(2, last))


def test_both_kinds_of_input_agree_where_there_is_one_coarser_scale(tokenizer, indices):
    cumulative = split(teacher_inputs(tokenizer, indices).inputs_BTC)
    previous = split(teacher_inputs(tokenizer, indices, "previous").inputs_BTC)
    assert torch.equal(cumulative[1], previous[1])
    assert not torch.allclose(cumulative[2], previous[2])


def test_sampling_reads_the_same_inputs(tokenizer, indices):
    expected = split(teacher_inputs(tokenizer, indices).inputs_BTC)
    inputs = ScaleInputs(tokenizer, "cumulative", 2)
    with torch.no_grad():
        for scale, tokens in enumerate(split(indices)[:-1]):
            inputs.add(tokens)
            assert torch.equal(inputs.next(), expected[scale + 1])


def test_the_first_scales_alone_give_the_first_rows(tokenizer, indices):
    whole = teacher_inputs(tokenizer, indices)
    part = teacher_inputs(tokenizer, indices[:, :5])
    torch.testing.assert_close(part.inputs_BTC, whole.inputs_BTC[:, :5])


def test_no_flips_give_the_clean_pair(tokenizer, indices):
    clean = teacher_inputs(tokenizer, indices)
    flipped = teacher_inputs(
        tokenizer, indices, flip_probability_B=torch.zeros(3), generator=generator()
    )
    assert torch.equal(flipped.inputs_BTC, clean.inputs_BTC)
    assert torch.equal(flipped.targets_BT, clean.targets_BT)


def test_flips_change_inputs_and_later_targets_of_their_own_sample(tokenizer, indices):
    clean = teacher_inputs(tokenizer, indices)
    flipped = teacher_inputs(
        tokenizer, indices, flip_probability_B=torch.tensor([0, 0.3, 0]), generator=generator()
    )
    for sample in (0, 2):
        assert torch.equal(flipped.inputs_BTC[sample], clean.inputs_BTC[sample])
        assert torch.equal(flipped.targets_BT[sample], clean.targets_BT[sample])
    assert not torch.allclose(flipped.inputs_BTC[1], clean.inputs_BTC[1])
    assert torch.equal(flipped.targets_BT[1, :1], clean.targets_BT[1, :1])
    assert not torch.equal(flipped.targets_BT[1], clean.targets_BT[1])


def test_targets_after_a_flip_quantise_what_is_still_missing(tokenizer, indices):
    """One flipped bit at scale 0: the target of scale 1 is the code of goal - damaged sum."""
    every_bit = teacher_inputs(
        tokenizer, indices[:, :5], flip_probability_B=torch.ones(3), generator=generator()
    )
    opposite = 63 - indices[:, :1]
    damaged = tokenizer.cqt.up(0, tokenizer.quantizer.embed(opposite, 0))
    missing = tokenizer.decode_indices(indices[:, :5]) - damaged
    expected = tokenizer.quantizer(tokenizer.cqt.down(1, missing), 1).indices_BT
    assert torch.equal(every_bit.targets_BT[:, 1:], expected)


def test_equal_generators_flip_equal_bits(tokenizer, indices):
    chances = torch.full((3,), 0.2)
    one, other = (
        teacher_inputs(tokenizer, indices, flip_probability_B=chances, generator=generator())
        for _ in range(2)
    )
    assert torch.equal(one.inputs_BTC, other.inputs_BTC)
