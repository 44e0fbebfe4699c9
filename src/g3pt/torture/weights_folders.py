"""Hostile weights folders: tensors, configs and vocabularies that do not fit, and polyglots."""

import tempfile
from functools import lru_cache
from pathlib import Path

import torch

from g3pt.config import ConfigError
from g3pt.models.car import Car, CarConfig
from g3pt.models.conditioning import TextConditionConfig
from g3pt.models.cqt import CqtConfig
from g3pt.models.cvq import CvqConfig, CvqTokenizer
from g3pt.models.quantizers import LfqConfig
from g3pt.models.weights.config import WeightsConfig
from g3pt.models.weights.load import load_weights, save_weights
from g3pt.models.weights.places import CONFIG_FILE, MODEL_FILE, VOCABULARY_FILE, WeightsError
from g3pt.torture.signed_folders import SignedFolders

WORDS = ("a", "red", "mug", "table")


class WeightsFolders(SignedFolders):
    """Weights folders."""

    name = "weights"
    promise = "weights are loaded whole, finite and as their config describes them, or refused"
    errors = (WeightsError, ConfigError, FileNotFoundError)
    config_file, tensors_file, words_file = CONFIG_FILE, MODEL_FILE, VOCABULARY_FILE
    words_field = "vocabulary_sha256"

    def sound(self) -> dict[str, bytes]:
        """Untrained weights."""
        return sound_folder()

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
