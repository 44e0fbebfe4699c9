"""Helpers stand beside the tests that use them; trained smoke runs are shared."""

import sys
from pathlib import Path

import pytest

from shared import made_once

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with finished smoke runs `tokenizer` and `car`, and the shapes they used."""
    import smoke

    from g3pt.training.start import start

    folder = tmp_path_factory.mktemp("trained")
    (folder / "cache").mkdir()
    start(smoke.tokenizer_run(folder), folder / "tokenizer")
    start(smoke.car_run(folder), folder / "car")
    return folder


@pytest.fixture(scope="session")
def trained_rivals(trained):
    """The same folder with finished smoke runs `tokenizer-kl`, `flow` and `regressor`."""
    import smoke

    from g3pt.training.start import start

    start(smoke.kl_run(trained), trained / "tokenizer-kl")
    start(smoke.flow_run(trained), trained / "flow")
    start(smoke.regressor_run(trained), trained / "regressor")
    return trained


@pytest.fixture(scope="session")
def unseen_yardstick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two objects of kinds that nothing is trained on."""
    from g3pt.evaluation.objects import list_objects
    from g3pt.evaluation.sets.yardsticks import YardstickConfig, build_yardstick
    from g3pt.shapes.yardstick import save_yardstick

    config = YardstickConfig(num_points=256, num_queries=128, picture_size=64, render_size=64)

    def make(folder: Path) -> None:
        objects = list_objects("procedural-held-out-families", limit=2)
        unseen = build_yardstick("unseen", objects, config).yardstick
        save_yardstick(folder / "unseen.safetensors", unseen)

    return made_once(tmp_path_factory, "yardsticks", make) / "unseen.safetensors"
