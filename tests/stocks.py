"""Tiny meshes and the stock of them."""

from pathlib import Path

import numpy as np
import torch

from g3pt.geometry.mesh import TriangleMesh, concatenate, write_mesh
from g3pt.preparation.inputs import MeshRef
from g3pt.preparation.stock_builder import stock_mesh
from g3pt.shapes.mesh_stock import MeshStock, write_stock
from g3pt.shapes.shape_set import QualityLimits
from g3pt.shapes.stock_meshes import StockConfig, StockMesh
from g3pt.stream.warps import Warps

CONFIG = StockConfig(max_faces=3000, num_volume=512, num_near=768)


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> TriangleMesh:
    """An axis-aligned box with outward faces."""
    corners = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [(q[0], q[i], q[i + 1]) for q in quads for i in (1, 2)]
    return TriangleMesh.from_arrays(np.array(low) + corners * np.subtract(high, low), faces)


def painted(mesh: TriangleMesh, color: tuple[int, int, int]) -> TriangleMesh:
    """The mesh in one colour."""
    return TriangleMesh.from_arrays(
        mesh.vertices, mesh.faces, np.tile(color, (len(mesh.vertices), 1))
    )


def ball(subdivisions: int = 3) -> TriangleMesh:
    """An icosphere of radius 1."""
    golden = (1 + 5**0.5) / 2
    around = [(-1, golden, 0), (1, golden, 0), (-1, -golden, 0), (1, -golden, 0)]
    vertices = np.array([np.roll(corner, turn) for turn in range(3) for corner in around])
    distance = np.linalg.norm(vertices[:, None] - vertices[None], axis=-1)
    near = np.isclose(distance, 2.0)
    triples = [
        (i, j, k)
        for i in range(12)
        for j in range(i + 1, 12)
        for k in range(j + 1, 12)
        if near[i, j] and near[j, k] and near[i, k]
    ]
    triangles = vertices[np.array(triples)]
    volumes = np.einsum("fi,fi->f", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2]))
    triangles[volumes < 0] = triangles[volumes < 0][:, ::-1]
    for _ in range(subdivisions):
        a, b, c = np.moveaxis(triangles, 1, 0)
        d, e, f = a + b, b + c, c + a
        pieces = [(a, d, f), (d, b, e), (f, e, c), (d, e, f)]
        triangles = np.concatenate([np.stack(piece, axis=1) for piece in pieces])
        triangles /= np.linalg.norm(triangles, axis=-1, keepdims=True)
    return TriangleMesh.from_arrays(
        triangles.reshape(-1, 3), np.arange(3 * len(triangles)).reshape(-1, 3)
    )


def meshes() -> dict[str, TriangleMesh]:
    """By name: a box, a ball, two boxes that overlap, a box that is inside out."""
    block = painted(box((0, 0, 0), (2, 1, 1.4)), (200, 40, 40))
    crossing = concatenate(
        [
            painted(box((-1, -0.3, -0.3), (1, 0.3, 0.3)), (30, 160, 60)),
            painted(box((-0.3, -1, -0.31), (0.3, 1, 0.29)), (40, 60, 200)),
        ]
    )
    return {
        "block": block,
        "ball": ball(),
        "crossing": crossing,
        "flipped": TriangleMesh(block.vertices, block.faces[:, ::-1], block.colors),
    }


def prepared(folder: Path) -> list[StockMesh]:
    """All of them, prepared for a stock."""
    made: list[StockMesh] = []
    for name, mesh in meshes().items():
        path = folder / f"{name}.ply"
        write_mesh(path, mesh)
        ref = MeshRef(
            id=name,
            location=str(path),
            captions=(f"a {name}",),
            category="test",
            split="train",
            licence="CC0-1.0",
            details={"source": "made here"},
        )
        made.append(stock_mesh(ref, CONFIG, QualityLimits()))
    return made


def stock(folder: Path) -> MeshStock:
    """All of them, written and read."""
    path = folder / "meshes.safetensors"
    write_stock(path, prepared(folder), CONFIG)
    return MeshStock.read(path)


def no_warps(num: int, device: torch.device | str = "cpu") -> Warps:
    """Identity warps."""
    eye_B33 = torch.eye(3, device=device).expand(num, 3, 3)
    zero_B3, one_B = torch.zeros(num, 3, device=device), torch.ones(num, device=device)
    return Warps(
        linear_B33=eye_B33,
        linear_inverse_B33=eye_B33,
        taper_B3=zero_B3,
        bend_B33=torch.zeros(num, 3, 3, device=device),
        twist_B3=zero_B3,
        turn_B33=eye_B33,
        offset_B3=zero_B3,
        scale_B=one_B,
        orientation_B=one_B,
    )
