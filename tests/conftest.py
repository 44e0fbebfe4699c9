"""Shape and dtype annotations of g3pt are checked while tests run."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for the processes that tests start

import pytest
from jaxtyping import install_import_hook

import no_pickle
from shared import made_once

no_pickle.install()
no_pickle.install_in_others()

install_import_hook("g3pt", "typechecker.checked")


pytest_plugins = ("prepared", "clusters")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Draw the same numbers for a test and its fixtures, whatever ran before them."""
    import torch

    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder of an untrained tokenizer and generator with image and text conditions."""
    from untrained import write_untrained

    return made_once(tmp_path_factory, "untrained", write_untrained)


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
