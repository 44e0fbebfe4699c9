"""Turns a user's pictures, texts and point clouds into the conditions of CAR and its rivals.

Legend: B batch, N text tokens or points, S picture side.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from g3pt.arguments import PromptError
from g3pt.generation.cutouts import Cutout
from g3pt.generation.pictures import CutPicture, PreparedPicture, prepare_picture
from g3pt.generation.pixels import Picture
from g3pt.geometry.clouds import cloud_of, estimate_normals, read_cloud, to_own_frame
from g3pt.models.car import Car
from g3pt.models.conditioning import (
    ConditionBatch,
    PictureConfig,
    PointsConditionConfig,
    SentenceConfig,
    encode_points,
)
from g3pt.models.conditioning.vocabulary import pad_ids
from g3pt.models.rivals.flow import Flow
from g3pt.models.rivals.regressor import Regressor
from g3pt.models.tokenizer import Tokenizer

LOGGER = logging.getLogger(__name__)

OnePicture = Picture | CutPicture
"""A picture, or one whose object was found before."""
Pictures = OnePicture | Sequence[OnePicture | Sequence[OnePicture]]
"""One picture, or one per shape; a list in the place of a picture holds views of one shape."""
Cloud = str | Path | np.ndarray
"""A file, or an array (N, 3 or 6) of positions and normals."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """Prepared prompts, one per requested shape; pictures and texts are empty if not given."""

    condition: ConditionBatch
    pictures: tuple[PreparedPicture, ...] = ()
    """The first view of each shape."""
    texts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.condition.batch_size

    @property
    def cutouts(self) -> tuple[Cutout, ...]:
        """How the object of each picture was found; of several views of a shape, of the first."""
        return tuple(picture.cutout for picture in self.pictures)


def read_prompts(
    generator: Car | Flow | Regressor,
    image: Pictures | None = None,
    text: str | Sequence[str] | None = None,
    points: Cloud | Sequence[Cloud] | None = None,
    *,
    mask: Pictures | None = None,
    whole_picture: bool = False,
    tokenizer: Tokenizer | None = None,
) -> Prompts:
    """Check prompts against the conditions that the weights know, and prepare them.

    Pictures, texts and point clouds given together describe the same shapes, in the same order. A
    list in the place of a picture holds several views of one shape. Without any prompt, one
    unconditional shape is requested.

    Args:
        generator: CAR or a rival.
        image: pictures, each a file, its bytes or its pixels (`pixels.Picture`).
        text: sentences.
        points: clouds of visible points in the unit frame of the whole shape, each a file or an
            array. A cloud that leaves the query cube is moved to the unit frame by its own
            bounding box.
        mask: which part of each picture is its object (`pictures.cut_out`), in the same order and
            with the same views; without it the object is looked for.
        whole_picture: each whole picture is the object.
        tokenizer: the tokenizer whose encoder reads the points; required with `points`.

    Raises:
        FileNotFoundError: if a file does not exist.
        PictureError, CloudError: if a picture or a cloud cannot be used.
        PromptError: if the weights do not take this kind of prompt, or a text is empty.
    """
    views = [] if image is None else [_pictures(one) for one in _pictures(image)]
    if (mask is not None or whole_picture) and not views:
        raise PromptError("mask and whole_picture tell where a picture shows its object: give one")
    masks = _masks(views, mask)
    texts = [] if text is None else [text] if isinstance(text, str) else _sentences(text)
    clouds = [] if points is None else [points] if isinstance(points, Cloud) else list(points)
    given = {"image": views, "text": texts, "points": clouds}
    asked = {"image": image, "text": text, "points": points}
    if any(asked[slot] is not None and not given[slot] for slot in given) or not all(views):
        raise PromptError("an empty list of prompts: give at least one of them")
    size = _common_length(given)
    configs = {condition.slot: condition for condition in generator.config.conditions}
    for slot, prompts in given.items():
        if prompts and slot not in configs:
            known = ", ".join(configs) or "no condition at all"
            raise PromptError(f"these weights take no {slot}; they know: {known}")
    device = next(generator.parameters()).device
    pictures, fields = (), {}
    if views:
        config = configs["image"]
        assert isinstance(config, PictureConfig)
        guess = generator.config.guess if isinstance(generator, Car) else None
        differs = guess is not None and guess.image_size != config.image_size
        guess_size = guess.image_size if guess and differs else None
        prepared = _prepare_views(config, views, masks, whole_picture, guess_size)
        pictures = tuple(of_shape[0] for of_shape in prepared)
        fields |= _picture_fields(prepared)
    if texts:
        config = configs["text"]
        assert isinstance(config, SentenceConfig)
        fields["text_ids_BN"] = _text_ids(config, texts)
    if clouds:
        config = configs["points"]
        assert isinstance(config, PointsConditionConfig)
        assert tokenizer is not None, "points are read by the encoder of stage 1"
        drawn = [draw_points(one, config.num_points) for one in clouds]
        points_BN3, normals_BN3 = (
            torch.stack(each).to(device) for each in zip(*drawn, strict=True)
        )
        fields["point_latents_BLC"] = encode_points(tokenizer, points_BN3, normals_BN3)
    condition = ConditionBatch(batch_size=size, **fields).to(device)
    return Prompts(condition=condition, pictures=pictures, texts=tuple(texts))


def _pictures(given: Any) -> list[Any]:
    """Pictures as a list, even if there is only one; opening them checks their types."""
    several = isinstance(given, Sequence) and not isinstance(given, OnePicture)
    return list(given) if several else [given]


def _masks(views: Sequence[Sequence[Any]], mask: Pictures | None) -> list[list[Any]]:
    """A mask for every view of every shape; None where none is given."""
    if mask is None:
        return [[None] * len(of_shape) for of_shape in views]
    masks = [_pictures(one) for one in _pictures(mask)]
    needed, given = ([len(of_shape) for of_shape in listed] for listed in (views, masks))
    if needed != given:
        raise PromptError(
            f"mask: got {sum(given)} masks for {sum(needed)} pictures, expected one for each, with "
            "the same views"
        )
    return masks


def _sentences(given: Any) -> list[str]:
    texts = list(given) if isinstance(given, Sequence) else [given]
    for text in texts:
        if not isinstance(text, str):
            raise PromptError(
                f"text must be a sentence or several, got {text!r:.40} ({type(text).__name__})"
            )
    return texts


def _common_length(given: Mapping[str, Sequence[object]]) -> int:
    """Number of requested shapes; at least one."""
    names = {"image": "pictures", "text": "texts", "points": "point clouds"}
    counts = {names[slot]: len(prompts) for slot, prompts in given.items() if prompts}
    if len(set(counts.values())) > 1:
        listed = " and ".join(f"{count} {name}" for name, count in counts.items())
        raise PromptError(f"{listed}: give as many {' as '.join(reversed(counts))}")
    return max(counts.values(), default=1)


def _prepare_views(
    config: PictureConfig,
    views: Sequence[Sequence[OnePicture]],
    masks: Sequence[Sequence[Any]],
    whole_picture: bool,
    guess_size: int | None,
) -> list[list[PreparedPicture]]:
    most = max(len(of_shape) for of_shape in views)
    if most > config.max_views:
        raise PromptError(
            f"{most} views of a shape: these weights were trained with at most "
            f"{config.max_views} of each"
        )
    prepared: list[list[PreparedPicture]] = []
    for of_shape, marks in zip(views, masks, strict=True):
        prepared.append([])
        for number, (one, mask) in enumerate(zip(of_shape, marks, strict=True)):
            guess = None if number else guess_size
            ready = prepare_picture(
                one, config.image_size, guess, mask=mask, whole_picture=whole_picture
            )
            prepared[-1].append(ready)
            if not isinstance(one, CutPicture):  # else whoever cut it out has read its report
                for warning in ready.cutout.warnings:
                    LOGGER.warning("%s: %s", ready.name, warning)
    return prepared


def _picture_fields(prepared: list[list[PreparedPicture]]) -> dict[str, torch.Tensor]:
    """Fields of the condition for pictures; missing views of a shape are transparent."""
    most = max(len(of_shape) for of_shape in prepared)
    stacked = [torch.from_numpy(np.stack([one.rgba for one in of_shape])) for of_shape in prepared]
    fields = {}
    larger = [of_shape[0].guess_rgba for of_shape in prepared if of_shape[0].guess_rgba is not None]
    if larger:
        fields["guess_pictures_BZZ4"] = torch.from_numpy(np.stack(larger))
    if most == 1:
        return fields | {"pictures_BSS4": torch.cat(stacked)}
    empty = torch.zeros_like(stacked[0][:1])
    padded = [torch.cat([shown, *[empty] * (most - len(shown))]) for shown in stacked]
    counts = torch.tensor([len(of_shape) for of_shape in prepared])
    return fields | {"pictures_BSS4": torch.stack(padded), "num_views_B": counts}


def draw_points(cloud: Cloud, num: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw points and normals of a cloud for the encoder of stage 1, each (N, 3) float32.

    Args:
        cloud: a file, an array of positions, or an array of positions and normals.
        num: number of points to draw; some are drawn twice if the cloud has fewer.
        seed: seed of the draw.

    Raises:
        FileNotFoundError: if the file does not exist.
        CloudError: if the cloud cannot be used.
    """
    name = str(cloud) if isinstance(cloud, str | Path) else "points"
    read = cloud_of(cloud) if isinstance(cloud, np.ndarray) else read_cloud(cloud)
    points, normals = read.points, read.normals
    if np.abs(points).max() > 1.0:
        LOGGER.warning("%s: leaves the cube [-1, 1]; placed by its own bounding box", name)
        points = to_own_frame(points)
    if normals is None:
        LOGGER.warning(
            "%s: has no normals; they are estimated, outside is away from the middle", name
        )
        normals = estimate_normals(points, name)
    chosen = np.random.default_rng(seed).choice(len(points), num, replace=len(points) < num)
    drawn = (points[chosen], normals[chosen])
    points_N3, normals_N3 = (torch.from_numpy(one.astype(np.float32)) for one in drawn)
    return points_N3, normals_N3


def _text_ids(config: SentenceConfig, texts: Sequence[str]) -> torch.Tensor:
    for text in texts:
        if not text.strip():
            raise PromptError("the text is empty: describe a shape, e.g. 'a round red table'")
    tokenizer = config.build_tokenizer()
    return torch.tensor(pad_ids(tokenizer.encode_batch(texts)), dtype=torch.int64)
