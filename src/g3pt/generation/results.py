"""Results of the pipeline, and the events that it reports."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from g3pt.generation.cutouts import Cutout
from g3pt.generation.prompts import Prompts
from g3pt.generation.resemblance import Resemblance
from g3pt.generation.selection import Selection
from g3pt.geometry.baking import bake
from g3pt.geometry.coloring import PicturePaint
from g3pt.geometry.isosurface import Extraction
from g3pt.geometry.mesh import TriangleMesh, UnitFrame, to_source
from g3pt.geometry.texture import TEXTURE_SUFFIXES, TexturedMesh, check_texture
from g3pt.models.g3t import TokenPyramid

GuessReason = Literal["spread", "outline"]
"""`spread`: the samples were too far apart. `outline`: their mean did not resemble the picture."""


@dataclass(frozen=True, eq=False)
class ScaleEvent:
    """The argument of `on_scale`: shapes have one more scale, or a mesh is made or coloured."""

    first: int
    """Number of the batch's first sample. With `best_of` every candidate counts, with `consensus`
    every sample of the mean. For a mesh: its own number, counted like candidates. For colours:
    the number of the shape in the result."""
    scale: int
    """The scale that was sampled last, or the finest scale of the tokens that are meshed."""
    num_scales: int
    """Number of scales that will be sampled in total."""
    tokens: tuple[TokenPyramid, ...]
    """Tokens of each shape so far; `G3PT.decode` makes meshes of them."""
    stage: Literal["tokens", "mesh", "color"] = "tokens"
    """`tokens` once for each scale of each batch; then `mesh` several times a second; then `color`
    before each shape that a picture is to colour."""
    total: int = 1
    """Total of what `first` counts."""
    queries: int = 0
    """While a mesh is made: number of points at which the field was queried so far."""


OnScale = Callable[[ScaleEvent], None]
"""Hears of the progress; an error raised in it ends the work."""


def tokens_event(tokens: TokenPyramid) -> ScaleEvent:
    """One shape has so many scales."""
    last = tokens.num_scales - 1
    return ScaleEvent(0, last, tokens.num_scales, (tokens,))


def on_meshing(
    on_scale: OnScale | None, tokens: TokenPyramid, number: int = 0, total: int = 1
) -> Callable[[int], None] | None:
    """What hears of queries while tokens are meshed, as mesh `number` of `total`."""
    if on_scale is None:
        return None
    event = replace(tokens_event(tokens), first=number, stage="mesh", total=total)
    return lambda queries: on_scale(replace(event, queries=queries))


@dataclass(frozen=True)
class ShapeColor:
    """Where the colours of a mesh came from."""

    method: Literal["picture", "text", "none"]
    reason: str = ""
    """Why there are none, although there was a picture or a sentence."""
    words: str = ""
    """Colour words of the sentence that gave the colour."""
    azimuth: float | None = None
    """Of the camera that was found for the picture, in degrees; see `orbit_camera`."""
    elevation: float | None = None
    silhouette_iou: float | None = None
    """Agreement of the silhouettes of picture and mesh from there."""
    seen_share: float | None = None
    """Share of the vertices that the picture shows; the others were filled."""


@dataclass(frozen=True, eq=False)
class GeneratedShape:
    """One sample."""

    prompt: int
    """Number of the picture or text that it belongs to."""
    seed: int
    tokens: TokenPyramid
    nll: float
    """Negative log-likelihood of the tokens given the prompt, in nats."""
    extraction: Extraction
    scales: tuple[TriangleMesh, ...] = ()
    """Meshes of the coarser scales, coarsest first, when asked for; some may be empty."""
    selection: Selection | None = None
    """How it was chosen among its candidates, if there were several (`best_of`)."""
    consensus: tuple[int, ...] = ()
    """Seeds of the samples whose mean the mesh shows; empty for a plain sample. The tokens are then
    the quantised mean: they decode to a shape close to the mesh, not equal to it."""
    guessed: bool = False
    """Whether the mesh is the generator's first guess; its tokens are the quantised guess."""
    guessed_because: GuessReason | None = None
    """Why the guess replaced a consensus, if it did."""
    spread: float | None = None
    """How far the samples of the consensus are from their mean (`sample_spread`). Given if it
    decided between the consensus and the first guess."""
    color: ShapeColor = ShapeColor("none")
    """Where the colours of the mesh came from."""
    cutout: Cutout | None = None
    """How the object of its picture was found, if there was a picture; of several views, of the
    first."""
    resemblance: Resemblance | None = None
    """How far the mesh has the outline of its picture, if that was looked for."""
    paint: PicturePaint | None = None
    """How its picture gave the mesh its colours, if it did."""

    @property
    def mesh(self) -> TriangleMesh:
        """The closed mesh; empty if the field has no inside."""
        return self.extraction.mesh

    def textured(self, side: int = 1024, *, mesh: TriangleMesh | None = None) -> TexturedMesh:
        """The mesh with its colours as a texture, of the picture's own resolution where it is seen.

        Args:
            side: of the texture, in pixels.
            mesh: a version of the mesh with other faces, such as `geometry.lod.reduce_faces` makes,
                in the unit frame; None takes the mesh itself.

        Raises:
            ValueError: if the shape has no colours, or the side is out of range.
            ImportError: naming the extra, if xatlas is not installed.
        """
        check_texture(TEXTURE_SUFFIXES[0], side)
        if self.mesh.colors is None:
            reason = f": {self.color.reason}" if self.color.reason else ""
            raise ValueError(f"the shape has no colours, so it gets no texture{reason}")
        return bake(self.mesh if mesh is None else mesh, self.mesh, self.paint, side)


@dataclass(frozen=True, eq=False)
class GenerationResult:
    """Samples in order: all of the first prompt, then all of the second ..."""

    shapes: tuple[GeneratedShape, ...]
    prompts: Prompts
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds spent on `condition`, `tokens`, `extract` and `color`."""

    @property
    def meshes(self) -> list[TriangleMesh]:
        """Meshes of all samples."""
        return [shape.mesh for shape in self.shapes]

    @property
    def tokens(self) -> list[TokenPyramid]:
        """Tokens of all samples."""
        return [shape.tokens for shape in self.shapes]

    @property
    def cutouts(self) -> tuple[Cutout, ...]:
        """How the object of each picture was found; of several views of a shape, of the first."""
        return self.prompts.cutouts

    @property
    def seeds(self) -> list[int]:
        """Seeds of all samples; the same seed and prompt make the same sample again."""
        return [shape.seed for shape in self.shapes]


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A mesh that was tokenized and decoded again."""

    tokens: TokenPyramid
    frame: UnitFrame
    extraction: Extraction

    @property
    def unit_mesh(self) -> TriangleMesh:
        """The reconstruction in the unit frame."""
        return self.extraction.mesh

    @property
    def mesh(self) -> TriangleMesh:
        """The reconstruction at the source's place and scale."""
        return to_source(self.unit_mesh, self.frame)
