"""How much a foreign mesh file may ask for. All is checked before memory is taken."""

from g3pt.geometry.triangles import MeshError

MAX_FILE_BYTES = 2**30
"""Largest mesh file, or everything unpacked from one 3MF file."""

MAX_FACES = 20_000_000
"""Most triangles of one object, all instances counted."""

MAX_VERTICES = 3 * MAX_FACES
"""Most vertices of one object: triangles that share none."""

MAX_TEXTURE_PIXELS = 2**26
"""Largest texture, 8192 x 8192 pixels."""

UNPACK_RATIO = 200
"""An archive that unpacks to more than this many times its size is taken for a bomb."""

FREE_UNPACKED_BYTES = 2**24
"""Below this size nobody asks for the ratio; drawings of text compress well."""


def check_counts(num_vertices: int, num_faces: int) -> None:
    """Refuse an object with too many vertices or faces.

    Raises:
        MeshError: with code `too_large`.
    """
    if num_faces > MAX_FACES or num_vertices > MAX_VERTICES:
        raise MeshError(
            f"asks for {num_vertices} vertices and {num_faces} faces, expected at most "
            f"{MAX_VERTICES} and {MAX_FACES}",
            "too_large",
        )


def check_unpacking(packed: int, unpacked: int, *, limit: int = MAX_FILE_BYTES) -> None:
    """Refuse compressed data that grows beyond a limit, or suspiciously.

    Raises:
        MeshError: with code `too_large`.
    """
    if unpacked > limit:
        raise MeshError(f"unpacks to {unpacked} bytes, expected at most {limit}", "too_large")
    if unpacked > FREE_UNPACKED_BYTES and unpacked > UNPACK_RATIO * max(packed, 1):
        raise MeshError(
            f"unpacks {packed} bytes to {unpacked}, more than {UNPACK_RATIO} times as many",
            "too_large",
        )
