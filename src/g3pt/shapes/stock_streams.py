"""The byte streams of a stock: how meshes become numbers end to end, and how they are unpacked.

Legend: M meshes, P welded vertices, W wedges (a vertex with a colour), F faces, C corners.
"""

import lzma

import numpy as np
from jaxtyping import Int32, Int64, Integer, UInt8, UInt16
from numpy import ndarray

from g3pt.files import MAX_JSON_BYTES
from g3pt.geometry.formats.limits import most_unpacked
from g3pt.shapes.array_files import ArrayFile
from g3pt.shapes.stock_meshes import MAX_STOCK_FACES, StockConfig, StockMesh
from g3pt.shapes.stored import most_compressed

MAX_COLORS = 256

MAX_STOCK_MESHES = 2**18

_UNPACKER_BYTES = 2**25
"""Memory that a stream may ask for to be unpacked; those of `compressed` need 9 MiB."""

STREAMS: dict[str, type[np.generic]] = {
    "names": np.uint16,
    "places": np.uint16,
    "positions": np.int16,
    "palettes": np.uint8,
    "colors": np.uint8,
    "masks": np.uint16,
    "flipped": np.uint8,
    "labels": np.uint8,
    "counts": np.int32,
    "objects": np.uint8,
}
"""The streams of the file and the types of their numbers."""

_COUNTS = 4
"""Numbers of faces, wedges, vertices and colours of a mesh."""


def append_mesh(parts: dict[str, list[ndarray]], mesh: StockMesh) -> None:
    """Add the numbers of a mesh to those of all streams but `objects`.

    Args:
        parts: by stream, one array a mesh.
        mesh: the mesh.

    Raises:
        ValueError: if it has too many faces or colours.
    """
    surface = mesh.surface
    name = mesh.object["id"]
    if len(surface.faces_F3) > MAX_STOCK_FACES:
        raise ValueError(f"{name}: {len(surface.faces_F3)} faces, expected <= {MAX_STOCK_FACES}")
    colors, color_C = np.unique(surface.colors_F33.reshape(-1, 3), axis=0, return_inverse=True)
    if len(colors) > MAX_COLORS:
        raise ValueError(f"{name}: {len(colors)} colours, expected at most {MAX_COLORS}")
    wedge_C, wedges_W = _by_first_use(
        surface.faces_F3.reshape(-1).astype(np.int64) * MAX_COLORS + color_C.reshape(-1)
    )
    place_W, used_P = _by_first_use(wedges_W // MAX_COLORS)
    parts["names"].append(_distances(wedge_C))
    parts["places"].append(_distances(place_W))
    parts["positions"].append(surface.vertices_P3[used_P].T.reshape(-1))
    parts["palettes"].append(colors.astype(np.uint8).reshape(-1))
    parts["colors"].append((wedges_W % MAX_COLORS).astype(np.uint8))
    parts["masks"].append(surface.masks_F)
    parts["flipped"].append(surface.flipped_F.astype(np.uint8))
    parts["labels"].append(np.packbits(np.concatenate([mesh.volume_V, mesh.near_N])))
    parts["counts"].append(
        np.array([len(surface.faces_F3), len(wedges_W), len(used_P), len(colors)], np.int32)
    )


def _by_first_use(
    names: Int64[ndarray, " C"],
) -> tuple[Int64[ndarray, " C"], Int64[ndarray, " K"]]:
    """Renumber values in the order of first use; also return the value of each number."""
    known, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(known), dtype=np.int64)
    rank[order] = np.arange(len(known))
    return rank[inverse.reshape(-1)], known[order]


def _distances(numbers: Int64[ndarray, " C"]) -> UInt16[ndarray, " C"]:
    """Distance of each number below the next new one, for numbers in order of first use."""
    next_new = np.concatenate([[0], np.maximum.accumulate(numbers)[:-1] + 1])
    return (next_new - numbers).astype(np.uint16)


def counted_numbers(
    origin: str,
    distances_C: UInt16[ndarray, " C"],
    uses_M: Int64[ndarray, " M"],
    known_M: Int64[ndarray, " M"],
) -> Int64[ndarray, " C"]:
    """Read numbers back from their distances for many meshes end to end; each starts from zero.

    Args:
        origin: file and stream, for messages.
        distances_C: as they are stored; zero for a new number.
        uses_M: how many of them each mesh has, at least one.
        known_M: how many different numbers each mesh has.

    Raises:
        ValueError: if a mesh has more or fewer numbers, or one below zero.
    """
    new_C = distances_C == 0
    numbers_C = np.cumsum(new_C)
    new_M = np.diff(numbers_C[starts_of(uses_M)[1:] - 1], prepend=0)
    if (new_M != known_M).any():
        row = int((new_M != known_M).argmax())
        raise ValueError(
            f"{origin}: mesh {row} has {new_M[row]} different ones, counts tell {known_M[row]}"
        )
    numbers_C -= new_C
    numbers_C -= np.repeat(starts_of(known_M)[:-1], uses_M)
    numbers_C -= distances_C
    if numbers_C.min() < 0:
        raise ValueError(f"{origin}: one is {numbers_C.min()}, expected at least 0")
    return numbers_C


def compressed(array: ndarray) -> UInt8[ndarray, " _"]:
    """The bytes of a stream, as they lie in the file."""
    return np.frombuffer(lzma.compress(array.tobytes(), preset=6), np.uint8)


def read_streams(file: ArrayFile, num: int, config: StockConfig) -> dict[str, ndarray]:
    """The unpacked streams, each of the length that the counts of all meshes give it.

    Args:
        file: an opened stock.
        num: of meshes.
        config: its config.

    Raises:
        ValueError: naming the stream.
    """
    file.check_names(STREAMS)
    size = num * _COUNTS * np.dtype(np.int32).itemsize
    file.check_bytes("counts", most_compressed(size), by="num_meshes")
    packed = {"counts": file.read("counts")}
    counts_M4 = _unpacked(file, "counts", packed["counts"], size).reshape(-1, _COUNTS)
    sizes = _stream_bytes(file, counts_M4, config)
    sizes["counts"] = size
    for name, size in (sizes | {"objects": MAX_JSON_BYTES}).items():
        file.check_bytes(name, most_compressed(size), by="counts")
    packed |= {name: file.read(name) for name in STREAMS if name != "counts"}
    file.check_sha256(packed)
    total, stored = sum(sizes.values()), sum(len(stream) for stream in packed.values())
    if total > most_unpacked(stored):
        raise ValueError(
            f"{file.path}: counts: ask for {total} bytes, which the {stored} that are there are "
            "too few to hold"
        )
    return {"counts": counts_M4} | {
        name: _unpacked(file, name, packed[name], sizes.get(name))
        for name in STREAMS
        if name != "counts"
    }


def _stream_bytes(
    file: ArrayFile, counts_M4: Int32[ndarray, "M 4"], config: StockConfig
) -> dict[str, int]:
    """Bytes of every unpacked stream but counts and objects.

    Raises:
        ValueError: if the counts of a mesh are impossible.
    """
    faces_M, wedges_M, vertices_M, colors_M = counts_M4.T
    for name, counts_M, most_M in (
        ("faces", faces_M, MAX_STOCK_FACES),
        ("wedges", wedges_M, 3 * faces_M),
        ("vertices", vertices_M, wedges_M),
        ("colours", colors_M, np.minimum(MAX_COLORS, wedges_M)),
    ):
        wrong_M = (counts_M < 1) | (counts_M > most_M)
        if wrong_M.any():
            row = int(wrong_M.argmax())
            raise ValueError(
                f"{file.path}: counts: mesh {row} has {counts_M[row]} {name}, expected 1 to "
                f"{np.broadcast_to(most_M, counts_M.shape)[row]}"
            )
    faces, wedges, vertices, colors = (int(total) for total in counts_M4.sum(axis=0, dtype="i8"))
    numbers = {
        "names": 3 * faces,
        "places": wedges,
        "positions": 3 * vertices,
        "palettes": 3 * colors,
        "colors": wedges,
        "masks": faces,
        "flipped": faces,
        "labels": len(counts_M4) * ((config.num_volume + config.num_near) // 8),
    }
    return {name: number * np.dtype(STREAMS[name]).itemsize for name, number in numbers.items()}


def _unpacked(
    file: ArrayFile, name: str, packed: UInt8[ndarray, " _"], size: int | None
) -> ndarray:
    """The numbers of a stream.

    Args:
        file: for messages.
        name: of the stream.
        packed: its bytes.
        size: bytes that it unpacks to; None for text, which may have any usual size.

    Raises:
        ValueError: if it unpacks to another size, or not at all.
    """
    most = size
    if most is None:
        most = min(MAX_JSON_BYTES, most_unpacked(len(packed)))
    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_UNPACKER_BYTES)
    try:
        data = stream.decompress(packed.tobytes(), most + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{file.path}: {name}: cannot be unpacked ({error})") from None
    if not stream.eof or stream.unused_data or size not in (None, len(data)):
        raise ValueError(f"{file.path}: {name}: does not unpack to its {most} bytes")
    return np.frombuffer(data, STREAMS[name])


def starts_of(counts: Integer[ndarray, " M"]) -> Int64[ndarray, " M_1"]:
    """First entry of every mesh, and behind them the number of all entries."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
