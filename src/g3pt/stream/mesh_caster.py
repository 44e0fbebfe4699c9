"""Casting rays at batches of triangle meshes by testing every face, on a GPU in one Triton kernel.

On a CPU Embree finds the same faces about fifty times as fast as torch.

All rays of a picture start at one point O. Let A, B, C be the corners of a face relative to O.
Direction d hits it where d . (B x C), d . (C x A) and d . (A x B) have the same sign. Divided by
their sum d . N, N = (B - A) x (C - A), they are the barycentric weights of the hit, and its
distance is A . N / d . N. So a face takes thirteen numbers per picture, and a ray twelve products
per face.

Both sides of a face are visible, normals are turned towards the viewer and colours are interpolated
as linear light, as in `geometry.render.Scene`, the twin for one mesh.

Legend: B shapes, F faces (all shapes end to end, or those of a picture, padded), V pictures,
R rays of a picture.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Literal, assert_never

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from g3pt.stream.casting import Hits

CastBy = Literal["kernel", "torch", "embree"]
"""How the first face along a ray is found: by Triton on a CUDA device (see `check_device`), by
testing all faces in torch on any device, by Embree on the CPU."""

NEAREST = 1e-4
"""Hits closer to the origin than this do not count."""

SLACK = 1e-6
"""Tolerance for negative weights, so that no ray passes between two adjacent faces."""

THINNEST = 1e-10
"""Faces with a smaller |d . N| are skipped: they are seen edge-on or have no area."""

MAX_DIFFERING, MAX_ERROR = 1e-3, 1e-2
"""Largest share of rays with different faces, and largest difference in length, up to which two
casters agree. At a common edge either face may be found; where faces intersect, lengths differ
little."""

_TRIED_AT_ONCE = 1 << 22
_ROWS_AT_ONCE = 1 << 20


@dataclass(frozen=True, eq=False)
class Triangles:
    """The triangles of a batch of shapes, end to end, on one device."""

    corners_F33: Float[Tensor, "F 3 3"]
    """Corner positions, unit frame."""
    normals_F33: Float[Tensor, "F 3 3"]
    """Unit normals at the corners, for shading."""
    colors_F33: UInt8[Tensor, "F 3 3"]
    """Colours at the corners, sRGB."""
    starts_B: Int[Tensor, " B"]
    """Index of the first face of every shape."""
    counts_B: Int[Tensor, " B"]
    """Number of faces of every shape."""
    orientation_B: Float[Tensor, " B"]
    """-1 if corners are clockwise seen from the side that `normals_F33` point to, else 1."""
    max_faces: int
    """The largest of the counts."""


class MeshCaster:
    """A `RayCaster` of triangle meshes."""

    def __init__(self, triangles: Triangles, *, cast_by: CastBy) -> None:
        """Keep a batch of shapes.

        Args:
            triangles: the shapes.
            cast_by: how the first faces are found.
        """
        self._triangles = triangles
        self._cast_by: CastBy = cast_by
        levels = torch.arange(256, device=triangles.corners_F33.device) / 255
        self._linear = torch.where(
            levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4
        )

    @property
    def num_shapes(self) -> int:
        """Number of shapes."""
        return len(self._triangles.starts_B)

    def cast(
        self,
        shapes_V: Int[Tensor, " V"],
        origins_V3: Float[Tensor, "V 3"],
        rays_VR3: Float[Tensor, "V R 3"],
    ) -> Hits:
        """See `RayCaster.cast`."""
        at_once = max(_ROWS_AT_ONCE // self._triangles.max_faces, 1)
        parts = [
            self._cast(
                shapes_V[first : first + at_once],
                origins_V3[first : first + at_once],
                rays_VR3[first : first + at_once],
            )
            for first in range(0, len(shapes_V), at_once)
        ]
        if len(parts) == 1:
            return parts[0]
        return Hits(
            hit_VR=torch.cat([part.hit_VR for part in parts]),
            lengths_VR=torch.cat([part.lengths_VR for part in parts]),
            normals_VR3=torch.cat([part.normals_VR3 for part in parts]),
            colors_VR3=torch.cat([part.colors_VR3 for part in parts]),
        )

    def _cast(
        self,
        shapes_V: Int[Tensor, " V"],
        origins_V3: Float[Tensor, "V 3"],
        rays_VR3: Float[Tensor, "V R 3"],
    ) -> Hits:
        triangles = self._triangles
        counts_V = triangles.counts_B[shapes_V]
        table_VFK = face_table(triangles, shapes_V, origins_V3)
        limits = {"nearest": NEAREST, "slack": SLACK, "thinnest": THINNEST}
        match self._cast_by:
            case "kernel":
                from g3pt.stream.mesh_kernel import first_faces

                faces_VR, lengths_VR = first_faces(table_VFK, counts_V, rays_VR3, **limits)
            case "torch":
                faces_VR, lengths_VR = first_faces_in_torch(table_VFK, counts_V, rays_VR3, **limits)
            case "embree":
                faces_VR, lengths_VR = first_faces_by_embree(
                    triangles, shapes_V, origins_V3, rays_VR3
                )
            case _:
                assert_never(self._cast_by)
        hit_VR = faces_VR >= 0
        faces_VR = faces_VR.clamp(min=0).long()
        rows_VRK = torch.gather(
            table_VFK[..., :12], 1, faces_VR[:, :, None].expand(-1, -1, 12)
        ).unflatten(-1, (4, 3))
        along_VR4 = torch.einsum("vrkx,vrx->vrk", rows_VRK, rays_VR3)
        weights_VR3 = functional.normalize(along_VR4[..., :3].abs(), p=1, dim=-1, eps=1e-30)
        all_VR = faces_VR + triangles.starts_B[shapes_V][:, None]
        normals_VR3 = torch.einsum(
            "vrk,vrkx->vrx", weights_VR3, triangles.normals_F33[all_VR].float()
        )
        facing_VR = along_VR4[..., 3].sign() * triangles.orientation_B[shapes_V][:, None]
        normals_VR3 = functional.normalize(normals_VR3, dim=-1, eps=1e-9)
        normals_VR3 = -normals_VR3 * (facing_VR * hit_VR)[:, :, None]
        light_VRK3 = self._linear[triangles.colors_F33[all_VR].int()]
        colors_VR3 = _display(torch.einsum("vrk,vrkx->vrx", weights_VR3, light_VRK3))
        return Hits(hit_VR, lengths_VR, normals_VR3, colors_VR3 * hit_VR[:, :, None])


def face_table(
    triangles: Triangles, shapes_V: Int[Tensor, " V"], origins_V3: Float[Tensor, "V 3"]
) -> Float[Tensor, "V F 16"]:
    """The numbers that every picture needs of the faces of its shape.

    Returns:
        Rows of B x C, C x A, A x B, N, A . N and padding (see the module's docstring). Rows beyond
        the faces of a shape are undefined.
    """
    numbers_F = torch.arange(triangles.max_faces, device=shapes_V.device)
    faces_VF = triangles.starts_B[shapes_V][:, None] + numbers_F
    faces_VF = faces_VF.clamp(max=len(triangles.corners_F33) - 1)
    corners_VF33 = triangles.corners_F33[faces_VF]
    a_VF3, b_VF3, c_VF3 = (corners_VF33 - origins_V3[:, None, None]).unbind(dim=2)
    # A x B = A x (B - A), which is more precise for faces far from O.
    first_VF3, second_VF3, third_VF3 = (
        corners_VF33[:, :, 1] - corners_VF33[:, :, 0],
        corners_VF33[:, :, 2] - corners_VF33[:, :, 1],
        corners_VF33[:, :, 0] - corners_VF33[:, :, 2],
    )
    cross = torch.linalg.cross
    normal_VF3 = cross(first_VF3, -third_VF3)
    height_VF1 = (a_VF3 * normal_VF3).sum(dim=-1, keepdim=True)
    return torch.cat(
        [
            cross(b_VF3, second_VF3),
            cross(c_VF3, third_VF3),
            cross(a_VF3, first_VF3),
            normal_VF3,
            height_VF1,
            torch.zeros_like(normal_VF3),
        ],
        dim=-1,
    )


def first_faces_in_torch(
    table_VFK: Float[Tensor, "V F 16"],
    counts_V: Int[Tensor, " V"],
    rays_VR3: Float[Tensor, "V R 3"],
    *,
    nearest: float,
    slack: float,
    thinnest: float,
) -> tuple[Int[Tensor, "V R"], Float[Tensor, "V R"]]:
    """First face along every ray, by testing all faces.

    Args:
        table_VFK: see `face_table`.
        counts_V: number of valid rows of each picture.
        rays_VR3: unit directions.
        nearest: hits at a smaller length do not count.
        slack: tolerance for negative weights.
        thinnest: smallest |d . N| at which a face is hit.

    Returns:
        Index of the face in the picture's shape, -1 for none, and the distance to it.
    """
    faces_VR = torch.full(rays_VR3.shape[:2], -1, dtype=torch.int32, device=rays_VR3.device)
    lengths_VR = torch.full(rays_VR3.shape[:2], 3.0e38, device=rays_VR3.device)
    for picture, count in enumerate(counts_V.tolist()):
        table_FK = table_VFK[picture, :count]
        matrix_3M = table_FK[:, :12].unflatten(1, (4, 3)).permute(2, 1, 0).reshape(3, -1)
        at_once = max(_TRIED_AT_ONCE // max(count, 1), 1)
        for first in range(0, rays_VR3.shape[1], at_once):
            part = slice(first, first + at_once)
            along_R4F = (rays_VR3[picture, part] @ matrix_3M).unflatten(1, (4, count))
            steep_RF = along_R4F[:, 3]
            inside_RF = (along_R4F[:, :3] * steep_RF[:, None]).amin(dim=1) >= (
                -slack * steep_RF.square()
            )
            is_steep_RF = steep_RF.abs() > thinnest
            length_RF = table_FK[:, 12] / torch.where(is_steep_RF, steep_RF, 1.0)
            seen_RF = inside_RF & is_steep_RF & (length_RF > nearest)
            best_R, face_R = torch.where(seen_RF, length_RF, 3.0e38).min(dim=1)
            lengths_VR[picture, part] = best_R
            faces_VR[picture, part] = torch.where(best_R < 3.0e38, face_R, -1).int()
    return faces_VR, lengths_VR


def first_faces_by_embree(
    triangles: Triangles,
    shapes_V: Int[Tensor, " V"],
    origins_V3: Float[Tensor, "V 3"],
    rays_VR3: Float[Tensor, "V R 3"],
) -> tuple[Int[Tensor, "V R"], Float[Tensor, "V R"]]:
    """First face along every ray by Embree; needs embreex. Twin of `first_faces_in_torch`.

    Args:
        triangles: on the CPU.
        shapes_V: index of the shape that each picture shows.
        origins_V3: common origin of a picture's rays.
        rays_VR3: unit directions.
    """
    faces_VR = torch.empty(rays_VR3.shape[:2], dtype=torch.int32)
    lengths_VR = torch.empty(rays_VR3.shape[:2])
    scenes: dict[int, Any] = {}
    for picture, shape in enumerate(shapes_V.tolist()):
        if shape not in scenes:
            scenes[shape] = _embree_scene(triangles, shape)
        rays_R3 = rays_VR3[picture].contiguous().numpy()
        origins_R3 = np.tile(origins_V3[picture].numpy(), (len(rays_R3), 1))
        answer = scenes[shape].run(origins_R3, rays_R3, output=True)
        faces_VR[picture] = torch.from_numpy(answer["primID"].astype(np.int32))
        lengths_VR[picture] = torch.from_numpy(answer["tfar"].astype(np.float32))
    return faces_VR, lengths_VR


def _embree_scene(triangles: Triangles, shape: int) -> Any:
    """Embree's scene of one shape."""
    start, count = int(triangles.starts_B[shape]), int(triangles.counts_B[shape])
    mesh_construction: Any = import_module("embreex.mesh_construction")
    rtcore_scene: Any = import_module("embreex.rtcore_scene")
    scene = rtcore_scene.EmbreeScene()
    corners = triangles.corners_F33[start : start + count].reshape(-1, 3).numpy()
    faces = np.arange(3 * count, dtype=np.int32).reshape(-1, 3)
    mesh_construction.TriangleMesh(scene, np.ascontiguousarray(corners), faces)
    return scene


def _display(light: Float[Tensor, "*N 3"]) -> UInt8[Tensor, "*N 3"]:
    """Turn linear light into sRGB bytes."""
    light = light.clamp(0, 1)
    srgb = torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (srgb * 255).round().to(torch.uint8)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceCheck:
    """Result of comparing the kernel with torch on a device."""

    use_kernel: bool
    """Whether it ran and agreed with torch."""
    differing_share: float
    """Share of the rays with another face than in torch; 1 if it did not run."""
    largest_error: float
    """Largest difference in length where both hit."""
    kernel_milliseconds: float
    """Time of the second run, for `num_rays` rays and `num_faces` faces; 0 if it did not run."""
    torch_milliseconds: float
    num_rays: int
    num_faces: int
    note: str = ""
    """Reason why the kernel is not used; empty if it is."""


def check_device(
    device: torch.device | str, *, num_pictures: int = 4, num_faces: int = 1000, side: int = 96
) -> DeviceCheck:
    """Compare kernel and torch on random triangles; failures of the kernel are not raised.

    Args:
        device: the device; if it is not CUDA nothing is run and torch is used.
        num_pictures: number of pictures.
        num_faces: triangles of the shape.
        side: rays along the side of a picture.
    """
    device = torch.device(device)
    num_rays = num_pictures * side * side
    result = DeviceCheck(
        use_kernel=False,
        differing_share=1.0,
        largest_error=0.0,
        kernel_milliseconds=0.0,
        torch_milliseconds=0.0,
        num_rays=num_rays,
        num_faces=num_faces,
        note=f"{device.type} devices use torch",
    )
    if device.type != "cuda":
        return result
    arguments = _random_scene(device, num_pictures, num_faces, side)
    slow_faces, slow_lengths, torch_milliseconds = _timed(first_faces_in_torch, arguments)
    try:
        from g3pt.stream.mesh_kernel import first_faces

        faces, lengths, kernel_milliseconds = _timed(first_faces, arguments)
    except Exception as error:  # a compiler can fail in any way: torch is used instead
        return replace(
            result, torch_milliseconds=torch_milliseconds, note=f"{type(error).__name__}: {error}"
        )
    differing = float((faces != slow_faces).float().mean())
    both: Bool[Tensor, "V R"] = (faces >= 0) & (slow_faces >= 0)
    largest = float(torch.where(both, (lengths - slow_lengths).abs(), 0.0).max())
    works = differing < MAX_DIFFERING and largest < MAX_ERROR
    return replace(
        result,
        use_kernel=works,
        differing_share=differing,
        largest_error=largest,
        kernel_milliseconds=kernel_milliseconds,
        torch_milliseconds=torch_milliseconds,
        note="" if works else "the kernel does not give what torch gives",
    )


def _random_scene(
    device: torch.device, num_pictures: int, num_faces: int, side: int
) -> dict[str, Any]:
    """Arguments for `first_faces_in_torch`: small random triangles, seen from a circle."""
    generator = torch.Generator().manual_seed(0)
    places_F13 = torch.rand(num_faces, 1, 3, generator=generator) * 1.6 - 0.8
    corners_F33 = places_F13 + 0.1 * torch.randn(num_faces, 3, 3, generator=generator)
    angles_V = torch.arange(num_pictures) * (2 * torch.pi / num_pictures)
    origins_V3 = 4 * torch.stack([angles_V.sin(), torch.zeros(num_pictures), angles_V.cos()], dim=1)
    line = (torch.arange(side) + 0.5) / side * 2.4 - 1.2
    right_V3 = torch.stack([angles_V.cos(), torch.zeros(num_pictures), -angles_V.sin()], dim=1)
    targets_VHW3 = right_V3[:, None, None] * line[:, None] - line[:, None, None] * torch.tensor(
        [0.0, 1.0, 0.0]
    )
    rays_VR3 = (targets_VHW3 - origins_V3[:, None, None]).flatten(1, 2)
    shapes_V = torch.zeros(num_pictures, dtype=torch.long)
    triangles = Triangles(
        corners_F33=corners_F33,
        normals_F33=torch.zeros_like(corners_F33),
        colors_F33=torch.zeros_like(corners_F33, dtype=torch.uint8),
        starts_B=torch.zeros(1, dtype=torch.long),
        counts_B=torch.tensor([num_faces]),
        orientation_B=torch.ones(1),
        max_faces=num_faces,
    )
    return {
        "table_VFK": face_table(triangles, shapes_V, origins_V3).to(device),
        "counts_V": torch.full((num_pictures,), num_faces, device=device),
        "rays_VR3": functional.normalize(rays_VR3, dim=-1).to(device),
        "nearest": NEAREST,
        "slack": SLACK,
        "thinnest": THINNEST,
    }


def _timed(
    work: Callable[..., tuple[Tensor, Tensor]], arguments: dict[str, Any]
) -> tuple[Tensor, Tensor, float]:
    """Run something twice on a CUDA device; also return the milliseconds of the second run."""
    work(**arguments)
    torch.cuda.synchronize()
    began = time.perf_counter()
    faces_VR, lengths_VR = work(**arguments)
    torch.cuda.synchronize()
    return faces_VR, lengths_VR, 1e3 * (time.perf_counter() - began)
