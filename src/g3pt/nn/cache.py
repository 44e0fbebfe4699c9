"""Keys and values of earlier tokens, one store per layer.

Legend: B batch, H heads, M keys, D channels of a head.
"""

import torch

from g3pt.nn.attention import KeyValues


class KeyValueCache:
    """Append-only keys and values of every layer, for scale-by-scale generation."""

    def __init__(self, num_layers: int) -> None:
        self._layers: list[KeyValues | None] = [None] * num_layers

    def append(self, layer: int, new: KeyValues) -> KeyValues:
        """Add the keys and values of one step and return all that the layer holds."""
        held = self._layers[layer]
        if held is not None:
            new = KeyValues(
                torch.cat([held.keys_BHMD, new.keys_BHMD], dim=2),
                torch.cat([held.values_BHMD, new.values_BHMD], dim=2),
            )
        self._layers[layer] = new
        return new

    @property
    def num_tokens(self) -> int:
        """Tokens held by the first layer."""
        first = self._layers[0]
        return 0 if first is None else first.keys_BHMD.shape[2]
