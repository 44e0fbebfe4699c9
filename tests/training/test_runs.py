"""A run folder holds what is needed to go on from it and to build on it."""

import json
import re
from dataclasses import replace

import pytest
import smoke
import torch

from g3pt.config import ConfigError, save_json, to_json
from g3pt.recipes import recipe
from g3pt.training.runs import load_run, read_run
from g3pt.training.start import complete, open_task, start
from g3pt.training.trained import load_tokenizer, load_trained


def test_the_run_folder_has_the_promised_files(trained):
    for name in ("tokenizer", "car"):
        folder = trained / name
        assert {path.name for path in folder.iterdir()} == {
            "config.json",
            "metrics.jsonl",
            "checkpoints",
        }
        checkpoint = folder / "checkpoints" / "step-4"
        assert {path.name for path in checkpoint.iterdir()} == {
            "model.safetensors",
            "ema.safetensors",
            "optimizer.safetensors",
            "state.json",
            "manifest.json",
        }
        state = json.loads((checkpoint / "state.json").read_text())
        assert state["environment"]["versions"]["torch"] == torch.__version__
        assert state["run"] == json.loads((folder / "config.json").read_text())


def test_the_config_is_complete_and_reads_back(trained):
    tokenizer, car = load_run(trained / "tokenizer"), load_run(trained / "car")
    assert tokenizer.data.shards and tokenizer.validation.shards
    assert car.model.scale_lengths == tokenizer.model.cqt.scale_lengths
    assert car.model.input_dim == tokenizer.model.dim
    (text,) = [c for c in car.model.conditions if c.kind == "text"]
    assert "a" in text.vocabulary
    assert car.data.tokens and car.validation.tokens


def test_a_config_from_before_colours_had_a_choice_is_still_that_of_its_recipe(tmp_path):
    run = recipe("tokenizer-small")
    save_json(tmp_path / "config.json", run)
    text = (tmp_path / "config.json").read_text()
    written = re.sub(r',\s*"gltf_colors": "srgb"', "", text)
    assert "gltf_colors" in text and "gltf_colors" not in written
    (tmp_path / "config.json").write_text(written)
    assert load_run(tmp_path) == run


def test_fields_that_are_gone_are_passed_over_where_they_said_what_is_done_now(tmp_path):
    run = recipe("car-tiny")
    data = to_json(run)
    data["data"]["only_with_images"], data["loss"]["guess_features"] = False, 1.0
    (tmp_path / "config.json").write_text(json.dumps(data))
    assert load_run(tmp_path) == run
    data["loss"]["guess_features"] = 0.5
    (tmp_path / "config.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=r"loss\.guess_features: unknown field"):
        load_run(tmp_path)


def test_the_sampling_of_yardsticks_was_once_three_fields(tmp_path):
    run = recipe("car-stream-small")
    data = to_json(run)
    del data["watch"]["sampling"]
    data["watch"] |= {"temperature": 0.5, "guidance": 1.5, "num_scales": 0}
    (tmp_path / "config.json").write_text(json.dumps(data))
    assert load_run(tmp_path) == run


def test_a_trained_model_is_the_average_unless_asked_otherwise(trained):
    from g3pt.training.checkpoint import load_checkpoint

    saved = load_checkpoint(trained / "tokenizer" / "checkpoints", 4)
    average = load_trained(trained / "tokenizer")
    last = load_trained(trained / "tokenizer", average=False)
    name = "decoder.head.weight"
    assert torch.equal(average.state_dict()[name], saved.tensors["ema"][name])
    assert torch.equal(last.state_dict()[name], saved.tensors["model"][name])
    assert torch.equal(average.cqt.mean_LC, last.cqt.mean_LC)
    assert not average.training


def test_a_folder_in_use_is_refused_without_resume(trained):
    with pytest.raises(FileExistsError, match="--resume"):
        start(smoke.tokenizer_run(trained), trained / "tokenizer")


def test_a_finished_run_resumed_does_nothing(trained):
    before = (trained / "tokenizer" / "metrics.jsonl").read_bytes()
    result = start(load_run(trained / "tokenizer"), trained / "tokenizer", resume=True)
    assert (result.step, result.finished) == (4, True)
    assert (trained / "tokenizer" / "metrics.jsonl").read_bytes() == before


def test_a_run_can_start_from_trained_weights(trained):
    from g3pt.config import ConfigError

    run, _ = complete(smoke.tokenizer_run(trained, initial=str(trained / "tokenizer")))
    begun = open_task(run).module.state_dict()
    for name, tensor in load_trained(trained / "tokenizer").state_dict().items():
        assert torch.equal(begun[name], tensor), name
    narrow = replace(run, model=replace(run.model, mlp_ratio=2.0))
    with pytest.raises(ConfigError, match="give the run the same model config"):
        open_task(narrow)


def test_a_car_run_is_not_a_tokenizer(trained):
    with pytest.raises(ValueError, match="expected the run of a tokenizer"):
        load_tokenizer(trained / "car")
    with pytest.raises(FileNotFoundError):
        load_tokenizer(trained / "nothing")


def test_both_stages_together_make_a_weights_folder(trained, tmp_path):
    from g3pt.models.weights.config import WeightsConfig
    from g3pt.models.weights.load import load_weights, save_weights

    tokenizer = load_trained(trained / "tokenizer")
    car = load_trained(trained / "car")
    config = WeightsConfig(name="x", storage="float32", tokenizer=tokenizer.config)
    save_weights(tmp_path / "x", tokenizer, car, config=config)
    loaded = load_weights(tmp_path / "x", device="cpu")
    assert torch.equal(loaded.car.positions, car.positions)
    from_weights = load_tokenizer(tmp_path / "x")
    assert torch.equal(from_weights.cqt.slots_LC, tokenizer.cqt.slots_LC)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("data.batch_size", (0, -1, 10**18)),
        ("data.num_points", (0, -1, 10**18)),
        ("data.num_volume_queries", (0, -1, 10**18)),
        ("data.resident_points", (-1, 10**18)),
        ("data.seed", (-1, 10**19)),
        ("model.mlp_ratio", (-1, 0, 1e300)),
        ("model.dim", (0, -1, 10**18)),
        ("model.decoder_layers", (-1, 10**18)),
        ("optim.lr", (-1, 0, 1e300)),
        ("optim.clip_norm", (-1,)),
        ("optim.schedule.warmup_steps", (-1,)),
        ("optim.schedule.final_share", (-1, 2)),
        ("train.seed", (10**18,)),
    ],
)
def test_numbers_that_no_run_can_have_are_refused_by_file_and_field(tmp_path, field, values):
    *way, name = field.split(".")
    for value in values:
        data = to_json(recipe("tokenizer-tiny-smoke"))
        holder = data
        for key in way:
            holder = holder[key]
        holder[name] = value
        (tmp_path / "config.json").write_text(json.dumps(data))
        with pytest.raises(ConfigError, match=rf"config\.json: {way[0]}.*\b{name} must") as caught:
            read_run(tmp_path / "config.json")
        assert "AdamW" not in str(caught.value)  # the recipe has Muon
