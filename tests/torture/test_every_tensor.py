"""No tensor of weights can be missing, of another kind or not finite without being named."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from g3pt.hashes import file_sha256
from g3pt.models.weights.load import load_weights
from g3pt.models.weights.places import CONFIG_FILE, MODEL_FILE, WeightsError
from g3pt.torture.weights_folders import sound_folder

Damage = Callable[[Tensor], Tensor | None]
DAMAGES: dict[str, Damage] = {
    "missing": lambda tensor: None,
    "not a number": lambda tensor: _with_last(tensor, float("nan")),
    "infinite": lambda tensor: _with_last(tensor, float("-inf")),
    "integers": lambda tensor: tensor.to(torch.int64 if tensor.is_floating_point() else torch.int8),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "one more dimension": lambda tensor: tensor[None],
    "twice as long": lambda tensor: torch.cat([tensor.flatten()] * 2),
    "empty": lambda tensor: tensor.flatten()[:0],
}


def _with_last(tensor: Tensor, value: float) -> Tensor:
    changed = tensor.float().flatten().clone()
    changed[-1] = value
    return changed.view(tensor.shape)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("weights")
    for name, content in sound_folder().items():
        (path / name).write_bytes(content)
    yield path


def write_signed(folder: Path, tensors: dict[str, Tensor]) -> None:
    (folder / MODEL_FILE).write_bytes(save(tensors))
    config = json.loads(sound_folder()[CONFIG_FILE])
    config["sha256"] = file_sha256(folder / MODEL_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(config))


@pytest.mark.parametrize("share", range(2))
def test_every_tensor_that_does_not_fit_is_named(folder: Path, share: int) -> None:
    """Each of them with a kind of damage in each share; each kind with an eighth of them."""
    sound = load(sound_folder()[MODEL_FILE])
    assert len(sound) > 100
    write_signed(folder, sound)
    load_weights(folder, "cpu")
    for number, (name, tensor) in enumerate(sorted(sound.items())):
        kind = list(DAMAGES)[(number + number // len(DAMAGES) + 3 * share) % len(DAMAGES)]
        changed = DAMAGES[kind](tensor)
        others = {each: one for each, one in sound.items() if each != name}
        write_signed(folder, others if changed is None else {**others, name: changed})
        with pytest.raises(WeightsError) as caught:
            load_weights(folder, "cpu")
        assert str(folder) in str(caught.value) and name in str(caught.value), (name, kind)


def test_a_tensor_that_nobody_asked_for_is_named(folder: Path) -> None:
    sound = load(sound_folder()[MODEL_FILE])
    for name in list(sound)[::9]:
        write_signed(folder, {**sound, f"{name}.again": sound[name].clone()})
        with pytest.raises(WeightsError) as caught:
            load_weights(folder, "cpu")
        assert f"{name}.again" in str(caught.value)
