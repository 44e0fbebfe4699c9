"""Shapes of jobs without loss, from which files of other formats, sizes and textures are made."""

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from g3pt.geometry.baking import bake
from g3pt.geometry.coloring import PicturePaint
from g3pt.geometry.lighting import Light
from g3pt.geometry.mesh import TriangleMesh, UnitFrame, to_unit
from g3pt.geometry.silhouettes import Orbit, PictureView
from g3pt.geometry.texture import TexturedMesh

IN_PLACE = UnitFrame(scale=1.0, offset=(0.0, 0.0, 0.0))
"""The frame of shapes that lie in the unit frame."""


@dataclass(frozen=True, eq=False)
class KeptShape:
    """A mesh, where it lies, and how a picture gave it colours."""

    mesh: TriangleMesh
    """At its own place, not empty."""
    frame: UnitFrame = IN_PLACE
    """Where the unit frame lies there."""
    paint: PicturePaint | None = None

    def save(self, path: Path) -> None:
        """Write it to an .npz file."""
        mesh = self.mesh
        arrays: dict[str, Any] = {"vertices": mesh.vertices, "faces": mesh.faces.astype(np.int32)}
        told: dict[str, Any] = {"frame": asdict(self.frame)}
        if mesh.colors is not None:
            arrays["colors"] = mesh.colors
        if self.paint is not None:
            png = io.BytesIO()
            Image.fromarray(self.paint.picture).save(png, "PNG")
            arrays["picture"] = np.frombuffer(png.getvalue(), np.uint8)
            arrays["light"] = self.paint.light.factors_8
            told["view"] = asdict(self.paint.view)
            told["brightest"] = self.paint.light.brightest
            told["mirrored"] = self.paint.mirrored
        np.savez(path, told=np.array(json.dumps(told)), **arrays)

    @classmethod
    def load(cls, path: Path) -> "KeptShape":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            told, colors = json.loads(str(arrays["told"])), arrays.get("colors", None)
            mesh = TriangleMesh.from_arrays(arrays["vertices"], arrays["faces"], colors)
            frame = UnitFrame(scale=told["frame"]["scale"], offset=tuple(told["frame"]["offset"]))
            if "picture" not in arrays:
                return cls(mesh, frame)
            with Image.open(io.BytesIO(arrays["picture"].tobytes())) as picture:
                pixels = np.array(picture)
            light = Light(arrays["light"], told["brightest"])
        view = told["view"]
        seen_from = PictureView(
            Orbit(**view["orbit"]), scale=tuple(view["scale"]), centre=tuple(view["centre"])
        )
        return cls(mesh, frame, PicturePaint(pixels, seen_from, light, tuple(told["mirrored"])))

    def textured(self, side: int, mesh: TriangleMesh) -> TexturedMesh:
        """A version of the mesh, at the same place, with the colours as a texture.

        Raises:
            ValueError: if there are no colours.
            ImportError: naming the extra, if xatlas is not installed.
        """
        if self.mesh.colors is None:
            raise ValueError("texture shows colours, and this shape has none: leave it out")
        ours = to_unit(self.mesh, self.frame)
        return bake(to_unit(mesh, self.frame), ours, self.paint, side)
