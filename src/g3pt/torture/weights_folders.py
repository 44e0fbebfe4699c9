"""Hostile weights folders: tensors, configs and vocabularies that do not fit, and polyglots."""

import json
import struct
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from g3pt.config import ConfigError
from g3pt.hashes import file_sha256
from g3pt.models.car import Car, CarConfig
from g3pt.models.conditioning import TextConditionConfig
from g3pt.models.cqt import CqtConfig
from g3pt.models.cvq import CvqConfig, CvqTokenizer
from g3pt.models.quantizers import LfqConfig
from g3pt.models.weights.config import WeightsConfig
from g3pt.models.weights.folder import CONFIG_FILE, MODEL_FILE, VOCABULARY_FILE, WeightsError
from g3pt.models.weights.load import load_weights, save_weights
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

WORDS = ("a", "red", "mug", "table")


class WeightsFolders(Door):
    """Weights folders."""

    name = "weights"
    promise = "weights are loaded whole, finite and as their config describes them, or refused"
    errors = (WeightsError, ConfigError, FileNotFoundError)

    def write(self, folder: Path, rng: Rng) -> Hostile:
        """A weights folder."""
        path = folder / "weights"
        path.mkdir()
        for name, content in sound_folder().items():
            (path / name).write_bytes(content)
        must: Must = "refuse"
        match int(rng.integers(11)):
            case 0:
                what, must = "sound", "open"
            case 1:
                what = _foreign(path, rng)
            case 2:
                name = pick(tuple(sound_folder()), rng)
                (path / name).unlink()
                what = f"without {name}"
            case 3:
                name = pick((CONFIG_FILE, VOCABULARY_FILE), rng)
                what = f"{name}: {replace_by_special(path / name, rng)}"
            case 4:
                name = pick((MODEL_FILE, VOCABULARY_FILE), rng)
                data = (path / name).read_bytes()
                how, changed = damaged_bytes(data, rng)
                (path / name).write_bytes(changed)
                what, must = f"{name}: {how}", "either" if changed == data else "refuse"
            case 5 | 6:
                data = json.loads((path / CONFIG_FILE).read_bytes())
                what, changed = damaged_json_bytes(data, rng)
                (path / CONFIG_FILE).write_bytes(changed)
                must = "either"
            case 7:
                what = _damaged_header(path, rng)
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
                (path / VOCABULARY_FILE).write_bytes(words)
                _sign(path, {"vocabulary_sha256": file_sha256(path / VOCABULARY_FILE)})
                what = f"signed vocabulary {words[:20]!r}"
            case _:
                what = _damaged_tensors(path, rng)
        return Hostile(path, what, must)

    def enter(self, path: Path) -> None:
        """Load them on the CPU; look at every number."""
        loaded = load_weights(path, "cpu")
        parts = [loaded.tokenizer, *([loaded.car] if loaded.car is not None else [])]
        for part in parts:
            for name, tensor in part.state_dict().items():
                assert bool(torch.isfinite(tensor).all()), f"{name} is not finite"
                assert not tensor.is_meta, f"{name} was not loaded"


@lru_cache(maxsize=1)
def sound_folder() -> dict[str, bytes]:
    """The files of a folder of untrained weights, a few hundred kilobytes."""
    lengths, bits, dim = (1, 4), 3, 8
    tokenizer = CvqConfig(
        num_latents=4,
        dim=dim,
        num_heads=2,
        encoder_layers=1,
        decoder_layers=1,
        num_octaves=1,
        cqt=CqtConfig(scale_lengths=lengths),
        quantizer=LfqConfig(num_bits=bits),
    )
    words = TextConditionConfig(vocabulary=WORDS, max_tokens=8, depth=1, width=8, num_heads=2)
    car = CarConfig(
        scale_lengths=lengths,
        num_bits=bits,
        input_dim=dim,
        depth=1,
        width=8,
        num_heads=2,
        conditions=(words,),
    )
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        config = WeightsConfig(name="untrained", tokenizer=tokenizer, num_points=64)
        save_weights(folder, CvqTokenizer(tokenizer), Car(car), config=config)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def _sign(path: Path, fields: dict[str, Any]) -> None:
    config = json.loads((path / CONFIG_FILE).read_bytes())
    (path / CONFIG_FILE).write_text(json.dumps({**config, **fields}))


def _sign_model(path: Path) -> None:
    _sign(path, {"sha256": file_sha256(path / MODEL_FILE)})


def _foreign(path: Path, rng: Rng) -> str:
    """Another kind of file, perhaps with the right checksum."""
    name = pick((MODEL_FILE, VOCABULARY_FILE, CONFIG_FILE), rng)
    what = pick([each for each in FOREIGN if name != CONFIG_FILE or each != "nothing"], rng)
    content = FOREIGN[what]
    if name == MODEL_FILE and rng.random() < 0.3:  # sound tensors behind the beginning of another
        what = f"tensors behind {what}"
        content = (content or b"x") + sound_folder()[MODEL_FILE]
    (path / name).write_bytes(content)
    if name == MODEL_FILE:
        _sign_model(path)
    return f"{name}: {what}"


def _damaged_header(path: Path, rng: Rng) -> str:
    """A model file whose JSON header was changed, with the right checksum."""
    data = (path / MODEL_FILE).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    if rng.random() < 0.15:
        told = int(pick((0, 1, 2**40, 2**63, len(data), 10**8), rng))
        what, changed = f"header of {told} bytes", struct.pack("<Q", told) + data[8:]
    else:
        what, header = damaged_json(header, rng)
        text = json.dumps(header).encode()
        changed = struct.pack("<Q", len(text)) + text + data[8 + length :]
    (path / MODEL_FILE).write_bytes(changed)
    _sign_model(path)
    return f"{MODEL_FILE}: {what}"


def _damaged_tensors(path: Path, rng: Rng) -> str:
    """A whole and signed model file with a tensor that does not fit."""
    tensors: dict[str, Tensor] = load((path / MODEL_FILE).read_bytes())
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
    (path / MODEL_FILE).write_bytes(save({each: one.contiguous() for each, one in tensors.items()}))
    _sign_model(path)
    return what
