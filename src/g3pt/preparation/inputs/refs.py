"""A reference to one mesh file, on disk or in an archive."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from g3pt.geometry.formats.foreign import known_suffix, read_mesh_file
from g3pt.geometry.formats.limits import FolderCompanions
from g3pt.geometry.mesh import GltfColors, MeshError, OnNote, TriangleMesh, parse_mesh
from g3pt.preparation.inputs.archives import ArchiveCompanions, opened_archive


@dataclass(frozen=True, kw_only=True, slots=True)
class MeshRef:
    """A reference to one mesh file, with its metadata. Picklable and small."""

    id: str
    location: str
    """Path of the file, or of the archive that holds it."""
    member: str = ""
    """Name inside the archive; empty for a plain file."""
    captions: tuple[str, ...] = ()
    category: str = ""
    split: str = ""
    licence: str = "unknown"
    sha256: str = ""
    """Expected hash of the file's bytes where a table gives one."""
    size: int = -1
    """Size in bytes when it was listed; -1 if unknown."""
    gltf_colors: GltfColors = "linear"
    """Content of COLOR_0 if it is a GLB or glTF file."""
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further JSON values to keep, such as the attribution."""

    @property
    def name(self) -> str:
        """Its name in error messages."""
        return f"{self.location}:{self.member}" if self.member else self.location

    def read(self, on_note: OnNote | None = None) -> TriangleMesh:
        """Read the mesh, in source space.

        Args:
            on_note: called with one line for each missing thing, such as a texture; None logs a
                warning.

        Raises:
            MeshError: if it cannot be read; `code` gives the reason, `checksum` if the file is not
                the one listed.
        """
        suffix = self._suffix()
        if self.member:
            archive = opened_archive(self.location)
            companions = ArchiveCompanions(archive, self.member)
            data = archive.read(self.member)
        else:
            companions = FolderCompanions(Path(self.location))
            data = read_mesh_file(self.location, suffix)
        if self.sha256:
            self._check_hash(data)
        return parse_mesh(
            data,
            suffix,
            name=self.name,
            companions=companions,
            gltf_colors=self.gltf_colors,
            **({} if on_note is None else {"on_note": on_note}),
        )

    def _suffix(self) -> str:
        try:
            return known_suffix(Path(self.member or self.location).suffix)
        except MeshError as error:
            raise MeshError(f"{self.name}: {error}", error.code) from None

    def _check_hash(self, data: bytes) -> None:
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256.lower():
            raise MeshError(
                f"{self.name}: its sha256 is {found[:16]}..., expected {self.sha256[:16]}...",
                "checksum",
            )
