"""Hostile stocks of meshes: their texts, their counts and their compressed streams."""

import json
import lzma
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load

from g3pt.config import ConfigError
from g3pt.shapes.mesh_stock import MeshStock, write_stock
from g3pt.shapes.queries import POSITION_STEPS
from g3pt.shapes.stock_meshes import MAX_STOCK_FACES, StockConfig, StockMesh, StockSurface
from g3pt.shapes.stock_streams import STREAMS, compressed
from g3pt.torture.array_files import (
    ArrayFileDoor,
    greedy_lzma,
    lzma_bomb,
    misfit,
    texts_of,
    with_array,
    with_damaged_text,
    with_texts,
)
from g3pt.torture.damage import (
    Rng,
    damaged_json_bytes,
    pick,
)
from g3pt.torture.doors import Must

MESHES = 3
CONFIG = StockConfig(num_volume=16, num_near=24)
NAME = "meshes.safetensors"
_FACES = [(0, 1, 2), (0, 2, 3), (0, 3, 1), (1, 3, 2)]


class MeshStocks(ArrayFileDoor):
    """Stocks of meshes."""

    name = "stocks"
    promise = "meshes are those that were written, every index within them, or the stock is refused"
    errors = (ValueError, ConfigError, FileNotFoundError)
    file = NAME

    def sound(self) -> bytes:
        """A stock of tetrahedra."""
        return sound_stock()

    def misfitting(self, number: int, data: bytes, rng: Rng) -> tuple[str, bytes, Must]:
        """Damaged texts, wrong numbers in a stream, or streams that do not fit each other."""
        match number:
            case 0:
                return *with_damaged_text(data, "config", rng), "either"
            case 1:
                objects = json.loads(stream_of(data, "objects").tobytes())
                what, text = damaged_json_bytes(objects, rng)
                changed = with_stream("objects", lambda _: np.frombuffer(text, np.uint8))
                return f"objects: {what}", changed, "either"
            case 2 | 3:
                what, must, data = _with_numbers(data, rng)
                return what, data, must
            case _:
                return *_with_misfit(data, rng), "refuse"

    def enter(self, path: Path) -> None:
        """Read the stock and use all of every mesh."""
        stock = MeshStock.read(path)
        for row, described in enumerate(stock.objects):
            surface = stock.surface(row)
            assert 0 <= surface.faces_F3.min() <= surface.faces_F3.max() < len(surface.vertices_P3)
            assert len(surface.faces_F3) == len(surface.masks_F) == len(surface.colors_F33)
            assert np.abs(surface.mesh().vertices).max() <= 1
            assert stock.query_positions(row).shape == (stock.labels_MQ.shape[1], 3)
            assert all(isinstance(each, str) for each in described["captions"])
            assert isinstance(described["flagged"], list)


@lru_cache(maxsize=1)
def sound_stock() -> bytes:
    """A stock of tetrahedra."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        write_stock(path, [_mesh(number, rng) for number in range(MESHES)], CONFIG)
        return path.read_bytes()


def _mesh(number: int, rng: Rng) -> StockMesh:
    corners = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]) * (9000 + 5000 * number)
    colors = np.array([(200, 30, 40), (30, 90, 200)], np.uint8)
    return StockMesh(
        object={
            "id": f"mesh {number} é",
            "family": "test",
            "licence": "CC0-1.0",
            "split": "train",
            "captions": ["a tetrahedron"],
            "flagged": ["label_error"] if number == 1 else [],
            "quality": {"label_error": 0.01, "solid_to_source": 0.001},
            "source": "made here",
        },
        surface=StockSurface(
            vertices_P3=corners.astype(np.int16),
            faces_F3=np.array(_FACES, np.int32),
            colors_F33=colors[rng.integers(0, 2, (len(_FACES), 3))],
            masks_F=rng.integers(1, 2**16, len(_FACES)).astype(np.uint16),
            flipped_F=np.zeros(len(_FACES), np.bool_),
        ),
        volume_V=rng.integers(0, 2, CONFIG.num_volume) > 0,
        near_N=rng.integers(0, 2, CONFIG.num_near) > 0,
    )


def stream_of(data: bytes, name: str) -> np.ndarray:
    """The numbers of a stream of a stock, to be changed."""
    packed = load(data)[name].tobytes()
    return np.frombuffer(lzma.decompress(packed), STREAMS[name]).copy()


def with_stream(
    name: str, change: Callable[[np.ndarray], np.ndarray], *, signed: bool = True
) -> bytes:
    """A stock of which the numbers of a stream were changed.

    Args:
        name: such as `positions`.
        change: from the numbers to others.
        signed: whether it has a hash, the right one.
    """
    data = sound_stock()
    changed = compressed(change(stream_of(data, name)))
    return with_array(data, name, lambda _: changed, signed=signed)


def with_number(name: str, place: int, value: int) -> bytes:
    """A signed stock of which one number of a stream was changed."""

    def change(old: np.ndarray) -> np.ndarray:
        old[place] = value
        return old

    return with_stream(name, change)


def _with_numbers(data: bytes, rng: Rng) -> tuple[str, Must, bytes]:
    """A whole stock with other numbers: what was done, what must become of it, and its bytes."""
    match int(rng.integers(7)):
        case 0:
            name = pick(("names", "places", "counts", "colors"), rng)
            info = np.iinfo(stream_of(data, name).dtype)
            place = int(rng.integers(len(stream_of(data, name))))
            value = int(pick((0, 1, 2, 3, 4, 60_000, 2**31 - 1, -(2**31)), rng))
            value = min(max(value, info.min), info.max)
            return f"{name}: number {place} is {value}", "either", with_number(name, place, value)
        case 1:
            return "a position beyond the unit frame", "refuse", with_number("positions", 4, -32768)
        case 2:
            return "flipped is 2", "refuse", with_number("flipped", 1, 2)
        case 3:
            return "all is buried", "refuse", with_stream("masks", np.zeros_like)
        case 4:
            same = with_stream("positions", lambda old: np.full_like(old, POSITION_STEPS))
            return "all vertices at one place", "refuse", same
        case 5:
            texts = texts_of(data)
            num = str(pick((0, 1, 2, 4, 2**18, 2**40, -1, 10**400, "three", "٣", ""), rng))
            texts["num_meshes"] = num
            must: Must = "either" if num == "٣" else "refuse"
            return f"num_meshes is {num[:20]!r}", must, with_texts(data, texts)
        case _:
            num = int(pick((1000, 2**18), rng))
            row = np.array([MAX_STOCK_FACES, 3 * MAX_STOCK_FACES, 3 * MAX_STOCK_FACES, 1], np.int32)
            huge = with_stream("counts", lambda _: np.tile(row, num))
            texts = texts_of(data) | {"num_meshes": str(num)}
            return f"counts of {num} large meshes", "refuse", with_texts(huge, texts)


def _with_misfit(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """A stock with a stream that is none, or of another length."""
    name, signed = pick(tuple(STREAMS), rng), bool(rng.integers(2))
    match int(rng.integers(8)):
        case 0:
            what, change = "unpacks to 256 MiB", lambda _: lzma_bomb()
        case 1:
            what, change = "asks for 4 GiB to be unpacked", greedy_lzma
        case 2:
            row = stream_of(data, name)
            longer = compressed(np.concatenate([row, row[:1]]))
            what, change = "has one number more", lambda _: longer
        case 3:
            shorter = compressed(stream_of(data, name)[:-1])
            what, change = "has one number less", lambda _: shorter
        case _:
            what, change = misfit(rng)
    return f"{name} {what}", with_array(data, name, change, signed=signed)
