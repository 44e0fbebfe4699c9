"""The closed union of tokenizer configs, and the tokenizer of each."""

from typing import assert_never

from g3pt.models.alternatives.kl import KlConfig, KlTokenizer
from g3pt.models.alternatives.pooling import PoolingConfig, PoolingTokenizer
from g3pt.models.alternatives.triplane import TriplaneConfig, TriplaneTokenizer
from g3pt.models.alternatives.volume import VolumeConfig, VolumeTokenizer
from g3pt.models.alternatives.vq import VqConfig, VqTokenizer
from g3pt.models.cvq import CvqConfig, CvqTokenizer
from g3pt.models.tokenizer import Tokenizer

TokenizerConfig = CvqConfig | VqConfig | KlConfig | PoolingConfig | TriplaneConfig | VolumeConfig


def build_tokenizer(config: TokenizerConfig) -> Tokenizer:
    """Build a tokenizer with fresh weights."""
    match config:
        case CvqConfig():
            return CvqTokenizer(config)
        case VqConfig():
            return VqTokenizer(config)
        case KlConfig():
            return KlTokenizer(config)
        case PoolingConfig():
            return PoolingTokenizer(config)
        case TriplaneConfig():
            return TriplaneTokenizer(config)
        case VolumeConfig():
            return VolumeTokenizer(config)
        case _:
            assert_never(config)
