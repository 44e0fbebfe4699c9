import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from g3pt.config import ConfigError, load_json, to_json
from g3pt.hashes import file_sha256
from g3pt.models.conditioning import TextConditionConfig
from g3pt.models.conditioning.efficientnet_weights import bundled_file
from g3pt.models.devices import resolve_device
from g3pt.models.rivals.flow import FlowConfig
from g3pt.models.sampling import Sampling
from g3pt.models.weights.bundled import check_file
from g3pt.models.weights.config import WeightsConfig
from g3pt.models.weights.folder import require_numbers, write_config
from g3pt.models.weights.load import DEFAULT_WEIGHTS, holds_regressor, load_weights, save_weights
from g3pt.models.weights.places import WeightsError, bundled_weights, find_weights


@pytest.fixture
def folder(tiny_weights: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_weights, tmp_path / "copy"))


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_weights_that_cannot_be_written_leave_nothing(tmp_path: Path, tiny_weights: Path) -> None:
    given = load_weights(tiny_weights)
    # The card comes after the tensors and before the config.
    with pytest.raises(FileNotFoundError, match="no-card"):
        save_weights(
            tmp_path / "above" / "new",
            given.tokenizer,
            given.car,
            config=given.config,
            card=tmp_path / "no-card.md",
        )
    assert list(tmp_path.iterdir()) == []


def test_loaded_models_give_the_same_numbers_as_those_saved(tmp_path: Path, folder: Path) -> None:
    first = load_weights(folder)
    save_weights(tmp_path / "again", first.tokenizer, first.car, config=first.config)
    second = load_weights(tmp_path / "again")
    points = torch.rand(1, 64, 3) * 2 - 1
    normals = torch.nn.functional.normalize(torch.randn(1, 64, 3), dim=-1)
    assert torch.equal(
        first.tokenizer.encode(points, normals), second.tokenizer.encode(points, normals)
    )
    assert second.config == first.config
    assert second.fingerprint == first.fingerprint


def test_weights_of_earlier_configs_are_read_unless_they_ask_for_what_is_gone(folder: Path) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config["car"]["adaln"] = "shared"
    config["car"]["conditions"][0]["stem"] = "conv"
    file.write_text(json.dumps(config))

    load_weights(folder)

    config["car"]["adaln"] = "full"
    file.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"car\.adaln: unknown field"):
        load_weights(folder)


def test_models_are_float32_frozen_and_in_evaluation_mode(tiny_weights: Path) -> None:
    weights = load_weights(tiny_weights)
    assert weights.car is not None
    for module in (weights.tokenizer, weights.car):
        assert not module.training
        assert all(p.dtype == torch.float32 and not p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("storage", ["float32", "float16", "bfloat16"])
def test_storage_keeps_the_precision_it_promises(
    storage: str, tiny_weights: Path, tmp_path: Path
) -> None:
    weights = load_weights(tiny_weights)
    config = replace(weights.config, storage=storage)
    save_weights(tmp_path, weights.tokenizer, weights.car, config=config)
    again = load_weights(tmp_path).tokenizer.state_dict()
    # Half the spacing of numbers at 1: 2^-24, 2^-11, 2^-8, with a little room.
    tolerance = {"float32": 1e-7, "float16": 6e-4, "bfloat16": 5e-3}[storage]
    for name, tensor in weights.tokenizer.state_dict().items():
        torch.testing.assert_close(again[name], tensor, rtol=tolerance, atol=1e-6)


def test_compact_weights_are_smaller_and_nearly_the_same(
    tiny_weights: Path, tmp_path: Path
) -> None:
    whole = load_weights(tiny_weights)
    config = replace(whole.config, compact=("tokenizer.decoder.",))
    save_weights(tmp_path / "compact", whole.tokenizer, whole.car, config=config)
    small = load_weights(tmp_path / "compact")
    sizes = [
        (path / "model.safetensors").stat().st_size for path in (tiny_weights, tmp_path / "compact")
    ]
    assert sizes[1] < sizes[0]
    ours, theirs = small.tokenizer.state_dict(), whole.tokenizer.state_dict()
    for name, tensor in theirs.items():
        if not name.startswith("decoder."):
            assert torch.equal(ours[name], tensor)
        torch.testing.assert_close(
            ours[name], tensor, atol=0.005 * float(tensor.abs().max()), rtol=0
        )
    assert small.fingerprint != whole.fingerprint


def test_loading_leaves_the_global_random_state_alone(tiny_weights: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    load_weights(tiny_weights)
    assert torch.equal(torch.rand(3), expected)


def test_the_fingerprint_belongs_to_the_tokenizer_alone(tiny_weights: Path, tmp_path: Path) -> None:
    weights = load_weights(tiny_weights)
    save_weights(tmp_path / "alone", weights.tokenizer, config=weights.config)
    alone = load_weights(tmp_path / "alone")
    assert alone.car is None
    assert alone.fingerprint == weights.fingerprint
    assert alone.sha256 != weights.sha256
    with torch.no_grad():
        next(weights.tokenizer.parameters()).add_(1.0)
    save_weights(tmp_path / "other", weights.tokenizer, config=weights.config)
    assert load_weights(tmp_path / "other").fingerprint != weights.fingerprint


def test_a_weight_that_half_precision_cannot_hold_is_refused(
    tiny_weights: Path, tmp_path: Path
) -> None:
    weights = load_weights(tiny_weights)
    with torch.no_grad():
        next(weights.tokenizer.parameters()).fill_(1e6)
    with pytest.raises(WeightsError, match="not finite when stored as float16"):
        save_weights(tmp_path, weights.tokenizer, config=weights.config)


def test_a_missing_folder_names_the_bundled_ones(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.*bundled"):
        load_weights(str(tmp_path / "nowhere"))


def test_the_hub_is_asked_only_by_its_prefix(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []

    def download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        if name == "someone/nothing":
            raise OSError("404")
        return str(tiny_weights)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert load_weights("hub:someone/shapes@v1", "cpu").name == "untrained"
    load_weights("hub:someone/shapes", "cpu")
    assert asked == [("someone/shapes", "v1"), ("someone/shapes", None)]
    with pytest.raises(WeightsError, match="hub:someone/nothing"):
        load_weights("hub:someone/nothing")
    with pytest.raises(FileNotFoundError):
        load_weights("someone/shapes")
    assert len(asked) == 3


def test_a_folder_of_something_else_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no config\.json and no model\.safetensors"):
        load_weights(tmp_path)


def test_a_file_in_place_of_a_folder_is_explained(folder: Path) -> None:
    with pytest.raises(WeightsError, match="weights are a folder"):
        load_weights(folder / "model.safetensors")


def test_a_damaged_model_file_is_noticed(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(WeightsError, match="damaged or of other weights"):
        load_weights(folder)


def test_an_unknown_config_field_is_refused(folder: Path) -> None:
    edit_config(folder, colour="red")
    with pytest.raises(ConfigError, match=r"config\.json.*colour"):
        load_weights(folder)


def test_words_are_a_file_of_their_own(tiny_weights: Path, folder: Path) -> None:
    words = (tiny_weights / "vocab.txt").read_text(encoding="utf-8").split()
    data = json.loads((folder / "config.json").read_text())
    (text,) = (each for each in data["car"]["conditions"] if each["kind"] == "text")
    assert text["vocabulary"] == []
    loaded = load_weights(folder).config
    (read,) = (each for each in loaded.car.conditions if each.kind == "text")
    assert list(read.vocabulary) == words
    # The weights of earlier versions list them in the config.
    text["vocabulary"] = words
    del data["vocabulary_sha256"]
    (folder / "config.json").write_text(json.dumps(data))
    (folder / "vocab.txt").unlink()
    assert load_weights(folder).config == replace(loaded, vocabulary_sha256="")


def test_words_must_be_those_of_the_weights(folder: Path) -> None:
    path = folder / "vocab.txt"
    words = path.read_text(encoding="utf-8").split()
    path.write_text("\n".join([*words[::-1], ""]), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"vocab\.txt: is damaged or of other weights"):
        load_weights(folder)
    path.unlink()
    with pytest.raises(WeightsError, match=r"vocab\.txt: is missing; .* one a line"):
        load_weights(folder)


def test_words_are_told_in_one_place(folder: Path) -> None:
    data = json.loads((folder / "config.json").read_text())
    (text,) = (each for each in data["car"]["conditions"] if each["kind"] == "text")
    text["vocabulary"] = ["red"]
    (folder / "config.json").write_text(json.dumps(data))
    with pytest.raises(WeightsError, match=r"expected one condition of kind text that lists none"):
        load_weights(folder)


@pytest.mark.parametrize("word", ["", "two\nlines"])
def test_a_word_that_is_no_line_is_refused(word: str, folder: Path) -> None:
    config = load_weights(folder).config
    conditions = tuple(
        replace(each, vocabulary=("red", word)) if each.kind == "text" else each
        for each in config.car.conditions
    )
    with pytest.raises(WeightsError, match=r"vocab\.txt: holds a word a line"):
        write_config(folder, replace(config, car=replace(config.car, conditions=conditions)))


def test_weights_without_words_leave_no_file_of_them(folder: Path) -> None:
    weights = load_weights(folder)
    save_weights(folder, weights.tokenizer, config=weights.config)
    assert not (folder / "vocab.txt").exists()
    assert load_weights(folder).config.vocabulary_sha256 == ""


def test_configs_of_bundled_weights_can_be_read_by_people() -> None:
    for name in bundled_weights():
        path = find_weights(name) / "config.json"
        assert path.stat().st_size < 4096
        data = json.loads(path.read_text(encoding="utf-8"))
        assert data == to_json(load_json(path, WeightsConfig)), "not as this version writes it"


def test_a_config_of_another_kind_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(ConfigError, match=r"config\.json"):
        load_weights(folder)
    (folder / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"config\.json"):
        load_weights(folder)


def store(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Put other tensors into a weights folder, with the right checksum in its config."""
    path = folder / "model.safetensors"
    save_file(tensors, path)
    edit_config(folder, sha256=file_sha256(path))


def test_tensors_must_be_those_of_the_config(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = next(iter(tensors))

    store(folder, {key: value for key, value in tensors.items() if key != name})
    with pytest.raises(WeightsError, match="lacks tensor"):
        load_weights(folder)
    store(folder, tensors | {"tokenizer.extra": torch.zeros(1)})
    with pytest.raises(WeightsError, match="unknown tensor"):
        load_weights(folder)
    store(folder, tensors | {"optimizer.step": torch.zeros(1)})
    with pytest.raises(WeightsError, match="does not name"):
        load_weights(folder)
    store(folder, tensors | {name: torch.zeros(3, 5, 7)})
    with pytest.raises(WeightsError, match="has shape"):
        load_weights(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value.to(torch.int32), "holds numbers of torch.int32"),
        (lambda value: value.to(torch.complex64), "holds numbers of torch.complex64"),
        (lambda value: value * torch.nan, "holds numbers that are not finite"),
    ],
)
def test_numbers_must_be_finite_and_of_the_kind_of_the_model(folder: Path, change, words) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name, each in tensors.items() if each.is_floating_point())
    store(folder, tensors | {name: change(tensors[name])})
    with pytest.raises(WeightsError, match=f"{name} {words}"):
        load_weights(folder)


def test_complex_numbers_do_not_stand_for_integers() -> None:
    require_numbers("steps", torch.ones(2, dtype=torch.int32), torch.int64)
    with pytest.raises(WeightsError, match=r"^steps holds numbers of torch\.complex64"):
        require_numbers("steps", torch.ones(2, dtype=torch.complex64), torch.int64)


def test_steps_without_their_matrix_are_refused_by_file(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    store(folder, tensors | {"car.nothing:steps": torch.ones(3)})
    with pytest.raises(WeightsError, match=r"model\.safetensors: car\.nothing:steps are not"):
        load_weights(folder)


def test_a_model_file_that_holds_something_else_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(b"nothing")
    edit_config(folder, sha256=file_sha256(path))
    with pytest.raises(WeightsError, match="is not a safetensors file"):
        load_weights(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\xe9\n", "is not text in UTF-8"), (b"red\nred\n", "text.vocabulary holds a word twice")],
)
def test_words_that_are_none_are_refused_by_file(folder: Path, content: bytes, words: str) -> None:
    path = folder / "vocab.txt"
    path.write_bytes(content)
    edit_config(folder, vocabulary_sha256=file_sha256(path))
    with pytest.raises(WeightsError, match=rf"vocab\.txt: {words}"):
        load_weights(folder)


def test_two_models_with_words_of_their_own_are_not_written(folder: Path) -> None:
    config = load_weights(folder).config
    flow = FlowConfig(conditions=(TextConditionConfig(vocabulary=("blue",)),))
    with pytest.raises(WeightsError, match="these models have several"):
        write_config(folder, replace(config, flow=flow))


def test_a_guess_above_a_spread_needs_samples_to_compare(tiny_weights: Path) -> None:
    config = load_weights(tiny_weights).config
    with pytest.raises(ValueError, match="consensus must be at least 2, got 1"):
        replace(config, sampling=Sampling(guess_above=0.1, consensus=1))


def test_a_tokenizer_alone_has_nothing_to_adapt(folder: Path, tmp_path: Path) -> None:
    weights = load_weights(folder)
    save_weights(folder, weights.tokenizer, config=weights.config)
    with pytest.raises(WeightsError, match="mine: adapts a generator, and untrained holds none"):
        load_weights(folder, adapter=tmp_path / "mine")


def test_a_config_that_cannot_be_read_holds_no_regressor(folder: Path) -> None:
    assert not holds_regressor(folder)
    for text, words in (("{", "not JSON"), ("[" * 100_000, "nested too deeply")):
        (folder / "config.json").write_text(text)
        with pytest.raises(WeightsError, match=rf"config\.json: .*{words}"):
            holds_regressor(folder)


def test_a_pipe_as_config_is_refused_unread(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    with pytest.raises(WeightsError, match=r"config\.json: is no plain file"):
        holds_regressor(folder)


def test_a_frozen_file_is_there_and_is_the_one_that_the_model_was_trained_with(
    tmp_path: Path,
) -> None:
    path = tmp_path / "words"
    with pytest.raises(FileNotFoundError, match="lacks the table; reinstall"):
        check_file(path, "0" * 64, field="text.table", what="table")
    path.write_bytes(b"1")
    check_file(path, file_sha256(path), field="text.table", what="table")
    with pytest.raises(ValueError, match=r"text\.table is 00.* trained with another table"):
        check_file(path, "0" * 64, field="text.table", what="table")


def test_a_folder_written_half_does_not_load(tiny_weights: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_weights / "model.safetensors", tmp_path)
    with pytest.raises(WeightsError, match=r"no config\.json"):
        load_weights(tmp_path)


def test_the_card_is_written_beside_the_weights(tiny_weights: Path) -> None:
    names = {path.name for path in tiny_weights.iterdir()}
    assert names == {"model.safetensors", "config.json", "vocab.txt", "README.md"}


def test_a_device_that_is_not_there_is_refused() -> None:
    assert resolve_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="expected auto, cpu, cuda or mps"):
        resolve_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="this machine has none"):
            resolve_device("cuda")


def test_the_picture_encoder_is_no_weights_of_ours() -> None:
    assert bundled_file().is_file()
    name = bundled_file().parent.name
    assert name not in bundled_weights()
    with pytest.raises(FileNotFoundError, match=f"{name}: .*bundled: {DEFAULT_WEIGHTS};"):
        find_weights(name)


def test_the_config_states_what_it_is(tiny_weights: Path) -> None:
    data = json.loads((tiny_weights / "config.json").read_text())
    assert data["kind"] == "g3pt-weights"
    assert data["version"] == 1
    assert set(WeightsConfig.__dataclass_fields__) == set(data)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("num_points", 10**9, r"num_points must lie in 1\.\."),
        ("num_points", 0, r"num_points must lie in 1\.\."),
        ("sampling", {"consensus": 10**6}, "sampling: .*consensus must be at most 1024"),
        ("name", "a\x1b[31m", "name must have at most"),
        ("name", "a" * 5000, "name must have at most"),
        ("classes", ["a\nb"], "classes must have at most"),
    ],
)
def test_settings_that_no_weights_have_are_refused_by_file_and_field(
    folder: Path, field: str, value: object, words: str
) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(ConfigError, match=rf"config\.json: .*{words}"):
        load_weights(folder, "cpu")
