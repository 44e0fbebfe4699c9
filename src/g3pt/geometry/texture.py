"""A picture laid over a mesh: texture coordinates at the corners of its faces.

Legend: P vertices, F faces, U texture coordinates, S side of the picture.
"""

import os
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from numpy import ndarray
from PIL import Image

from g3pt.geometry.triangles import Compression, TriangleMesh

TEXTURE_SUFFIXES = (".glb", ".gltf", ".obj", ".usdz")
"""Formats that are written with a texture."""

MIN_TEXTURE, MAX_TEXTURE = 64, 8192
"""Least and largest side of a texture."""


@dataclass(frozen=True, eq=False)
class Texture:
    """Where the faces of a mesh lie in a picture."""

    uvs_U2: Float64[ndarray, "U 2"]
    """Shares of the side, from left and from bottom, as in OBJ; each belongs to one vertex."""
    corners_F3: Int64[ndarray, "F 3"]
    """Texture coordinate of every corner of every face."""
    image: UInt8[ndarray, "S S 3"]
    """Display values (sRGB), top row first."""

    def png(self) -> bytes:
        """The picture as a PNG file; equal pictures give equal bytes."""
        content = BytesIO()
        Image.fromarray(self.image).save(content, "PNG", optimize=True)
        return content.getvalue()

    def vertices_of(self, mesh: TriangleMesh) -> Int64[ndarray, " U"]:
        """Vertex of the mesh that each texture coordinate belongs to."""
        vertex_U = np.zeros(len(self.uvs_U2), dtype=np.int64)
        vertex_U[self.corners_F3.reshape(-1)] = mesh.faces.reshape(-1)
        return vertex_U


@dataclass(frozen=True, eq=False)
class TexturedMesh:
    """A mesh with a texture."""

    mesh: TriangleMesh
    """Without colours."""
    texture: Texture

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        size_mm: float | None = None,
        axis: Literal["longest", "width", "height", "depth"] | None = None,
        up: Literal["y", "z"] | None = None,
        origin: Literal["center", "base"] | None = None,
        compress: Compression | None = None,
    ) -> None:
        """Write the mesh, placed as its format expects, to a file of `TEXTURE_SUFFIXES`.

        OBJ files get a material library and the picture beside them. The rest is as in
        `TriangleMesh.save`.

        Raises:
            ValueError: if the format carries no texture, or not what was told.
            MeshError: if the suffix is unknown, the folder is missing, or the mesh has no extent.
        """
        self.mesh.save(
            path,
            size_mm=size_mm,
            axis=axis,
            up=up,
            origin=origin,
            compress=compress,
            texture=self.texture,
        )


def check_texture(suffix: str, side: int | None) -> None:
    """Refuse a texture that a format cannot carry, or of a size that is none.

    Args:
        suffix: of the file, lower case.
        side: of the picture, in pixels; None for no texture.

    Raises:
        ValueError: the message begins with `texture` and says what to do.
    """
    if side is None:
        return
    if not MIN_TEXTURE <= side <= MAX_TEXTURE:
        raise ValueError(
            f"texture must be a side of {MIN_TEXTURE} to {MAX_TEXTURE} pixels, got {side}"
        )
    if suffix not in TEXTURE_SUFFIXES:
        raise ValueError(
            f"texture is asked for, which {suffix} files do not get: write "
            f"{', '.join(TEXTURE_SUFFIXES)}"
        )
