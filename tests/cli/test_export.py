import json
from pathlib import Path

from g3pt.models.weights import load_weights


def test_weights_can_be_exported_again_under_another_name(
    g3pt, tiny_weights: Path, tmp_path: Path
) -> None:
    out, card = tmp_path / "mine", tmp_path / "card.md"
    card.write_text("# mine\n")
    sources = ("--tokenizer", tiny_weights, "--car", tiny_weights, "--card", card)
    settings = ("--name", "mine", "--guidance", 3, "--storage", "float32")
    code, stdout, _ = g3pt("export", *sources, *settings, "-o", out, "--json")
    assert code == 0
    result = json.loads(stdout)
    assert result["bytes"] == sum(path.stat().st_size for path in out.iterdir())
    exported, original = load_weights(out, "cpu"), load_weights(tiny_weights, "cpu")
    assert (exported.name, exported.sha256) == ("mine", result["sha256"])
    assert exported.config.sampling.guidance == 3
    assert exported.config.num_points == original.config.num_points
    assert (out / "README.md").read_text() == "# mine\n"
    state = exported.tokenizer.state_dict()
    assert all((state[k] == v).all() for k, v in original.tokenizer.state_dict().items())


def test_a_trained_run_becomes_weights(g3pt, tiny_weights: Path, tmp_path: Path) -> None:
    from g3pt.config import save_json
    from g3pt.training.checkpoint import Checkpoint, module_tensors, save_checkpoint
    from g3pt.training.runs import CONFIG_FILE, TokenizerRun

    tokenizer = load_weights(tiny_weights, "cpu").tokenizer
    run = tmp_path / "run"
    run.mkdir()
    config = TokenizerRun(model=tokenizer.config)
    save_json(run / CONFIG_FILE, config)
    tensors = {"model": module_tensors(tokenizer), "ema": {}}
    save_checkpoint(run / "checkpoints", Checkpoint(1, tensors, {}), keep=1)
    assert g3pt("export", "--tokenizer", run, "-o", tmp_path / "out")[0] == 0
    exported = load_weights(tmp_path / "out", "cpu")
    assert exported.car is None
    assert exported.config.num_points == config.data.num_points
    assert exported.fingerprint == load_weights(tiny_weights, "cpu").fingerprint


def test_a_generator_of_another_tokenizer_is_refused(
    g3pt, tiny_weights: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    from g3pt.models.car import Car
    from g3pt.models.weights import save_weights

    weights = load_weights(tiny_weights, "cpu")
    assert weights.car is not None
    other = Car(replace(weights.car.config, num_bits=6))
    save_weights(tmp_path / "other", weights.tokenizer, other, config=weights.config)
    sources = ("--tokenizer", tiny_weights, "--car", tmp_path / "other")
    code, _, stderr = g3pt("export", *sources, "-o", tmp_path / "out")
    assert code == 2
    assert "trained with another tokenizer" in stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_run_exits_2(g3pt, tmp_path: Path) -> None:
    code, _, stderr = g3pt("export", "--tokenizer", tmp_path / "no", "-o", tmp_path / "out")
    assert code == 2
    assert "no such weights folder" in stderr
