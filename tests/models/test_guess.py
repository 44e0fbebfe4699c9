import pytest
import torch

from g3pt.models.cqt import CqtConfig
from g3pt.models.guess import Guess, GuessConfig
from g3pt.models.quantizers import LfqConfig
from g3pt.models.teacher import ScaleInputs, teacher_inputs
from g3pt.models.tokenizer import CvqConfig, CvqTokenizer

SCALES = (1, 4, 16)


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
        quantizer=LfqConfig(num_bits=6),
    )
    tokenizer = CvqTokenizer(config).eval()
    tokenizer.cqt.mean_LC.copy_(torch.randn(16, 32) * 0.3)
    return tokenizer


def test_a_guess_begins_as_the_mean_it_is_given():
    guess = Guess(GuessConfig(num_latents=16, width=16, num_heads=2), channels=32)
    mean = torch.randn(16, 32)
    guess.start_from(mean)
    features = guess(torch.randn(2, 5, 16))
    torch.testing.assert_close(features, mean.expand(2, -1, -1))


def test_unseen_context_does_not_change_a_guess():
    torch.manual_seed(0)
    guess = Guess(GuessConfig(num_latents=8, width=16, num_heads=2), channels=12)
    torch.nn.init.normal_(guess.to_features.weight)
    context, valid = torch.randn(2, 5, 16), torch.tensor([[True] * 3 + [False] * 2] * 2)
    ours = guess(context, valid)
    torch.testing.assert_close(ours, guess(context[:, :3]), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(ours, guess(context), atol=1e-3)


@torch.no_grad()
def test_quantising_what_a_perfect_guess_leaves_open_gives_the_tokens(tokenizer):
    """The second half of the inputs is, scale by scale, what the residual loop quantises."""
    torch.manual_seed(1)
    latents = torch.randn(3, 16, 32)
    indices = tokenizer.quantize(latents).indices_BT
    inputs = teacher_inputs(tokenizer, indices, guess_BLC=latents).inputs_BTC
    for scale, part in enumerate(inputs.split(SCALES, dim=1)):
        found = tokenizer.quantizer(part[..., 32:], scale).indices_BT
        assert torch.equal(found, indices.split(SCALES, dim=1)[scale])


@torch.no_grad()
def test_rows_of_guided_sampling_share_what_is_known_and_keep_their_own_guess(tokenizer):
    torch.manual_seed(1)
    indices = torch.randint(64, (2, 1))
    guesses = torch.randn(4, 16, 32)
    together = ScaleInputs(tokenizer, "cumulative", 4, guesses)
    together.add(indices)
    for rows in (slice(0, 2), slice(2, 4)):
        alone = ScaleInputs(tokenizer, "cumulative", 2, guesses[rows])
        alone.add(indices)
        torch.testing.assert_close(together.next()[rows], alone.next())
