"""What the pipeline gives back."""

from dataclasses import dataclass, field
from typing import Literal

from g3pt.generation.candidates import Selection
from g3pt.generation.prompts import Prompts
from g3pt.geometry.isosurface import Extraction
from g3pt.geometry.mesh import TriangleMesh, UnitFrame, to_source
from g3pt.models.g3t import TokenPyramid


@dataclass(frozen=True, eq=False)
class ScaleEvent:
    """What `on_scale` hears: a batch of shapes has one scale more, or a mesh is being made."""

    first: int
    """Number of the batch's first sample; with `best_of` every candidate counts as one, with
    `consensus` every one of the samples. Of a mesh: its own number, candidates counted."""
    scale: int
    """The scale that was sampled last, or the finest one of the tokens that are meshed."""
    num_scales: int
    """Scales that will be made in all."""
    tokens: tuple[TokenPyramid, ...]
    """Tokens so far of each shape; `G3PT.decode` makes meshes of them."""
    stage: Literal["tokens", "mesh"] = "tokens"
    """`tokens` once for each scale of each batch; then `mesh` several times a second."""
    total: int = 1
    """How many there are in all of what `first` counts."""
    queries: int = 0
    """While a mesh is made: points at which the field was asked so far."""


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
    """Among which candidates it was chosen, if there were several (`best_of`)."""
    consensus: tuple[int, ...] = ()
    """Seeds of the samples whose mean the mesh is; empty for a plain sample. The tokens are then
    the mean's as the tokenizer quantises it: what they decode to is close to the mesh, not it."""
    guessed: bool = False
    """Whether the mesh is the generator's first guess; its tokens are that, quantised."""
    spread: float | None = None
    """How far the samples of the consensus are from their mean (`sample_spread`), where that
    decided whether it or the first guess is the answer."""

    @property
    def mesh(self) -> TriangleMesh:
        """The closed mesh; empty if the field has no inside."""
        return self.extraction.mesh


@dataclass(frozen=True, eq=False)
class GenerationResult:
    """Samples in order: all of the first prompt, then all of the second ..."""

    shapes: tuple[GeneratedShape, ...]
    prompts: Prompts
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds spent on `condition`, `tokens` and `extract`."""

    @property
    def meshes(self) -> list[TriangleMesh]:
        """Mesh of every sample."""
        return [shape.mesh for shape in self.shapes]

    @property
    def tokens(self) -> list[TokenPyramid]:
        """Tokens of every sample."""
        return [shape.tokens for shape in self.shapes]

    @property
    def seeds(self) -> list[int]:
        """Seed of every sample: with it and the same prompt, each can be made again alone."""
        return [shape.seed for shape in self.shapes]


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A mesh through the tokenizer and back."""

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
