"""The weights of the cut-out network are read from an ONNX file without running anything of it."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from loaded_files import load_file

SCRIPT = Path(__file__).parents[2] / "scripts" / "bundle_cutout.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="an installed package has no scripts")


@pytest.fixture(scope="module")
def script():
    return load_file(SCRIPT)


def field(number: int, content: bytes | int) -> bytes:
    """A field of a protocol buffer message, by the published encoding."""
    if isinstance(content, int):
        return varint(8 * number) + varint(content)
    return varint(8 * number + 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    parts = [value & 127]
    while value := value >> 7:
        parts.append(value & 127)
    return bytes(part | 128 for part in parts[:-1]) + bytes(parts[-1:])


def onnx(tensors: dict[str, np.ndarray], kind: int = 1) -> bytes:
    graph = field(2, b"a graph")
    for name, tensor in tensors.items():
        content = b"".join(field(1, side) for side in tensor.shape) + field(2, kind)
        graph += field(5, content + field(8, name.encode()) + field(9, tensor.tobytes()))
    header = field(1, 8) + varint(8 * 3 + 5) + struct.pack("<f", 1.0)
    return header + field(7, graph)


def test_tensors_come_by_name_in_their_order(script) -> None:
    rng = np.random.default_rng(0)
    tensors = {
        "b": rng.normal(size=(300, 3)).astype(np.float32),
        "a": rng.normal(size=4).astype(np.float32),
    }
    read = script.onnx_tensors(onnx(tensors))
    assert list(read) == ["b", "a"]
    assert all((read[name].numpy() == tensor).all() for name, tensor in tensors.items())


def test_numbers_of_another_kind_are_refused(script) -> None:
    with pytest.raises(ValueError, match=r"a: is not stored as the raw bytes of \[4\] float32"):
        script.onnx_tensors(onnx({"a": np.zeros(4, dtype=np.float32)}, kind=10))


def test_every_tensor_has_a_place_in_the_network(script) -> None:
    from g3pt.models.cutout import U2NetP

    names = [name for name in script.layer_names(U2NetP())]
    assert len(set(names)) == len(names) == 119
    assert {f"{name}.{part}" for name in names for part in ("weight", "bias")} == set(
        U2NetP().state_dict()
    )


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "u2netp.onnx"
    path.write_bytes(b"something else")
    command = [sys.executable, str(SCRIPT), str(path), str(tmp_path / "out.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "has SHA-256" in done.stderr
    assert not (tmp_path / "out.safetensors").exists()
