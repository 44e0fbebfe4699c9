"""g3pt: coarse-to-fine autoregressive 3D shape generation (G3PT)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from g3pt.generation.pipeline import G3PT

__version__ = "0.1.0.dev0"

__all__ = ["G3PT", "__version__"]


def __getattr__(name: str) -> Any:
    """Import `G3PT` when it is first used, so that `import g3pt` stays quick."""
    if name == "G3PT":
        from g3pt.generation.pipeline import G3PT

        return G3PT
    raise AttributeError(f"module 'g3pt' has no attribute {name!r}")
