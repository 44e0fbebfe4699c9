"""Controls that a generator has to beat: the most similar training shape, one mean shape for all.

Legend: N training shapes, E width of features, S picture side, G cells along the grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy import ndimage

from g3pt.evaluation.systems import Generator, conditioner_of
from g3pt.generation.prompts import read_prompts
from g3pt.geometry.isosurface import extract_surface
from g3pt.geometry.mesh import TriangleMesh
from g3pt.models.conditioning import ConditionBatch, ConditionOutput
from g3pt.models.conditioning.encoders import Condition
from g3pt.preparation.sources import SourceShape, list_shapes, load_shape, stored_source
from g3pt.shapes.queries import POSITION_STEPS
from g3pt.shapes.shape_set import TRAINING
from g3pt.shapes.shards import ShardSet

BATCH = 64
GRID = 32
MEAN_QUERIES = 8192
"""Stored labels of each shape that the mean shape is made of."""
THRESHOLDS = np.linspace(0.02, 0.6, 30)


@dataclass(frozen=True, eq=False)
class TrainingShapes:
    """Shapes of training shards, with features of the generator's own condition encoders."""

    shards: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    """Of each shape: number of its folder, and row in that."""
    features: dict[str, Float32[np.ndarray, "N E"]]
    """By condition (`image`, `text`): unit vectors, after the mean was taken out."""
    means: dict[str, Float32[np.ndarray, " E"]]
    mean_shape: TriangleMesh
    """The best constant guess for all of them; see `mean_shape`."""

    def nearest(self, kind: str, feature_E: Float32[np.ndarray, " E"]) -> int:
        """Number of the shape that the encoder finds most similar."""
        return int((self.features[kind] @ _unit(feature_E[None] - self.means[kind])[0]).argmax())

    def load(self, number: int) -> SourceShape:
        """Load a shape from its source."""
        part, row = self.places[number]
        shards = training_shards(self.shards[part])
        wanted = shards.shapes[row]["id"]
        (ref,) = (ref for ref in list_shapes(stored_source(shards)) if ref.id == wanted)
        return load_shape(ref)


def training_shards(path: str | Path) -> ShardSet:
    """The training shapes of a folder of shards."""
    return ShardSet(path, TRAINING)


def collect_training_shapes(
    model: Generator, paths: Sequence[str | Path], kinds: Sequence[str], num: int
) -> TrainingShapes:
    """Encode training shapes with the generator's condition encoders.

    Args:
        model: the generator.
        paths: folders of shards; training shapes with a canonical picture and a caption are used.
        kinds: `image`, `text`.
        num: how many shapes in all, spread evenly over the folders.

    Raises:
        FileNotFoundError, ValueError: if a folder is missing or has nothing usable.
    """
    parts = [training_shards(path) for path in paths]
    usable = [
        (number, row)
        for number, part in enumerate(parts)
        for row in range(len(part))
        if ("text" not in kinds or part.captions(row))
        and ("image" not in kinds or part.num_views(row))
    ]
    if not usable:
        raise ValueError(f"no shape with picture and caption in {', '.join(map(str, paths))}")
    chosen = np.linspace(0, len(usable) - 1, min(num, len(usable))).round().astype(int)
    places = tuple(usable[number] for number in chosen)
    features: dict[str, np.ndarray] = {}
    means: dict[str, np.ndarray] = {}
    for kind in kinds:
        raw = np.concatenate(
            [
                _features(model, parts, places[first : first + BATCH], kind)
                for first in range(0, len(places), BATCH)
            ]
        )
        means[kind] = raw.mean(axis=0)
        features[kind] = _unit(raw - means[kind])
    return TrainingShapes(
        shards=tuple(str(path) for path in paths),
        places=places,
        features=features,
        means=means,
        mean_shape=mean_shape([(parts[number], row) for number, row in places]),
    )


def _features(
    model: Generator,
    parts: Sequence[ShardSet],
    places: Sequence[tuple[int, int]],
    kind: str,
) -> Float32[np.ndarray, "B E"]:
    if kind == "image":
        prompts = read_prompts(
            model, image=[parts[number].picture(row, 0) for number, row in places]
        )
    else:
        prompts = read_prompts(
            model, text=[parts[number].captions(row)[0] for number, row in places]
        )
    return condition_features(model, prompts.condition, kind)


@torch.inference_mode()
def condition_features(
    model: Generator, condition: ConditionBatch, kind: str
) -> Float32[np.ndarray, "B E"]:
    """The vector that a condition encoder makes of each input, before CAR's own projection."""
    raw = condition.pictures_BSS4 if kind == "image" else condition.text_ids_BN
    assert raw is not None
    condition_module = conditioner_of(model).conditions[kind]
    assert isinstance(condition_module, Condition)
    encoded: ConditionOutput = condition_module.encoder(raw)
    return encoded.vector_BD.float().cpu().numpy()


def _unit(vectors: Float[np.ndarray, "N E"]) -> Float32[np.ndarray, "N E"]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(norms, 1e-12)).astype(np.float32)


def mean_shape(members: Sequence[tuple[ShardSet, int]]) -> TriangleMesh:
    """The constant prediction that does best on some shapes.

    Their stored labels give the share of shapes that is solid at each place; the threshold on it is
    the one with the highest mean IoU over the same shapes.
    """
    cells, labels = [], []
    for part, row in members:
        numbers = np.arange(min(MEAN_QUERIES, part.prepare.num_volume_queries))
        queries, inside = part[row].volume(numbers)
        places = (queries.astype(np.int64) + POSITION_STEPS) * GRID
        cells.append(np.minimum(places // (2 * POSITION_STEPS), GRID - 1) @ [GRID * GRID, GRID, 1])
        labels.append(inside != 0)
    cells_NQ, labels_NQ = np.stack(cells), np.stack(labels)
    count = np.bincount(cells_NQ.ravel(), minlength=GRID**3)
    solid = np.bincount(cells_NQ.ravel(), labels_NQ.ravel(), minlength=GRID**3)
    blurred_solid, blurred_count = (
        ndimage.gaussian_filter(values.reshape((GRID,) * 3).astype(np.float64), 0.5)
        for values in (solid, count)
    )
    share = blurred_solid / np.maximum(blurred_count, 1e-9)
    share_NQ = share.ravel()[cells_NQ]
    ious = [
        float(
            np.mean(
                (labels_NQ & (share_NQ > level)).sum(axis=1)
                / np.maximum((labels_NQ | (share_NQ > level)).sum(axis=1), 1)
            )
        )
        for level in THRESHOLDS
    ]
    level = float(THRESHOLDS[int(np.argmax(ious))])

    def field(points: Float32[np.ndarray, "Q 3"]) -> Float32[np.ndarray, " Q"]:
        at = (points.T.astype(np.float64) + 1.0) * (GRID / 2) - 0.5
        values = ndimage.map_coordinates(share, at, order=1, mode="nearest")
        return (values - level).astype(np.float32)

    return extract_surface(field, resolution=64).mesh
