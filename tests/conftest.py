"""Shape and dtype annotations of g3pt are checked while tests run."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for the processes that tests start

import pytest
from jaxtyping import install_import_hook

from shared import made_once

install_import_hook("g3pt", "typechecker.checked")


pytest_plugins = ("prepared", "clusters")


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder of an untrained tokenizer and generator with image and text conditions."""
    import torch

    from g3pt.models.car import Car, CarConfig
    from g3pt.models.conditioning import ImageConditionConfig, TextConditionConfig
    from g3pt.models.cqt import CqtConfig
    from g3pt.models.cvq import CvqConfig, CvqTokenizer
    from g3pt.models.quantizers import LfqConfig
    from g3pt.models.weights.config import WeightsConfig
    from g3pt.models.weights.load import save_weights

    lengths, bits, dim = (1, 4, 16), 5, 32
    tokenizer_config = CvqConfig(
        num_latents=16,
        dim=dim,
        num_heads=2,
        encoder_layers=1,
        decoder_layers=1,
        num_octaves=1,
        cqt=CqtConfig(scale_lengths=lengths),
        quantizer=LfqConfig(num_bits=bits),
    )
    words = ("a", "red", "mug", "table")
    car_config = CarConfig(
        scale_lengths=lengths,
        num_bits=bits,
        input_dim=dim,
        depth=2,
        width=32,
        num_heads=2,
        conditions=(
            ImageConditionConfig(image_size=32, patch_size=8, depth=1, width=32, num_heads=2),
            TextConditionConfig(vocabulary=words, max_tokens=16, depth=1, width=32, num_heads=2),
        ),
    )

    def make(folder: Path) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            tokenizer, car = CvqTokenizer(tokenizer_config), Car(car_config)
        config = WeightsConfig(name="untrained", tokenizer=tokenizer_config, num_points=512)
        save_weights(folder, tokenizer, car, config=config, card="An untrained model for tests.\n")

    return made_once(tmp_path_factory, "untrained", make)


@pytest.fixture(scope="session")
def frozen_sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Conditions whose frozen encoders have the right architecture, small sizes, random weights."""
    import torch

    from frozen_folders import write_clip, write_dinov2
    from g3pt.models.conditioning import ClipConditionConfig, DinoConditionConfig

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}

    def make(folder: Path) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            write_dinov2(folder / "dinov2", **sizes)
            write_clip(folder / "clip", **sizes, intermediate_size=32, vocab_size=32)

    folder = made_once(tmp_path_factory, "frozen", make)
    return {
        "dinov2": DinoConditionConfig(source=str(folder / "dinov2"), width=16),
        "clip": ClipConditionConfig(source=str(folder / "clip"), width=16),
    }
