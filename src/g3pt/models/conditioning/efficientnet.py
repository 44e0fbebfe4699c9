"""EfficientNet-Lite0 without its classifier (Tan & Le 2019; the Lite variants of Liu 2020).

The network was trained by others on ImageNet: no squeeze and excitation, ReLU6, batch norm. The
batch norm is folded into the convolutions here, since the network stays frozen. Padding is that
of TensorFlow, with the odd pixel at the end; with symmetric padding the network is less accurate.

Legend: B pictures, S side, G = S / 16, H = S / 32, C and F channels.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

INPUT_CENTRE, INPUT_SCALE = 127.0, 128.0
"""The network was trained on (bytes - 127) / 128."""

STEM_WIDTH = 32
STRIDE = 32
"""Picture sides in pixels must be multiples of this."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of one width, the first of which may halve the sides."""

    kernel: int
    stride: int
    expansion: int
    width: int
    num_blocks: int


STAGES = (
    Stage(kernel=3, stride=1, expansion=1, width=16, num_blocks=1),
    Stage(kernel=3, stride=2, expansion=6, width=24, num_blocks=2),
    Stage(kernel=5, stride=2, expansion=6, width=40, num_blocks=2),
    Stage(kernel=3, stride=2, expansion=6, width=80, num_blocks=3),
    Stage(kernel=5, stride=1, expansion=6, width=112, num_blocks=3),
    Stage(kernel=5, stride=2, expansion=6, width=192, num_blocks=4),
    Stage(kernel=3, stride=1, expansion=6, width=320, num_blocks=1),
)
FINE_STAGE = 4
"""The last stage of stride 16."""
FINE_WIDTH, COARSE_WIDTH = STAGES[FINE_STAGE].width, STAGES[-1].width


@dataclass(frozen=True)
class PictureFeatures:
    """Features of pictures at two resolutions."""

    fine_BFGG: Float[Tensor, "B F G G"]
    """112 channels, stride 16: patterns and parts."""

    coarse_BCHH: Float[Tensor, "B C H H"]
    """320 channels, stride 32: kinds of objects."""


class EfficientNetLite0(nn.Module):
    """Pictures to features at two resolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM_WIDTH, 3, stride=2)
        self.stages = nn.ModuleList()
        channels = STEM_WIDTH
        for stage in STAGES:
            blocks: list[nn.Module] = []
            for number in range(stage.num_blocks):
                stride = stage.stride if number == 0 else 1
                blocks.append(InvertedResidual(channels, stage, stride))
                channels = stage.width
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, pixels_B3SS: Float[Tensor, "B 3 S S"]) -> PictureFeatures:
        """Encode pictures with values in [0, 1], whose side is a multiple of `STRIDE`."""
        x = F.relu6(self.stem((pixels_B3SS * 255.0 - INPUT_CENTRE) / INPUT_SCALE))
        features: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return PictureFeatures(features[FINE_STAGE], features[-1])


class InvertedResidual(nn.Module):
    """Expand channels, filter each separately, reduce them; a residual is added if sizes match."""

    def __init__(self, channels: int, stage: Stage, stride: int) -> None:
        super().__init__()
        hidden = channels * stage.expansion
        self.expand = SameConv(channels, hidden, 1) if stage.expansion > 1 else None
        self.filter = SameConv(hidden, hidden, stage.kernel, stride=stride, groups=hidden)
        self.project = SameConv(hidden, stage.width, 1)
        self.adds_input = stride == 1 and channels == stage.width

    def forward(self, x: Float[Tensor, "B C S S"]) -> Float[Tensor, "B F _ _"]:
        """Transform features."""
        wide = x if self.expand is None else F.relu6(self.expand(x))
        narrow = self.project(F.relu6(self.filter(wide)))
        return x + narrow if self.adds_input else narrow


class SameConv(nn.Conv2d):
    """A convolution to ceil(side / stride), with the odd pixel of padding at the end."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(channels_in, channels_out, kernel, stride, groups=groups)

    def forward(self, input: Tensor) -> Tensor:
        """Pad and convolve."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        side = input.shape[-1]
        padding = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        if padding:
            before, after = padding // 2, padding - padding // 2
            input = F.pad(input, (before, after, before, after))
        return super().forward(input)
