"""Meshes between Blender (Z up) and a server (Y up, front +Z): in as GLB, out as binary PLY."""

import array
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import bpy
from mathutils import Matrix, Vector

COLLECTION = "g3pt"
TO_Y_UP = Matrix(((1, 0, 0, 0), (0, 0, 1, 0), (0, -1, 0, 0), (0, 0, 0, 1)))
"""Blender's x, y, z to glTF's x, z, -y; the importer of glTF does the inverse."""


def add_glb(glb: bytes, name: str) -> list[bpy.types.Object]:
    """Import a mesh file into the collection of this extension.

    Args:
        glb: the file.
        name: of the new objects.

    Returns:
        The objects, at the place that the file says.
    """
    before = set(bpy.data.objects)
    with tempfile.TemporaryDirectory(prefix="g3pt-") as folder:
        path = Path(folder) / "mesh.glb"
        path.write_bytes(glb)
        bpy.ops.import_scene.gltf(filepath=str(path))
    added = [thing for thing in bpy.data.objects if thing not in before]
    for thing in [one for one in added if one.type != "MESH"]:  # nodes without a mesh of their own
        bpy.data.objects.remove(thing)
    found = [thing for thing in bpy.data.objects if thing not in before]
    for thing in found:
        thing.name = name
        thing.data.name = name
        for collection in list(thing.users_collection):
            collection.objects.unlink(thing)
        _collection().objects.link(thing)
        _show_colors(thing)
    return found


def stand(things: Sequence[bpy.types.Object], place: Sequence[float], size: float) -> None:
    """Let objects stand on a place.

    Args:
        things: the objects; together they are one shape.
        place: where the middle of their base goes.
        size: metres of their longest side.
    """
    corners = [
        thing.matrix_world @ Vector(corner) for thing in things for corner in thing.bound_box
    ]
    low = Vector(min(corner[axis] for corner in corners) for axis in range(3))
    high = Vector(max(corner[axis] for corner in corners) for axis in range(3))
    base = Vector(((low.x + high.x) / 2, (low.y + high.y) / 2, low.z))
    factor = size / max(*(high - low), 1e-9)
    for thing in things:
        thing.data.transform(
            Matrix.Scale(factor, 4) @ Matrix.Translation(-base) @ thing.matrix_world
        )
        thing.data.update()
        thing.matrix_world = Matrix.Translation(Vector(place))


def remove(names: Sequence[str]) -> None:
    """Remove objects, and the meshes that nobody else has."""
    for name in names:
        if (thing := bpy.data.objects.get(name)) is not None:
            mesh = thing.data
            bpy.data.objects.remove(thing)
            if mesh is not None and mesh.users == 0:
                bpy.data.meshes.remove(mesh)


def as_ply(thing: bpy.types.Object) -> bytes:
    """An object as it is seen, modifiers and place included, as a binary PLY in glTF's frame.

    Raises:
        ValueError: if it has no faces.
    """
    seen = thing.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = seen.to_mesh()
    try:
        mesh.transform(TO_Y_UP @ thing.matrix_world)
        mesh.calc_loop_triangles()
        triangles = mesh.loop_triangles
        if not triangles:
            raise ValueError(f"{thing.name} has no faces: select a mesh with a surface")
        points = array.array("f", bytes(12 * len(mesh.vertices)))
        mesh.vertices.foreach_get("co", points)
        corners = array.array("i", bytes(12 * len(triangles)))
        triangles.foreach_get("vertices", corners)
        if thing.matrix_world.is_negative:  # a mirrored object shows the backs of its faces
            corners.reverse()
    finally:
        seen.to_mesh_clear()
    if sys.byteorder == "big":
        points.byteswap()
        corners.byteswap()
    raw = corners.tobytes()
    faces = bytearray(13 * (len(raw) // 12))
    faces[0::13] = b"\x03" * (len(raw) // 12)
    for byte in range(12):
        faces[1 + byte :: 13] = raw[byte::12]
    head = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(points) // 3}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(raw) // 12}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    return head.encode() + points.tobytes() + bytes(faces)


def _collection() -> bpy.types.Collection:
    """The collection of what came from servers."""
    found = bpy.data.collections.get(COLLECTION)
    if found is None:
        found = bpy.data.collections.new(COLLECTION)
    scene = bpy.context.scene
    if found.name not in scene.collection.children:
        scene.collection.children.link(found)
    return found


def _show_colors(thing: bpy.types.Object) -> None:
    """Give an object with vertex colours a material that shows them."""
    colors = thing.data.color_attributes
    if not colors:
        return
    name = f"g3pt {colors[0].name}"
    material = bpy.data.materials.get(name)
    if material is None:
        material = bpy.data.materials.new(name)
        material.use_nodes = True
        nodes = material.node_tree.nodes
        attribute = nodes.new("ShaderNodeVertexColor")
        attribute.layer_name = colors[0].name
        surface = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
        material.node_tree.links.new(attribute.outputs["Color"], surface.inputs["Base Color"])
    thing.data.materials.clear()
    thing.data.materials.append(material)
