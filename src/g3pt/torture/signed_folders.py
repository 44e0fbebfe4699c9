"""Hostile folders of tensors, a config that signs them, and words: damage that all such share."""

import json
import struct
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load, save
from torch import Tensor

from g3pt.hashes import file_sha256
from g3pt.torture.damage import (
    FOREIGN,
    Rng,
    damaged_bytes,
    damaged_json,
    damaged_json_bytes,
    pick,
    replace_by_special,
)
from g3pt.torture.doors import Door, Hostile, Must


class SignedFolders(Door):
    """Folders whose config holds the checksums of the other files."""

    config_file: ClassVar[str]
    tensors_file: ClassVar[str]
    words_file: ClassVar[str]
    words_field: ClassVar[str]
    """Field of the config with the SHA-256 of the words; that of the tensors is `sha256`."""

    @abstractmethod
    def sound(self) -> dict[str, bytes]:
        """The files of a sound folder, by name."""

    def write(self, folder: Path, rng: Rng) -> Hostile:
        """A folder."""
        path = folder / self.name
        path.mkdir()
        for name, content in self.sound().items():
            (path / name).write_bytes(content)
        must: Must = "refuse"
        match int(rng.integers(11)):
            case 0:
                what, must = "sound", "open"
            case 1:
                what = self._foreign(path, rng)
            case 2:
                name = pick(tuple(self.sound()), rng)
                (path / name).unlink()
                what = f"without {name}"
            case 3:
                name = pick((self.config_file, self.words_file), rng)
                what = f"{name}: {replace_by_special(path / name, rng)}"
            case 4:
                name = pick((self.tensors_file, self.words_file), rng)
                data = (path / name).read_bytes()
                how, changed = damaged_bytes(data, rng)
                (path / name).write_bytes(changed)
                what, must = f"{name}: {how}", "either" if changed == data else "refuse"
            case 5 | 6:
                data = json.loads((path / self.config_file).read_bytes())
                what, changed = damaged_json_bytes(data, rng)
                (path / self.config_file).write_bytes(changed)
                must = "either"
            case 7:
                what = self._damaged_header(path, rng)
                must = "either"
            case 8:
                words = pick(
                    (
                        b"",
                        b"\xff\xfe\n",
                        b"a\nred\nmug\n",
                        b"a\na\na\na\n",
                        b"\n\n\n\n",
                        b"x\n" * 99_999,
                    ),
                    rng,
                )
                (path / self.words_file).write_bytes(words)
                self._sign(path, {self.words_field: file_sha256(path / self.words_file)})
                what = f"signed vocabulary {words[:20]!r}"
            case _:
                what = self._damaged_tensors(path, rng)
        return Hostile(path, what, must)

    def _sign(self, path: Path, fields: dict[str, Any]) -> None:
        config = json.loads((path / self.config_file).read_bytes())
        (path / self.config_file).write_text(json.dumps({**config, **fields}))

    def _sign_tensors(self, path: Path) -> None:
        self._sign(path, {"sha256": file_sha256(path / self.tensors_file)})

    def _foreign(self, path: Path, rng: Rng) -> str:
        """Another kind of file, perhaps with the right checksum."""
        name = pick((self.tensors_file, self.words_file, self.config_file), rng)
        what = pick(
            [each for each in FOREIGN if name != self.config_file or each != "nothing"], rng
        )
        content = FOREIGN[what]
        if name == self.tensors_file and rng.random() < 0.3:
            what = f"sound tensors behind {what}"
            content = (content or b"x") + self.sound()[self.tensors_file]
        (path / name).write_bytes(content)
        if name == self.tensors_file:
            self._sign_tensors(path)
        return f"{name}: {what}"

    def _damaged_header(self, path: Path, rng: Rng) -> str:
        """A model file whose JSON header was changed, with the right checksum."""
        data = (path / self.tensors_file).read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        if rng.random() < 0.15:
            told = int(pick((0, 1, 2**40, 2**63, len(data), 10**8), rng))
            what, changed = f"header of {told} bytes", struct.pack("<Q", told) + data[8:]
        else:
            what, header = damaged_json(header, rng)
            text = json.dumps(header).encode()
            changed = struct.pack("<Q", len(text)) + text + data[8 + length :]
        (path / self.tensors_file).write_bytes(changed)
        self._sign_tensors(path)
        return f"{self.tensors_file}: {what}"

    def _damaged_tensors(self, path: Path, rng: Rng) -> str:
        """A whole and signed model file with a tensor that does not fit."""
        what, changed = damaged_tensors((path / self.tensors_file).read_bytes(), rng)
        (path / self.tensors_file).write_bytes(changed)
        self._sign_tensors(path)
        return what


def damaged_tensors(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """A whole safetensors file with a tensor that does not fit, and what was done to it."""
    tensors: dict[str, Tensor] = load(data)
    name = pick(sorted(tensors), rng)
    tensor = tensors[name]
    match int(rng.integers(9)):
        case 0:
            what = f"{name} is not there"
            del tensors[name]
        case 1:
            what = f"{name} is there twice"
            tensors[f"{name}_"] = tensor.clone()
        case 2:
            value = float(pick((float("nan"), float("inf"), float("-inf")), rng))
            what = f"a number of {name} is {value}"
            changed = tensor.float().flatten()
            if tensor.is_floating_point():
                changed[int(rng.integers(len(changed)))] = value
            else:
                changed = torch.full_like(changed, value)
            tensors[name] = changed.view(tensor.shape)
        case 3:
            dtype = pick((torch.int64, torch.bool, torch.complex64, torch.uint8), rng)
            what = f"{name} holds {dtype}"
            tensors[name] = tensor.to(dtype)
        case 4:
            what = f"{name} has one more dimension"
            tensors[name] = tensor[None]
        case 5:
            what = f"{name} is flat and longer"
            tensors[name] = torch.cat([tensor.flatten(), tensor.flatten()])
        case 6:
            what = f"{name} is empty"
            tensors[name] = tensor.flatten()[:0]
        case 7:
            what = f"{name} has steps that nobody asked for"
            tensors[f"{name}:steps"] = torch.ones(3)
        case _:
            what = "tensors of another model"
            tensors["encoder.weight"] = torch.ones(2)
    return what, save({each: one.contiguous() for each, one in tensors.items()})
