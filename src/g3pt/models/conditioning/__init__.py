"""Conditions of the generator: picture, text, class label, each absent at will."""

from g3pt.models.conditioning.contract import ConditionBatch, ConditionOutput
from g3pt.models.conditioning.encoders import ConditionConfig, Conditioner
from g3pt.models.conditioning.image import ImageConditionConfig
from g3pt.models.conditioning.label import ClassConditionConfig
from g3pt.models.conditioning.text import TextConditionConfig
from g3pt.models.conditioning.vocabulary import TextTokenizer, collect_vocabulary

__all__ = [
    "ClassConditionConfig",
    "ConditionBatch",
    "ConditionConfig",
    "ConditionOutput",
    "Conditioner",
    "ImageConditionConfig",
    "TextConditionConfig",
    "TextTokenizer",
    "collect_vocabulary",
]
