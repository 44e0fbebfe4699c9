"""Damage to files of named arrays that a reader has to notice by itself."""

from g3pt.shapes.array_files import joined_header, split_header
from g3pt.torture.damage import Rng, damaged_json


def with_damaged_header(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """A safetensors file with changed values in its header, and what was done."""
    header, rest = split_header(data)
    what, changed = damaged_json(header, rng)
    return what, joined_header(changed, rest)
