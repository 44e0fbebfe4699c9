"""Instances of meshes in the node tree of a glTF document."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from jaxtyping import Float64

from g3pt.geometry.formats.limits import check_instances
from g3pt.geometry.triangles import MeshError

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a mesh in the scene."""

    mesh: int
    """Its index in the document."""
    matrix: Float64[np.ndarray, "4 4"]
    """From the mesh's frame to the scene's, for column vectors."""


def instances(document: Json) -> list[Instance]:
    """List every mesh that the document's scene shows.

    Raises:
        MeshError: if the nodes are not a forest (a node with two parents, or inside itself), or
            there are too many.
    """
    nodes = cast("list[Json]", document.get("nodes", []))
    children = [_indices(node.get("children", []), len(nodes)) for node in nodes]
    roots = _checked_forest(children)
    shown = _scene_roots(document, len(nodes))
    if shown is None:
        shown = roots
    elif not set(shown) <= set(roots) or len(set(shown)) < len(shown):
        raise MeshError("its scene lists a node that is already part of another")
    found: list[Instance] = []
    waiting = [(root, np.eye(4)) for root in reversed(shown)]
    while waiting:
        index, above = waiting.pop()
        matrix = above @ _local_matrix(nodes[index])
        if "mesh" in nodes[index]:
            found.append(Instance(nodes[index]["mesh"], matrix))
            check_instances(len(found))
        waiting += [(child, matrix) for child in reversed(children[index])]
    return found


def _indices(values: Any, num: int) -> list[int]:
    for value in values:
        if type(value) is not int or not 0 <= value < num:
            raise MeshError(f"names node {str(value)[:20]} of the {num} there are", "bad_indices")
    return values


def _scene_roots(document: Json, num_nodes: int) -> list[int] | None:
    scenes = document.get("scenes", [])
    if not scenes:
        return None
    index = document.get("scene", 0)
    if type(index) is not int or not 0 <= index < len(scenes):
        raise MeshError(f"names scene {str(index)[:20]}, there are {len(scenes)}", "bad_indices")
    return _indices(scenes[index].get("nodes", []), num_nodes)


def _checked_forest(children: list[list[int]]) -> list[int]:
    """Check that every node has at most one parent and none is inside itself; return the roots."""
    has_parent = [False] * len(children)
    for group in children:
        for child in group:
            if has_parent[child]:
                raise MeshError(f"node {child} has two parents, expected a tree of nodes")
            has_parent[child] = True
    roots = [index for index, inside in enumerate(has_parent) if not inside]
    reached, waiting = 0, list(roots)
    while waiting:
        reached += 1
        waiting += children[waiting.pop()]
    if reached < len(children):
        raise MeshError("its nodes contain each other in a cycle, expected a tree of nodes")
    return roots


def _local_matrix(node: Json) -> Float64[np.ndarray, "4 4"]:
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    matrix = np.eye(4)
    if "rotation" in node:
        matrix[:3, :3] = _rotation(np.array(node["rotation"], dtype=np.float64).reshape(4))
    if "scale" in node:
        matrix[:3, :3] *= np.array(node["scale"], dtype=np.float64).reshape(3)
    if "translation" in node:
        matrix[:3, 3] = np.array(node["translation"], dtype=np.float64).reshape(3)
    return matrix


def _rotation(quaternion: Float64[np.ndarray, " 4"]) -> Float64[np.ndarray, "3 3"]:
    """Rotation matrix of a quaternion (x, y, z, w) of any length but zero."""
    length = float(np.linalg.norm(quaternion))
    if not length > 0:
        raise MeshError("a node is rotated by a quaternion of length zero")
    x, y, z, w = quaternion / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
