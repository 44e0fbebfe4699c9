"""Conditions of the generator: pictures, text, points and class label, all optional."""

from g3pt.models.conditioning.clip import ClipConditionConfig
from g3pt.models.conditioning.contract import (
    ConditionBatch,
    ConditionOutput,
    Slot,
)
from g3pt.models.conditioning.dinov2 import DinoConditionConfig
from g3pt.models.conditioning.encoders import (
    ConditionConfig,
    Conditioner,
    FrozenConfig,
    GridConfig,
    PictureConfig,
    SentenceConfig,
)
from g3pt.models.conditioning.image import ImageConditionConfig
from g3pt.models.conditioning.label import ClassConditionConfig
from g3pt.models.conditioning.points import PointsConditionConfig, encode_points, read_points
from g3pt.models.conditioning.pretrained import PretrainedImageConditionConfig
from g3pt.models.conditioning.text import TextConditionConfig
from g3pt.models.conditioning.vocabulary import TextTokenizer, collect_vocabulary

__all__ = [
    "ClassConditionConfig",
    "ClipConditionConfig",
    "ConditionBatch",
    "ConditionConfig",
    "ConditionOutput",
    "Conditioner",
    "DinoConditionConfig",
    "FrozenConfig",
    "GridConfig",
    "ImageConditionConfig",
    "PictureConfig",
    "PointsConditionConfig",
    "PretrainedImageConditionConfig",
    "SentenceConfig",
    "Slot",
    "TextConditionConfig",
    "TextTokenizer",
    "collect_vocabulary",
    "encode_points",
    "read_points",
]
