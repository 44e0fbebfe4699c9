"""Batches of primitives on a device, against the shapes that they were made from."""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from g3pt.procedural import make_shape
from g3pt.procedural.primitives import surface_owner
from g3pt.stream.primitives import (
    PrimitiveCaster,
    best_backend,
    pad_shapes,
)

FAMILIES = ("chair", "mug", "teapot", "nut", "castle", "fish", "cut-assembly")


@pytest.fixture(scope="module")
def shapes():
    # The last one is two solids of which only the common part is left.
    return [make_shape(3, family) for family in FAMILIES]


@pytest.fixture(scope="module")
def caster(shapes):
    batch = pad_shapes([shape.arrays for shape in shapes], [shape.extents for shape in shapes])
    return PrimitiveCaster(batch, "torch")


def test_padded_shapes_have_the_field_and_the_owners_of_each(shapes, caster):
    points = np.random.default_rng(0).uniform(-1, 1, (len(shapes), 400, 3)).astype(np.float32)
    field = caster.field(torch.from_numpy(points)).numpy()
    owners = caster.owners(torch.from_numpy(points)).numpy()
    for shape, row, values, found in zip(shapes, points, field, owners, strict=True):
        np.testing.assert_allclose(values, shape.field(row), atol=2e-6)  # other order of sums
        # Points as far from two primitives go either way.
        assert np.mean(found != surface_owner(shape.arrays, row)) < 0.01


def test_rays_end_on_the_surface_with_its_normal_and_colour(shapes, caster):
    number = FAMILIES.index("mug")
    origins = torch.tensor([[0.0, 1.0, 4.0]])
    targets = torch.rand(1, 300, 3, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9
    rays = torch.nn.functional.normalize(targets - origins[:, None], dim=-1)
    hits = caster.cast(torch.tensor([number]), origins, rays)
    hit = hits.hit_VR[0]
    assert 0.1 < hit.float().mean() < 1
    points = (origins[:, None] + rays * hits.lengths_VR[..., None])[0][hit].numpy()
    assert np.abs(shapes[number].field(points)).max() < 1e-3
    normals, expected = hits.normals_VR3[0][hit].numpy(), shapes[number].gradient(points)
    assert np.mean((normals * expected).sum(1) > 0.99) > 0.98  # edges have no one normal
    np.testing.assert_array_equal(
        hits.colors_VR3[0][hit].numpy()[:, 0], shapes[number].color_at(points)[:, 0]
    )
    assert not hits.normals_VR3[0][~hit].any()
    assert not hits.colors_VR3[0][~hit].any()
    assert (hits.normals_VR3 * rays).sum(-1)[0][hit].max() < 0.1  # they look towards the camera


def test_parts_of_a_batch_give_what_the_whole_gives(caster, monkeypatch):
    points = torch.rand(len(FAMILIES), 50, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = caster.field(points)
    monkeypatch.setattr("g3pt.stream.primitives._TORCH_VALUES", 1)
    torch.testing.assert_close(caster.field(points), whole, atol=1e-6, rtol=0)


def test_shapes_without_extents_are_refused(shapes):
    with pytest.raises(ValueError, match="as many extents, got 1 and 0"):
        pad_shapes([shapes[0].arrays], [])
    assert best_backend("cpu") == "torch"


def run_python(code: str, **environment: str) -> None:
    """Run in a process of its own.

    Triton decides on import whether it interprets, and cannot read kernels whose annotations are
    checked.
    """
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_interpreted_kernels_do_what_torch_does():
    run_python(
        "from g3pt.stream.primitives import check_device\n"
        "check_device('cpu', num_shapes=4, num_points=32, side=4)",
        TRITON_INTERPRET="1",
    )


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_kernels_compile_for_a_device_that_is_not_there():
    run_python("from g3pt.stream.primitives_triton import compile_for\ncompile_for(90)")


@pytest.mark.gpu
def test_compiled_kernels_do_what_torch_does():
    run_python("from g3pt.stream.primitives import check_device\ncheck_device('cuda')")
