"""Weights written again, and put on a hub: the real client asks a stand-in on this machine."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from g3pt.generation.pipeline import G3PT
from g3pt.generation.publishing import KNOWN_FROM_HERE, model_card
from g3pt.models.weights.load import LoadedWeights
from g3pt.models.weights.places import WeightsError, find_weights, located
from hub import COMMIT, TOKEN, Hub, standing_in

PUSH = """
import json, sys
from g3pt import G3PT

pipeline = G3PT.from_pretrained(sys.argv[1], "cpu")
address = pipeline.push_to_hub("ann/mugs", private=True, message="Mugs", licence="mit")
back = G3PT.from_pretrained("ann/mugs", device="cpu")
tokens = [one(text="a mug", resolution=16).tokens[0].indices.tolist() for one in (pipeline, back)]
print(json.dumps({"address": address, "same": tokens[0] == tokens[1], "sha": back.weights.sha256}))
"""

REFUSED = """
import sys
from g3pt import G3PT

pipeline = G3PT.from_pretrained(sys.argv[1], "cpu")
for ask in (
    lambda: pipeline.push_to_hub("mugs"),
    lambda: pipeline.push_to_hub("ann/mugs", token="hf_another"),
    lambda: G3PT.from_pretrained("ann/nothing"),
):
    try:
        ask()
    except ValueError as error:
        print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def pipeline(tiny_weights: Path) -> G3PT:
    return G3PT.from_pretrained(tiny_weights, "cpu")


def asks(code: str, hub: Hub, weights: Path, home: Path) -> str:
    """Run code in a process of its own, where the client knows no other hub."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, str(weights)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr + "\n".join(hub.asked)
    return done.stdout


def test_weights_on_the_hub_are_those_that_were_put_there(
    tiny_weights: Path, tmp_path: Path
) -> None:
    with standing_in() as hub:
        said = json.loads(asks(PUSH, hub, tiny_weights, tmp_path))
    assert said["address"] == f"{hub.url}/ann/mugs/commit/{COMMIT}"
    assert said["same"]
    assert hub.private == {"ann/mugs": True}
    assert hub.messages == ["Mugs"]
    files = hub.repositories["ann/mugs"]
    assert set(files) == {"model.safetensors", "config.json", "vocab.txt", "README.md"}
    stored = (tiny_weights / "model.safetensors").read_bytes()
    assert files["model.safetensors"] == stored
    card = files["README.md"].decode()
    assert card.startswith("---\n") and "license: mit\n" in card
    assert len(hub.objects) == 1  # the models went as a large file
    assert 'from_pretrained("ann/mugs")' in card


def test_what_the_hub_cannot_take_or_give_is_one_sentence(
    tiny_weights: Path, tmp_path: Path
) -> None:
    with standing_in() as hub:
        lines = asks(REFUSED, hub, tiny_weights, tmp_path).splitlines()
    assert lines[0] == "ValueError a repository of the hub is named OWNER/NAME, got 'mugs'"
    assert lines[1].startswith("WeightsError ann/mugs: the hub does not take these weights (")
    assert lines[2].startswith("WeightsError hub:ann/nothing: the hub does not give these weights")
    assert len(lines) == 3
    assert hub.repositories == {}


def test_saved_weights_are_the_files_they_came_from(tmp_path: Path) -> None:
    G3PT.from_pretrained("g3pt-small", "cpu").save_pretrained(tmp_path / "out")
    original = find_weights("g3pt-small")
    for path in original.iterdir():
        if path.name not in ("README.md", "config.json"):
            assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name
    again = G3PT.from_pretrained(tmp_path / "out", "cpu")
    config = G3PT.from_pretrained("g3pt-small", "cpu").weights.config
    assert again.weights.config == config
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.endswith((original / "README.md").read_text().strip() + "\n")


def test_a_card_says_what_is_known_and_keeps_what_was(pipeline: G3PT, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# old\n\nKnows mugs.\n")
    (tmp_path / "LICENSE").write_text("Apache License\n   Version 2.0, January 2004\n")
    weights = replace(pipeline.weights, folder=tmp_path)
    card = model_card(weights)
    assert "license: apache-2.0\n" in card and "pipeline_tag: image-to-3d\n" in card
    assert "library_name: g3pt\n" in card
    assert f"# {weights.name}\n" in card and "million parameters" in card
    assert "- tokens by scale, coarsest first: 1, 4, 16" in card and "temperature" in card
    assert card.count("Knows mugs.") == 1
    (tmp_path / "README.md").write_text(card)
    assert model_card(weights) == card  # nothing is said twice
    (tmp_path / "LICENSE").write_text("Ask Jane.\n")
    assert "license: other\n" in model_card(weights)
    alone = model_card(replace(pipeline.weights, folder=None))
    assert "license:" not in alone and KNOWN_FROM_HERE not in alone


@pytest.mark.parametrize("name", ["README.md", "LICENSE"])
def test_what_stands_beside_weights_is_read_within_a_limit(
    pipeline: G3PT, tmp_path: Path, name: str
) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(ValueError, match=f"{name}: has 1073741824 bytes, expected at most"):
        model_card(replace(pipeline.weights, folder=tmp_path))


def test_weights_are_not_saved_over_themselves_or_rounded(
    tiny_weights: Path, tmp_path: Path
) -> None:
    pipeline = G3PT.from_pretrained(tiny_weights, "cpu")
    with pytest.raises(WeightsError, match="is the folder that these weights are from"):
        pipeline.save_pretrained(tiny_weights)
    rounded = G3PT.from_pretrained(tiny_weights, "cpu", dtype="bfloat16")
    for one in (rounded, rounded.to(dtype="float32"), pipeline.to(torch.bfloat16)):
        with pytest.raises(WeightsError, match="were rounded to bfloat16: load them with dtype"):
            one.save_pretrained(tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_a_pipeline_moves_with_its_models(tiny_weights: Path) -> None:
    pipeline = G3PT.from_pretrained(tiny_weights, "cpu")
    before = pipeline(text="a mug", resolution=16).tokens[0]
    assert pipeline.to("cpu") is pipeline
    assert pipeline(text="a mug", resolution=16).tokens[0].equals(before)
    pipeline.to(dtype="bfloat16")
    assert pipeline.car is not None and pipeline.car.positions.dtype == torch.bfloat16
    assert next(pipeline.tokenizer.parameters()).dtype == torch.float32
    assert pipeline(text="a mug", resolution=16).tokens[0].num_scales == before.num_scales
    with pytest.raises(ValueError, match="expected auto, cpu, cuda or mps"):
        pipeline.to("gpu")
    with pytest.raises(ValueError, match="expected auto, float32 or bfloat16"):
        pipeline.to(dtype=torch.float16)


def test_owner_and_name_are_of_the_hub_where_no_such_folder_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert located("ann/mugs") == "hub:ann/mugs"
    assert located("ann/mugs@v1") == "hub:ann/mugs@v1"
    for name in ("g3pt-small", "./ann/mugs", "/ann/mugs", "a/b/c", "hub:ann/mugs", "../mugs"):
        assert located(name) == name
    (tmp_path / "ann" / "mugs").mkdir(parents=True)
    assert located("ann/mugs") == "ann/mugs"


def test_weights_without_a_folder_have_no_files_beside(pipeline: G3PT, tmp_path: Path) -> None:
    weights: LoadedWeights = replace(pipeline.weights, folder=None)
    G3PT(weights).save_pretrained(tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"model.safetensors", "config.json", "vocab.txt", "README.md"}
