"""The first guess trained alone, on recorded examples, with everything else left as it was."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from g3pt.models.conditioning.pretrained import frozen_features
from g3pt.models.guess import GuessConfig
from g3pt.models.weights.config import WeightsConfig
from g3pt.models.weights.folder import read_config
from g3pt.models.weights.load import load_weights
from g3pt.recipes.guess import small, small_smoke, sources
from g3pt.stream.dataset import StreamConfig
from g3pt.stream.fields import QueryCounts
from g3pt.stream.maker import MakerConfig
from g3pt.stream.recorded import RecordedConfig
from g3pt.stream.recording import RecordingConfig, Selection, record
from g3pt.training.checkpoint import load_newest_checkpoint
from g3pt.training.config import TrainConfig
from g3pt.training.kinds.stream import StreamRun, WatchConfig
from g3pt.training.loop import BEST_FOLDER
from g3pt.training.start import complete, open_task, start
from g3pt.training.task import Part
from g3pt.training.trained import load_car

GUESS = GuessConfig(
    image_size=64, num_scales=2, place_width=4, width=32, depth=1, dropout=0.0, shown=False
)


@pytest.fixture(scope="module")
def recording(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of each of sixteen shapes, with the tokens of all scales."""
    tokenizer = load_weights(tiny_weights, "cpu").tokenizer
    maker = MakerConfig(
        num_points=256,
        image_size=64,
        num_views=2,
        queries=QueryCounts(num_volume=32, num_near=24),
    )
    config = RecordingConfig(source="families", part=16, features=True, maker=maker)
    folder = tmp_path_factory.mktemp("recordings") / "families"
    record(
        config,
        folder,
        16,
        tokenizer.tokenize,
        lambda pictures: frozen_features(pictures, 64, GUESS.sha256),
    )
    return folder


@pytest.fixture(scope="module")
def run(tiny_weights: Path, recording: Path, unseen_yardstick: Path) -> StreamRun:
    car = read_config(tiny_weights, WeightsConfig).car
    assert car is not None
    data = RecordedConfig(
        selections=(Selection(folder=str(recording)),),
        batch_size=8,
        num_points=256,
        image_size=64,
    )
    recipe = small()
    return replace(
        recipe,
        initial=str(tiny_weights),
        tokenizer=str(tiny_weights),
        model=replace(car, guess=GUESS),
        data=data,
        watch=WatchConfig(yardsticks=(str(unseen_yardstick),), num_objects=2),
        train=TrainConfig(
            ema_decay=0.9,
            steps=40,
            log_every=20,
            eval_every=20,
            keep_best="iou/new",
            device="cpu",
            threads=1,
        ),
    )


@pytest.fixture(scope="module")
def trained(run: StreamRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "guess"
    start(run, folder)
    return folder


def test_all_but_the_guess_stays_as_it_was(tiny_weights: Path, trained: Path):
    before, after = load_car(tiny_weights).state_dict(), load_car(trained).state_dict()
    assert {name for name in after if name not in before} == {
        name for name in after if name.startswith("guess.")
    }
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert after["guess.to_signs.weight"].any()


def test_it_learns(run: StreamRun, trained: Path):
    completed, tokenizer = complete(run)
    fresh = open_task(completed, tokenizer)
    batch = fresh.batch(0, Part())
    untaught = fresh.loss(batch, step=0, progress=0.0).loss
    fresh.module.load_state_dict(load_car(trained).state_dict())
    assert untaught.item() == pytest.approx(1.0, abs=1e-5)  # nothing is known yet
    taught = fresh.loss(batch, step=0, progress=0.0)
    assert taught.loss < 0.9
    assert taught.over == "scales 1-2 of 3, first guess"


def test_it_is_watched_as_an_answer_of_its_own(trained: Path):
    best = load_newest_checkpoint(trained / BEST_FOLDER)
    assert best is not None
    found = set(best.state["metrics"])
    assert {"iou/unseen/tokens", "iou/unseen/guess", "iou/new"} <= found
    assert not [name for name in found if name.startswith(("ce/", "iou/unseen/sample"))]


def test_both_pictures_of_a_shape_are_seen(run: StreamRun, recording: Path):
    completed, tokenizer = complete(run)
    task = open_task(completed, tokenizer)
    seen: dict[str, set[bytes]] = {}
    for step in range(12):
        batch = task.batch(step, Part())
        for one, picture in zip(batch.ids, batch.condition.pictures_BSS4, strict=True):
            seen.setdefault(one, set()).add(picture.numpy().tobytes())
    assert {len(pictures) for pictures in seen.values()} == {2}


def test_a_model_without_a_guess_has_none_to_train(run: StreamRun):
    completed, tokenizer = complete(replace(run, model=replace(run.model, guess=None)))
    with pytest.raises(ValueError, match=r"give it model\.guess"):
        open_task(completed, tokenizer)


def test_sentences_have_no_guess(run: StreamRun):
    smoke = small_smoke().data
    assert isinstance(smoke, StreamConfig)
    completed, tokenizer = complete(replace(run, data=replace(smoke, text_share=0.1)))
    with pytest.raises(ValueError, match=r"set data\.text_share to 0, got 0\.1"):
        open_task(completed, tokenizer)


def test_the_recipe_reads_what_its_sources_record():
    recipe = small()
    assert isinstance(recipe.data, RecordedConfig)
    for source in sources("stock"):
        assert source.config.maker.image_size == recipe.data.image_size
        assert source.config.maker.num_points == recipe.data.num_points
        assert source.config.features
        assert str(source.folder("cache/guess")) in [each.folder for each in recipe.data.selections]
