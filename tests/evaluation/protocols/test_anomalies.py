import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from g3pt.evaluation.objects import list_objects
from g3pt.evaluation.protocols.anomalies import (
    KINDS,
    ROUGHNESS,
    auroc,
    auroc_interval,
    blob,
    evaluate_anomalies,
    half_of,
    roughened,
)
from g3pt.generation.meshing import pyramid_of
from g3pt.geometry.sampling import SurfaceSamples


def ball_samples(num: int = 400) -> SurfaceSamples:
    normals = np.random.default_rng(0).standard_normal((num, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return SurfaceSamples(0.9 * normals, normals, np.zeros(num, dtype=np.int64))


def test_auroc_of_known_orders() -> None:
    low, high = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0])
    assert auroc(low, high) == 1
    assert auroc(high, low) == 0
    assert auroc(low, low) == 0.5
    assert auroc(np.array([1.0, 3.0]), np.array([2.0])) == 0.5


def test_auroc_and_interval_of_two_normal_laws() -> None:
    quantiles = norm.ppf((np.arange(80) + 0.5) / 80)
    shuffled = np.random.default_rng(1).permutation(quantiles)
    found = auroc_interval(quantiles, shuffled + 1)
    # P(X < Y) of two unit normals a mean of 1 apart is the normal law at 1 / sqrt 2
    expected = norm.cdf(0.5**0.5)
    assert found.mean == pytest.approx(expected, abs=0.005)  # 80 quantiles lack the tails
    # Hanley and McNeil (1982): variance from the two probabilities of triples
    first, second = expected / (2 - expected), 2 * expected**2 / (1 + expected)
    triples = 79 * (first - expected**2) + 79 * (second - expected**2)
    deviation = ((expected * (1 - expected) + triples) / 80**2) ** 0.5
    assert found.high - found.low == pytest.approx(2 * 1.96 * deviation, rel=0.15)


def test_half_of_the_points_are_missing_on_one_side() -> None:
    samples = ball_samples()
    half = half_of(samples, np.random.default_rng(2))
    assert len(half.points) == len(samples.points)
    assert len(np.unique(half.points, axis=0)) == 200
    assert np.linalg.norm(half.points.mean(axis=0)) > 0.3  # half a ball's surface: r / 2
    np.testing.assert_allclose(half.normals * 0.9, half.points)


def test_roughened_points_stay_within_the_height_of_the_wave() -> None:
    moved = roughened(ball_samples(), np.random.default_rng(2))
    away = np.linalg.norm(moved.points, axis=1) - 0.9
    assert abs(away).max() <= ROUGHNESS + 1e-9
    assert away.std() > 0.2 * ROUGHNESS


def test_blobs_differ_and_fit_the_query_cube() -> None:
    rng = np.random.default_rng(3)
    first, second = blob(200, rng), blob(200, rng)
    assert np.abs(first.points).max() <= 1
    assert not np.allclose(first.points, second.points)


@pytest.fixture(scope="module")
def result(tiny_weights: Path):
    return evaluate_anomalies(tiny_weights, list_objects("procedural", limit=3), device="cpu")


def test_every_object_has_a_score_for_every_kind(result) -> None:
    json.dumps(result, allow_nan=False)
    assert len(result["objects"]) == 3
    for entry in result["objects"]:
        assert set(entry) == {"id", "shape", *KINDS}
    assert [row["kind"] for row in result["kinds"]] == list(KINDS)
    for kind in ("fine_scrambled", "fine_of_another"):  # other tokens, another score
        assert any(entry[kind] != entry["shape"] for entry in result["objects"])


def test_the_summary_follows_from_the_scores(result) -> None:
    for row in result["kinds"]:
        usual, unusual = (
            np.array([entry[kind] for entry in result["objects"]])
            for kind in ("shape", row["kind"])
        )
        assert row["auroc"]["mean"] == pytest.approx(auroc(usual, unusual))
        assert row["higher_after_damage"] == pytest.approx((unusual > usual).mean())


def test_scores_are_those_of_the_pipeline(result, tiny_weights: Path) -> None:
    from g3pt.evaluation.protocols.anomalies import _tokenize
    from g3pt.generation.pipeline import G3PT

    pipeline = G3PT.from_pretrained(tiny_weights, "cpu")
    rng = np.random.default_rng([0, 1])
    samples = list_objects("procedural", limit=3).load(1).sample_surface(512, rng)
    tokens = pyramid_of(pipeline.tokenizer, _tokenize(pipeline, samples))
    found = pipeline.score(tokens).nats_per_token.item()
    assert found == pytest.approx(result["objects"][1]["shape"])
