"""The rows of another package beside ours, and what is said without it."""

import json
import shutil
import sys
from dataclasses import replace
from importlib import util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from g3pt.preparation.sources import list_shapes, load_shape
from g3pt.recipes.matching import TOLERANCE, num_parameters
from g3pt.reproduce.prefix import known_surfaces, prefix, training_data
from g3pt.reproduce.tables import tokenizer_run
from loaded_files import load_file

SCRIPT = Path(__file__).parents[2] / "scripts" / "prefix_quality.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="an installed package has no scripts")
needs_cod_vae = pytest.mark.skipif(
    util.find_spec("cod_vae") is None,
    reason="cod-vae is not installed: pip install --no-deps cod-vae==1.0.0",
)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script as a module, in a folder of its own, with two rows of ours."""
    monkeypatch.chdir(tmp_path)
    module = load_file(SCRIPT)

    def two_rows(scale, factor, seeds):
        whole = prefix(scale, factor, seeds)
        return replace(whole, variants=(whole.variants[0], whole.variants[4]))

    monkeypatch.setattr(module, "prefix", two_rows)
    monkeypatch.setattr(sys, "argv", ["prefix_quality.py", "--scale", "smoke", "--out", "out"])
    return module


def reported() -> dict:
    return json.loads(Path("out/prefix-smoke.json").read_text(encoding="utf-8"))


def test_without_the_package_its_rows_are_left_out_and_one_line_says_how_to_get_it(
    script, monkeypatch, capsys
):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(util, "find_spec", lambda _name: None)
    script.main()
    assert "pip install --no-deps cod-vae==1.0.0\n" in capsys.readouterr().out
    assert [row["name"] for row in reported()["rows"]] == ["cvq-13-6bit-prefixes", "vq-7"]
    assert reported()["notes"] == ["cod-vae was not installed; its rows are missing."]


@needs_cod_vae
def test_with_the_package_its_rows_are_trained_once_and_compared(script, monkeypatch):
    pytest.importorskip("matplotlib")
    script.main()
    found = reported()
    assert [row["name"] for row in found["rows"]][2:] == ["cod-4x4"]
    means = found["sets"]["procedural"]["means"]["cod-4x4"]
    assert [entry["bits"] for entry in means.values()] == [16 * b for b in range(1, 9)]
    assert {one["theirs"] for one in found["sets"]["unseen"]["comparisons"]} == {"vq-7", "cod-4x4"}
    monkeypatch.setattr("cod_vae.torch.training.train", None)  # a rerun does not train
    script.main()
    assert reported() == found
    shutil.rmtree("runs/reproduce/smoke/cod-4x4-seed0")
    shutil.rmtree("runs/reproduce/smoke/vq-7-seed0")
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--report-only"])
    script.main()
    assert [row["name"] for row in reported()["rows"]] == ["cvq-13-6bit-prefixes"]
    missing = "Not trained with all seeds: VQ-VAE, 7 tokens; cod-vae, 4 latents of 4."
    assert reported()["notes"][-1] == missing


@needs_cod_vae
def test_another_recipe_in_the_folder_is_refused(script, tmp_path):
    run = tokenizer_run(prefix("smoke").variants[0])
    (tmp_path / "row").mkdir()
    (tmp_path / "row" / "recipe.json").write_text("{}")
    config = script.cod_config("smoke", script.ROWS["smoke"][0])
    with pytest.raises(ValueError, match=r"row: was trained by another recipe"):
        script.train_cod(config, 1e-3, run, tmp_path / "row")


@needs_cod_vae
def test_models_have_the_parameters_of_cvq(script, tmp_path):
    from cod_vae import init_params, save_npz

    wanted = num_parameters(tokenizer_run(prefix("toy").variants[0]).model)
    for row in script.ROWS["toy"]:
        config = script.cod_config("toy", row)
        save_npz(tmp_path / "weights.npz", config, init_params(config))
        found = script.CodLatents(tmp_path / "weights.npz", 512).num_parameters
        assert abs(found - wanted) <= TOLERANCE * wanted


@needs_cod_vae
def test_its_draws_are_ours_and_labels_are_true_inside(script):
    run = tokenizer_run(prefix("smoke").variants[0])
    data = replace(training_data(run), symmetry="none")
    draws = script.PreparedDraws(data, per_epoch=3)
    draws.set_epoch(2)
    shapes = {ref.id: load_shape(ref) for ref in list_shapes(run.shapes[0].source)}
    whole = script.TokenizerDataset(data).batch(1)  # draws 4 to 7; these are 6 and 7
    for index in (0, 1):
        item, place = draws[index], 2 + index
        np.testing.assert_array_equal(item["surface"], whole.points_BN3[place].numpy())
        np.testing.assert_array_equal(item["queries"], whole.queries_BQ3[place].numpy())
        inside = shapes[whole.ids[place]].contains(item["queries"].astype(np.float64))
        assert (inside == (item["labels"] > 0)).mean() > 0.99  # positions are rounded when stored


@needs_cod_vae
def test_a_trained_field_is_positive_inside_in_our_frame(script, tmp_path):
    base = tokenizer_run(prefix("smoke").variants[0])
    run = replace(
        base,
        data=replace(base.data, symmetry="none", batch_size=8),
        train=replace(base.train, steps=60, device="auto"),  # as at toy size
    )
    config = script.cod_config("smoke", script.ROWS["smoke"][0])
    script.train_cod(config, 5e-3, run, tmp_path / "row")
    latents = script.CodLatents(tmp_path / "row" / script.WEIGHTS, run.data.num_points)
    batch = script.TokenizerDataset(training_data(run)).batch(0)
    ours, turned = [], []
    for place, surface in enumerate(known_surfaces(run)):
        field, inside = (
            latents.field(latents.encode(surface)),
            batch.occupancy_BQ[place].numpy() > 0,
        )
        queries = batch.queries_BQ3[place].numpy()
        for gaps, points in ((ours, queries), (turned, queries[:, [1, 2, 0]])):
            logits = field(points)
            gaps.append(logits[inside].mean() - logits[~inside].mean())
    assert np.mean(ours) > 0.5  # logits of points inside are higher
    assert np.mean(ours) > 1.2 * np.mean(turned)  # and lower if the axes are mistaken
