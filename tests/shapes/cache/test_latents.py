"""Cached posteriors: what was encoded is what is read, and their statistics are those of draws."""

from dataclasses import replace

import numpy as np
import pytest
import torch


def encode(points_BN3, normals_BN3):
    """Moments that depend on the points in a way that is easy to recompute."""
    first_B11 = points_BN3.abs().mean(dim=(1, 2), keepdim=True)
    grid_LE = torch.arange(6.0).reshape(2, 3)
    return first_B11 + grid_LE, (first_B11 - grid_LE) / 2


@pytest.fixture(scope="module")
def cache():
    from g3pt.shapes.cache import latents as latents_cache

    return latents_cache


@pytest.fixture(scope="module")
def identity(cache):
    return cache.LatentsIdentity(fingerprint="abc", num_latents=2, latent_dim=3)


@pytest.fixture(scope="module")
def config():
    from g3pt.shapes.cache.arrays import DrawsConfig

    return DrawsConfig(resamplings=2, num_points=32, batch_size=4)


@pytest.fixture(scope="module")
def latents(cache, identity, folder_shards, config, tmp_path_factory):
    out = tmp_path_factory.mktemp("latents") / "boxes"
    return cache.build_latent_cache(encode, identity, folder_shards, out, config)


def test_moments_are_those_of_the_drawn_points(cache, latents, folder_shards, config):
    from g3pt.shapes.stored import normals, positions

    assert len(latents) == 3 and latents.resamplings == 2
    for place in (0, 3, 5):
        rng = np.random.default_rng((config.seed, 3, place))
        points, directions = folder_shards.draw_surface(place // 2, 32, rng)
        expected = encode(
            torch.from_numpy(positions(points))[None], torch.from_numpy(normals(directions))[None]
        )
        for found, wanted in zip(latents.moments(place // 2, place % 2), expected, strict=True):
            # Half precision keeps 11 bits.
            np.testing.assert_allclose(found, wanted[0].numpy(), rtol=1e-3, atol=1e-3)
            assert found.dtype == np.float32


def test_statistics_are_those_of_draws_from_the_posteriors(latents):
    rng = np.random.default_rng(0)
    drawn = []
    for row in range(3):
        for resampling in range(2):
            mean, log_variance = latents.moments(row, resampling)
            noise = rng.standard_normal((4000, *mean.shape))
            drawn.append(mean + np.exp(log_variance / 2) * noise)
    values = np.stack(drawn).reshape(-1, 3)
    found = latents.statistics()
    # 48,000 draws a channel.
    np.testing.assert_allclose(found.mean_E, values.mean(axis=0), atol=0.03)
    np.testing.assert_allclose(found.deviation_E, values.std(axis=0), rtol=0.02)


def test_latents_of_another_tokenizer_are_refused(cache, latents, identity, folder_shards, config):
    other = replace(identity, fingerprint="xyz")
    with pytest.raises(ValueError, match="of another model"):
        cache.build_latent_cache(encode, other, folder_shards, latents.path, config)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda points, normals: tuple(part[:, :1] for part in encode(points, normals)),
        lambda points, normals: tuple(part * 1e6 for part in encode(points, normals)),
    ],
    ids=["shape", "range"],
)
def test_what_the_cache_cannot_hold_is_refused(
    cache, identity, folder_shards, config, tmp_path, wrong
):
    with pytest.raises(ValueError, match=r"expected latents .* shape \(2, 6\)"):
        cache.build_latent_cache(wrong, identity, folder_shards, tmp_path / "x", config)


def test_a_folder_without_an_index_is_no_cache(cache, tmp_path):
    with pytest.raises(FileNotFoundError, match="complete latent cache"):
        cache.LatentCache(tmp_path)
