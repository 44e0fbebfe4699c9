from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from g3pt.generation.completion import (
    CHUNK,
    NUM_CHECKED,
    SHELLS,
    PartialSurface,
    SearchConfig,
    add_points,
    agreement,
    field_losses,
    partial_surface,
    search_completions,
)
from g3pt.generation.field import ShapeField
from g3pt.generation.pipeline import G3PT
from g3pt.generation.prompts import draw_points
from g3pt.generation.sampler import generate_tokens
from g3pt.geometry.clouds import CloudError
from g3pt.geometry.mesh import TriangleMesh, UnitFrame, unit_frame_of, write_mesh
from g3pt.models.car import Car, CarConfig
from g3pt.models.conditioning import ConditionBatch
from g3pt.models.conditioning.points import PointsConditionConfig
from g3pt.models.sampling import UNCHANGED

SETTINGS = {"seed": 0, "num_points": 256, "sampling": UNCHANGED}


@pytest.fixture(scope="module")
def pipeline(tiny_weights: Path) -> G3PT:
    return G3PT.from_pretrained(tiny_weights, "cpu")


def ball(radius: float) -> TriangleMesh:
    body = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    return TriangleMesh.from_arrays(body.vertices, body.faces)


def upper_half(num: int = 300) -> PartialSurface:
    normals = np.random.default_rng(0).standard_normal((num, 3))
    normals[:, 1] = np.abs(normals[:, 1])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return PartialSurface(0.9 * normals, normals)


def search(pipeline: G3PT, **options: int) -> torch.Tensor:
    condition = ConditionBatch(batch_size=1)
    config = SearchConfig(**options)
    return search_completions(
        pipeline.tokenizer, pipeline.car, condition, upper_half(), config, **SETTINGS
    )


def test_completions_begin_with_the_scales_that_are_kept(pipeline) -> None:
    rng = np.random.default_rng(0)
    drawn = upper_half().draw(256, rng)
    points, normals = (
        torch.from_numpy(rows.astype(np.float32))[None] for rows in (drawn.points, drawn.normals)
    )
    own = pipeline.tokenizer.tokenize(points, normals)
    found = search(pipeline, keep=2, width=4, survivors=3)
    assert found.shape == (3, 21)
    assert (found[:, :5] == own[:, :5]).all()
    assert len(found.unique(dim=0)) == 3


def test_the_candidates_that_agree_best_survive(pipeline) -> None:
    found = search(pipeline, keep=2, width=8, survivors=2)
    candidates = generate_tokens(
        pipeline.tokenizer,
        pipeline.car,
        ConditionBatch(batch_size=8),
        seeds=range(8),
        known_BT=found[:1, :5].expand(8, -1),
    )
    rng = np.random.default_rng(0)
    upper_half().draw(256, rng)
    checked = upper_half().draw(NUM_CHECKED, rng)
    losses = field_losses(pipeline.tokenizer, candidates.summed_BLC, 3, checked)
    assert torch.equal(found, candidates.indices_BT[losses.argsort()[:2]])


def test_everything_can_be_sampled(pipeline) -> None:
    assert search(pipeline, keep=0, width=4, survivors=2).shape == (2, 21)


def test_losses_are_those_of_each_field_alone(pipeline) -> None:
    generator = torch.Generator().manual_seed(0)
    indices_BT = torch.randint(0, 32, (CHUNK + 3, 5), generator=generator)
    part = upper_half(20)
    with torch.no_grad():
        summed_BLC = pipeline.tokenizer.decode_indices(indices_BT)
        ours = field_losses(pipeline.tokenizer, summed_BLC, 2, part)
    for row in (0, 1, CHUNK + 2):
        field = ShapeField.from_tokens(pipeline.tokenizer, indices_BT[row])
        terms = []
        for height in SHELLS:
            below = field(part.points - height * part.normals)
            above = field(part.points + height * part.normals)
            terms += [np.log1p(np.exp(-below)).mean(), np.log1p(np.exp(above)).mean()]
        # logits of padded and unpadded calls differ by rounding
        assert ours[row].item() == pytest.approx(np.mean(terms), rel=1e-4)


def test_distances_from_a_ball_to_a_smaller_one_are_known() -> None:
    found = agreement(upper_half().points, ball(0.8))
    assert found.mean == pytest.approx(0.1, abs=5e-3)  # an icosphere lies just inside its ball
    assert found.largest < 0.11
    assert found.met == 0
    assert agreement(upper_half().points, ball(0.9)).met == 1
    assert agreement(upper_half().points, TriangleMesh.from_arrays([], [])) is None


def test_a_part_is_put_into_the_frame_of_the_whole(tmp_path: Path) -> None:
    mesh = TriangleMesh(ball(2.0).vertices + 10, ball(2.0).faces)
    own, frame = partial_surface(mesh, None, 500, 0)
    assert np.abs(own.points).max() == pytest.approx(0.95, abs=0.02)
    given = UnitFrame(scale=0.25, offset=(10.0, 10.0, 10.0))
    moved, same = partial_surface(mesh, given, 500, 0)
    assert same is given
    assert np.linalg.norm(moved.points, axis=1) == pytest.approx(0.5, abs=5e-3)
    np.testing.assert_allclose(frame.to_source(own.points), given.to_source(moved.points))
    write_mesh(tmp_path / "ball.obj", mesh)
    from_file, _ = partial_surface(tmp_path / "ball.obj", given, 500, 0)
    assert np.linalg.norm(from_file.points, axis=1) == pytest.approx(0.5, abs=5e-3)


def test_a_cloud_without_normals_and_without_planes_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.repeat([[0.0, 0, 0], [1, 0, 0]], 10, axis=0))
    with pytest.raises(CloudError, match=r"a\.npy: 20 points have 2 places"):
        partial_surface(tmp_path / "a.npy", None, 16, 0)
    with pytest.raises(CloudError, match=r"a\.npy: 20 points have 2 places"):
        draw_points(tmp_path / "a.npy", 16)


def test_a_cloud_without_faces_is_read_too(tmp_path: Path) -> None:
    part = upper_half()
    np.save(tmp_path / "half.npy", np.concatenate([part.points, part.normals], axis=1))
    trimesh.PointCloud(part.points).export(tmp_path / "half.ply")
    for name in ("half.npy", "half.ply"):
        found, _ = partial_surface(tmp_path / name, UnitFrame(1.0, (0.0, 0.0, 0.0)), 9, 0)
        np.testing.assert_allclose(found.points, part.points, atol=1e-6)


def test_a_generator_that_reads_points_is_given_them(pipeline) -> None:
    latents = torch.randn(1, 16, 32, generator=torch.Generator().manual_seed(0))
    batch = ConditionBatch(batch_size=2)
    assert add_points(pipeline.car, batch, latents) is batch
    config = CarConfig(
        scale_lengths=(1, 4, 16),
        num_bits=5,
        input_dim=32,
        depth=1,
        width=32,
        num_heads=2,
        conditions=(PointsConditionConfig(width=32),),
    )
    given = add_points(Car(config), batch, latents).point_latents_BLC
    assert torch.equal(given, latents.expand(2, -1, -1))


def test_completions_come_best_first_with_their_distances(pipeline) -> None:
    half = ball(0.9)
    upper = half.faces[(half.vertices[half.faces][:, :, 1] > 0).all(axis=1)]
    part = TriangleMesh(half.vertices, upper)
    config = SearchConfig(keep=1, width=4, survivors=3)
    options = {"search": config, "num": 3, "resolution": 16, "seed": 1}
    result = pipeline.complete(part, **options)
    assert result.frame == unit_frame_of(part) or result.frame.scale > 0
    means = [one.agreement.mean for one in result.completions]
    assert means == sorted(means)
    best = result.completions[0]
    assert best.shape.nll == pytest.approx(pipeline.score(best.shape.tokens).nats.item(), rel=1e-5)
    again = pipeline.complete(part, **options).completions[0]
    assert again.shape.tokens.equals(best.shape.tokens)


def test_the_search_and_the_meshing_are_heard(pipeline) -> None:
    events = []
    config = SearchConfig(keep=1, width=4, survivors=2)
    options = {"search": config, "resolution": 16, "seed": 1}
    result = pipeline.complete(ball(0.9), num=2, on_scale=events.append, **options)

    searched = [event for event in events if event.stage == "tokens"]
    assert [event.scale for event in searched] == list(range(1, pipeline.num_scales))
    assert all(event.tokens[0].num_scales == event.scale + 1 for event in searched)
    meshed = [event for event in events if event.stage == "mesh"]
    assert [event.first for event in meshed] == sorted(event.first for event in meshed)
    assert {(event.first, event.total) for event in meshed} == {(0, 2), (1, 2)}
    # The best of the search comes first among the meshes, whatever their order in the result.
    first = meshed[0].tokens[0]
    assert first.equals(searched[-1].tokens[0])
    assert any(first.equals(one.shape.tokens) for one in result.completions)

    def give_up(event) -> None:
        if event.stage == "mesh":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.complete(ball(0.9), on_scale=give_up, **options)


def test_what_cannot_be_completed_is_refused(pipeline) -> None:
    with pytest.raises(ValueError, match=r"keep must lie in 0\.\.2"):
        pipeline.complete(ball(0.9), search=SearchConfig(keep=3))
    with pytest.raises(ValueError, match=r"num must lie in 1\.\.4"):
        pipeline.complete(ball(0.9), num=5)
    with pytest.raises(ValueError, match="by one prompt, got 2"):
        pipeline.complete(ball(0.9), prompts=pipeline.read_prompts(text=["a mug", "a table"]))
    with pytest.raises(ValueError, match=r"survivors must lie in 1\.\.4"):
        SearchConfig(width=4, survivors=5)
    with pytest.raises(ValueError, match="keep must be at least 0"):
        SearchConfig(keep=-1)
