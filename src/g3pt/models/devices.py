"""The torch device that a name stands for."""

import torch


def resolve_device(device: str | torch.device) -> torch.device:
    """Give the device of a name; `auto` is CUDA, else MPS, else the CPU.

    Raises:
        ValueError: if this machine has no such device.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device {device!r}: expected auto, cpu, cuda or mps") from None
    if (resolved.type == "cuda" and not cuda) or (resolved.type == "mps" and not mps):
        raise ValueError(f"device {device!r}: this machine has none that torch can use")
    return resolved
