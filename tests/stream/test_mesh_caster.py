"""Rays at batches of meshes against Embree, and the kernel against torch."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import stocks
from g3pt.geometry.cameras import Camera, canonical_camera, orbit_camera, ray_grid
from g3pt.geometry.mesh import TriangleMesh
from g3pt.geometry.render import Scene, over_white
from g3pt.geometry.shading import develop, linear, shade
from g3pt.shapes.mesh_stock import MeshStock
from g3pt.stream.casting import Hits
from g3pt.stream.mesh_batch import ResidentMeshes
from g3pt.stream.mesh_caster import CastBy, check_device
from g3pt.stream.warps import WarpConfig, draw_warps

CAMERAS = [canonical_camera(), orbit_camera(200, -35), orbit_camera(95, 70, fov_degrees=50)]
SIZE, SUPERSAMPLE = 48, 2


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> MeshStock:
    return stocks.stock(tmp_path_factory.mktemp("stock"))


def _rays(cameras: list[Camera]) -> tuple[torch.Tensor, torch.Tensor]:
    local = [ray_grid(SIZE * SUPERSAMPLE, camera.fov_degrees).reshape(-1, 3) for camera in cameras]
    world = [rays @ camera.axes() for rays, camera in zip(local, cameras, strict=True)]
    origins = np.array([camera.position for camera in cameras])
    return torch.tensor(origins).float(), torch.tensor(np.stack(world)).float()


def _picture(hits: Hits, picture: int, camera: Camera) -> np.ndarray:
    seen = hits.hit_VR[picture]
    numbers = torch.nonzero(seen).reshape(-1).numpy()
    normals = hits.normals_VR3[picture][seen].numpy() @ camera.axes().T.astype(np.float32)
    colors = hits.colors_VR3[picture][seen].numpy()
    return develop(shade(seen.numel(), numbers, normals, linear(colors)), SIZE, SUPERSAMPLE)


@pytest.mark.parametrize("cast_by", ["torch", "embree"])
def test_pictures_are_those_of_the_renderer(stock: MeshStock, cast_by: CastBy) -> None:
    resident = ResidentMeshes(stock, "cpu", cast_by=cast_by)
    caster = resident.batch(torch.arange(len(stock)), stocks.no_warps(len(stock))).caster()
    assert caster.num_shapes == len(stock)
    origins, rays = _rays(CAMERAS)
    for row in range(len(stock)):
        hits = caster.cast(torch.full((len(CAMERAS),), row), origins, rays)
        scene = Scene(stock.surface(row).mesh())
        for picture, camera in enumerate(CAMERAS):
            expected = scene.render(camera, size=SIZE, supersample=SUPERSAMPLE)
            found = _picture(hits, picture, camera)
            differ = np.abs(over_white(found).astype(int) - over_white(expected)).max(axis=-1)
            # A ray at an edge may fall to either side; normals and colours are rounded.
            assert (differ > 3).mean() < 2e-3
            assert (expected[..., 3] > 0).mean() > 0.05


def test_warped_shapes_are_drawn_as_the_renderer_draws_them(stock: MeshStock) -> None:
    resident = ResidentMeshes(stock, "cpu")
    rows = torch.tensor([0, 2, 1, 2])
    generator = torch.Generator().manual_seed(8)
    config = WarpConfig(shear_share=1.0, mirror_share=1.0)
    warps = draw_warps(config, len(rows), generator, resident.longest_edges(rows))
    batch = resident.batch(rows, warps)
    origins, rays = _rays(CAMERAS[:1] * len(rows))
    hits = batch.caster().cast(torch.arange(len(rows)), origins, rays)
    for shape in range(len(rows)):
        corners = batch.triangles.corners_F33[batch.shapes_F == shape].flip(1)  # all are mirrored
        faces = np.arange(3 * len(corners)).reshape(-1, 3)
        colors = batch.triangles.colors_F33[batch.shapes_F == shape].flip(1).reshape(-1, 3)
        mesh = TriangleMesh.from_arrays(corners.reshape(-1, 3).numpy(), faces, colors.numpy())
        expected = Scene(mesh).render(CAMERAS[0], size=SIZE, supersample=SUPERSAMPLE)
        found = _picture(hits, shape, CAMERAS[0])
        differ = np.abs(over_white(found).astype(int) - over_white(expected)).max(axis=-1)
        # Shading normals of the ball are warped here and worked out anew there.
        assert (differ > 12).mean() < 3e-3


def test_embree_and_torch_name_the_same_faces(stock: MeshStock) -> None:
    origins, rays = _rays(CAMERAS)
    shapes = torch.tensor([2, 1, 0])
    fast, slow = (
        ResidentMeshes(stock, "cpu", cast_by=cast_by)
        .batch(torch.arange(3), stocks.no_warps(3))
        .caster()
        .cast(shapes, origins, rays)
        for cast_by in ("embree", "torch")
    )
    # At the edge of two faces, or of the shape, either may be named.
    assert (fast.hit_VR != slow.hit_VR).float().mean() < 1e-3
    both = fast.hit_VR & slow.hit_VR
    assert (fast.lengths_VR - slow.lengths_VR)[both].abs().max() < 1e-3
    differ = (fast.normals_VR3 - slow.normals_VR3)[both].abs().amax(dim=-1) > 1e-3
    assert differ.float().mean() < 1e-3


def test_ways_to_cast_that_a_device_does_not_have_are_refused(stock: MeshStock) -> None:
    with pytest.raises(ValueError, match="cast_by 'kernel'"):
        ResidentMeshes(stock, "cpu", cast_by="kernel")


def test_what_is_hit_looks_at_the_viewer_and_misses_are_empty(stock: MeshStock) -> None:
    caster = ResidentMeshes(stock, "cpu").batch(torch.tensor([1]), stocks.no_warps(1)).caster()
    origins, rays = _rays(CAMERAS[:1])
    hits = caster.cast(torch.zeros(1, dtype=torch.long), origins, rays)
    seen = hits.hit_VR[0]
    places = origins[0] + hits.lengths_VR[0][seen][:, None] * rays[0][seen]
    radii = places.norm(dim=-1)
    assert (radii - 0.95).abs().max() < 0.01  # the facets of a ball
    assert ((hits.normals_VR3[0][seen] * rays[0][seen]).sum(dim=-1) < 0.1).all()
    assert not hits.normals_VR3[0][~seen].any()
    assert not hits.colors_VR3[0][~seen].any()


def test_a_device_without_cuda_is_told_to_use_torch() -> None:
    found = check_device("cpu")
    assert not found.use_kernel
    assert "cpu" in found.note


COMPARISON = """
import json, torch
from g3pt.stream import mesh_caster
from g3pt.stream import mesh_kernel
scene = mesh_caster._random_scene(torch.device("cpu"), 2, 40, 24)
slow, fast = mesh_caster.first_faces_in_torch(**scene), mesh_kernel.first_faces(**scene)
both = (slow[0] >= 0) & (fast[0] >= 0)
print(json.dumps({
    "differing": float((slow[0] != fast[0]).float().mean()),
    "hit": float(both.float().mean()),
    "error": float((slow[1] - fast[1])[both].abs().max()),
}))
"""

COMPILATION = """
import json, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from g3pt.stream import mesh_kernel
names = mesh_kernel._first_faces.arg_names
kinds = dict.fromkeys(names, "*fp32") | {"counts": "*i32", "faces": "*i32"}
kinds |= {"num_rays": "i32", "max_faces": "i32", "BLOCK": "constexpr"}
kinds |= dict.fromkeys(("nearest", "slack", "thinnest"), "fp32")
source = ASTSource(mesh_kernel._first_faces, signature=kinds, constexprs={"BLOCK": 512})
made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4})
print(json.dumps(sorted(made.asm)))
"""


def _in_another_process(program: str, **environment: str) -> str:
    """Triton reads its switches when it is imported."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if "only 0-dimensional arrays" in done.stderr:
        pytest.skip("the interpreter of this triton does not go with this NumPy")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_the_kernel_finds_what_torch_finds_in_the_interpreter() -> None:
    found = json.loads(_in_another_process(COMPARISON, TRITON_INTERPRET="1"))
    assert found["differing"] < 1e-3
    assert found["error"] < 1e-4
    assert found["hit"] > 0.05


def test_the_kernel_compiles_for_a_gpu_that_is_not_there() -> None:
    assert "cubin" in json.loads(_in_another_process(COMPILATION, TRITON_INTERPRET="0"))


@pytest.mark.gpu
def test_the_kernel_finds_what_torch_finds_on_a_gpu() -> None:
    found = check_device("cuda")
    assert found.use_kernel, found.note
