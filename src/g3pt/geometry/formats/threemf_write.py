"""Write a mesh as 3MF: one object on the build plate, in millimetres, with vertex colours.

Sources: 3MF Core Specification 1.3 and Materials and Properties Extension 1.2 (3mf.io). A package
is a zip with the three parts that OPC asks for: content types, relationships, and the model.
Legend: P vertices, F faces, K distinct colours.
"""

import zipfile
from io import BytesIO

import numpy as np
from jaxtyping import Int64, UInt8

from g3pt.geometry.triangles import TriangleMesh

_CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
_MATERIALS = "http://schemas.microsoft.com/3dmanufacturing/material/2015/02"
_MODEL_PART = "3D/3dmodel.model"
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that zip has: equal meshes make equal files
_COLORS_ID, _OBJECT_ID = 1, 2

_CONTENT_TYPES = """<?xml version="1.0" encoding="UTF-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/>
</Types>
"""

_RELATIONSHIPS = f"""<?xml version="1.0" encoding="UTF-8"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">
<Relationship Target="/{_MODEL_PART}" Id="rel0" \
Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/>
</Relationships>
"""


def encode_3mf(mesh: TriangleMesh) -> bytes:
    """Encode a mesh as a 3MF package; equal meshes give equal bytes.

    Args:
        mesh: vertices in millimetres, +Z away from the plate. Colours are stored as one group of
            distinct sRGB colours, which the corners of the triangles refer to.

    Returns:
        The bytes of the file.
    """
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in (
            ("[Content_Types].xml", _CONTENT_TYPES),
            ("_rels/.rels", _RELATIONSHIPS),
            (_MODEL_PART, _model(mesh)),
        ):
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # not the system it runs on
            archive.writestr(info, text.encode(), compresslevel=6)
    return content.getvalue()


def _model(mesh: TriangleMesh) -> str:
    group, color_P = _color_group(mesh.colors)
    points = mesh.vertices.astype(np.float32).tolist()  # nine digits give these floats exactly
    own = f'id="{_OBJECT_ID}" type="model"'
    if group:
        own += f' pid="{_COLORS_ID}" pindex="0"'
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<model unit="millimeter" xml:lang="en-US" xmlns="{_CORE}" xmlns:m="{_MATERIALS}">',
            '<metadata name="Application">g3pt</metadata>',
            "<resources>",
            *group,
            f"<object {own}>",
            "<mesh>",
            "<vertices>",
            *[f'<vertex x="{x:.9g}" y="{y:.9g}" z="{z:.9g}"/>' for x, y, z in points],
            "</vertices>",
            "<triangles>",
            *_triangles(mesh, color_P),
            "</triangles>",
            "</mesh>",
            "</object>",
            "</resources>",
            f'<build><item objectid="{_OBJECT_ID}"/></build>',
            "</model>",
            "",
        ]
    )


def _color_group(
    colors: UInt8[np.ndarray, "P 4"] | None,
) -> tuple[list[str], Int64[np.ndarray, " P"] | None]:
    """Lines of the group of distinct colours, and which of them each vertex has."""
    if colors is None:
        return [], None
    distinct_K4, index_P = np.unique(colors, axis=0, return_inverse=True)
    lines = [f'<m:color color="#{bytes(color).hex().upper()}"/>' for color in distinct_K4]
    group = [f'<m:colorgroup id="{_COLORS_ID}">', *lines, "</m:colorgroup>"]
    return group, index_P.reshape(-1).astype(np.int64)


def _triangles(mesh: TriangleMesh, color_P: Int64[np.ndarray, " P"] | None) -> list[str]:
    if color_P is None:
        return [f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in mesh.faces.tolist()]
    rows = np.concatenate([mesh.faces, color_P[mesh.faces]], axis=1)
    return [
        f'<triangle v1="{a}" v2="{b}" v3="{c}" pid="{_COLORS_ID}" p1="{i}" p2="{j}" p3="{k}"/>'
        for a, b, c, i, j, k in rows.tolist()
    ]
