"""The faults that `g3pt torture` has found, each in the smallest file that shows it."""

import json
import os
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load, save

from g3pt.config import ConfigError
from g3pt.files import read_json
from g3pt.generation.bulk.manifest import read_manifest
from g3pt.generation.pixels import open_picture
from g3pt.hashes import file_sha256
from g3pt.models.g3t import TokenFileError, TokenFrame, TokenPyramid, encode_g3t, read_g3t
from g3pt.models.weights.config import WeightsConfig
from g3pt.models.weights.load import load_weights
from g3pt.models.weights.places import WeightsError
from g3pt.shapes.cache.features import FeatureCache
from g3pt.shapes.cache.latents import LatentCache
from g3pt.shapes.cache.tokens import TokenCache
from g3pt.torture.adapters import Adapters, sound_adapter
from g3pt.torture.caches import sound_cache
from g3pt.torture.checkpoints import STEP, sign, sound_checkpoint
from g3pt.torture.damage import SPARSE_BYTES
from g3pt.torture.pictures import with_chunk
from g3pt.torture.weights_folders import sound_folder
from g3pt.training.checkpoint import CheckpointError, load_checkpoint
from g3pt.training.runs import KINDS, load_run
from g3pt.work.tables import read_rows

# --- JSON ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{}".encode("utf-16"), "not text in UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 10_000, "not JSON: Exceeds the limit"),
        (b"{", "not JSON"),
    ],
)
def test_json_that_is_none_is_refused_by_name(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{re.escape(str(path))}: .*{reason}"):
        read_json(path, ConfigError)


def test_what_is_no_plain_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", "loop", "."):
        with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
            read_json(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="gone: no such file"):
        read_json(tmp_path / "gone")


def hole(path: Path) -> Path:
    """A file far larger than memory that takes no space."""
    path.touch()
    os.truncate(path, SPARSE_BYTES)
    return path


def test_files_larger_than_memory_are_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected at most"):
        read_json(hole(tmp_path / "a.json"))
    with pytest.raises(TokenFileError, match="expected at most"):
        read_g3t(hole(tmp_path / "a.g3t"))
    with pytest.raises(ValueError, match="expected at most"):
        next(read_rows(hole(tmp_path / "a.csv")))


# --- configs ---------------------------------------------------------------------------------


def written(folder: Path, files: dict[str, bytes]) -> Path:
    """A folder of files."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_the_kind_of_a_run_may_be_any_json(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"kind": ["car"]}')
    with pytest.raises(ConfigError, match=r"config\.json: kind: expected one of"):
        load_run(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_no_number_of_a_run_may_be_nan(tmp_path: Path, kind: str) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"kind": kind, "train": {"ema_decay": float("nan")}})
    )
    with pytest.raises(ConfigError, match=r"config\.json: train\.ema_decay: .*NaN"):
        load_run(tmp_path)


def test_no_heads_are_refused_before_anything_is_divided_by_them(tmp_path: Path) -> None:
    path = written(tmp_path / "weights", sound_folder())
    for model in ("tokenizer", "car"):
        config: dict[str, Any] = json.loads(sound_folder()["config.json"])
        config[model]["num_heads"] = 0
        (path / "config.json").write_text(json.dumps(config))
        with pytest.raises(ConfigError, match=rf"config\.json: {model}.*num_heads 0"):
            load_weights(path, "cpu")


# --- weights ---------------------------------------------------------------------------------


def with_tensors(folder: Path, changes: dict[str, torch.Tensor]) -> Path:
    """Weights whose tensors were changed and signed."""
    path = written(folder, sound_folder())
    (path / "model.safetensors").write_bytes(
        save({**load(sound_folder()["model.safetensors"]), **changes})
    )
    config = json.loads(sound_folder()["config.json"])
    config["sha256"] = file_sha256(path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_signed_tensors_that_cannot_be_right_are_refused_by_name(tmp_path: Path) -> None:
    name, tensor = next(
        (name, tensor)
        for name, tensor in load(sound_folder()["model.safetensors"]).items()
        if tensor.ndim == 2
    )
    hurt = tensor.clone()
    hurt[0, 0] = float("nan")
    for number, (changes, reason) in enumerate(
        [
            ({name: hurt}, "not finite"),
            ({name: tensor.long()}, r"holds numbers of torch\.int64"),
            ({name: tensor.to(torch.complex64)}, r"holds numbers of torch\.complex64"),
            ({f"{name}:steps": torch.ones(3)}, "not the steps of the rows"),
        ]
    ):
        path = with_tensors(tmp_path / str(number), changes)
        with pytest.raises(WeightsError, match=rf"model\.safetensors: {name}.*{reason}"):
            load_weights(path, "cpu")


@pytest.mark.parametrize(
    ("words", "reason"), [(b"a\na\na\nb\n", "holds a word twice"), (b"\xff\xfe\n", "UTF-8")]
)
def test_signed_words_that_cannot_be_right_are_refused(
    tmp_path: Path, words: bytes, reason: str
) -> None:
    path = written(tmp_path / "weights", {**sound_folder(), "vocab.txt": words})
    config = json.loads(sound_folder()["config.json"])
    config["vocabulary_sha256"] = file_sha256(path / "vocab.txt")
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=rf"vocab\.txt: .*{reason}"):
        load_weights(path, "cpu")


@pytest.mark.parametrize(
    ("model", "field", "size"),
    [("car", "depth", 2**10), ("car", "width", 2**16), ("tokenizer", "dim", 2**16)],
)
def test_a_config_cannot_ask_for_more_than_its_tensors_fill(
    tmp_path: Path, model: str, field: str, size: int
) -> None:
    path = written(tmp_path / "weights", sound_folder())
    config = json.loads(sound_folder()["config.json"])
    config[model][field] = size
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"config\.json: the model cannot be built.*asks for"):
        load_weights(path, "cpu")


def test_pickled_weights_are_refused_unopened_with_advice(tmp_path: Path) -> None:
    class Program:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "was-run"),)

    file = tmp_path / "pytorch_model.bin"
    torch.save({"weight": Program()}, file)
    for weights in (file, tmp_path):
        with pytest.raises(WeightsError, match=r"pytorch_model\.bin may be a pickle.*g3pt export"):
            load_weights(weights, "cpu")
    path = written(tmp_path / "weights", {**sound_folder(), "model.safetensors": file.read_bytes()})
    config = json.loads(sound_folder()["config.json"])
    config["sha256"] = file_sha256(path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"model\.safetensors: is not a safetensors file"):
        load_weights(path, "cpu")
    assert not (tmp_path / "was-run").exists()


def test_sound_weights_still_load(tmp_path: Path) -> None:
    loaded = load_weights(written(tmp_path / "weights", sound_folder()), "cpu")
    assert isinstance(loaded.config, WeightsConfig) and loaded.car is not None


# --- token files, caches, checkpoints --------------------------------------------------------


def test_a_frame_that_places_a_shape_beyond_all_numbers_is_refused(tmp_path: Path) -> None:
    tokens = TokenPyramid((1,), 3, torch.tensor([5]))
    path = tmp_path / "a.g3t"
    path.write_bytes(encode_g3t(tokens, TokenFrame(scale=5e-324), "00" * 32))
    with pytest.raises(TokenFileError, match=r"a\.g3t: impossible frame"):
        read_g3t(path)


def cache_of(folder: Path, kind: str, **changes: np.ndarray) -> Path:
    """A cache whose arrays were changed."""
    index, arrays = sound_cache(kind, np.random.default_rng(0))
    folder.mkdir()
    (folder / "index.json").write_text(json.dumps(index))
    for name, array in {**arrays, **changes}.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def test_arrays_that_do_not_fit_their_cache_are_refused_by_name(tmp_path: Path) -> None:
    _, arrays = sound_cache("feature", np.random.default_rng(0))
    wide = cache_of(tmp_path / "wide", "token", tokens=np.zeros((3, 2, 9), np.uint16))
    with pytest.raises(ValueError, match=r"tokens\.npy: holds uint16 of shape \(3, 2, 9\)"):
        TokenCache(wide)
    text = cache_of(tmp_path / "text", "latent", moments=np.array(["a", "b"]))
    with pytest.raises(ValueError, match=r"moments\.npy: holds <U1 of shape"):
        LatentCache(text)
    starts = cache_of(tmp_path / "starts", "feature", starts=arrays["starts"] + 1)
    with pytest.raises(ValueError, match=r"starts\.npy: does not fit the \[6\] items"):
        FeatureCache(starts)
    shown = cache_of(tmp_path / "shown", "feature", shown=np.full(6, 255, np.uint8))
    with pytest.raises(ValueError, match=r"shown\.npy: expected 0 and 1"):
        FeatureCache(shown)


def test_numbers_of_a_cache_that_cannot_be_right_are_refused_when_they_are_read(
    tmp_path: Path,
) -> None:
    large = cache_of(tmp_path / "large", "token", tokens=np.full((3, 2, 5), 32, np.uint16))
    with pytest.raises(ValueError, match=r"tokens\.npy: shape 1 has an index of more than 5 bits"):
        TokenCache(large).indices(1, 0)
    nan = np.full((3, 2, 4, 6), np.nan, np.float16)
    latents = LatentCache(cache_of(tmp_path / "nan", "latent", moments=nan))
    with pytest.raises(ValueError, match=r"moments\.npy: shape 2 has numbers that are not finite"):
        latents.moments(2, 0)
    hurt = np.full((6, 3), np.inf, np.float16)
    features = FeatureCache(cache_of(tmp_path / "inf", "feature", summary=hurt))
    with pytest.raises(ValueError, match="item 1 of shape 2 has numbers that are not finite"):
        features.features(2, 1)


@pytest.mark.parametrize("kind", ["token", "latent", "feature"])
@pytest.mark.parametrize("content", [b"PK\x03\x04", b"\x80\x04.", b"", b"\x93NUMPY\x01\x00v\x00{'"])
def test_arrays_of_another_format_are_refused_by_name(
    tmp_path: Path, kind: str, content: bytes
) -> None:
    path = cache_of(tmp_path / "cache", kind)
    name = "moments.npy" if kind == "latent" else "tokens.npy"
    (path / name).write_bytes(content)
    opener = {"token": TokenCache, "latent": LatentCache, "feature": FeatureCache}[kind]
    with pytest.raises(ValueError, match=rf"{name}: is damaged"):
        opener(path)


@pytest.mark.parametrize("index", ["[]", "{}", '{"format_version": 1}'])
def test_an_index_that_lacks_something_is_refused_by_name(tmp_path: Path, index: str) -> None:
    path = cache_of(tmp_path / "cache", "token")
    (path / "index.json").write_text(index)
    with pytest.raises(ValueError, match=r"index\.json: (format version|shapes)"):
        TokenCache(path)
    (path / "index.json").write_text('{"format_version": 1, "shapes": "a", "tokenizer": 3}')
    with pytest.raises(ConfigError, match=r"index\.json: tokenizer: expected an object"):
        TokenCache(path)


def test_a_checkpoint_has_the_files_of_its_manifest_and_no_others(tmp_path: Path) -> None:
    path = written(tmp_path / f"step-{STEP}", sound_checkpoint())
    assert load_checkpoint(tmp_path, STEP).step == STEP
    more = path / "more.safetensors"
    more.write_bytes(save({"a": torch.ones(1)}))
    with pytest.raises(CheckpointError, match=r"manifest\.json: does not list the files"):
        load_checkpoint(tmp_path, STEP)
    more.unlink()
    for files in (None, {}, [], 3, {"state.json": 1, "model.safetensors": 2}):
        (path / "manifest.json").write_text(json.dumps({"files": files}))
        with pytest.raises(CheckpointError, match=r"manifest\.json: (does not list|files\.)"):
            load_checkpoint(tmp_path, STEP)


def test_a_checkpoint_of_another_step_and_one_with_a_hole_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / f"step-{STEP}", sound_checkpoint())
    (path / "state.json").write_text('{"step": 8}')
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["state.json"]["bytes"] = 11
    (path / "manifest.json").write_text(json.dumps(manifest))
    sign(path)
    with pytest.raises(CheckpointError, match=r"state\.json: is not the state of step 7"):
        load_checkpoint(tmp_path, STEP)
    hole(path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: does not match"):
        load_checkpoint(tmp_path, STEP)


# --- manifests and pictures ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": "a", "image": "b\0.png"}, "image: .* characters that no text has"),
        ({"id": "\ud800", "text": "a mug"}, "id: .* characters that no text has"),
        ({"id": "a", "text": "a mug", "seed": "9" * 5000}, "seed must be a whole number"),
    ],
)
def test_cells_that_no_file_or_number_can_have_are_refused_by_line(
    tmp_path: Path, row: dict[str, str], reason: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(ValueError, match=rf"rows\.jsonl:1: {reason}"):
        read_manifest(path)


def test_damaged_exif_does_not_matter_to_a_sound_picture() -> None:
    out = BytesIO()
    Image.new("RGB", (32, 24), (200, 10, 10)).save(out, "png")
    data = with_chunk(out.getvalue(), b"eXIf", b"noise and no TIFF")
    assert open_picture(data).size == (32, 24)


# --- adapters --------------------------------------------------------------------------------


def damaged_adapter(folder: Path, *, words: bytes | None = None, change: Any = None) -> Path:
    """An adapter whose config signs other words, or a tensor that was changed."""
    for name, content in sound_adapter().items():
        (folder / name).write_bytes(content)
    config = json.loads((folder / "adapter.json").read_text())
    if words is not None:
        (folder / "words.txt").write_bytes(words)
        config["words_sha256"] = file_sha256(folder / "words.txt")
    if change is not None:
        tensors = load((folder / "adapter.safetensors").read_bytes())
        name = "input_projection.up"
        tensors[name] = change(tensors[name])
        (folder / "adapter.safetensors").write_bytes(save(tensors))
        config["sha256"] = file_sha256(folder / "adapter.safetensors")
    (folder / "adapter.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (b"\xff\xfe\n", "not text in UTF-8"),
        (b"gizmo\ngizmo\n", "twice"),
        (b"gizmo\nred\n", "twice"),
        (b"gizmo\n", "has 1 words, adapter.json says 2"),
    ],
)
def test_words_of_an_adapter_that_cannot_be_are_refused(
    tmp_path: Path, words: bytes, reason: str
) -> None:
    folder = damaged_adapter(tmp_path, words=words)
    with pytest.raises(WeightsError, match=f"{re.escape(str(tmp_path / 'words.txt'))}: .*{reason}"):
        Adapters().enter(folder)


def test_words_of_an_adapter_are_not_hashed_before_their_size_is_known(tmp_path: Path) -> None:
    folder = damaged_adapter(tmp_path)
    os.truncate(folder / "words.txt", SPARSE_BYTES)
    with pytest.raises(WeightsError, match=r"words\.txt: .*bytes"):
        Adapters().enter(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensor: tensor * torch.nan, "not finite"),
        (lambda tensor: tensor.to(torch.int64), "holds numbers of torch.int64"),
    ],
)
def test_numbers_of_an_adapter_that_are_none_are_refused(
    tmp_path: Path, change: Any, reason: str
) -> None:
    folder = damaged_adapter(tmp_path, change=change)
    with pytest.raises(WeightsError, match=f"adapter.safetensors: input_projection.up .*{reason}"):
        Adapters().enter(folder)
