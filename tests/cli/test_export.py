import json
from dataclasses import replace
from pathlib import Path

import pytest

from g3pt.models.sampling import STANDARD, Sampling
from g3pt.models.weights.load import load_weights, save_weights
from g3pt.models.weights.places import find_weights
from g3pt.training.kinds.car import CarRun
from g3pt.training.kinds.stream import WatchConfig
from g3pt.training.runs import StreamRun


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


# --- what is inherited -------------------------------------------------------------------------


@pytest.fixture
def tuned_weights(tiny_weights: Path, tmp_path: Path) -> Path:
    """Weights with settings of their own, and all files that lie beside some."""
    weights = load_weights(tiny_weights, "cpu")
    config = replace(
        weights.config,
        name="tuned",
        storage="float32",
        compact=("car.", "tokenizer.decoder."),
        num_points=777,
        classes=("mug", "table"),
        sampling=Sampling(
            guidance=3.0, temperature=0.5, num_scales=2, consensus=4, guidance_schedule="constant"
        ).over(STANDARD),
    )
    folder = tmp_path / "tuned"
    save_weights(
        folder,
        weights.tokenizer,
        weights.car,
        config=config,
        card="# tuned\n\nKnows mugs.\n",
        evaluation="{}\n",
        attribution="Mugs by Jane Doe, CC BY 4.0.\n",
        licence="Apache License\n",
    )
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_bundled_weights_exported_again_are_the_same_files(g3pt, tmp_path: Path) -> None:
    sources = ("--tokenizer", "g3pt-small", "--car", "g3pt-small", "--name", "g3pt-small")
    assert g3pt("export", *sources, "-o", tmp_path / "out")[0] == 0
    assert files_of(tmp_path / "out") == files_of(find_weights("g3pt-small"))


def generator_run(tmp_path: Path, initial: Path | str, car, **changes) -> Path:
    run = CarRun(name="later", initial=str(initial), model=car.config, **changes)
    return save_run(tmp_path / "run", run, car)


def test_a_run_inherits_what_it_started_from(g3pt, tuned_weights: Path, tmp_path: Path) -> None:
    original = load_weights(tuned_weights, "cpu")
    run = generator_run(tmp_path, tuned_weights, original.car)
    out = tmp_path / "out"
    sources = ("--tokenizer", tuned_weights, "--car", run, "--name", "mine")
    assert g3pt("export", *sources, "-o", out)[0] == 0
    found = load_weights(out, "cpu")
    assert found.config == replace(original.config, name="mine", sha256=found.sha256)
    assert found.fingerprint == original.fingerprint
    assert (out / "ATTRIBUTION.md").read_text() == "Mugs by Jane Doe, CC BY 4.0.\n"
    assert (out / "LICENSE").read_text() == "Apache License\n"
    card = (out / "README.md").read_text()
    assert card.startswith("# mine\n")
    assert str(run) in card and "Knows mugs." in card
    # What was measured of other weights is no evaluation of these.
    assert not (out / "evaluation.json").exists()


def test_a_run_that_started_from_a_run_inherits_along_the_way(
    g3pt, tuned_weights: Path, tmp_path: Path
) -> None:
    original = load_weights(tuned_weights, "cpu")
    (tmp_path / "first").mkdir()
    first = generator_run(tmp_path / "first", tuned_weights, original.car)
    second = generator_run(tmp_path, first, original.car)
    sources = ("--tokenizer", tuned_weights, "--car", second)
    assert g3pt("export", *sources, "-o", tmp_path / "out")[0] == 0
    config = load_weights(tmp_path / "out", "cpu").config
    assert (config.sampling, config.compact) == (original.config.sampling, original.config.compact)


def test_a_guess_alone_keeps_the_points_that_the_tokenizer_reads(
    g3pt, tuned_weights: Path, tmp_path: Path
) -> None:
    original = load_weights(tuned_weights, "cpu")
    run = StreamRun(initial=str(tuned_weights), model=original.car.config, trained="guess")
    folder = save_run(tmp_path / "run", run, original.car)
    sources = ("--tokenizer", tuned_weights, "--car", folder)
    assert g3pt("export", *sources, "-o", tmp_path / "out")[0] == 0
    assert load_weights(tmp_path / "out", "cpu").config.num_points == 777


def test_a_stream_from_nothing_is_sampled_as_it_was_watched(
    g3pt, tiny_weights: Path, tmp_path: Path
) -> None:
    car = load_weights(tiny_weights, "cpu").car
    watch = WatchConfig(sampling=Sampling(temperature=0.7, guidance=1.25, num_scales=2))
    folder = save_run(tmp_path / "run", StreamRun(model=car.config, watch=watch), car)
    sources = ("--tokenizer", tiny_weights, "--car", folder)
    assert g3pt("export", *sources, "-o", tmp_path / "out")[0] == 0
    assert load_weights(tmp_path / "out", "cpu").config.sampling == watch.sampling.over(STANDARD)


def test_every_setting_has_a_flag(g3pt, tuned_weights: Path, tmp_path: Path) -> None:
    licence = tmp_path / "licence.txt"
    licence.write_text("MIT\n")
    flags = {
        "--guidance": 1.5,
        "--guidance-schedule": "ramp",
        "--temperature": 0.9,
        "--top-k": 5,
        "--top-p": 0.8,
        "--num-scales": 3,
        "--consensus": 2,
        "--outline": False,
        "--num-points": 123,
        "--storage": "bfloat16",
        "--licence": licence,
        "--attribution": licence,
    }
    given = [word for pair in flags.items() for word in pair]
    lists = ("--guidance-by-scale", 1, 2, 3, "--compact", "car.")
    sources = ("--tokenizer", tuned_weights, "--car", tuned_weights)
    code, _, stderr = g3pt("export", *sources, *given, *lists, "-o", tmp_path / "out")
    assert code == 0, stderr
    config = load_weights(tmp_path / "out", "cpu").config
    assert config.sampling == Sampling(
        guidance=1.5,
        guidance_schedule="ramp",
        guidance_by_scale=(1.0, 2.0, 3.0),
        temperature=0.9,
        top_k=5,
        top_p=0.8,
        num_scales=3,
        consensus=2,
        guess=False,
        outline=False,
        guess_above="never",
    )
    assert (config.num_points, config.storage, config.compact) == (123, "bfloat16", ("car.",))
    assert (tmp_path / "out" / "LICENSE").read_text() == "MIT\n"
    assert (tmp_path / "out" / "ATTRIBUTION.md").read_text() == "MIT\n"


def test_one_guidance_takes_the_place_of_what_was_given_by_scale(
    g3pt, tuned_weights: Path, tmp_path: Path
) -> None:
    first = ("--tokenizer", tuned_weights, "--car", tuned_weights, "--guidance-by-scale", 1, 2, 3)
    assert g3pt("export", *first, "-o", tmp_path / "a")[0] == 0
    again = ("--tokenizer", tmp_path / "a", "--car", tmp_path / "a", "--guidance", 4)
    assert g3pt("export", *again, "-o", tmp_path / "b")[0] == 0
    sampling = load_weights(tmp_path / "b", "cpu").config.sampling
    assert (sampling.guidance, sampling.guidance_by_scale) == (4.0, ())


def test_never_takes_an_inherited_threshold_away(g3pt, tmp_path: Path) -> None:
    sources = ("--tokenizer", "g3pt-small", "--car", "g3pt-small", "--guess-above", "never")
    assert g3pt("export", *sources, "-o", tmp_path / "out")[0] == 0
    sampling = load_weights(tmp_path / "out", "cpu").config.sampling
    assert (sampling.consensus, sampling.guess_above) == (8, "never")


def test_inheriting_can_be_turned_elsewhere_or_off(
    g3pt, tiny_weights: Path, tuned_weights: Path, tmp_path: Path
) -> None:
    car = load_weights(tiny_weights, "cpu").car
    gone = generator_run(tmp_path, tmp_path / "gone", car)
    sources = ("--tokenizer", tiny_weights, "--car", gone)
    code, _, stderr = g3pt("export", *sources, "-o", tmp_path / "no")
    assert code == 2
    assert "started from" in stderr and "gone" in stderr and "--inherit" in stderr
    assert g3pt("export", *sources, "--inherit", tuned_weights, "-o", tmp_path / "a")[0] == 0
    assert load_weights(tmp_path / "a", "cpu").config.sampling.consensus == 4
    assert g3pt("export", *sources, "--inherit", "nothing", "-o", tmp_path / "b")[0] == 0
    assert load_weights(tmp_path / "b", "cpu").config.sampling == STANDARD


def test_settings_that_the_models_cannot_serve_are_refused(
    g3pt, tuned_weights: Path, tmp_path: Path
) -> None:
    sources = ("--tokenizer", tuned_weights, "--car", tuned_weights, "-o", tmp_path / "no")
    wrong = {
        ("--num-scales", 9): "--num-scales must lie in 0..3",
        ("--num-points", 0): "--num-points must be at least 1",
        ("--guidance-by-scale", 1, 2): "needs 3 numbers",
        ("--guess-above", 0.1): "makes no first guess",
        ("--guess", "True"): "makes no first guess",
    }
    for flags, message in wrong.items():
        code, _, stderr = g3pt("export", *sources, *flags)
        assert code == 2
        assert message in stderr
    assert not (tmp_path / "no").exists()


def test_a_regressor_keeps_its_storage_and_files(g3pt, tmp_path: Path) -> None:
    from g3pt.models.rivals.regressor import Regressor
    from g3pt.models.weights.load import load_regressor_weights
    from g3pt.recipes import recipe

    regressor = recipe("regressor-tiny-smoke")
    run = save_run(tmp_path / "run", regressor, Regressor(regressor.model))
    (tmp_path / "by.md").write_text("Mugs by Jane Doe.\n")
    first = ("--storage", "float32", "--attribution", tmp_path / "by.md")
    assert g3pt("export", "--regressor", run, *first, "-o", tmp_path / "a")[0] == 0
    again = ("--regressor", tmp_path / "a", "-o", tmp_path / "b")
    assert g3pt("export", *again)[0] == 0
    assert load_regressor_weights(tmp_path / "b", "cpu").config.storage == "float32"
    assert files_of(tmp_path / "b") == files_of(tmp_path / "a")
