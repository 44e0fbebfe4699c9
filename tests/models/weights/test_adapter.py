"""Adapter folders: written, read, put into weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters import write_adapter
from g3pt.config import load_json, save_json
from g3pt.generation.pipeline import G3PT
from g3pt.hashes import file_sha256
from g3pt.models.conditioning.growing import EMBEDDING, missing_words, with_words
from g3pt.models.weights.adapter import AdapterConfig, merged_copy, save_adapter
from g3pt.models.weights.load import load_weights, save_weights
from g3pt.models.weights.places import WeightsError

WORDS = ("gizmo", "blue")


def test_an_adapter_answers_as_the_merged_weights(tiny_weights: Path, tmp_path: Path) -> None:
    loaded, car = write_adapter(tiny_weights, tmp_path / "adapter")
    assert loaded.car is not None
    whole = merged_copy(with_words(loaded.car, WORDS), car)
    save_weights(
        tmp_path / "whole",
        loaded.tokenizer,
        whole,
        config=replace(loaded.config, storage="float32"),
    )
    adapted = G3PT.from_pretrained(tiny_weights, "cpu", adapter=tmp_path / "adapter")
    merged = G3PT.from_pretrained(tmp_path / "whole", "cpu")
    assert adapted.weights.name == "mine"
    assert adapted.car is not None
    assert merged.car is not None
    torch.testing.assert_close(adapted.car.state_dict(), merged.car.state_dict())
    texts = ["a blue gizmo"]
    tokens = [each.generate(text=texts, seed=1).shapes[0].tokens for each in (adapted, merged)]
    assert torch.equal(tokens[0].indices, tokens[1].indices)


def test_new_words_leave_the_old_ones(tiny_weights: Path) -> None:
    car = load_weights(tiny_weights, "cpu").car
    assert missing_words(car, ["a blue gizmo", "gizmo"]) == ("gizmo", "blue")
    grown = with_words(car, WORDS)
    old, new = (each.state_dict()[f"{EMBEDDING}.weight"] for each in (car, grown))
    assert torch.equal(new[: len(old)], old)
    assert len(new) == len(old) + 2
    before, after = (
        next(c for c in each.config.conditions if c.slot == "text").build_tokenizer()
        for each in (car, grown)
    )
    assert before.encode("a red mug") == after.encode("a red mug")
    assert len(after.encode("gizmo")) == 2  # start and one word


def test_old_words_stay_as_they_are_with_an_adapter(tiny_weights: Path, tmp_path: Path) -> None:
    loaded, _ = write_adapter(tiny_weights, tmp_path)
    adapted = load_weights(tiny_weights, "cpu", adapter=tmp_path)
    old, new = (each.car.state_dict()[f"{EMBEDDING}.weight"] for each in (loaded, adapted))
    assert torch.equal(new[: len(old)], old)
    assert not torch.equal(new[-1], new[len(old) - 1])


def test_an_adapter_of_other_weights_is_refused(tiny_weights: Path, tmp_path: Path) -> None:
    write_adapter(tiny_weights, tmp_path)
    with pytest.raises(WeightsError, match="adapts untrained with SHA-256"):
        load_weights("g3pt-small", "cpu", adapter=tmp_path)


def test_a_folder_without_an_adapter_is_refused(tiny_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no adapter\.json"):
        load_weights(tiny_weights, "cpu", adapter=tiny_weights)
    with pytest.raises(FileNotFoundError, match="g3pt finetune"):
        load_weights(tiny_weights, "cpu", adapter=tmp_path / "none")


def test_a_damaged_adapter_is_refused(tiny_weights: Path, tmp_path: Path) -> None:
    write_adapter(tiny_weights, tmp_path)
    (tmp_path / "words.txt").write_text("gizmo\ngreen\n")
    with pytest.raises(WeightsError, match=r"words\.txt: is damaged"):
        load_weights(tiny_weights, "cpu", adapter=tmp_path)
    (tmp_path / "words.txt").unlink()
    with pytest.raises(WeightsError, match=r"words\.txt: is missing"):
        load_weights(tiny_weights, "cpu", adapter=tmp_path)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("gizmo\n", r"has 1 words, adapter\.json says 2"),
        ("gizmo\nred\n", "holds a word twice"),  # the weights know red
    ],
)
def test_signed_words_that_do_not_fit_are_refused_by_file(
    tiny_weights: Path, tmp_path: Path, words: str, reason: str
) -> None:
    write_adapter(tiny_weights, tmp_path)
    (tmp_path / "words.txt").write_text(words)
    config = load_json(tmp_path / "adapter.json", AdapterConfig)
    signed = replace(config, words_sha256=file_sha256(tmp_path / "words.txt"))
    save_json(tmp_path / "adapter.json", signed)
    with pytest.raises(WeightsError, match=rf"words\.txt: .*{reason}"):
        load_weights(tiny_weights, "cpu", adapter=tmp_path)


def test_an_adapter_of_other_layers_is_refused(tiny_weights: Path, tmp_path: Path) -> None:
    write_adapter(tiny_weights, tmp_path)
    path = tmp_path / "adapter.safetensors"
    tensors = load_file(path)
    tensors["blocks.99.nothing"] = tensors.pop(next(iter(tensors)))
    save_file(tensors, path)
    config = load_json(tmp_path / "adapter.json", AdapterConfig)
    save_json(tmp_path / "adapter.json", replace(config, sha256=file_sha256(path)))
    with pytest.raises(WeightsError, match=f"^{tmp_path}: "):
        load_weights(tiny_weights, "cpu", adapter=tmp_path)


def test_an_adapter_has_a_rank_and_numbers_that_half_precision_can_hold(
    tiny_weights: Path, tmp_path: Path
) -> None:
    _, car = write_adapter(tiny_weights, tmp_path)
    config = load_json(tmp_path / "adapter.json", AdapterConfig)
    with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
        replace(config, rank=0)
    with torch.no_grad():
        for each in car.parameters():
            if each.requires_grad:
                each.fill_(1e6)
    with pytest.raises(WeightsError, match="not finite when stored as float16"):
        save_adapter(tmp_path, car, config, WORDS)
