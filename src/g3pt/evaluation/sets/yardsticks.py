"""Making the yardsticks: what is drawn, sampled and labelled of each held-out object.

Also the baseline that a generator has to beat: the known shape whose picture is nearest.

Legend: B objects, M known shapes, Q queries, S picture side, P numbers of a small picture.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from g3pt.evaluation.objects import HELD_OUT, PROCEDURAL, ObjectList, list_objects
from g3pt.geometry.cameras import canonical_camera, frame_object
from g3pt.geometry.mesh import GltfColors, MeshError
from g3pt.preparation.prepare import prepare_shape
from g3pt.preparation.sources import ShapeError, ShapeRef, SourceShape, load_shape
from g3pt.shapes.shape_set import QualityLimits
from g3pt.shapes.stored import PrepareConfig, shape_seed
from g3pt.shapes.yardstick import Yardstick, query_positions


@dataclass(frozen=True, kw_only=True, slots=True)
class YardstickConfig:
    """What is kept of each object."""

    num_points: int = 4096
    """Surface points with normals: with twice as many, 200 objects take 10 MB in place of 6."""
    num_queries: int = 16_384
    """Labelled points of the cube, a multiple of 8. A sword fills a thousandth of the cube."""
    picture_size: int = 224
    render_size: int = 448
    """Side of the rendering that the object is cut out of."""
    solid_resolution: int = 128
    """Wall voxels per axis of the inside/outside test of meshes."""

    def __post_init__(self) -> None:
        for name in ("num_points", "num_queries", "picture_size", "render_size"):
            if getattr(self, name) < 8:
                raise ValueError(f"{name} must be at least 8, got {getattr(self, name)}")
        if self.num_queries % 8:
            raise ValueError(f"num_queries must be a multiple of 8, got {self.num_queries}")

    @property
    def prepare(self) -> PrepareConfig:
        """Preparation that samples, refuses and measures as that of training sets does."""
        return PrepareConfig(
            num_points=self.num_points,
            num_volume_queries=8,
            num_near_queries=3 * 2048,
            solid_resolution=self.solid_resolution,
        )


def yardstick_objects(
    meshes: str | Path | None, limit: int, *, gltf_colors: GltfColors = "linear"
) -> dict[str, ObjectList]:
    """The objects of each yardstick; `real` only with a folder of meshes.

    Args:
        meshes: a folder whose manifest says which objects are held out (split `val`).
        limit: objects of each: seeds count up with families in turn, models are spread evenly
            over a folder and come in random order.
        gltf_colors: what COLOR_0 of the folder's GLB and glTF files holds.

    Raises:
        FileNotFoundError, ValueError: if the folder cannot be used.
    """
    objects = {
        "known": list_objects(PROCEDURAL, limit=limit),
        "unseen": list_objects(HELD_OUT, limit=limit),
    }
    if meshes is not None:
        found = list_objects(str(meshes), limit=limit, gltf_colors=gltf_colors)
        order = np.random.default_rng(0).permutation(len(found.refs))
        objects["real"] = replace(found, refs=tuple(found.refs[place] for place in order))
    return objects


@dataclass(frozen=True)
class BuiltYardstick:
    """A yardstick, and the objects that could not be used for it."""

    yardstick: Yardstick
    refused: Mapping[str, str]
    """Ids and reasons."""


def build_yardstick(
    name: str,
    objects: ObjectList,
    config: YardstickConfig | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> BuiltYardstick:
    """Draw, sample and label objects. What preparation refuses is left out.

    Args:
        name: of the yardstick.
        objects: which.
        config: how much is kept of each.
        on_progress: is told how many objects are done, and of how many.

    Raises:
        ValueError: if no object can be used.
    """
    config = config or YardstickConfig()
    queries_Q3 = query_positions(config.num_queries)
    rows: list[Yardstick] = []
    refused: dict[str, str] = {}
    for number, ref in enumerate(objects.refs, start=1):
        try:
            rows.append(_row(name, ref, queries_Q3, config))
        except (ShapeError, MeshError) as error:
            refused[ref.id] = str(error)
        if on_progress is not None:
            on_progress(number, len(objects.refs))
    if not rows:
        raise ValueError(f"yardstick {name}: none of {len(objects.refs)} objects can be used")
    return BuiltYardstick(_joined(name, rows), refused)


def _row(name: str, ref: ShapeRef, queries_Q3: np.ndarray, config: YardstickConfig) -> Yardstick:
    """One object.

    Raises:
        ShapeError, MeshError: if it is of no use.
    """
    shape = load_shape(ref, solid_resolution=config.solid_resolution)
    record = prepare_shape(shape, config.prepare)
    inside_Q = shape.contains(queries_Q3)
    if not inside_Q.any():
        raise ShapeError("no query lies inside", code="no_interior")
    # Samples of a mesh are as random as they come; of families they follow the primitives.
    order_N = np.random.default_rng(shape_seed(shape.id, 1)).permutation(config.num_points)
    return Yardstick(
        name=name,
        ids=(shape.id,),
        families=(shape.family,),
        captions=(shape.captions[0] if shape.captions else "",),
        flagged_B=np.array([bool(QualityLimits().flags(record.description))]),
        pictures_BSS4=_picture(shape, config.render_size, config.picture_size)[None],
        points_BN3=record.points[order_N][None],
        normals_BN3=record.normals[order_N][None],
        inside_BQ=inside_Q[None],
    )


def _picture(shape: SourceShape, render_size: int, size: int) -> UInt8[np.ndarray, "S S 4"]:
    drawn = shape.scene().render(canonical_camera(), size=render_size, supersample=1)
    return frame_object(drawn, size)


def _joined(name: str, rows: Sequence[Yardstick]) -> Yardstick:
    return Yardstick(
        name=name,
        ids=tuple(one for row in rows for one in row.ids),
        families=tuple(one for row in rows for one in row.families),
        captions=tuple(one for row in rows for one in row.captions),
        flagged_B=np.concatenate([row.flagged_B for row in rows]),
        pictures_BSS4=np.concatenate([row.pictures_BSS4 for row in rows]),
        points_BN3=np.concatenate([row.points_BN3 for row in rows]),
        normals_BN3=np.concatenate([row.normals_BN3 for row in rows]),
        inside_BQ=np.concatenate([row.inside_BQ for row in rows]),
    )


# --- the baseline: copy the known shape whose picture is nearest in pixels ----------------------

NEAREST_PICTURE = "nearest_picture"
"""Name of the answer in tables."""


def nearest_pictures(
    asked_BSS4: UInt8[np.ndarray, "B S1 S1 4"], bank_MSS4: UInt8[np.ndarray, "M S2 S2 4"]
) -> Int[np.ndarray, " B"]:
    """Find the nearest known picture.

    Distances are of colours over white and of alpha alike.

    Args:
        asked_BSS4: framed pictures with straight alpha; they are averaged to the size of the bank.
        bank_MSS4: pictures of known shapes, small: 32 pixels are enough.

    Returns:
        Its number in the bank, for every picture.
    """
    side = bank_MSS4.shape[1]
    bank_MP, asked_BP = (_pixels(each, side) for each in (bank_MSS4, asked_BSS4))
    return torch.cdist(asked_BP, bank_MP).argmin(dim=1).numpy()


def _pixels(pictures_BSS4: UInt8[np.ndarray, "B S S 4"], side: int) -> Float[Tensor, "B P"]:
    floats_B4SS = torch.from_numpy(pictures_BSS4).permute(0, 3, 1, 2).float() / 255.0
    alpha_B1SS = floats_B4SS[:, 3:]
    over_white_B3SS = floats_B4SS[:, :3] * alpha_B1SS + (1.0 - alpha_B1SS)
    seen_B4SS = torch.cat([over_white_B3SS, alpha_B1SS], dim=1)
    return F.interpolate(seen_B4SS, size=(side, side), mode="area").flatten(1)
