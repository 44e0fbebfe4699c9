from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from g3pt.evaluation.protocols.reconstruction import code_shape
from g3pt.generation.pipeline import G3PT
from g3pt.generation.surface import encode_surface, place_mesh
from g3pt.geometry.boundary import SolidMesh
from g3pt.geometry.isosurface import extract_surface
from g3pt.geometry.mesh import TriangleMesh, concatenate, write_mesh
from g3pt.geometry.metrics import occupancy_iou, winding_test
from g3pt.geometry.sampling import sample_volume
from g3pt.preparation.inputs import MeshRef
from g3pt.preparation.prepare import prepare_shape
from g3pt.preparation.sources import MeshShape
from g3pt.shapes.stored import (
    NORMAL_STEPS,
    POSITION_STEPS,
    PrepareConfig,
    normals,
    positions,
    shape_seed,
)

RADIUS = 0.9
FAR = (500_000.0, 30.0, 4_200_000.0)


def ball(radius: float = RADIUS) -> TriangleMesh:
    return extract_surface(
        lambda points: (radius - np.linalg.norm(points, axis=1)).astype(np.float32), resolution=32
    ).mesh


def turned(mesh: TriangleMesh) -> TriangleMesh:
    return replace(mesh, faces=mesh.faces[:, ::-1].copy())


DAMAGE = {
    "inverted": lambda: turned(ball()),
    "duplicated": lambda: concatenate([ball(), turned(ball())]),
    "hollow": lambda: concatenate([ball(), ball(0.7)]),
    "hollow, reversed inside": lambda: concatenate([ball(), turned(ball(0.7))]),
}


@pytest.fixture(scope="module")
def pipeline(tiny_weights: Path) -> G3PT:
    return G3PT.from_pretrained(tiny_weights, "cpu")


@pytest.fixture(scope="module")
def small() -> G3PT:
    return G3PT.from_pretrained("g3pt-small", "cpu")


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_ball_comes_back_as_a_ball(small: G3PT, name: str) -> None:
    mesh = small.reconstruct(DAMAGE[name](), resolution=32).unit_mesh
    points = sample_volume(20_000, np.random.default_rng(0))
    inside = np.linalg.norm(points, axis=1) < 0.95
    assert occupancy_iou(winding_test(mesh)(points), inside) > 0.95


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_read_of_a_damaged_ball_lies_outside_and_looks_outward(
    pipeline: G3PT, name: str
) -> None:
    rng = np.random.default_rng(0)
    placed = place_mesh(DAMAGE[name]())
    samples = encode_surface(pipeline.tokenizer, placed.bounded, 512, rng).samples
    assert np.linalg.norm(samples.points, axis=1).min() > 0.93
    assert np.einsum("ni,ni->n", samples.points, samples.normals).min() > 0.8


def test_commands_evaluation_and_training_read_the_same_surface(
    pipeline: G3PT, tmp_path: Path
) -> None:
    path = tmp_path / "ball.ply"
    write_mesh(path, DAMAGE["hollow, reversed inside"]())
    shape = MeshShape(MeshRef(id="ball", location=str(path)))
    num = pipeline.weights.config.num_points
    seed = shape_seed("ball", 0)
    encoded = encode_surface(pipeline.tokenizer, shape, num, np.random.default_rng(seed))

    config = PrepareConfig(num_points=num, num_volume_queries=8, num_near_queries=48)
    record = prepare_shape(shape, config)
    samples = encoded.samples
    # Half a step of the integers that shards hold.
    np.testing.assert_allclose(positions(record.points), samples.points, atol=0.6 / POSITION_STEPS)
    np.testing.assert_allclose(normals(record.normals), samples.normals, atol=0.6 / NORMAL_STEPS)

    placed = place_mesh(path)
    again = encode_surface(pipeline.tokenizer, placed.bounded, num, np.random.default_rng(seed))
    assert torch.equal(again.indices_T, encoded.indices_T)
    assert code_shape(pipeline.tokenizer, samples).tokens == tuple(encoded.indices_T.tolist())
    from_command = encode_surface(pipeline.tokenizer, placed.bounded, num, np.random.default_rng(5))
    assert torch.equal(pipeline.tokenize(path, seed=5).tokens.indices, from_command.indices_T)


def far_off(scale: float) -> TriangleMesh:
    mesh = ball()
    return replace(mesh, vertices=mesh.vertices * scale + FAR)


def test_a_far_off_file_is_read_with_a_word_about_its_rounding(tmp_path: Path, caplog) -> None:
    path = tmp_path / "far.ply"
    write_mesh(path, far_off(50.0))
    assert "far.ply: lies so far from the origin that the file's 32-bit floats" in caplog.text
    caplog.clear()
    place_mesh(path)
    # 4.2e6 lies between 2^22 and 2^23, where 32-bit floats are 0.5 apart; the ball is 90 long
    assert "far.ply: lies so far from the origin that 32-bit floats" in caplog.text
    assert "steps of 0.0056 times its longest side" in caplog.text


def test_nothing_is_said_where_nothing_is_rounded(tmp_path: Path, caplog) -> None:
    place_mesh(far_off(50.0))  # 64-bit vertices
    write_mesh(tmp_path / "near.ply", ball())
    place_mesh(tmp_path / "near.ply")
    write_mesh(tmp_path / "large.ply", far_off(1e6))
    place_mesh(tmp_path / "large.ply")
    write_mesh(tmp_path / "far.obj", far_off(50.0))  # text
    place_mesh(tmp_path / "far.obj")
    assert caplog.text == ""


def test_a_solid_mesh_asks_its_solid(tmp_path: Path) -> None:
    bounded = SolidMesh(turned(ball()), resolution=64)
    assert bounded.contains(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.97]])).tolist() == [True, False]
