"""Write a textured mesh as OBJ: the mesh, its material library, and the picture.

Meshes without a texture are written by trimesh. Legend: P vertices, U texture coordinates.
"""

from dataclasses import dataclass

from g3pt.geometry.texture import Texture
from g3pt.geometry.triangles import TriangleMesh, vertex_normals

_MATERIAL = "texture"


@dataclass(frozen=True)
class ObjFiles:
    """The contents of three files that lie beside each other."""

    mesh: bytes
    library: bytes
    picture: bytes


def library_name(stem: str) -> str:
    """File name of the material library of a mesh."""
    return f"{stem}.mtl"


def picture_name(stem: str) -> str:
    """File name of the picture of a mesh; never that of the picture that it was made from."""
    return f"{stem}-texture.png"


def encode_obj(mesh: TriangleMesh, texture: Texture, stem: str) -> ObjFiles:
    """Encode a mesh and its texture.

    Vertices, normals and texture coordinates have numbers of their own: a vertex on a seam stays
    one vertex.

    Args:
        mesh: its numbers are written as they are.
        texture: of the same mesh.
        stem: file name of the mesh without suffix; the other names are made from it.
    """
    lines = ["# g3pt", f"mtllib {library_name(stem)}"]
    lines += [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in mesh.vertices.tolist()]
    lines += [f"vt {u:.9g} {v:.9g}" for u, v in texture.uvs_U2.tolist()]
    lines += [f"vn {x:.6g} {y:.6g} {z:.6g}" for x, y, z in vertex_normals(mesh).tolist()]
    lines.append(f"usemtl {_MATERIAL}")
    corners = zip((mesh.faces + 1).tolist(), (texture.corners_F3 + 1).tolist(), strict=True)
    lines += [f"f {a}/{i}/{a} {b}/{j}/{b} {c}/{k}/{c}" for (a, b, c), (i, j, k) in corners]
    library = [
        f"newmtl {_MATERIAL}",
        "Ka 0 0 0",
        "Kd 1 1 1",
        "Ks 0 0 0",
        "illum 1",
        f"map_Kd {picture_name(stem)}",
    ]
    return ObjFiles(
        "\n".join([*lines, ""]).encode(), "\n".join([*library, ""]).encode(), texture.png()
    )
