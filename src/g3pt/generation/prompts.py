"""What a user asks for, turned into the conditions that CAR and its rivals read.

Legend: B batch, N text tokens, S picture side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from g3pt.generation.pictures import PreparedPicture, prepare_picture
from g3pt.models.car import Car
from g3pt.models.conditioning import ConditionBatch, PictureConfig, SentenceConfig
from g3pt.models.conditioning.vocabulary import pad_ids
from g3pt.models.rivals.flow import Flow
from g3pt.models.rivals.regressor import Regressor

Picture = str | Path | Image.Image | np.ndarray
"""A file, a Pillow image, or an array (height, width, 3 or 4) of bytes."""


class PromptError(ValueError):
    """A request that these weights cannot serve."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """One request per shape family: as many pictures, or texts, or neither."""

    condition: ConditionBatch
    pictures: tuple[PreparedPicture, ...] = ()
    texts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.condition.batch_size


def read_prompts(
    generator: Car | Flow | Regressor,
    image: Picture | Sequence[Picture] | None = None,
    text: str | Sequence[str] | None = None,
) -> Prompts:
    """Check a request against what the weights were trained with, and prepare it.

    Pictures and texts given together describe the same shapes, in the same order. Neither asks
    for one unconditional shape.

    Raises:
        FileNotFoundError: if a picture does not exist.
        PictureError: if a picture cannot be used.
        PromptError: if the weights do not know this kind of prompt, or a text is empty.
    """
    images = [] if image is None else [image] if isinstance(image, Picture) else list(image)
    texts = [] if text is None else [text] if isinstance(text, str) else list(text)
    if images and texts and len(images) != len(texts):
        raise PromptError(
            f"{len(images)} pictures and {len(texts)} texts: give as many texts as pictures"
        )
    if (image is not None and not images) or (text is not None and not texts):
        raise PromptError("an empty list of prompts: give at least one picture or text")
    configs = {condition.slot: condition for condition in generator.config.conditions}
    for kind, given in (("image", images), ("text", texts)):
        if given and kind not in configs:
            known = ", ".join(configs) or "no condition at all"
            raise PromptError(f"these weights take no {kind}; they know: {known}")
    size = max(len(images), len(texts), 1)
    device = next(generator.parameters()).device
    pictures, images_B3SS, text_ids_BN = (), None, None
    if images:
        config = configs["image"]
        assert isinstance(config, PictureConfig)
        pictures = tuple(prepare_picture(one, config.image_size) for one in images)
        images_B3SS = torch.stack([_over_white(one.rgba) for one in pictures]).to(device)
    if texts:
        config = configs["text"]
        assert isinstance(config, SentenceConfig)
        text_ids_BN = _text_ids(config, texts).to(device)
    condition = ConditionBatch(batch_size=size, images_B3SS=images_B3SS, text_ids_BN=text_ids_BN)
    return Prompts(condition=condition, pictures=pictures, texts=tuple(texts))


def _over_white(rgba: UInt8[np.ndarray, "S S 4"]) -> torch.Tensor:
    floats_4SS = torch.from_numpy(rgba).permute(2, 0, 1).float() / 255.0
    colors_3SS, alpha_1SS = floats_4SS[:3], floats_4SS[3:]
    return colors_3SS * alpha_1SS + (1.0 - alpha_1SS)


def _text_ids(config: SentenceConfig, texts: Sequence[str]) -> torch.Tensor:
    for text in texts:
        if not text.strip():
            raise PromptError("the text is empty: describe a shape, e.g. 'a round red table'")
    tokenizer = config.build_tokenizer()
    return torch.tensor(pad_ids(tokenizer.encode_batch(texts)), dtype=torch.int64)
