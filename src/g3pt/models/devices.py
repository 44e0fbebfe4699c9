"""Which device a name means."""

import torch


def resolve_device(device: str | torch.device) -> torch.device:
    """`auto` is CUDA, else MPS, else the CPU; anything else must exist.

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
