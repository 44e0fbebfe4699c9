"""A run is used like weights: same tokens, same models, and clear words where it cannot be."""

import shutil
from dataclasses import replace

import pytest
import torch


@pytest.fixture
def load_models():
    from g3pt.training.usable import load_models

    return load_models


def test_a_run_gives_what_its_export_in_float32_gives(load_models, trained, tmp_path):
    from g3pt.cli.export import main
    from g3pt.models.weights.load import load_weights

    ours = load_models(trained / "car", "cpu")
    sources = ["--tokenizer", str(trained / "tokenizer"), "--car", str(trained / "car")]
    assert main([*sources, "--storage", "float32", "-o", str(tmp_path / "out")]) == 0
    theirs = load_weights(tmp_path / "out", "cpu")
    assert ours.fingerprint == theirs.fingerprint
    assert ours.fingerprint == load_models(trained / "tokenizer", "cpu").fingerprint
    nameless = {"name": "", "sha256": "", "vocabulary_sha256": ""}
    assert replace(ours.config, **nameless) == replace(theirs.config, **nameless)
    for part in ("tokenizer", "car"):
        state = getattr(theirs, part).state_dict()
        found = getattr(ours, part).state_dict()
        assert all(torch.equal(found[name], value) for name, value in state.items())
    assert ours.sha256 not in ("", load_models(trained / "tokenizer", "cpu").sha256)


def test_a_tokenizer_alone_has_no_generator(load_models, trained):
    loaded = load_models(trained / "tokenizer", "cpu")
    assert loaded.car is None and loaded.config.num_points == 64
    assert loaded.name == str(trained / "tokenizer")


def test_a_flow_brings_its_tokenizer_and_a_regressor_is_sent_to_export(load_models, trained_rivals):
    assert load_models(trained_rivals / "flow", "cpu").flow is not None
    with pytest.raises(ValueError, match=r"run of a regressor.*g3pt export --regressor"):
        load_models(trained_rivals / "regressor", "cpu")


def test_everything_else_is_loaded_as_weights(load_models, tmp_path):
    assert load_models("g3pt-small", "cpu").name == "g3pt-small"
    with pytest.raises(FileNotFoundError, match="no such weights folder"):
        load_models(tmp_path / "nothing", "cpu")


def _copy(trained, folder, **changes):
    from g3pt.config import save_json
    from g3pt.training.runs import CONFIG_FILE, load_run

    shutil.copytree(trained / "car", folder)
    save_json(folder / CONFIG_FILE, replace(load_run(folder), **changes))
    return folder


def test_a_tokenizer_that_is_gone_or_another_one_is_named(load_models, trained, tmp_path):
    gone = _copy(trained, tmp_path / "gone", tokenizer=str(tmp_path / "away"))
    with pytest.raises(FileNotFoundError, match="gone: its tokenizer is not there any more"):
        load_models(gone, "cpu")
    other = _copy(trained, tmp_path / "other", tokenizer="g3pt-small")
    with pytest.raises(ValueError, match="the generator was trained with another tokenizer"):
        load_models(other, "cpu")


def test_an_adapter_is_refused_for_a_run(load_models, trained, tmp_path):
    with pytest.raises(ValueError, match="is a run: write weights with `g3pt export`"):
        load_models(trained / "car", "cpu", adapter=tmp_path)


def test_a_run_without_checkpoints_says_so(load_models, trained, tmp_path):
    run = _copy(trained, tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    with pytest.raises(ValueError, match="no checkpoint has been written yet"):
        load_models(run, "cpu")
