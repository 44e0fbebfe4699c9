"""Makes examples on the training device: tokens, pictures and labelled queries of shapes.

Legend: B shapes, V pictures of each, N surface points, Q queries, T tokens, K bits, S
picture side.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from g3pt.geometry.sampling import num_candidates
from g3pt.procedural import ASSEMBLY, AssemblyFamily
from g3pt.shapes.mesh_stock import MeshStock
from g3pt.shapes.queries import POSITION_STEPS
from g3pt.stream.augmentation import (
    Augmentation,
    augment,
    random_lights,
    random_patterns,
)
from g3pt.stream.cameras import Cameras, ViewLaw, canonical_cameras, draw_views, orbit_cameras
from g3pt.stream.casting import RayCaster, WalkingCaster
from g3pt.stream.chunks import Chunk
from g3pt.stream.drawing import draw, point_windows
from g3pt.stream.fields import QueryCounts, label_queries, sample_field_surfaces
from g3pt.stream.mesh_batch import MeshBatch, ResidentMeshes
from g3pt.stream.mesh_caster import CastBy
from g3pt.stream.mesh_caster import check_device as check_mesh_kernel
from g3pt.stream.pool import Examples, concatenate_examples
from g3pt.stream.primitives import (
    Backend,
    PrimitiveCaster,
    checked_backend,
    pad_shapes,
)
from g3pt.stream.recombination import RecombinationConfig, Recombiner
from g3pt.stream.recombined import RecombinedBatch
from g3pt.stream.spreading import spread_surfaces
from g3pt.stream.warps import WarpConfig, draw_warps

LOGGER = logging.getLogger(__name__)

Tokenize = Callable[[Tensor, Tensor], Tensor | tuple[Tensor, Tensor]]
"""(points_BN3, normals_BN3) -> indices_BT, coarsest scale first; or these and margins_BTK."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MakerConfig:
    """What an example contains."""

    num_points: int = 8192
    """Surface points from which it is tokenized."""
    spread: int = 1
    """Candidates of every surface point: more than 1 keeps well-spread points (`spread_surfaces`),
    so that two draws of a shape have more bits in common."""
    image_size: int = 224
    num_views: int = 2
    canonical_size: int = 0
    """Side of one more picture, from the canonical camera without augmentation, for retrieval by
    pictures. 0 draws none."""
    queries: QueryCounts = field(default_factory=QueryCounts)
    views: ViewLaw = field(default_factory=ViewLaw)
    warps: WarpConfig = field(default_factory=WarpConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    recombination: RecombinationConfig | None = None
    """How shapes are recombined; None keeps the maker from recombining any."""
    assembly: AssemblyFamily = ASSEMBLY
    """Which assemblies are recombined with parts of meshes."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.spread < 1:
            raise ValueError(f"data.spread must be at least 1, got {self.spread}")


_Surface = tuple[Float[Tensor, "B N 3"], Float[Tensor, "B N 3"]]
"""Points and their normals."""


class _Tokens(NamedTuple):
    indices_BT: Int[Tensor, "B T"]
    margins_BTK: UInt8[Tensor, "B T K"] | None


class ExampleMaker:
    """Turns chunks of procedural shapes and meshes of a stock into examples."""

    def __init__(
        self,
        config: MakerConfig,
        device: torch.device,
        tokenize: Tokenize,
        see: Callable[[Tensor], Tensor] | None,
        *,
        stock: str = "",
    ) -> None:
        """Read the stock and check which kernels work on this device.

        Raises:
            FileNotFoundError, ValueError: if the stock cannot be used.
        """
        self._config, self._device = config, device
        self._tokenize, self._see = tokenize, see
        with exact_products():
            self._backend: Backend = checked_backend(device)
        self._meshes: ResidentMeshes | None = None
        self._recombiner: Recombiner | None = None
        if stock:
            opened = MeshStock.read(stock)
            kept = [row for row, one in enumerate(opened.objects) if not one["flagged"]]
            opened = opened.select(kept)
            self._cast_by: CastBy = checked_cast(device)
            self._meshes = ResidentMeshes(opened, device, cast_by=self._cast_by)
            if config.recombination is not None:
                self._recombiner = Recombiner(
                    config.recombination, opened, config.warps, assembly=config.assembly
                )

    @torch.no_grad()
    def make(
        self, chunk: Chunk | None, num_meshes: int, number: int, num_recombined: int = 0
    ) -> Examples:
        """Make the examples of chunk number `number`.

        Args:
            chunk: its procedural shapes; None if it has none.
            num_meshes: number of warped meshes to add.
            number: seeds all random choices.
            num_recombined: number of recombined shapes to add.
        """
        generator = self._generator(number)
        parts: list[Examples] = []
        with exact_products():
            if chunk is not None:
                parts.append(self._of_chunk(chunk, generator))
            if num_meshes:
                parts.append(self._of_meshes(num_meshes, number, generator))
            if num_recombined:
                parts.append(self._of_recombined(num_recombined, number, generator))
        return concatenate_examples(parts)

    @torch.no_grad()
    def retokenize(
        self, chunk: Chunk | None, num_meshes: int, number: int
    ) -> tuple[Int[Tensor, "B T"], UInt8[Tensor, "B T K"]]:
        """Tokens and margins that `make` gives for the same arguments, without the rest."""
        generator = self._generator(number)
        tokens: list[_Tokens] = []
        with exact_products():
            if chunk is not None:
                tokens.append(self._tokens(self._chunk_surface(chunk, generator)[1]))
            if num_meshes:
                rows = self._rows(num_meshes, number)
                tokens.append(self._tokens(self._mesh_surface(rows, generator)[1]))
        margins = [each.margins_BTK for each in tokens if each.margins_BTK is not None]
        assert len(margins) == len(tokens), "this tokenizer gives no margins"
        return torch.cat([each.indices_BT for each in tokens]), torch.cat(margins)

    def _generator(self, number: int) -> torch.Generator:
        """Source of all random choices of a chunk."""
        generator = torch.Generator(self._device)
        return generator.manual_seed(self._config.seed * 1_000_003 + number)

    def _tokens(self, surface: _Surface) -> _Tokens:
        made = self._tokenize(*surface)
        return _Tokens(*made) if isinstance(made, tuple) else _Tokens(made, None)

    def _chunk_surface(
        self, chunk: Chunk, generator: torch.Generator
    ) -> tuple[WalkingCaster | PrimitiveCaster, _Surface]:
        """Procedural shapes, and points on them."""
        num = self._num_drawn
        if self._device.type == "cpu":
            caster = WalkingCaster(chunk.shapes)
            return caster, self._spread(caster.surface(num, generator), generator)
        arrays = [shape.arrays for shape in chunk.shapes]
        batch = pad_shapes(arrays, [shape.extents for shape in chunk.shapes]).to(self._device)
        caster = PrimitiveCaster(batch, self._backend)
        drawn = sample_field_surfaces(caster.field, len(batch), num, generator)
        return caster, self._spread(drawn, generator)

    @property
    def _num_drawn(self) -> int:
        """Points drawn on every surface."""
        return num_candidates(self._config.num_points, self._config.spread)

    def _spread(
        self,
        drawn: tuple[Float[Tensor, "B M 3"], Float[Tensor, "B M 3"]],
        generator: torch.Generator,
    ) -> _Surface:
        """The points that are kept, of M candidates."""
        if self._config.spread == 1:
            return drawn
        return spread_surfaces(*drawn, self._config.num_points, generator)

    def _of_chunk(self, chunk: Chunk, generator: torch.Generator) -> Examples:
        device = self._device
        caster, surface = self._chunk_surface(chunk, generator)
        queries_BQ3, inside_BQ = label_queries(
            caster.field, surface[0], self._config.queries, generator
        )
        has_front_B = torch.tensor([bool(caption) for caption in chunk.captions], device=device)
        return self._examples(
            caster,
            surface,
            (queries_BQ3, inside_BQ),
            has_front_B,
            chunk.captions,
            tuple(shape.id for shape in chunk.shapes),
            generator,
        )

    def _rows(self, num: int, number: int) -> np.ndarray:
        """Indices of the meshes of a chunk."""
        return np.array([self._row(number * num + place) for place in range(num)])

    def _mesh_surface(
        self, rows: np.ndarray, generator: torch.Generator
    ) -> tuple[MeshBatch, _Surface]:
        """Warped meshes, and points on them."""
        assert self._meshes is not None, "a stream with meshes has a stock"
        rows_B = torch.from_numpy(rows)
        edges_B = self._meshes.longest_edges(rows_B)
        warps = draw_warps(self._config.warps, len(rows), generator, edges_B)
        batch = self._meshes.batch(rows_B, warps)
        return batch, self._spread(batch.surface(self._num_drawn, generator), generator)

    def _of_meshes(self, num: int, number: int, generator: torch.Generator) -> Examples:
        meshes, config = self._meshes, self._config
        assert meshes is not None, "a stream with meshes has a stock"
        rows = self._rows(num, number)
        batch, surface = self._mesh_surface(rows, generator)
        labelled = batch.queries(generator)
        stored, counts = labelled.points_BQ3.shape[1], config.queries
        num_volume = int((~labelled.near_BQ[0]).sum()) if len(labelled.near_BQ) else 0
        chosen_Q = torch.cat(
            [
                _some(0, num_volume, counts.num_volume, generator),
                _some(num_volume, stored - num_volume, counts.num_near, generator),
            ]
        )
        objects = [meshes.objects[row] for row in rows]
        return self._examples(
            batch.caster(),
            surface,
            (labelled.points_BQ3[:, chosen_Q], labelled.inside_BQ[:, chosen_Q]),
            torch.zeros(num, dtype=torch.bool, device=self._device),
            tuple((one["captions"] or [""])[0] for one in objects),
            tuple(one["id"] for one in objects),
            generator,
        )

    def _of_recombined(self, num: int, number: int, generator: torch.Generator) -> Examples:
        recombiner, config = self._recombiner, self._config
        assert recombiner is not None, "a stream that recombines has a stock and a config for it"
        seeds = ([config.seed, number, place, 22] for place in range(num))
        shapes = [recombiner.make(np.random.default_rng(seed)) for seed in seeds]
        batch = RecombinedBatch(shapes, self._device, cast_by=self._cast_by, backend=self._backend)
        surface = self._spread(batch.surface(self._num_drawn, generator), generator)
        return self._examples(
            batch,
            surface,
            label_queries(batch.field, surface[0], config.queries, generator),
            torch.zeros(num, dtype=torch.bool, device=self._device),
            ("",) * num,
            tuple("+".join(shape.origins) for shape in shapes),
            generator,
        )

    def _row(self, place: int) -> int:
        """Index of the mesh at a place of the endless order: repeated random permutations."""
        assert self._meshes is not None
        turn, inner = divmod(place, len(self._meshes))
        order = np.random.default_rng([self._config.seed, turn, 21]).permutation(len(self._meshes))
        return int(order[inner])

    def _examples(
        self,
        caster: RayCaster,
        surface: _Surface,
        labelled: tuple[Float[Tensor, "B Q 3"], Bool[Tensor, "B Q"]],
        has_front_B: Bool[Tensor, " B"],
        captions: tuple[str, ...],
        origins: tuple[str, ...],
        generator: torch.Generator,
    ) -> Examples:
        num_views = self._config.num_views
        pictures_VSS4 = self._pictures(caster, surface[0], has_front_B, generator)
        pictures_BVSS4 = pictures_VSS4.unflatten(0, (-1, num_views))
        features = None if self._see is None else self._see(pictures_VSS4)
        queries_BQ3, inside_BQ = labelled
        tokens = self._tokens(surface)
        return Examples(
            indices_BT=tokens.indices_BT.short(),
            margins_BTK=tokens.margins_BTK,
            pictures_BVSS4=pictures_BVSS4,
            shown_BV=(pictures_BVSS4[..., 3] > 0).flatten(2).any(dim=2),
            queries_BQ3=(queries_BQ3 * POSITION_STEPS).round().short(),
            inside_BQ=inside_BQ,
            captions=captions,
            origins=origins,
            canonical_BZZ4=self._canonical(caster, surface[0]),
            features_BVGGP=None if features is None else features.unflatten(0, (-1, num_views)),
        )

    def _canonical(
        self, caster: RayCaster, points_BN3: Float[Tensor, "B N 3"]
    ) -> UInt8[Tensor, "B S S 4"] | None:
        size = self._config.canonical_size
        if not size:
            return None
        shapes_B = torch.arange(caster.num_shapes, device=self._device)
        cameras = canonical_cameras(len(shapes_B), self._device)
        return draw(
            caster, shapes_B, cameras, size, windows_V3=self._windows(points_BN3, shapes_B, cameras)
        )

    def _pictures(
        self,
        caster: RayCaster,
        points_BN3: Float[Tensor, "B N 3"],
        has_front_B: Bool[Tensor, " B"],
        generator: torch.Generator,
    ) -> UInt8[Tensor, "V S S 4"]:
        """All pictures of all shapes; those of one shape are consecutive."""
        config = self._config
        shapes_B = torch.arange(caster.num_shapes, device=self._device)
        shapes_V = shapes_B.repeat_interleave(config.num_views)
        views = draw_views(config.views, has_front_B[shapes_V], generator)
        cameras = orbit_cameras(views.azimuth_V, views.elevation_V, views.fov_V)
        pictures_VSS4 = draw(
            caster,
            shapes_V,
            cameras,
            config.image_size,
            lights=random_lights(config.augmentation, len(shapes_V), generator),
            patterns=random_patterns(config.augmentation, len(shapes_V), generator),
            windows_V3=self._windows(points_BN3, shapes_V, cameras),
        )
        return augment(config.augmentation, pictures_VSS4, generator)

    def _windows(
        self, points_BN3: Float[Tensor, "B N 3"], shapes_V: Tensor, cameras: Cameras
    ) -> Float[Tensor, "V 3"] | None:
        """On the CPU, where rays are slow, windows estimated from points; elsewhere None."""
        if self._device.type != "cpu":
            return None
        return point_windows(points_BN3[shapes_V], cameras)


@contextmanager
def exact_products() -> Iterator[None]:
    """Forbid TF32, which rounds the factors of float32 matrix products to ten bits.

    Position errors would exceed the thickness of thin sheets, and signs of tokens would flip.
    """
    kept = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = kept


def checked_cast(device: torch.device) -> CastBy:
    """The fastest way of casting rays at meshes that works on this machine."""
    if device.type == "cpu":
        return "torch" if find_spec("embreex") is None else "embree"
    with exact_products():
        check = check_mesh_kernel(device)
    if not check.use_kernel:
        LOGGER.warning("the kernel that casts rays at meshes is not used: %s", check.note)
    return "kernel" if check.use_kernel else "torch"


def _some(first: int, count: int, wanted: int, generator: torch.Generator) -> Tensor:
    """Random numbers in [first, first + count), without repetition if there are enough."""
    repeats = -(-wanted // count)
    drawn = [
        torch.randperm(count, generator=generator, device=generator.device) for _ in range(repeats)
    ]
    return torch.cat(drawn)[:wanted] + first
