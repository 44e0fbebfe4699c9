"""Write a mesh as USDZ, the format of Apple's viewers: metres, Y up, vertex colours or a texture.

A package is a zip without compression whose files start at multiples of 64 bytes; usd-core (extra
`usd`) writes it. The layer is USD's binary format, with one mesh and one preview material.
"""

import os
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from g3pt.geometry.formats.textures import display_to_linear
from g3pt.geometry.texture import Texture
from g3pt.geometry.triangles import TriangleMesh, vertex_normals

_DATE = 315_619_200  # 2 January 1980, near the first that zip has: equal meshes make equal files
_ROUGHNESS = 0.6
_GREY = (0.42, 0.42, 0.42)
_PICTURE = "texture.png"


def encode_usdz(mesh: TriangleMesh, texture: Texture | None = None) -> bytes:
    """Encode a mesh as a USDZ package.

    Args:
        mesh: vertices in metres, +Y up. Colours are stored as linear light in `displayColor`;
            their alpha is left out, as viewers leave it out.
        texture: what is shown in place of colours.

    Raises:
        ImportError: naming the extra, if usd-core is not installed.
    """
    utilities: Any = _pxr("UsdUtils")
    with tempfile.TemporaryDirectory() as folder:
        layer, package = Path(folder) / "mesh.usdc", Path(folder) / "mesh.usdz"
        if texture is not None:
            picture = Path(folder) / _PICTURE
            picture.write_bytes(texture.png())
            os.utime(picture, (_DATE, _DATE))
        _write_layer(mesh, texture, layer)
        os.utime(layer, (_DATE, _DATE))
        if not utilities.CreateNewUsdzPackage(str(layer), str(package)):
            raise RuntimeError("usd-core could not write the USDZ package")
        return package.read_bytes()


def _write_layer(mesh: TriangleMesh, texture: Texture | None, path: Path) -> None:
    usd, geometry, tokens, values = _pxr("Usd"), _pxr("UsdGeom"), _pxr("Sdf"), _pxr("Vt")
    stage = usd.Stage.CreateNew(str(path))
    geometry.SetStageUpAxis(stage, geometry.Tokens.y)
    geometry.SetStageMetersPerUnit(stage, 1.0)
    root = geometry.Xform.Define(stage, "/shape")
    stage.SetDefaultPrim(root.GetPrim())
    body = geometry.Mesh.Define(stage, "/shape/mesh")
    points = mesh.vertices.astype(np.float32)
    body.CreatePointsAttr(values.Vec3fArray.FromNumpy(points))
    body.CreateFaceVertexCountsAttr(
        values.IntArray.FromNumpy(np.full(len(mesh.faces), 3, dtype=np.int32))
    )
    body.CreateFaceVertexIndicesAttr(
        values.IntArray.FromNumpy(mesh.faces.reshape(-1).astype(np.int32))
    )
    body.CreateSubdivisionSchemeAttr(geometry.Tokens.none)
    body.CreateNormalsAttr(values.Vec3fArray.FromNumpy(vertex_normals(mesh).astype(np.float32)))
    body.SetNormalsInterpolation(geometry.Tokens.vertex)
    body.CreateExtentAttr(
        values.Vec3fArray.FromNumpy(np.stack([points.min(axis=0), points.max(axis=0)]))
    )
    if texture is not None:
        name, kind = "st", tokens.ValueTypeNames.TexCoord2fArray
        places = geometry.PrimvarsAPI(body).CreatePrimvar(name, kind, geometry.Tokens.faceVarying)
        places.Set(values.Vec2fArray.FromNumpy(texture.uvs_U2.astype(np.float32)))
        corners = texture.corners_F3.reshape(-1).astype(np.int32)
        places.SetIndices(values.IntArray.FromNumpy(corners))
    elif mesh.colors is not None:
        linear = display_to_linear(mesh.colors / 255.0)[:, :3].astype(np.float32)
        name, kind = "displayColor", tokens.ValueTypeNames.Color3fArray
        colors = geometry.PrimvarsAPI(body).CreatePrimvar(name, kind, geometry.Tokens.vertex)
        colors.Set(values.Vec3fArray.FromNumpy(linear))
    _bind_material(stage, body, painted=mesh.colors is not None, textured=texture is not None)
    stage.GetRootLayer().Save()


def _bind_material(stage: Any, body: Any, *, painted: bool, textured: bool) -> None:
    """A preview material that shows the texture, the vertex colours, or grey."""
    shade, tokens = _pxr("UsdShade"), _pxr("Sdf")
    kinds = tokens.ValueTypeNames
    material = shade.Material.Define(stage, "/shape/material")
    surface = shade.Shader.Define(stage, "/shape/material/surface")
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("roughness", kinds.Float).Set(_ROUGHNESS)
    surface.CreateInput("metallic", kinds.Float).Set(0.0)
    diffuse = surface.CreateInput("diffuseColor", kinds.Color3f)
    if textured:
        where = shade.Shader.Define(stage, "/shape/material/places")
        where.CreateIdAttr("UsdPrimvarReader_float2")
        where.CreateInput("varname", kinds.String).Set("st")
        picture = shade.Shader.Define(stage, "/shape/material/picture")
        picture.CreateIdAttr("UsdUVTexture")
        picture.CreateInput("file", kinds.Asset).Set(f"./{_PICTURE}")
        picture.CreateInput("sourceColorSpace", kinds.Token).Set("sRGB")
        for axis in ("wrapS", "wrapT"):
            picture.CreateInput(axis, kinds.Token).Set("clamp")
        place = where.CreateOutput("result", kinds.Float2)
        picture.CreateInput("st", kinds.Float2).ConnectToSource(place)
        diffuse.ConnectToSource(picture.CreateOutput("rgb", kinds.Float3))
    elif painted:
        reader = shade.Shader.Define(stage, "/shape/material/colors")
        reader.CreateIdAttr("UsdPrimvarReader_float3")
        reader.CreateInput("varname", kinds.String).Set("displayColor")
        diffuse.ConnectToSource(reader.CreateOutput("result", kinds.Float3))
    else:
        diffuse.Set(_GREY)
    material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", kinds.Token))
    shade.MaterialBindingAPI.Apply(body.GetPrim()).Bind(material)


def _pxr(name: str) -> Any:
    try:
        return import_module(f"pxr.{name}")
    except ImportError:
        raise ImportError("USDZ files need usd-core: pip install g3pt[usd]") from None
