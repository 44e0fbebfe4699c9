"""The first face along rays by Embree, on the CPU. Importing this needs embreex.

Legend: F faces, V pictures, R rays of a picture.
"""

from typing import Any

import numpy as np
import torch
from embreex import mesh_construction, rtcore_scene  # pyright: ignore[reportMissingTypeStubs]
from jaxtyping import Float, Int
from torch import Tensor

from g3pt.stream.mesh_caster import Triangles

_mesh_construction: Any = mesh_construction  # without type stubs
_rtcore_scene: Any = rtcore_scene


def first_faces_by_embree(
    triangles: Triangles,
    shapes_V: Int[Tensor, " V"],
    origins_V3: Float[Tensor, "V 3"],
    rays_VR3: Float[Tensor, "V R 3"],
) -> tuple[Int[Tensor, "V R"], Float[Tensor, "V R"]]:
    """The results of `mesh_caster.first_faces_in_torch`, which is the obvious twin.

    Args:
        triangles: on the CPU.
        shapes_V: the shape that each picture shows.
        origins_V3: where its rays start.
        rays_VR3: unit directions.
    """
    faces_VR = torch.empty(rays_VR3.shape[:2], dtype=torch.int32)
    lengths_VR = torch.empty(rays_VR3.shape[:2])
    scenes: dict[int, Any] = {}
    for picture, shape in enumerate(shapes_V.tolist()):
        if shape not in scenes:
            scenes[shape] = _scene(triangles, shape)
        rays_R3 = rays_VR3[picture].contiguous().numpy()
        origins_R3 = np.tile(origins_V3[picture].numpy(), (len(rays_R3), 1))
        answer = scenes[shape].run(origins_R3, rays_R3, output=True)
        faces_VR[picture] = torch.from_numpy(answer["primID"].astype(np.int32))
        lengths_VR[picture] = torch.from_numpy(answer["tfar"].astype(np.float32))
    return faces_VR, lengths_VR


def _scene(triangles: Triangles, shape: int) -> Any:
    start, count = int(triangles.starts_B[shape]), int(triangles.counts_B[shape])
    scene = _rtcore_scene.EmbreeScene()
    corners = triangles.corners_F33[start : start + count].reshape(-1, 3).numpy()
    faces = np.arange(3 * count, dtype=np.int32).reshape(-1, 3)
    _mesh_construction.TriangleMesh(scene, np.ascontiguousarray(corners), faces)
    return scene
