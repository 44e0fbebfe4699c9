"""Sources of mesh files: folders, manifests, archives, TRELLIS sets, Objaverse.

A config stands for a list of `MeshRef`s, which are small, picklable and read their mesh when
asked. Listing opens no mesh file; errors of a file are raised when it is read.
"""

from g3pt.preparation.inputs.configs import (
    ArchiveSourceConfig,
    FolderSourceConfig,
    ManifestSourceConfig,
    MeshSourceConfig,
    ObjaverseSourceConfig,
    TrellisSourceConfig,
    as_once_meant,
    source_from_text,
)
from g3pt.preparation.inputs.listing import list_meshes
from g3pt.preparation.inputs.refs import MeshRef

__all__ = [
    "ArchiveSourceConfig",
    "FolderSourceConfig",
    "ManifestSourceConfig",
    "MeshRef",
    "MeshSourceConfig",
    "ObjaverseSourceConfig",
    "TrellisSourceConfig",
    "as_once_meant",
    "list_meshes",
    "source_from_text",
]
