"""g3pt: coarse-to-fine autoregressive 3D shape generation (G3PT)."""

__version__ = "0.1.0.dev0"
