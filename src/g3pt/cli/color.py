"""The flag for colours of generated meshes, and how the result is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class ColorFlags:
    """Flags for colours."""

    color: Literal["auto", "picture", "text", "none"] = "auto"
    """Vertex colours: those of the picture, the colour that the sentence names, or none. By default
    the picture's where its silhouette agrees with that of the mesh, else the sentence's."""

    def check(self, paths: Sequence[Path], *, pictures: bool, texts: bool) -> None:
        """Refuse colours that have no source, or that the format cannot carry.

        Args:
            paths: files that the meshes will be written to.
            pictures: whether there are pictures.
            texts: whether there are sentences.

        Raises:
            ValueError: if so; the message names the flag.
        """
        if self.color == "picture" and not pictures:
            raise ValueError("--color picture takes the colours of --image; there is none")
        if self.color == "text" and not texts:
            raise ValueError("--color text takes the colour that --text names; there is none")
        if self.color in ("picture", "text") and _cannot_carry(paths):
            raise ValueError(
                f"--color {self.color}: .stl holds no colours; write to .glb, .gltf, .ply, .obj or "
                ".off"
            )

    def source(self, paths: Sequence[Path]) -> Literal["auto", "picture", "text", "none"]:
        """Where colours come from; none by default if the format cannot carry them."""
        return "none" if _cannot_carry(paths) else self.color


def _cannot_carry(paths: Sequence[Path]) -> bool:
    return any(path.suffix.lower() == ".stl" for path in paths)


def describe_color(entry: dict[str, Any]) -> str:
    """The same as a remark on a line; nothing if no colours were to be expected."""
    if entry["method"] == "picture":
        return f", colours of the picture (silhouettes agree by {entry['silhouette_iou']:.2f})"
    if entry["method"] == "text":
        return f", {entry['words']}"
    return f", no colours: {entry['reason']}" if "reason" in entry else ""
