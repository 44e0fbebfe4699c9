"""A first guess of the whole shape, regressed from the picture.

Ours, not the paper's (docs/deviations.md). Tokens are signs, so two similar shapes may share few of
them, and a model of tokens must see a kind of shape in training to predict its tokens. The
upsampled features are smooth in the shape. Their mean over all shapes that a picture may show
generalises to kinds that were never seen. Since upsampling is nearly linear in the signs, that mean
is what the mean signs decode to. These are some hundred numbers, regressed from the features of a
frozen network.

CAR may also read, at every scale, what quantising the guess would give: down(e_s, guess - known).

Legend: B batch, T tokens of the guessed scales, K bits, P = T K, S picture side, G places along a
side of the picture, C features of a place.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from g3pt.models.conditioning.efficientnet import COARSE_WIDTH, FINE_WIDTH, STRIDE
from g3pt.models.conditioning.efficientnet_weights import BUNDLED_SHA256, check_bundled
from g3pt.models.conditioning.pretrained import PLACE_SIDE, frozen_features, project_places
from g3pt.models.tokenizer import DiscreteTokenizer
from g3pt.nn.blocks import Mlp

_AT_ONCE = 64
"""Signs that are decoded together when the metric is measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GuessConfig:
    """A residual MLP on the grid of a frozen EfficientNet-Lite0."""

    num_scales: int = 3
    """Number of scales that are guessed, from the coarsest on."""

    image_size: int = 128
    """Side of the square picture in pixels."""

    place_width: int = 32
    """Channels to which the fine features of each place are reduced; the coarse ones, too."""

    width: int = 768
    depth: int = 2
    dropout: float = 0.1

    shown: bool = True
    """Whether CAR reads the guess; otherwise the guess is only an answer of its own."""

    sha256: str = BUNDLED_SHA256
    """SHA-256 of the file of the frozen network. The file comes with g3pt, not with the weights of
    a model."""

    def __post_init__(self) -> None:
        if self.num_scales < 1 or self.depth < 0:
            raise ValueError(
                "guess needs num_scales >= 1 and depth >= 0, got "
                f"{self.num_scales} and {self.depth}"
            )
        if self.image_size < STRIDE or self.image_size % STRIDE:
            raise ValueError(
                f"guess.image_size must be a multiple of {STRIDE}, got {self.image_size}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"guess.dropout must be in [0, 1), got {self.dropout}")

    @property
    def side(self) -> int:
        """Places G along a side of the picture."""
        return self.image_size // PLACE_SIDE


class Guess(nn.Module):
    """Pictures to the expected signs of the tokens of the first scales."""

    def __init__(self, config: GuessConfig, *, num_tokens: int, num_bits: int) -> None:
        """Build the trained part; the frozen network is not part of this module.

        Args:
            config: sizes.
            num_tokens: tokens T of the guessed scales.
            num_bits: bits K of a token.

        Raises:
            FileNotFoundError, ValueError: if this installation lacks the frozen network or has
                another one.
        """
        super().__init__()
        check_bundled(config.sha256)
        self.config = config
        self._sizes = num_tokens, num_bits
        self.from_fine = project_places(FINE_WIDTH, config.place_width)
        self.from_coarse = project_places(COARSE_WIDTH, config.place_width)
        self.gather = nn.Linear(2 * config.place_width * config.side**2, config.width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(config.width), Mlp(config.width, 1.0))
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.to_signs = nn.Linear(config.width, num_tokens * num_bits)
        nn.init.zeros_(self.to_signs.weight)
        nn.init.zeros_(self.to_signs.bias)

    def forward(
        self,
        pictures_BSS4: UInt8[Tensor, "B S S 4"],
        features_BGGC: Float[Tensor, "B G G C"] | None = None,
    ) -> Float[Tensor, "B T K"]:
        """Give expected signs, float32: about -1 to 1, since the output is a linear map.

        Args:
            pictures_BSS4: straight-alpha RGBA.
            features_BGGC: the output of `frozen_features` for them; None computes it.

        Raises:
            ValueError: if pictures or features do not have the configured sizes.
        """
        config = self.config
        if features_BGGC is None:
            features_BGGC = frozen_features(pictures_BSS4, config.image_size, config.sha256)
        elif features_BGGC.shape[1:] != (config.side, config.side, FINE_WIDTH + COARSE_WIDTH):
            raise ValueError(
                f"the guess reads features of {config.side} x {config.side} places, "
                f"got {tuple(features_BGGC.shape[1:])}"
            )
        places_BGGC = features_BGGC.to(self.to_signs.weight.dtype)
        fine_BGGC, coarse_BGGC = places_BGGC.split([FINE_WIDTH, COARSE_WIDTH], dim=-1)
        seen = torch.cat([self.from_fine(fine_BGGC), self.from_coarse(coarse_BGGC)], dim=-1)
        x_BW = self.gather(seen.flatten(1))
        for block in self.blocks:
            x_BW = x_BW + self.dropout(block(x_BW))
        signs_BP = self.to_signs(self.dropout(self.norm(x_BW)))
        return signs_BP.float().unflatten(1, self._sizes)

    def nothing(self, batch_size: int) -> Float[Tensor, "B T K"]:
        """The guess without a picture: zeros, as both signs are equally likely."""
        return self.to_signs.weight.new_zeros(batch_size, *self._sizes, dtype=torch.float32)


@torch.no_grad()
def metric_root(tokenizer: DiscreteTokenizer, num_scales: int) -> Float[Tensor, "P P"]:
    """Matrix R such that |d R| is the norm of the feature change by a sign change d.

    It holds to first order around signs of zero, for the features of `decode_signs`. A squared
    error over the many features can then be computed from the few signs. All is computed in
    float32, also where the training step around it uses autocast.
    """
    num_tokens = sum(tokenizer.scale_lengths[:num_scales])
    num_bits = tokenizer.num_bits
    device = tokenizer.latent_mean.device
    units_PTK = torch.eye(num_tokens * num_bits, device=device).unflatten(1, (num_tokens, num_bits))
    with torch.autocast(device.type, enabled=False):
        made = [
            (tokenizer.decode_signs(part) - tokenizer.decode_signs(-part)).flatten(1) / 2
            for part in units_PTK.split(_AT_ONCE)
        ]
        features_PF = torch.cat(made)
        gram_PP = (features_PF @ features_PF.T).double()
    gram_PP.diagonal().add_(1e-4 * gram_PP.diagonal().mean())
    return torch.linalg.cholesky(gram_PP).float()
