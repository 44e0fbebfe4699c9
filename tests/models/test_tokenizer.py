"""What holds for every tokenizer, whatever its bottleneck."""

from dataclasses import replace

import pytest
import torch

from g3pt.models.alternatives.kl import KlConfig
from g3pt.models.alternatives.pooling import PoolingConfig
from g3pt.models.alternatives.triplane import TriplaneConfig
from g3pt.models.alternatives.volume import VolumeConfig
from g3pt.models.alternatives.vq import VqConfig
from g3pt.models.cqt import CqtConfig
from g3pt.models.cvq import CvqConfig
from g3pt.models.quantizers import MARGIN_STEPS, LfqConfig, unpack_bits
from g3pt.models.tokenizer import DiscreteTokenizer, require_tokens
from g3pt.models.tokenizers import build_tokenizer

BITS = LfqConfig(num_bits=6)
SMALL = dict(num_latents=8, dim=16, num_heads=2, encoder_layers=1, decoder_layers=1)
CONFIGS = {
    "cvq": CvqConfig(**SMALL, cqt=CqtConfig(scale_lengths=(1, 4, 8)), quantizer=BITS),
    "cvq-fps": CvqConfig(
        **SMALL, cqt=CqtConfig(scale_lengths=(1, 4, 8)), quantizer=BITS, query_init="fps"
    ),
    "cvq-projections": CvqConfig(
        **SMALL,
        cqt=CqtConfig(scale_lengths=(1, 4, 8)),
        quantizer=replace(BITS, share_projection=False),
    ),
    "vq": VqConfig(**SMALL, quantizer=BITS),
    "kl": KlConfig(**SMALL, latent_dim=4),
    "pooling": PoolingConfig(**SMALL, scale_lengths=(1, 4, 8), quantizer=BITS),
    "triplane": TriplaneConfig(
        resolution=2,
        dim=16,
        num_heads=2,
        encoder_layers=1,
        decoder_channels=(8, 4),
        decoder_blocks=1,
        hidden=8,
        query_hidden=8,
        quantizer=BITS,
    ),
    "volume": VolumeConfig(
        grid=(2, 3, 2),
        dim=16,
        num_heads=2,
        channels=(4, 8),
        hidden=8,
        query_hidden=8,
        quantizer=BITS,
    ),
}
DISCRETE = [name for name in CONFIGS if name != "kl"]
SEVERAL_SCALES = [name for name in CONFIGS if name.startswith(("cvq", "pooling"))]


def build(name):
    torch.manual_seed(0)
    tokenizer = build_tokenizer(CONFIGS[name]).eval()
    if isinstance(tokenizer, DiscreteTokenizer):
        tokenizer.resampling.mean_LC.normal_(std=0.1)
    return tokenizer


def cloud(num=256, batch=2, seed=1):
    """Points on balls of two sizes, with their normals."""
    generator = torch.Generator().manual_seed(seed)
    normals = torch.nn.functional.normalize(torch.randn(batch, num, 3, generator=generator), dim=-1)
    radius = torch.linspace(0.5, 0.9, batch)[:, None, None]
    return normals * radius, normals


@pytest.mark.parametrize("name", CONFIGS)
def test_the_encoder_ignores_the_order_of_the_points(name):
    tokenizer = build(name)
    points, normals = cloud()
    order = torch.randperm(points.shape[1], generator=torch.Generator().manual_seed(2))
    # sums in another order differ in their last bits
    torch.testing.assert_close(
        tokenizer.encode(points[:, order], normals[:, order]),
        tokenizer.encode(points, normals),
        atol=2e-5,
        rtol=0,
    )


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "cvq-fps"])
def test_the_number_of_points_hardly_changes_the_latents(name):
    tokenizer = build(name)
    many = tokenizer.encode(*cloud(8192))
    fewer = tokenizer.encode(*cloud(4096, seed=5))
    other = tokenizer.encode(*cloud(8192, seed=1)).flip(0)  # the balls exchanged
    # Two samplings of one surface, against two surfaces. Voxels near the edge of the surface
    # hold a handful of points, so that a volume moves more than attention does.
    limit = 0.5 if name == "volume" else 0.25
    assert (many - fewer).norm() < limit * (many - other).norm()


@pytest.mark.parametrize("name", CONFIGS)
def test_residual_plus_sum_restores_the_latents(name):
    tokenizer = build(name)
    latents = tokenizer.encode(*cloud())
    coded = tokenizer.quantize(latents)
    # float32 rounding of three subtractions
    torch.testing.assert_close(coded.summed_BLC + coded.residual_BLC, latents, atol=1e-5, rtol=0)
    assert torch.equal(coded.prefixes[-1], coded.summed_BLC)
    assert len(coded.prefixes) == tokenizer.num_scales


@pytest.mark.parametrize("name", SEVERAL_SCALES)
def test_truncating_scales_never_changes_coarser_tokens(name):
    tokenizer = build(name)
    points, normals = cloud()
    whole = tokenizer.tokenize(points, normals)
    for num_scales in range(1, tokenizer.num_scales):
        part = tokenizer.tokenize(points, normals, num_scales)
        assert torch.equal(part, whole[:, : sum(tokenizer.scale_lengths[:num_scales])])


@pytest.mark.parametrize("name", DISCRETE)
def test_tokens_alone_give_back_the_sum(name):
    tokenizer = build(name)
    latents = tokenizer.encode(*cloud())
    coded = tokenizer.quantize(latents)
    assert coded.indices_BT.shape[1] == sum(tokenizer.scale_lengths)
    assert int(coded.indices_BT.max()) < 2**tokenizer.num_bits
    # the straight-through sum adds and takes away the projection, which rounds
    torch.testing.assert_close(
        tokenizer.decode_indices(coded.indices_BT), coded.summed_BLC, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_the_field_has_a_logit_for_every_query_and_moves_every_part(name):
    tokenizer = build(name).train()
    queries = torch.rand(2, 40, 3) * 2 - 1
    noise = torch.randn(2, *tokenizer.noise_shape) if tokenizer.noise_shape else None
    coded = tokenizer.quantize(tokenizer.encode(*cloud()), noise=noise)
    logits = tokenizer.occupancy(tokenizer.shape_memory(coded.summed_BLC), queries)
    assert logits.shape == (2, 40)
    logits.square().sum().backward()
    still = [
        parameter_name
        for parameter_name, parameter in tokenizer.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    # A softmax over the single token of scale 0 is 1 whatever asks for it.
    assert [name for name in still if name != "cqt.up_queries.0"] == []


@pytest.mark.parametrize("name", CONFIGS)
def test_a_query_does_not_depend_on_its_neighbours(name):
    tokenizer = build(name)
    queries = torch.rand(1, 32, 3) * 2 - 1
    coded = tokenizer.quantize(tokenizer.encode(*cloud(batch=1)))
    memory = tokenizer.shape_memory(coded.summed_BLC)
    whole = tokenizer.occupancy(memory, queries)
    torch.testing.assert_close(
        tokenizer.occupancy(memory, queries[:, 5:9]), whole[:, 5:9], atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("name", DISCRETE)
def test_the_running_mean_is_tracked_and_given_back(name):
    tokenizer = build(name)
    latents = tokenizer.encode(*cloud())
    before = tokenizer.latent_mean.clone()
    tokenizer.track_mean(latents)
    moved = torch.lerp(before, latents.mean(dim=0), 0.02)
    torch.testing.assert_close(tokenizer.latent_mean, moved)


def test_continuous_latents_have_no_tokens():
    with pytest.raises(ValueError, match="my-weights: its latents are continuous"):
        require_tokens(build("kl"), "my-weights")


@pytest.mark.parametrize("name", DISCRETE)
def test_margins_are_the_sizes_of_the_features_whose_signs_are_the_tokens(name):
    tokenizer = build(name).eval()
    points, normals = torch.rand(2, 2, 32, 3) * 2 - 1
    marked = tokenizer.tokenize_with_margins(points, normals)
    assert torch.equal(marked.indices_BT, tokenizer.tokenize(points, normals))
    projected = torch.cat(tokenizer.quantize(tokenizer.encode(points, normals)).projected, dim=1)
    assert torch.equal(unpack_bits(marked.indices_BT, tokenizer.num_bits), projected > 0)
    sizes = marked.margins_BTK / MARGIN_STEPS
    torch.testing.assert_close(sizes, projected.abs(), atol=0.5 / MARGIN_STEPS, rtol=0)


@pytest.mark.parametrize("name", SEVERAL_SCALES)
def test_bits_given_the_tokens_of_the_same_draw_are_those_of_the_pyramid(name):
    tokenizer = build(name).eval()
    latents = tokenizer.encode(*torch.rand(2, 2, 32, 3) * 2 - 1)
    pyramid = tokenizer.quantize(latents)
    given = tokenizer.project_given(latents, pyramid)
    torch.testing.assert_close(given, pyramid.projected)


def test_bits_given_the_tokens_of_another_draw_are_those_of_residuals_against_its_prefixes():
    tokenizer = build("cvq").eval()
    first, second = (tokenizer.encode(*torch.rand(2, 2, 32, 3) * 2 - 1) for _ in range(2))
    pyramid = tokenizer.quantize(first)
    given = tokenizer.project_given(second, pyramid)
    residual = second - tokenizer.decode_indices(pyramid.indices_BT[:, :5])
    expected = tokenizer.quantizer.project(tokenizer.resampling.down(2, residual), 2)
    torch.testing.assert_close(given[2], expected)
    gradients = torch.autograd.grad(given[2].sum(), (first, second), allow_unused=True)
    assert gradients[0] is None
    assert gradients[1] is not None
