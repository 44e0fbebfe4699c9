"""Meshes to tokens and back, with a tokenizer alone.

Everything is in the unit frame (longest side 1.9, centred, +Y up, +Z front) unless the source's
frame is named. Legend: N points, T tokens.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from g3pt.arguments import check_number, check_whole, seed_of
from g3pt.generation.field import ShapeField
from g3pt.generation.results import Reconstruction
from g3pt.generation.surface import (
    EncodedSurface,
    MeshSource,
    PlacedMesh,
    encode_surface,
    place_mesh,
)
from g3pt.geometry.isosurface import Extraction, extract_surface
from g3pt.geometry.mesh import TriangleMesh, UnitFrame, largest_components
from g3pt.models.g3t import TokenFile, TokenFrame, TokenPyramid, read_g3t
from g3pt.models.tokenizer import require_tokens
from g3pt.models.weights.load import LoadedWeights

TokenSource = TokenFile | TokenPyramid | MeshSource
"""Tokens, a mesh at any place and scale, or a file of either."""

OnBlock = Callable[[int], None]
"""Called several times a second with the number of points at which the field was queried so far."""

MIN_RESOLUTION = 16
MAX_RESOLUTION = 1024
DEFAULT_RESOLUTION = 128
DEFAULT_MIN_SHARE = 0.01
"""Loose parts of a generated mesh below this share of its whole surface area are dropped."""


class ShapeCodec:
    """What needs a tokenizer and no generator: tokenize shapes, and make meshes of tokens."""

    def __init__(self, weights: LoadedWeights) -> None:
        """Take the tokenizer of loaded weights.

        Raises:
            ValueError: if that tokenizer has no discrete tokens.
        """
        self.weights = weights
        self.tokenizer = require_tokens(weights.tokenizer, weights.name)

    @property
    def num_scales(self) -> int:
        """Number of scales of the token pyramid."""
        return len(self.tokenizer.scale_lengths)

    def check_num_scales(self, num_scales: int | None) -> None:
        """Refuse a number of scales that the pyramid does not have.

        Raises:
            ValueError: if it is out of range; the message names the range.
        """
        if num_scales is not None:
            check_whole("num_scales", num_scales)
        if num_scales is not None and not 1 <= num_scales <= self.num_scales:
            raise ValueError(
                f"scales must lie in 1..{self.num_scales} for weights {self.weights.name}, "
                f"got {num_scales}"
            )

    def tokens_of(self, source: TokenSource, *, seed: int = 0) -> TokenFile:
        """Tokens of a source: token files are read, meshes are tokenized.

        Args:
            source: tokens, a mesh, or a file of either.
            seed: seed of the points that are sampled on the surface of a mesh.

        Raises:
            FileNotFoundError: if there is no such file.
            MeshError: if a mesh cannot be read or has no extent.
            ValueError: if the tokens are damaged or were made by another tokenizer.
        """
        if isinstance(source, str | Path) and Path(source).suffix.lower() == ".g3t":
            source, origin = read_g3t(source), str(source)
        else:
            origin = "tokens"
        match source:
            case TokenFile():
                self.check_tokens(source, origin)
                return source
            case TokenPyramid():
                self._check_pyramid(source)
                return TokenFile(source, TokenFrame(), self.weights.fingerprint)
            case _:
                return self.tokenize(source, seed=seed)

    def tokenize(
        self, mesh: MeshSource, *, num_scales: int | None = None, seed: int = 0
    ) -> TokenFile:
        """Tokenize the solid that a mesh bounds (`geometry.solid`).

        Args:
            mesh: a mesh at any place and scale, or a file of one.
            num_scales: keep only so many scales, the coarsest; None keeps all.
            seed: seed of the points that are sampled on the surface.

        Raises:
            MeshError: if the mesh cannot be read, has no extent, or bounds no solid.
        """
        self.check_num_scales(num_scales)
        seed = seed_of(seed)
        source = place_mesh(mesh)
        tokens = self._pyramid_of(self._encode(source, seed), num_scales)
        return TokenFile(
            tokens=tokens,
            frame=TokenFrame(scale=source.frame.scale, offset=source.frame.offset),
            fingerprint=self.weights.fingerprint,
        )

    def detokenize(
        self,
        tokens: TokenFile | str | Path,
        *,
        num_scales: int | None = None,
        resolution: int = DEFAULT_RESOLUTION,
    ) -> Reconstruction:
        """Turn a `.g3t` file, or what was read from one, back into a mesh.

        Raises:
            FileNotFoundError: if there is no such file.
            TokenFileError: if it is damaged.
            ValueError: if it was made by another tokenizer.
        """
        origin = str(tokens) if isinstance(tokens, str | Path) else "tokens"
        if isinstance(tokens, str | Path):
            tokens = read_g3t(tokens, num_scales=num_scales)
        self.check_tokens(tokens, origin)
        pyramid = tokens.tokens if num_scales is None else tokens.tokens.truncate(num_scales)
        frame = UnitFrame(scale=tokens.frame.scale, offset=tokens.frame.offset)
        return Reconstruction(pyramid, frame, self.decode(pyramid, resolution=resolution))

    def check_tokens(self, tokens: TokenFile, origin: str = "tokens") -> None:
        """Make sure that tokens were made by this tokenizer.

        Raises:
            ValueError: if they were not.
        """
        if tokens.fingerprint != self.weights.fingerprint:
            raise ValueError(
                f"{origin}: was made by a tokenizer with fingerprint {tokens.fingerprint[:12]}, "
                f"weights {self.weights.name} have {self.weights.fingerprint[:12]}: "
                "name the weights it was made with"
            )

    def reconstruct(
        self,
        mesh: MeshSource,
        *,
        num_scales: int | None = None,
        resolution: int = DEFAULT_RESOLUTION,
        dense: bool = False,
        seed: int = 0,
    ) -> Reconstruction:
        """Tokenize a mesh and make a mesh of its tokens.

        The sampled surface points also start the search for the surface, so that small parts
        between the corners of the base grid are not missed. Arguments as in `tokenize` and
        `decode`.
        """
        self.check_num_scales(num_scales)
        source = place_mesh(mesh)
        encoded = self._encode(source, seed)
        tokens = self._pyramid_of(encoded, num_scales)
        seeds = encoded.samples.points
        extraction = self.decode(tokens, resolution=resolution, dense=dense, seeds=seeds)
        return Reconstruction(tokens, source.frame, extraction)

    def decode(
        self,
        tokens: TokenPyramid,
        *,
        resolution: int = DEFAULT_RESOLUTION,
        dense: bool = False,
        seeds: np.ndarray | None = None,
        min_share: float = 0.0,
        on_block: OnBlock | None = None,
    ) -> Extraction:
        """Make a mesh of tokens, of all scales or of the first few.

        Args:
            tokens: tokens that this tokenizer made.
            resolution: grid cells per axis.
            dense: query the whole grid. This is slow, and finds parts that lie between the corners
                of the base grid.
            seeds: points near the surface, if known.
            min_share: drop parts below this share of the whole surface area.
            on_block: called with the number of queries so far; an error raised in it ends the
                meshing.

        Raises:
            ValueError: if the resolution is out of range or another tokenizer made the tokens.
        """
        check_resolution(resolution)
        check_number("min_share", min_share)
        self._check_pyramid(tokens)
        field = ShapeField.from_tokens(self.tokenizer, tokens.indices)
        extraction = extract_surface(
            field,
            resolution=resolution,
            dense=dense,
            seeds=seeds,
            chunk=field.block,
            on_block=on_block,
        )
        return _without_small_parts(extraction, min_share)

    def decode_features(
        self,
        summed_LC: torch.Tensor,
        num_scales: int,
        *,
        resolution: int = DEFAULT_RESOLUTION,
        min_share: float = 0.0,
        on_block: OnBlock | None = None,
    ) -> Extraction:
        """Make a mesh of summed upsampled features, which need not come from tokens.

        Args:
            summed_LC: the sum, such as the mean of several samples (`consensus_features`).
            num_scales: number of scales in the sum.
            resolution: grid cells per axis.
            min_share: drop parts below this share of the whole surface area.
            on_block: as in `decode`.

        Raises:
            ValueError: if the resolution is out of range.
        """
        check_resolution(resolution)
        field = ShapeField.from_features(self.tokenizer, summed_LC, num_scales)
        extraction = extract_surface(
            field, resolution=resolution, chunk=field.block, on_block=on_block
        )
        return _without_small_parts(extraction, min_share)

    def coarser_meshes(
        self,
        tokens: TokenPyramid,
        resolution: int = DEFAULT_RESOLUTION,
        min_share: float = 0.0,
        *,
        on_block: OnBlock | None = None,
    ) -> tuple[TriangleMesh, ...]:
        """Meshes of the first 1, 2, ... scales of tokens, without the one of all scales."""
        settings = {"resolution": resolution, "min_share": min_share, "on_block": on_block}
        return tuple(
            self.decode(tokens.truncate(k), **settings).mesh for k in range(1, tokens.num_scales)
        )

    def _encode(self, source: PlacedMesh, seed: int) -> EncodedSurface:
        num_points, rng = self.weights.config.num_points, np.random.default_rng(seed_of(seed))
        return encode_surface(self.tokenizer, source.bounded, num_points, rng)

    def _pyramid_of(self, encoded: EncodedSurface, num_scales: int | None) -> TokenPyramid:
        pyramid = self._pyramid(encoded.indices_T.cpu())
        return pyramid if num_scales is None else pyramid.truncate(num_scales)

    def _check_pyramid(self, tokens: TokenPyramid) -> None:
        shape = (self.tokenizer.scale_lengths, self.tokenizer.num_bits)
        if (tuple(tokens.scale_lengths), tokens.num_bits) != (tuple(shape[0]), shape[1]):
            raise ValueError(
                f"the tokens have scales {tokens.scale_lengths} of {tokens.num_bits} bits, "
                f"this tokenizer reads {shape[0]} of {shape[1]}"
            )

    def _pyramid(self, indices_T: torch.Tensor) -> TokenPyramid:
        return TokenPyramid(tuple(self.tokenizer.scale_lengths), self.tokenizer.num_bits, indices_T)


def _without_small_parts(extraction: Extraction, min_share: float) -> Extraction:
    if min_share == 0 or extraction.mesh.is_empty:
        return extraction
    kept = largest_components(extraction.mesh, keep=None, min_share=min_share)
    return Extraction(kept, extraction.queries, extraction.queries_dense)


def check_resolution(resolution: int) -> None:
    """Refuse resolutions outside the supported range.

    Raises:
        ValueError: if it is out of range; the message names the range.
    """
    check_whole("resolution", resolution)
    if not MIN_RESOLUTION <= resolution <= MAX_RESOLUTION:
        raise ValueError(
            f"resolution must lie between {MIN_RESOLUTION} and {MAX_RESOLUTION} cells per axis, "
            f"got {resolution}"
        )
