"""Hostile meshes of every format (`mesh_files.py`), one at a time."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from g3pt.geometry.mesh import MeshError, read_mesh, write_mesh
from g3pt.torture.damage import (
    FOREIGN,
    Rng,
    damaged_json,
    damaged_numbers,
    pick,
    replace_by_special,
)
from g3pt.torture.doors import Door, Hostile, Must
from g3pt.torture.mesh_files import (
    WRITERS,
    borderline_meshes,
    damaged_mesh,
    gltf_of,
    malicious_meshes,
    pack_glb,
    tetrahedron,
)

MUST: dict[str, Must] = {"good": "open", "bad": "refuse", "either": "either"}
MANY_FACES = 20_000
"""Meshes of more faces are not written again."""


class Meshes(Door):
    """Meshes of all formats that are read."""

    name = "meshes"
    promise = "a mesh is read and can be written again, or is refused with a reason"
    errors = (MeshError,)

    def write(self, folder: Path, rng: Rng) -> Hostile:
        """A mesh file."""
        kind, name, data = "either", "", b""
        match int(rng.integers(10)):
            case 0:
                kind, name = "good", pick(tuple(WRITERS), rng)
                what, data = "sound", WRITERS[name](tetrahedron(rng))
            case 1 | 2:
                files = _malicious()
                name = what = pick(tuple(files), rng)
                kind, data = "bad", files[name]
            case 3:
                files = borderline_meshes()
                name = what = pick(tuple(files), rng)
                data = files[name]
            case 4:
                kind, what = "bad", pick(tuple(FOREIGN), rng)
                name, data = f"foreign{Path(pick(tuple(WRITERS), rng)).suffix}", FOREIGN[what]
            case 5 if rng.random() < 0.3:
                path = folder / pick(tuple(WRITERS), rng)
                return Hostile(path, replace_by_special(path, rng), "refuse")
            case 5 | 6:
                document, binary = gltf_of(tetrahedron(rng))
                what, changed = damaged_json(document, rng, changes=int(rng.integers(1, 4)))
                name, data = "changed.glb", pack_glb(changed, binary)
            case 7:
                name = pick(
                    ("embedded.gltf", "relative.obj", "text.ply", "text.stl", "glued.off"), rng
                )
                what, data = (
                    "changed numbers",
                    damaged_numbers(WRITERS[name](tetrahedron(rng)), rng),
                )
            case _:
                way = int(rng.integers(3))
                kind, name, data = damaged_mesh(rng, way)
                what = ("cut", "flipped bits", "noise")[way]
                name = f"noise{name}" if name.startswith(".") else name
        path = folder / name
        path.write_bytes(data)
        return Hostile(path, what, MUST[kind])

    def enter(self, path: Path) -> None:
        """Read it; write what was read, and read that."""
        mesh = read_mesh(path)
        assert len(mesh.faces) and np.isfinite(mesh.vertices).all()
        assert 0 <= mesh.faces.min() and mesh.faces.max() < len(mesh.vertices)
        if len(mesh.faces) > MANY_FACES:
            return
        copy = path.parent / "copy.ply"
        try:
            write_mesh(copy, mesh)
            assert len(read_mesh(copy).faces) == len(mesh.faces)
        finally:
            copy.unlink(missing_ok=True)


@lru_cache(maxsize=1)
def _malicious() -> dict[str, bytes]:
    return malicious_meshes()
