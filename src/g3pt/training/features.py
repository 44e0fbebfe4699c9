"""Features of frozen encoders, stored next to the shapes so that they are computed only once."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from g3pt.models.conditioning import (
    ClipConditionConfig,
    ConditionConfig,
    DinoConditionConfig,
    FrozenConfig,
)
from g3pt.models.conditioning.encoders import build_encoder
from g3pt.models.conditioning.frozen import frozen_fingerprint
from g3pt.shapes.cache.features import Encode, FeatureIdentity, build_feature_cache
from g3pt.shapes.shape_set import ShapeSet

LOGGER = logging.getLogger(__name__)


def ensure_features(
    shapes: Sequence[ShapeSet],
    conditions: Sequence[ConditionConfig],
    *,
    device: torch.device | str = "cpu",
) -> dict[str, tuple[str, ...]]:
    """Encode pictures and captions with the frozen encoders that have not seen them yet.

    Returns:
        `image_features` and `text_features` of a data config, if these conditions have frozen
        encoders: a folder next to each set of shapes.
    """
    folders: dict[str, tuple[str, ...]] = {}
    for condition in conditions:
        if isinstance(condition, FrozenConfig):
            identity, encode = _identity(condition), feature_function(condition, device=device)
            made = [_feature_folder(part, condition, identity) for part in shapes]
            for part, folder in zip(shapes, made, strict=True):
                build_feature_cache(encode, identity, part, folder)
                LOGGER.info("%s: features of %s", folder, condition.source)
            folders[f"{condition.slot}_features"] = tuple(str(folder) for folder in made)
    return folders


def feature_function(condition: FrozenConfig, *, device: torch.device | str = "cpu") -> Encode:
    """The frozen encoder of a condition as a function for `build_feature_cache`."""
    encoder = build_encoder(condition)

    def encode(given: Tensor | list[str]) -> tuple[Tensor, Tensor]:
        if isinstance(condition, ClipConditionConfig):
            assert isinstance(given, list)
            given = torch.tensor(condition.build_tokenizer().encode_batch(given))
        assert isinstance(given, Tensor)
        output = encoder(given.to(device))
        return output.tokens_BID, output.vector_BD

    return encode


def _identity(condition: FrozenConfig) -> FeatureIdentity:
    fingerprint = frozen_fingerprint(condition.kind, condition.source)
    match condition:
        case DinoConditionConfig(num_tokens=num_tokens, image_size=size):
            slot = "image"
        case ClipConditionConfig(max_tokens=num_tokens):
            slot, size = "text", 0
    return FeatureIdentity(
        slot=slot,
        fingerprint=fingerprint,
        num_tokens=num_tokens,
        width=condition.width,
        image_size=size,
    )


def _feature_folder(shapes: ShapeSet, condition: FrozenConfig, identity: FeatureIdentity) -> Path:
    size = f"-{identity.image_size}" if identity.image_size else ""
    split = f"-{shapes.selection.split}" if shapes.selection.split else ""
    return Path(f"{shapes.path}.{condition.kind}{size}-{identity.fingerprint[:12]}{split}")
