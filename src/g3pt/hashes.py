"""SHA-256 of what is compared or drawn from: files, JSON values, named tensors, texts.

What is stored refers to these hashes (weights to frozen files, token files to tokenizers, caches to
shapes, splits to ids), so none of them may change.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    Raises:
        FileNotFoundError: if there is none.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_sha256(values: Mapping[str, Any]) -> str:
    """SHA-256 of JSON values, hexadecimal; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def tensors_sha256(tensors: Mapping[str, "Tensor"]) -> str:
    """SHA-256 over names, number formats, shapes and values of tensors, hexadecimal.

    Of a module's `state_dict()`, equal means that the module computes the same.
    """
    from torch import uint8  # whoever has tensors has loaded it; files are hashed without it

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(uint8).numpy().data)
    return digest.hexdigest()


def text_key(text: str) -> int:
    """64 bits that follow from a text, the same on every machine: seeds and splits of an id."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
