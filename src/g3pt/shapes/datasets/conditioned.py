"""Conditions of generators drawn from shards.

They are pictures, captions, class labels and points of the visible part of the surface
(`choose_visible`). B batch, V views, N surface points, M visible points, S picture side, I tokens
and E width of a frozen encoder.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8

from g3pt.arguments import MAX_BATCH, MAX_SEED, MAX_SIDE, MAX_VIEWS, check_ranges
from g3pt.shapes.batch import ConditionedBatch
from g3pt.shapes.cache.features import FeatureCache, FeatureIdentity
from g3pt.shapes.order import MixedOrder
from g3pt.shapes.packs import open_shapes
from g3pt.shapes.shape_set import TRAINING, Selection, ShapeSet, framed_view
from g3pt.shapes.stored import MAX_STORED, normals, positions


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionedDataConfig:
    """Shapes with their conditions; subclasses add what a training predicts."""

    shards: tuple[str, ...] = ()
    """Folders of prepared shapes, for pictures and captions."""
    selection: Selection = TRAINING
    """Which of their shapes are read."""
    weights: tuple[float, ...] = ()
    """Share of draws of each folder; empty means in proportion to its size."""
    max_damaged: int = 0
    """Damaged samples per folder that are skipped before training stops."""
    batch_size: int = 32
    """Shapes in a global batch."""
    image_size: int = 128
    """Side of the pictures in pixels."""
    max_views: int = 1
    """Largest number of views of a shape in a batch; the number is drawn for each shape."""
    num_visible_points: int = 0
    """Number of surface points from a visible part of each shape; 0 gives none."""
    image_features: tuple[str, ...] = ()
    """Feature cache of the pictures, one for each folder of shards; empty gives the pictures
    themselves."""
    text_features: tuple[str, ...] = ()
    """Feature cache of the captions, one for each folder of shards."""
    canonical_share: float = 0.5
    """Probability of the canonical view where others exist too; 1 takes no other."""
    in_memory: bool = False
    """Decode and frame all pictures once and keep them."""
    classes: tuple[str, ...] = ()
    """Family names; class labels are indices into them."""
    seed: int = 0
    """Seeds the order and every random choice."""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            "data",
            batch_size=(1, MAX_BATCH),
            image_size=(1, MAX_SIDE),
            max_views=(1, MAX_VIEWS),
            num_visible_points=(0, MAX_STORED),
            canonical_share=(0, 1),
            max_damaged=(0, MAX_SEED),
            seed=(0, MAX_SEED),
        )
        for name in ("image_features", "text_features"):
            if folders := getattr(self, name):
                check_one_each(name, "feature cache", folders, self.shards)


def check_one_each(name: str, what: str, folders: tuple[str, ...], shards: tuple[str, ...]) -> None:
    """Check that there is one folder for each folder of shards.

    Raises:
        ValueError: naming the field.
    """
    if len(folders) != len(shards):
        raise ValueError(
            f"data.{name} must name one {what} a folder of shards, got "
            f"{len(folders)} for {len(shards)}"
        )


class DrawnShape(NamedTuple):
    """A shape of a batch, and the generator of its random choices."""

    part: int
    """Number of the folder of shards."""
    row: int
    rng: np.random.Generator


class ConditionedShapes:
    """Random shapes with pictures, a caption, a class label and visible points."""

    def __init__(
        self, config: ConditionedDataConfig, *, rank: int = 0, world_size: int = 1
    ) -> None:
        """Open the shards and their feature caches.

        Raises:
            FileNotFoundError: if a folder is missing.
            ValueError: if features belong to other shapes or another encoder.
        """
        self.config = config
        self.parts = [
            open_shapes(path, config.selection, max_damaged=config.max_damaged)
            for path in config.shards
        ]
        self.image_features = _open_features(
            config.image_features, self.parts, "image", config.image_size
        )
        self.text_features = _open_features(config.text_features, self.parts, "text", 0)
        sizes = [len(part) for part in self.parts]
        self.order = MixedOrder(sizes, weights=config.weights, seed=config.seed)
        self.num_shapes = sum(sizes)
        self._classes = {name: label for label, name in enumerate(config.classes)}
        self._rank, self._world_size = rank, world_size
        keeps = config.in_memory and not config.image_features
        self._frames = self._frame_all() if keeps else {}

    def _frame_all(self) -> dict[tuple[str, int, int], UInt8[np.ndarray, "S S 4"]]:
        """Every picture, framed, by part, row and view; decoded in threads."""
        wanted = [
            (part, row, view)
            for part in self.parts
            for row in range(len(part))
            for view in range(part.num_views(row))
        ]
        size = self.config.image_size
        with ThreadPoolExecutor() as pool:
            frames = pool.map(lambda key: framed_view(*key, size=size), wanted)
            return {
                (part.fingerprint, row, view): frame
                for (part, row, view), frame in zip(wanted, frames, strict=True)
            }

    def _picture(self, part: int, row: int, view: int) -> UInt8[np.ndarray, "S S 4"]:
        shards = self.parts[part]
        kept = self._frames.get((shards.fingerprint, row, view))
        return framed_view(shards, row, view, self.config.image_size) if kept is None else kept

    @property
    def order_key(self) -> str:
        """Hash of what the order of samples follows from; the same for all processes of a run."""
        return self.order.key(part.fingerprint for part in self.parts)

    def draw(self, step: int) -> list[DrawnShape]:
        """This process's share of the shapes of global batch number `step`.

        Raises:
            DamagedSampleError: if more samples are damaged than `max_damaged` allows.
        """
        config = self.config
        draws = self.order.batch(
            step, config.batch_size, rank=self._rank, world_size=self._world_size
        )
        return [
            DrawnShape(
                part,
                self.parts[part].readable(int(position)),
                np.random.default_rng((config.seed, 4, number)),
            )
            for part, position, number in draws
        ]

    def conditions(self, drawn: Sequence[DrawnShape]) -> ConditionedBatch:
        """Captions, views, labels and visible points of drawn shapes."""
        # Every shape uses its own generator in this order, whatever is asked for.
        sentences = [self._choose_sentence(one) for one in drawn]
        views = [self._choose_views(one) for one in drawn]
        clouds = [self._visible_points(one) for one in drawn if self.config.num_visible_points]
        shapes = [self.parts[part].shapes[row] for part, row, _ in drawn]
        captions = [
            shape["captions"][sentence] if sentence >= 0 else ""
            for shape, sentence in zip(shapes, sentences, strict=True)
        ]
        labels = [self._classes.get(shape["family"], -1) for shape in shapes]
        return ConditionedBatch(
            **self._look(drawn, views),
            **self._read(drawn, sentences),
            captions=tuple(captions),
            labels_B=torch.tensor(labels),
            ids=tuple(shape["id"] for shape in shapes),
            points_BN3=_stacked([points for points, _ in clouds]) if clouds else None,
            normals_BN3=_stacked([normals for _, normals in clouds]) if clouds else None,
        )

    def _choose_sentence(self, one: DrawnShape) -> int:
        """Number of a random caption, -1 if there is none."""
        sentences = self.parts[one.part].captions(one.row)
        return int(one.rng.integers(len(sentences))) if sentences else -1

    def _choose_views(self, one: DrawnShape) -> list[int]:
        """Numbers of distinct views; only -1 if the shape has none."""
        config, num_views = self.config, self.parts[one.part].num_views(one.row)
        canonical, pick = one.rng.random() < config.canonical_share, one.rng.random()
        if num_views == 0:
            first = -1
        elif canonical or num_views == 1:
            first = 0
        else:
            first = 1 + int(pick * (num_views - 1))
        if config.max_views == 1:
            return [first]
        wanted = int(one.rng.integers(1, config.max_views + 1))
        others = one.rng.permutation([view for view in range(num_views) if view != first])
        return [first, *(int(view) for view in others[: wanted - 1])]

    def _visible_points(self, one: DrawnShape) -> tuple[np.ndarray, np.ndarray]:
        stored_points, stored_normals = self.parts[one.part].surface(one.row)
        points, directions = positions(stored_points), normals(stored_normals)
        chosen = choose_visible(points, directions, self.config.num_visible_points, one.rng)
        return points[chosen], directions[chosen]

    def _look(self, drawn: Sequence[DrawnShape], views: list[list[int]]) -> dict[str, Any]:
        """Pictures of the chosen views that show something, or their cached features.

        If no view of a shape does, its first picture is transparent.
        """
        shown = [self._shown(one, chosen) for one, chosen in zip(drawn, views, strict=True)]
        num_views, several = max(1, *map(len, shown)), self.config.max_views > 1
        found: dict[str, Any] = {
            "pictures_BSS4": None,
            "view_B": torch.tensor([seen[0][0] if seen else -1 for seen in shown]),
            "has_image_B": torch.tensor([bool(seen) for seen in shown]),
        }
        if several:
            found["num_views_B"] = torch.tensor([max(1, len(seen)) for seen in shown])
        if self.image_features:
            items = [[item for _, item in seen] for seen in shown]
            tokens, summary = _stacked_features(items, num_views, self.image_features[0].identity)
            found["image_features_BIE"] = tokens if several else tokens[:, 0]
            found["image_summary_BE"] = summary if several else summary[:, 0]
            return found
        size = self.config.image_size
        pictures_BVSS4 = np.zeros((len(drawn), num_views, size, size, 4), np.uint8)
        for place, seen in enumerate(shown):
            for number, (_, picture) in enumerate(seen):
                pictures_BVSS4[place, number] = picture
        shown_BVSS4 = torch.from_numpy(pictures_BVSS4)
        found["pictures_BSS4"] = shown_BVSS4 if several else shown_BVSS4[:, 0]
        return found

    def _shown(self, one: DrawnShape, views: list[int]) -> list[tuple[int, Any]]:
        """The views that show something, each with its picture or features."""
        part, row, _ = one
        if self.image_features:
            cache = self.image_features[part]
            return [
                (view, cache.features(row, view))
                for view in views
                if view >= 0 and cache.shows(row, view)
            ]
        framed = [(view, self._picture(part, row, view)) for view in views]
        return [(view, picture) for view, picture in framed if picture.any()]

    def _read(self, drawn: Sequence[DrawnShape], sentences: list[int]) -> dict[str, torch.Tensor]:
        """Cached features of the chosen captions."""
        if not self.text_features:
            return {}
        items = [
            [self.text_features[part].features(row, sentence)] if sentence >= 0 else []
            for (part, row, _), sentence in zip(drawn, sentences, strict=True)
        ]
        tokens, summary = _stacked_features(items, 1, self.text_features[0].identity)
        return {"text_features_BNE": tokens[:, 0], "text_summary_BE": summary[:, 0]}


def _stacked(arrays: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))


def _stacked_features(
    items: list[list[tuple[np.ndarray, np.ndarray]]], num: int, identity: FeatureIdentity
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of up to `num` items per shape, padded with zeros."""
    tokens_BVIE = np.zeros((len(items), num, identity.num_tokens, identity.width), np.float16)
    summary_BVE = np.zeros((len(items), num, identity.width), np.float16)
    for place, features in enumerate(items):
        for number, (tokens, summary) in enumerate(features):
            tokens_BVIE[place, number], summary_BVE[place, number] = tokens, summary
    return torch.from_numpy(tokens_BVIE), torch.from_numpy(summary_BVE)


def _open_features(
    paths: tuple[str, ...], parts: list[ShapeSet], slot: str, image_size: int
) -> list[FeatureCache]:
    if not paths:
        return []
    caches = [FeatureCache(path) for path in paths]
    for cache, part in zip(caches, parts, strict=True):
        identity = cache.identity
        if cache.shapes_fingerprint != part.fingerprint:
            raise ValueError(f"{cache.path}: these features are not those of {part.path}")
        if identity != caches[0].identity or identity.slot != slot:
            raise ValueError(f"{cache.path}: made by another encoder, or for another condition")
        if slot == "image" and identity.image_size != image_size:
            raise ValueError(
                f"{cache.path}: features of pictures of side {identity.image_size}, "
                f"data.image_size is {image_size}"
            )
    return caches


SMALLEST_SHARE = 0.25
"""Smallest share of the surface points that a cut leaves."""


def choose_visible(
    points: Float32[np.ndarray, "N 3"],
    normals: Float32[np.ndarray, "N 3"],
    num: int,
    rng: np.random.Generator,
) -> Int64[np.ndarray, " M"]:
    """Draw points of the part that is seen from a random direction.

    With probability 1/2 a plane across the direction cuts the far part off, as in an unfinished
    scan; the remaining share of the points is uniform in [`SMALLEST_SHARE`, 1]. Otherwise the
    visible part is the surface that faces the direction, as in one depth picture, occlusion
    ignored.

    Args:
        points: surface points.
        normals: their outward normals.
        num: how many to draw; with repetition if fewer are visible.
        rng: source of randomness.

    Returns:
        Row numbers of the drawn points.
    """
    direction = rng.standard_normal(3).astype(np.float32)
    cut, share = rng.random() < 0.5, rng.uniform(SMALLEST_SHARE, 1.0)
    if cut:
        depths = points @ direction
        seen = depths >= np.quantile(depths, 1.0 - share)
    else:
        seen = normals @ direction > 0
        if not seen.any():  # a sheet, seen from its other side
            seen = ~seen
    visible = np.flatnonzero(seen)
    return rng.choice(visible, num, replace=len(visible) < num)
