"""Frozen pretrained encoders, through the transformers library.

An encoder is loaded when it is first needed, once per process. It stays in evaluation mode and
without gradients. It is never among the parameters of our models, so that it is neither trained
nor stored with them.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, assert_never

import torch
from safetensors import SafetensorError
from torch import nn

from g3pt.hashes import tensors_sha256
from g3pt.models.weights.places import pickle_advice

HUB_PREFIX = "hub:"
_PINNED = re.compile(r"hub:[\w.-]+/[\w.-]+@[0-9a-f]{40}")

_TENSOR_FILES = ("model.safetensors", "model.safetensors.index.json")
"""The weights of a transformers model, whole or in parts."""
_SAVE = (
    "save the model as safetensors, save_pretrained(FOLDER, safe_serialization=True) in "
    "transformers"
)

Architecture = Literal["dinov2", "clip"]


def check_source(kind: str, source: str) -> None:
    """Check that a source names a model, with a pinned revision if it is on the hub.

    Raises:
        ValueError: if it does not; the message names the field.
    """
    if not source:
        raise ValueError(f"{kind}.source is empty: name a local folder or hub:OWNER/NAME@COMMIT")
    if source.startswith(HUB_PREFIX) and not _PINNED.fullmatch(source):
        raise ValueError(
            f"{kind}.source: expected hub:OWNER/NAME@COMMIT with the 40 hexadecimal digits of a "
            f"commit, got {source!r}: a name alone may mean other weights tomorrow"
        )


def import_transformers(kind: str) -> Any:
    """Import the transformers library.

    Raises:
        ImportError: if it is not installed; the message names the extra.
    """
    try:
        import transformers
    except ImportError:
        raise ImportError(
            f"the {kind} condition needs transformers: pip install 'g3pt[hub]'"
        ) from None
    return transformers


def source_arguments(kind: str, source: str) -> tuple[str, dict[str, Any]]:
    """Arguments of `from_pretrained` for a source; a folder never reaches the network.

    Raises:
        FileNotFoundError: if it is a folder that does not exist.
        ValueError: if it is a file, or a folder without safetensors.
    """
    if source.startswith(HUB_PREFIX):
        name, _, revision = source.removeprefix(HUB_PREFIX).partition("@")
        return name, {"revision": revision}
    folder = Path(source)
    if not folder.exists():
        raise FileNotFoundError(
            f"{source}: no such folder; {kind}.source names a local folder of a transformers "
            "model, or hub:OWNER/NAME@COMMIT"
        )
    if not folder.is_dir():
        raise ValueError(
            f"{source}: is a file; {kind}.source names a local folder of a transformers model"
            f"{pickle_advice([folder], _SAVE)}"
        )
    if not any((folder / name).exists() for name in _TENSOR_FILES):
        raise ValueError(
            f"{source}: has no {_TENSOR_FILES[0]}, which {kind}.source needs"
            f"{pickle_advice(folder.iterdir(), _SAVE)}"
        )
    return source, {"local_files_only": True}


@lru_cache(maxsize=4)
def load_frozen(architecture: Architecture, source: str) -> nn.Module:
    """Load the encoder of a folder or a hub revision, float32 and frozen.

    The same source gives the same object, which is moved to the device of its input.

    Raises:
        ImportError: if transformers is not installed.
        FileNotFoundError: if the folder does not exist.
        ValueError: if it holds no safetensors, or weights are missing in them.
    """
    transformers = import_transformers(architecture)
    match architecture:
        case "dinov2":
            model_class = transformers.Dinov2Model
        case "clip":
            model_class = transformers.CLIPTextModel
        case _:
            assert_never(architecture)
    name, arguments = source_arguments(architecture, source)
    # Building a model draws initial values, which must not advance the caller's random state.
    with torch.random.fork_rng(devices=[]):
        try:
            model, report = model_class.from_pretrained(
                name,
                **arguments,
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation="sdpa",
                output_loading_info=True,
            )
        except SafetensorError as error:
            raise ValueError(
                f"{source}/{_TENSOR_FILES[0]}: is damaged, or is not in the safetensors format "
                f"({error})"
            ) from None
    if missing := sorted(report["missing_keys"]):
        raise ValueError(
            f"{source}: is no complete {model_class.__name__}, it lacks {missing[0]} "
            f"({len(missing)} tensors are missing)"
        )
    return model.eval().requires_grad_(False)


def frozen_fingerprint(architecture: Architecture, source: str) -> str:
    """Hash of an encoder's weights; equal hashes mean equal features."""
    return tensors_sha256(load_frozen(architecture, source).state_dict())
