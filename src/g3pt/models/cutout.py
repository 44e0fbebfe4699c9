"""U2-Net-P: which pixels of a photograph belong to its object (Qin et al. 2020).

The network was trained by others on DUTS-TR and stays frozen. Batch norm is folded into the
convolutions. Every block is a small U-Net of its own, with its input added to its output
("residual U-block"); the blocks form a U-Net again.

Legend: B pictures, H height, W width, C channels.
"""

from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor, nn

from g3pt.models.weights.bundled import check_file, package_file
from g3pt.models.weights.compact import expand

BUNDLED_SHA256 = "57dc9802278772f9bb8524e64c51cc2cb2313c54b780bfce14241e9dacd62c0c"
"""SHA-256 of the bundled file."""

INPUT_SIDE = 320
"""Side of the pictures that the network was trained on; other multiples of 32 work as well."""
INPUT_MEAN, INPUT_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of each colour; the network was trained on pictures that were divided by their largest value."""

WIDTH, HIDDEN = 64, 16
"""Channels between blocks, and within a block."""


class ConvRelu(nn.Conv2d):
    """A 3 x 3 convolution that keeps the size, and a ReLU."""

    def __init__(self, channels_in: int, channels_out: int, dilation: int = 1) -> None:
        super().__init__(channels_in, channels_out, 3, padding=dilation, dilation=dilation)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve."""
        return F.relu(super().forward(input))


class UBlock(nn.Module):
    """A small U-Net whose input, after one convolution, is added to its output.

    Layer k of `up` reads layer k of `down` and the layer below it. If `dilations` are given, layers
    see further by these dilations instead of smaller pictures.
    """

    def __init__(
        self, channels: int, depth: int, *, dilations: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        self.shrinks = dilations is None
        # Without given dilations only the bottom layer, which follows no pooling, is dilated.
        spread = dilations or (*[1] * (depth - 1), 2)
        self.enter = ConvRelu(channels, WIDTH)
        self.down = nn.ModuleList(
            ConvRelu(WIDTH if level == 0 else HIDDEN, HIDDEN, spread[level])
            for level in range(depth)
        )
        self.up = nn.ModuleList(
            ConvRelu(2 * HIDDEN, WIDTH if level == 0 else HIDDEN, spread[level])
            for level in range(depth - 1)
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 64 H W"]:
        """Transform features."""
        entered = self.enter(x)
        passed, x = [], entered
        last = len(self.down) - 1
        for level, layer in enumerate(self.down):
            x = layer(x)
            passed.append(x)
            if self.shrinks and level < last - 1:
                x = halve(x)
        for level in reversed(range(last)):
            x = self.up[level](torch.cat([enlarge(x, passed[level]), passed[level]], dim=1))
        return x + entered


class U2NetP(nn.Module):
    """Pictures to the probability of every pixel to belong to the object."""

    def __init__(self) -> None:
        super().__init__()
        flat = (1, 2, 4, 8)
        self.encoder = nn.ModuleList([UBlock(3, 7), *(UBlock(WIDTH, depth) for depth in (6, 5, 4))])
        self.encoder.extend(UBlock(WIDTH, 4, dilations=flat) for _ in range(2))
        self.decoder = nn.ModuleList(
            [UBlock(2 * WIDTH, depth) for depth in (7, 6, 5, 4)]
            + [UBlock(2 * WIDTH, 4, dilations=flat)]
        )
        self.sides = nn.ModuleList(nn.Conv2d(WIDTH, 1, 3, padding=1) for _ in range(6))
        self.join = nn.Conv2d(6, 1, 1)

    def forward(self, pixels_B3HW: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B H W"]:
        """Probabilities in pictures with values in [0, 1], whose sides are multiples of 32."""
        mean, std = (
            pixels_B3HW.new_tensor(numbers)[:, None, None] for numbers in (INPUT_MEAN, INPUT_STD)
        )
        x = (pixels_B3HW - mean) / std
        encoded: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else halve(x))
            encoded.append(x)
        # One map of each level, finest first: five of the decoder and the deepest encoder's.
        levels = [x]
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](torch.cat([enlarge(x, encoded[level]), encoded[level]], dim=1))
            levels.insert(0, x)
        maps = [side(of_level) for side, of_level in zip(self.sides, levels, strict=True)]
        alike = [maps[0], *(enlarge(one, maps[0]) for one in maps[1:])]
        return torch.sigmoid(self.join(torch.cat(alike, dim=1))[:, 0])


def halve(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C _ _"]:
    """Keep the largest of every four values; odd sides are rounded up."""
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def enlarge(x: Float[Tensor, "B C _ _"], like: Float[Tensor, "B _ H W"]) -> Tensor:
    """Interpolate to the size of another tensor."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def bundled_file() -> Path:
    """Path of the bundled weights."""
    return package_file("u2netp", "model.safetensors")


@lru_cache(maxsize=2)
def load_u2netp(device: torch.device) -> U2NetP:
    """The frozen network of this package; the same object for the same device.

    Raises:
        FileNotFoundError: if this installation lacks the file.
        ValueError: if the file is not the one that this version came with.
    """
    check_file(bundled_file(), BUNDLED_SHA256, field="BUNDLED_SHA256", what="cut-out network")
    with safe_open(bundled_file(), framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}
    # Building a model draws initial values, which must not advance the caller's random state.
    with torch.random.fork_rng(devices=[]):
        network = U2NetP()
    network.load_state_dict({name: tensor.float() for name, tensor in expand(stored).items()})
    network.eval().requires_grad_(False)
    # A quarter faster on CPUs.
    return network.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
