"""g3pt: coarse-to-fine autoregressive 3D shape generation (G3PT).

    from g3pt import G3PT

    pipeline = G3PT.from_pretrained("g3pt-small")
    pipeline(text="a tall vase").meshes[0].save("vase.glb")

`Sampling` holds all settings of the sampler. `read_mesh` and `write_mesh` read and write files.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from g3pt.generation.pipeline import G3PT
    from g3pt.geometry.mesh import TriangleMesh, read_mesh, write_mesh
    from g3pt.models.sampling import Sampling

__version__ = "0.1.0"

__all__ = ["G3PT", "Sampling", "TriangleMesh", "__version__", "read_mesh", "write_mesh"]

_PLACES = {
    "G3PT": "g3pt.generation.pipeline",
    "Sampling": "g3pt.models.sampling",
    "TriangleMesh": "g3pt.geometry.mesh",
    "read_mesh": "g3pt.geometry.mesh",
    "write_mesh": "g3pt.geometry.mesh",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import g3pt` stays quick."""
    if name not in _PLACES:
        raise AttributeError(f"module 'g3pt' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    """All public names, imported or not: `help(g3pt)` looks here."""
    return sorted({*globals(), *__all__})
