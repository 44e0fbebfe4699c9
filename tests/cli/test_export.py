import json
from pathlib import Path

from g3pt.models.weights.load import load_weights


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
    from g3pt.training.kinds.tokenizer import TokenizerRun
    from g3pt.training.runs import CONFIG_FILE

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
    from g3pt.models.weights.load import save_weights

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


def save_run(folder: Path, run, module) -> Path:
    """A run folder as it stands after one step."""
    from g3pt.config import save_json
    from g3pt.training.checkpoint import Checkpoint, module_tensors, save_checkpoint
    from g3pt.training.runs import CONFIG_FILE

    folder.mkdir()
    save_json(folder / CONFIG_FILE, run)
    tensors = {"model": module_tensors(module), "ema": {}}
    save_checkpoint(folder / "checkpoints", Checkpoint(1, tensors, {}), keep=1)
    return folder


def test_runs_of_the_rivals_become_weights(g3pt, tiny_weights: Path, tmp_path: Path) -> None:
    import torch

    from g3pt.generation.systems import load_system
    from g3pt.models.alternatives.kl import KlTokenizer
    from g3pt.models.rivals.flow import Flow
    from g3pt.models.rivals.regressor import Regressor
    from g3pt.models.weights.load import load_regressor_weights
    from g3pt.recipes import recipe

    kl, flow, regressor = (
        recipe(f"{name}-tiny-smoke") for name in ("tokenizer-kl", "flow", "regressor")
    )
    runs = {
        "kl": save_run(tmp_path / "kl", kl, KlTokenizer(kl.model)),
        "flow": save_run(tmp_path / "flow", flow, Flow(flow.model)),
        "regressor": save_run(tmp_path / "regressor", regressor, Regressor(regressor.model)),
    }
    sources = ("--tokenizer", runs["kl"], "--flow", runs["flow"], "--name", "ours")
    assert g3pt("export", *sources, "-o", tmp_path / "out")[0] == 0
    exported = load_weights(tmp_path / "out", "cpu")
    assert exported.flow is not None and exported.flow.config == flow.model
    assert exported.config.num_points == flow.latents.num_points
    assert load_system(tmp_path / "out", "cpu").name == "ours, 50 steps"
    # A weights folder is a source, too.
    again = ("--tokenizer", tmp_path / "out", "--flow", tmp_path / "out")
    assert g3pt("export", *again, "-o", tmp_path / "again")[0] == 0

    alone = ("--regressor", runs["regressor"], "--storage", "float32")
    assert g3pt("export", *alone, "-o", tmp_path / "single")[0] == 0
    loaded = load_regressor_weights(tmp_path / "single", "cpu").regressor
    saved = load_regressor_weights(tmp_path / "single", "cpu").config
    assert (saved.name, loaded.config) == ("mine", regressor.model)
    assert all(bool(torch.isfinite(p).all()) for p in loaded.parameters())

    wrong = {
        ("--regressor", runs["regressor"], "--car", tiny_weights): "stands alone",
        ("--flow", runs["flow"]): "--tokenizer is missing",
        ("--tokenizer", tiny_weights, "--car", tiny_weights, "--flow", runs["flow"]): "one by one",
        ("--tokenizer", tiny_weights, "--flow", runs["flow"]): "of kind 'cvq'",
        ("--tokenizer", runs["kl"], "--flow", runs["regressor"]): "of a regressor",
    }
    for arguments, message in wrong.items():
        code, _, stderr = g3pt("export", *arguments, "-o", tmp_path / "no")
        assert code == 2
        assert message in stderr
    assert not (tmp_path / "no").exists()


def test_a_flow_of_other_latents_is_refused(g3pt, tmp_path: Path) -> None:
    from dataclasses import replace

    from g3pt.models.alternatives.kl import KlTokenizer
    from g3pt.models.rivals.flow import Flow
    from g3pt.recipes import recipe

    kl, flow = recipe("tokenizer-kl-tiny-smoke"), recipe("flow-tiny-smoke")
    flow = replace(flow, model=replace(flow.model, latent_dim=7))
    sources = (
        ("--tokenizer", save_run(tmp_path / "kl", kl, KlTokenizer(kl.model))),
        ("--flow", save_run(tmp_path / "flow", flow, Flow(flow.model))),
    )
    code, _, stderr = g3pt("export", *sources[0], *sources[1], "-o", tmp_path / "out")
    assert code == 2
    assert "the flow was trained with another tokenizer" in stderr
