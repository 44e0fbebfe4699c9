"""What the nodes do, in this process or on a server (`g3pt serve`); nothing here knows ComfyUI.

Both ways take the same words and give the same shapes for the same seed. Tokens travel as the bytes
of `.g3t` files.
"""

import base64
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from g3pt import TriangleMesh, read_mesh, write_mesh
from g3pt.app.client import Client

if TYPE_CHECKING:
    from g3pt import G3PT

Listener = Callable[[int, int], None]
"""Called with the number of scales that are sampled, and that of all; it may raise to end the work,
and is also called while meshes are made."""


@dataclass(frozen=True)
class Shapes:
    """What a node makes."""

    meshes: tuple[TriangleMesh, ...]
    tokens: tuple[bytes, ...]
    """A `.g3t` file for every mesh."""


class Local:
    """Work with weights in this process."""

    def __init__(self, weights: str, device: str = "auto") -> None:
        self.weights, self.device = weights, device

    @property
    def pipeline(self) -> "G3PT":
        """The models; they stay loaded."""
        return _loaded(self.weights, self.device)

    def generate(self, listen: Listener, **told: Any) -> Shapes:
        """Pictures, sentences, or both, to shapes."""
        images = told.pop("image", None)
        pictures = None if images is None else [Image.open(BytesIO(png)) for png in images]
        result = self.pipeline.generate(image=pictures, on_scale=_on_scale(listen), **told)
        return self._generated(result)

    def vary(self, listen: Listener, *, source: bytes, keep: int, **told: Any) -> Shapes:
        """Keep the first scales of a shape."""
        file = _tokens(source)
        result = self.pipeline.vary(file, keep=keep, on_scale=_on_scale(listen), **told)
        return self._generated(result)

    def mix(
        self, listen: Listener, *, coarse: bytes, fine: bytes, keep: int, method: str, **told: Any
    ) -> Shapes:
        """The coarse scales of one shape, the finer ones of another."""
        result = self.pipeline.mix(
            _tokens(coarse),
            _tokens(fine),
            keep=keep,
            method=method,
            on_scale=_on_scale(listen),
            **told,
        )
        return self._generated(result)

    def complete(self, listen: Listener, *, part: TriangleMesh, **told: Any) -> Shapes:
        """Whole shapes of a part, where the part is."""
        from g3pt.generation.completion import SearchConfig
        from g3pt.geometry.clouds import read_cloud
        from g3pt.geometry.mesh import to_source
        from g3pt.models.g3t import encode_g3t

        search = SearchConfig(width=told.pop("width"), survivors=told.pop("survivors"))
        with tempfile.TemporaryDirectory(prefix="g3pt-") as folder:  # a file, as a server has it
            path = Path(folder) / "part.ply"
            write_mesh(path, part)
            result = self.pipeline.complete(read_cloud(path), search=search, **told)
        frame, print_ = result.frame, self.pipeline.weights.fingerprint
        shapes = [one.shape for one in result.completions]
        return Shapes(
            tuple(to_source(shape.mesh, frame) for shape in shapes),
            tuple(encode_g3t(shape.tokens, frame, print_) for shape in shapes),
        )

    def tokenize(self, listen: Listener, *, mesh: TriangleMesh, seed: int) -> bytes:
        """A mesh to tokens."""
        from g3pt.models.g3t import encode_g3t

        file = self.pipeline.tokenize(mesh, seed=seed)
        return encode_g3t(file.tokens, file.frame, file.fingerprint)

    def detokenize(
        self, listen: Listener, *, tokens: bytes, num_scales: int | None, resolution: int
    ) -> TriangleMesh:
        """Tokens to a mesh, at the place that they name."""
        file = _tokens(tokens)
        found = self.pipeline.detokenize(file, num_scales=num_scales, resolution=resolution)
        return found.mesh

    def _generated(self, result: Any) -> Shapes:
        from g3pt.models.g3t import TokenFrame, encode_g3t

        frame, fingerprint = TokenFrame(), self.pipeline.weights.fingerprint
        tokens = tuple(encode_g3t(one, frame, fingerprint) for one in result.tokens)
        return Shapes(tuple(result.meshes), tokens)


class Remote:
    """Work on a server; whoever stops waiting cancels the job."""

    def __init__(self, address: str, token: str | None = None) -> None:
        self.client = Client(address, token)

    def generate(self, listen: Listener, **told: Any) -> Shapes:
        """Pictures, sentences, or both, to shapes."""
        return self._shapes("generation", listen, told)

    def vary(self, listen: Listener, *, source: bytes, **told: Any) -> Shapes:
        """Keep the first scales of a shape."""
        return self._shapes("variation", listen, {"source": _g3t(source), **told}, unit=True)

    def mix(self, listen: Listener, *, coarse: bytes, fine: bytes, **told: Any) -> Shapes:
        """The coarse scales of one shape, the finer ones of another."""
        request = {"coarse": _g3t(coarse), "fine": _g3t(fine), **told}
        return self._shapes("mix", listen, request, unit=True)

    def complete(self, listen: Listener, *, part: TriangleMesh, **told: Any) -> Shapes:
        """Whole shapes of a part, where the part is."""
        return self._shapes("completion", listen, {"part": _ply(part), **told})

    def tokenize(self, listen: Listener, *, mesh: TriangleMesh, seed: int) -> bytes:
        """A mesh to tokens."""
        job = self._done("tokenization", listen, {"mesh": _ply(mesh), "seed": seed})
        return self.client.result(job["id"], "g3t")

    def detokenize(
        self, listen: Listener, *, tokens: bytes, num_scales: int | None, resolution: int
    ) -> TriangleMesh:
        """Tokens to a mesh, at the place that they name."""
        request = {"tokens": _g3t(tokens), "num_scales": num_scales, "resolution": resolution}
        job = self._done("detokenization", listen, request)
        return self._mesh(job["id"], 0)

    def _shapes(
        self, kind: str, listen: Listener, told: dict[str, Any], *, unit: bool = False
    ) -> Shapes:
        request = {"previews": False, **({"unit_frame": True} if unit else {}), **told}
        job = self._done(kind, listen, request)
        samples = range(len(job["outputs"]))
        return Shapes(
            tuple(self._mesh(job["id"], sample) for sample in samples),
            tuple(self.client.result(job["id"], "g3t", sample=sample) for sample in samples),
        )

    def _mesh(self, job: str, sample: int) -> TriangleMesh:
        with tempfile.TemporaryDirectory(prefix="g3pt-") as folder:
            path = Path(folder) / "mesh.glb"
            path.write_bytes(self.client.result(job, "glb", sample=sample))
            return read_mesh(path)

    def _done(self, kind: str, listen: Listener, request: dict[str, Any]) -> dict[str, Any]:
        job = self.client.submit(kind, patience=30.0, **request)
        scale, scales = 0, 1
        try:
            for event in self.client.events(job):
                if event.name == "scale":
                    scale, scales = event.data["scale"], event.data["scales"]
                listen(scale, scales)
        except BaseException:
            self.client.cancel(job)
            raise
        return self.client.done(job)


def backend(server: str, weights: str) -> Local | Remote:
    """Where work is done: on a server if one is named, else in this process."""
    return Remote(server.strip()) if server.strip() else Local(weights)


@lru_cache(maxsize=1)
def _loaded(weights: str, device: str) -> "G3PT":
    from g3pt import G3PT

    return G3PT.from_pretrained(weights, device=device)


def _on_scale(listen: Listener) -> Callable[[Any], None]:
    return lambda event: listen(event.scale + 1, event.num_scales)


def _tokens(data: bytes) -> Any:
    from g3pt.models.g3t import decode_g3t

    return decode_g3t(data)


def _g3t(data: bytes) -> dict[str, str]:
    return {"data": _base64(data), "format": "g3t"}


def _ply(mesh: TriangleMesh) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="g3pt-") as folder:
        path = Path(folder) / "mesh.ply"
        write_mesh(path, mesh)
        return {"data": _base64(path.read_bytes()), "format": "ply"}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- between ComfyUI's arrays and ours -------------------------------------------------------


def as_png(picture: np.ndarray, mask: np.ndarray | None = None) -> bytes:
    """A picture of ComfyUI as a PNG file.

    Args:
        picture: (height, width, 3 or 4) in 0..1.
        mask: (height, width) in 0..1, 1 where the object is not, as ComfyUI's loader tells it.
    """
    pixels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    if mask is not None and mask.shape == pixels.shape[:2]:
        alpha = np.rint((1 - np.clip(mask, 0, 1)) * 255).astype(np.uint8)
        pixels = np.concatenate([pixels[..., :3], alpha[..., None]], axis=-1)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def padded(meshes: Sequence[TriangleMesh]) -> dict[str, np.ndarray]:
    """Meshes of different sizes as the arrays of a batch.

    Returns:
        `vertices` (B, P, 3) and `faces` (B, F, 3) with zeros at their ends, `vertex_counts` and
        `face_counts` (B,), and linear `vertex_colors` (B, P, 4) in 0..1 if all meshes have colours.

    Raises:
        ValueError: if there is no mesh, or one is empty.
    """
    from g3pt.geometry.formats.textures import display_to_linear

    if not meshes or any(mesh.is_empty for mesh in meshes):
        raise ValueError("the shape is empty: try another seed, or a finer resolution")
    points = max(len(mesh.vertices) for mesh in meshes)
    corners = max(len(mesh.faces) for mesh in meshes)
    arrays = {
        "vertices": np.zeros((len(meshes), points, 3), np.float32),
        "faces": np.zeros((len(meshes), corners, 3), np.int64),
        "vertex_counts": np.array([len(mesh.vertices) for mesh in meshes]),
        "face_counts": np.array([len(mesh.faces) for mesh in meshes]),
    }
    for number, mesh in enumerate(meshes):
        arrays["vertices"][number, : len(mesh.vertices)] = mesh.vertices
        arrays["faces"][number, : len(mesh.faces)] = mesh.faces
    if all(mesh.colors is not None for mesh in meshes):
        colors = np.zeros((len(meshes), points, 4), np.float32)
        for number, mesh in enumerate(meshes):
            colors[number, : len(mesh.vertices)] = display_to_linear(mesh.colors / 255.0)
        arrays["vertex_colors"] = colors
    return arrays


def unpadded(
    vertices: np.ndarray,
    faces: np.ndarray,
    vertex_counts: np.ndarray | None,
    face_counts: np.ndarray | None,
) -> list[TriangleMesh]:
    """Meshes of a batch; without counts all have the same size."""
    found = []
    for number in range(len(vertices)):
        points = None if vertex_counts is None else int(vertex_counts[number])
        corners = None if face_counts is None else int(face_counts[number])
        found.append(TriangleMesh.from_arrays(vertices[number, :points], faces[number, :corners]))
    return found
