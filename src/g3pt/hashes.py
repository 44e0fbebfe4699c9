"""SHA-256 of files, JSON values, named tensors and texts.

Stored data refer to these hashes: weights to frozen files, token files to tokenizers, caches to
shapes, splits to ids. So the way they are computed may not change.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_sha256(values: Mapping[str, Any]) -> str:
    """SHA-256 of JSON values, hexadecimal; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def tensors_sha256(tensors: Mapping[str, "Tensor"]) -> str:
    """SHA-256 over names, dtypes, shapes and values of tensors, hexadecimal.

    Modules of the same class whose `state_dict()` has the same hash compute the same.
    """
    from torch import uint8  # callers with tensors have loaded torch; hashing files needs none

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(uint8).numpy().data)
    return digest.hexdigest()


def arrays_sha256(arrays: Mapping[str, "ndarray"], texts: Mapping[str, str]) -> str:
    """SHA-256 over texts by name and over names, dtypes, shapes and values of arrays, hexadecimal.

    The order of either does not matter.
    """
    digest = hashlib.sha256(json.dumps(dict(texts), sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def text_key(text: str) -> int:
    """A 64-bit integer computed from a text, the same on every machine: seed and split of an id."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
