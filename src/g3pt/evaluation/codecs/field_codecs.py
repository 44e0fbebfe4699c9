"""Codecs of fields: the surface points of a shape to its field, at one or several numbers of bits.

A pyramid of tokens can be cut after every scale, and every prefix is a field. A continuous latent
set cannot: its order is that of learned queries or of picked points, and no part of it was trained
to be decoded alone. Its rate is set by rounding each of its numbers.

M known shapes, L latents, E channels of a latent. Unit frame; fields are positive inside.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Float64

from g3pt.evaluation.protocols.reconstruction import code_shape
from g3pt.generation.field import ShapeField
from g3pt.generation.surface import surface_tensors
from g3pt.geometry.sampling import SurfaceSamples
from g3pt.geometry.sparse_grid import FieldFunction
from g3pt.models.alternatives.kl import require_gaussian
from g3pt.models.tokenizer import require_tokens
from g3pt.models.weights.load import LoadedWeights

LATENT_BITS = (1, 2, 3, 4, 5, 6, 7, 8)
"""Bits of a number at which latents are measured; with 8 they are as good as unrounded."""

_REACHES = np.linspace(0.75, 6.0, 22)
"""Distances, in standard deviations, at which a number may be clipped; the best one is taken."""


@dataclass(frozen=True, eq=False)
class RatedField:
    """A decoded shape and what it costs."""

    method: str
    """The setting, such as `2 scales` or `3 bits a number`."""
    bits: int
    """Of the whole code, without header and entropy code."""
    field: FieldFunction


class FieldCodec(ABC):
    """A trained model that codes the surface of a shape."""

    @property
    @abstractmethod
    def num_points(self) -> int:
        """Surface points that it reads."""

    @property
    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """JSON values that say which model this is: `weights`, a SHA-256, and its settings."""

    @abstractmethod
    def code(self, surface: SurfaceSamples) -> Iterator[RatedField]:
        """Encode a surface and decode it at every number of bits, fewest first."""


# --- tokens ----------------------------------------------------------------------------------


@final
class PrefixCodec(FieldCodec):
    """Tokens: a field after every scale. A tokenizer of one scale has one."""

    def __init__(self, weights: LoadedWeights) -> None:
        """Take a tokenizer with tokens.

        Raises:
            ValueError: if its latents are continuous.
        """
        self._tokenizer = require_tokens(weights.tokenizer, weights.name)
        self._weights = weights

    @property
    def num_points(self) -> int:
        """Surface points that it reads."""
        return self._weights.config.num_points

    @property
    def identity(self) -> Mapping[str, Any]:
        """The weights."""
        return {"weights": self._weights.sha256}

    def code(self, surface: SurfaceSamples) -> Iterator[RatedField]:
        """Decode every prefix of scales from its tokens alone."""
        fields = code_shape(self._tokenizer, surface).fields
        tokens = accumulate(self._tokenizer.scale_lengths)
        for number, (stop, field) in enumerate(zip(tokens, fields, strict=True), start=1):
            method = f"{number} scale" + ("s" if number > 1 else "")
            yield RatedField(method, stop * self._tokenizer.num_bits, field)


# --- continuous latents ------------------------------------------------------------------------


class LatentSet(ABC):
    """A trained model with a continuous latent set of fixed size."""

    @property
    @abstractmethod
    def num_points(self) -> int:
        """Surface points that it reads."""

    @property
    @abstractmethod
    def sha256(self) -> str:
        """Of its weights."""

    @abstractmethod
    def encode(self, surface: SurfaceSamples) -> Float64[np.ndarray, "L E"]:
        """The mean of the latents of a shape: nothing is drawn."""

    @abstractmethod
    def field(self, latents_LE: Float64[np.ndarray, "L E"]) -> FieldFunction:
        """Decode latents."""


@final
class KlLatents(LatentSet):
    """The latents of a KL-VAE."""

    def __init__(self, weights: LoadedWeights) -> None:
        """Take a tokenizer of kind `kl`.

        Raises:
            ValueError: if it is of another kind.
        """
        self._tokenizer = require_gaussian(weights.tokenizer, weights.name)
        self._weights = weights

    @property
    def num_points(self) -> int:
        """Surface points that it reads."""
        return self._weights.config.num_points

    @property
    def sha256(self) -> str:
        """Of its weights."""
        return self._weights.sha256

    @torch.inference_mode()
    def encode(self, surface: SurfaceSamples) -> Float64[np.ndarray, "L E"]:
        """The mean of every narrow latent."""
        latents = self._tokenizer.encode(*surface_tensors(surface, self._weights.device))
        return self._tokenizer.moments(latents)[0][0].cpu().numpy().astype(np.float64)

    @torch.inference_mode()
    def field(self, latents_LE: Float64[np.ndarray, "L E"]) -> FieldFunction:
        """Decode narrow latents."""
        narrow_1LE = torch.from_numpy(latents_LE.astype(np.float32)[None]).to(self._weights.device)
        features_LC = self._tokenizer.expand(narrow_1LE)[0]
        return ShapeField.from_features(self._tokenizer, features_LC, num_scales=1)


@final
class RoundedLatentsCodec(FieldCodec):
    """A continuous latent set whose numbers are rounded to a few bits each."""

    def __init__(self, latents: LatentSet, known: Sequence[SurfaceSamples]) -> None:
        """Fit the roundings.

        Args:
            latents: the model.
            known: surfaces of training shapes, from which the range of every number is taken.

        Raises:
            ValueError: if there are none.
        """
        if not known:
            raise ValueError("ranges of latents need at least one known shape, got none")
        self._latents = latents
        self._num_known = len(known)
        known_MLE = np.stack([latents.encode(surface) for surface in known])
        self._roundings = tuple(Rounding.fitted(known_MLE, bits) for bits in LATENT_BITS)

    @property
    def num_points(self) -> int:
        """Surface points that it reads."""
        return self._latents.num_points

    @property
    def identity(self) -> Mapping[str, Any]:
        """The weights, and what the roundings were fitted to."""
        return {
            "weights": self._latents.sha256,
            "latent_bits": list(LATENT_BITS),
            "known_shapes": self._num_known,
        }

    def code(self, surface: SurfaceSamples) -> Iterator[RatedField]:
        """Decode the latents rounded to every number of bits."""
        latents_LE = self._latents.encode(surface)
        for rounding in self._roundings:
            method = f"{rounding.bits} bit" + ("s" if rounding.bits > 1 else "") + " a number"
            field = self._latents.field(rounding(latents_LE))
            yield RatedField(method, rounding.bits * latents_LE.size, field)


@dataclass(frozen=True, eq=False)
class Rounding:
    """Rounds every number of a latent set to the middle of one of 2^bits equal cells."""

    bits: int
    """Of each number."""
    low_LE: Float64[np.ndarray, "L E"]
    """Where the first cell of each number begins; what lies below is put into it."""
    cell_LE: Float64[np.ndarray, "L E"]
    """Width of the cells; the last takes what lies above."""

    @classmethod
    def fitted(cls, known_MLE: Float64[np.ndarray, "M L E"], bits: int) -> "Rounding":
        """The range of every number that has the least squared error on known latents.

        Ranges are symmetric about the mean. The full range would waste cells on rare values: with
        1 bit, both would lie far from nearly all numbers.
        """
        mean_LE, deviation_LE = known_MLE.mean(axis=0), known_MLE.std(axis=0)
        least_LE = np.full_like(mean_LE, np.inf)
        low_LE, cell_LE = np.empty_like(mean_LE), np.empty_like(mean_LE)
        for reach in _REACHES:
            found = cls._reaching(mean_LE, reach * deviation_LE, bits)
            error_LE = np.square(found(known_MLE) - known_MLE).mean(axis=0)
            better_LE = error_LE < least_LE
            low_LE = np.where(better_LE, found.low_LE, low_LE)
            cell_LE = np.where(better_LE, found.cell_LE, cell_LE)
            least_LE = np.minimum(least_LE, error_LE)
        return cls(bits, low_LE, cell_LE)

    @classmethod
    def _reaching(cls, mean_LE: np.ndarray, reach_LE: np.ndarray, bits: int) -> "Rounding":
        # A number that never changes has cells of hardly any width, so it comes back as its mean.
        reach_LE = np.maximum(reach_LE, np.finfo(np.float32).tiny)
        return cls(bits, mean_LE - reach_LE, 2.0 * reach_LE / 2**bits)

    def __call__(self, latents: Float[np.ndarray, "*M L E"]) -> Float64[np.ndarray, "*M L E"]:
        """Latents as they are decoded from their bits."""
        cells = np.floor((latents - self.low_LE) / self.cell_LE)
        return self.low_LE + (np.clip(cells, 0, 2**self.bits - 1) + 0.5) * self.cell_LE
