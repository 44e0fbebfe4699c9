"""Nodes of ComfyUI (schema V3): pictures and sentences to meshes, and work on their tokens."""

from typing import Any

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import ComfyExtension, Types, io

from .work import Local, Remote, Shapes, as_png, backend, padded, unpadded

CATEGORY = "3d/g3pt"
Tokens = io.Custom("G3PT_TOKENS")
"""A tuple of `.g3t` files, one for each shape of a batch."""
MAX_SEED = 2**53 - 1
"""Of the page; a larger one would be rounded there."""


def _where() -> list[io.Input]:
    """Inputs that say where the work is done."""
    return [
        io.String.Input(
            "server",
            default="",
            optional=True,
            tooltip="Address of `g3pt serve`, such as http://127.0.0.1:8000; empty: in ComfyUI.",
        ),
        io.String.Input(
            "weights",
            default="g3pt-small",
            optional=True,
            tooltip="Bundled weights, or a weights folder; a server has its own.",
        ),
    ]


def _seed() -> io.Input:
    return io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate=True)


def _resolution() -> io.Input:
    text = "Grid cells per axis of the mesh."
    return io.Int.Input("resolution", default=128, min=16, max=256, tooltip=text)


def _num() -> io.Input:
    return io.Int.Input("num", default=1, min=1, max=16, tooltip="Shapes of each prompt.")


def _listener() -> Any:
    """Shows progress, and ends the work when the user does."""
    bar: list[comfy.utils.ProgressBar] = []

    def listen(scale: int, scales: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        if not bar:
            bar.append(comfy.utils.ProgressBar(scales))
        bar[0].update_absolute(scale, scales)

    return listen


def _mesh(meshes: Any) -> Types.MESH:
    """The core's type, one item for each mesh."""
    arrays = {name: torch.from_numpy(array) for name, array in padded(meshes).items()}
    return Types.MESH(**arrays)


def _meshes(mesh: Types.MESH) -> Any:
    """Our meshes of the core's type."""

    def array(name: str) -> Any:
        found = getattr(mesh, name, None)
        return None if found is None else found.detach().cpu().numpy()

    return unpadded(array("vertices"), array("faces"), array("vertex_counts"), array("face_counts"))


def _output(shapes: Shapes) -> io.NodeOutput:
    return io.NodeOutput(_mesh(shapes.meshes), shapes.tokens)


def _one(tokens: Any, name: str) -> bytes:
    """The tokens of the only shape of a batch."""
    if len(tokens) != 1:
        raise ValueError(f"{name}: expected the tokens of one shape, got {len(tokens)}")
    return tokens[0]


def _shape_outputs() -> list[io.Output]:
    return [io.Mesh.Output(display_name="mesh"), Tokens.Output(display_name="tokens")]


class G3ptGenerate(io.ComfyNode):
    """Pictures or sentences to meshes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="G3ptGenerate",
            display_name="g3pt: Generate",
            category=CATEGORY,
            description="Closed meshes of pictures, a sentence, or both.",
            inputs=[  # those that may be left out come last, as in the page
                io.String.Input("text", default="", multiline=True),
                _seed(),
                _num(),
                _resolution(),
                io.Image.Input("image", optional=True),
                io.Mask.Input(
                    "mask", optional=True, tooltip="1 where the background is, as of Load Image."
                ),
                *_where(),
            ],
            outputs=_shape_outputs(),
        )

    @classmethod
    def execute(
        cls,
        text: str,
        seed: int,
        num: int,
        resolution: int,
        image: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        server: str = "",
        weights: str = "g3pt-small",
    ) -> io.NodeOutput:
        """Generate."""
        request: dict[str, Any] = {"seed": seed, "num": num, "resolution": resolution}
        if image is not None:
            masks = [None] * len(image) if mask is None or not mask.any() else mask.cpu().numpy()
            if len(masks) != len(image):
                raise ValueError(f"mask: expected one for each of {len(image)} pictures")
            pictures = zip(image.cpu().numpy(), masks, strict=True)
            request["image"] = [as_png(picture, one) for picture, one in pictures]
        if text.strip():
            request["text"] = [text.strip()] * (1 if image is None else len(image))
        if image is None and not text.strip():
            raise ValueError("image, text: give a picture or a sentence; there is no prompt")
        return _output(backend(server, weights).generate(_listener(), **request))


class G3ptVary(io.ComfyNode):
    """Variations of a shape."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="G3ptVary",
            display_name="g3pt: Vary",
            category=CATEGORY,
            description="Keep the coarse scales of a shape, sample the others anew.",
            inputs=[
                Tokens.Input("tokens"),
                io.String.Input("text", default="", multiline=True),
                io.Int.Input("keep", default=2, min=1, max=16, tooltip="Scales to keep."),
                _seed(),
                _num(),
                _resolution(),
                *_where(),
            ],
            outputs=_shape_outputs(),
        )

    @classmethod
    def execute(
        cls,
        tokens: Any,
        text: str,
        keep: int,
        seed: int,
        num: int,
        resolution: int,
        server: str = "",
        weights: str = "g3pt-small",
    ) -> io.NodeOutput:
        """Vary."""
        told = {"text": text.strip()} if text.strip() else {}
        shapes = backend(server, weights).vary(
            _listener(),
            source=_one(tokens, "tokens"),
            keep=keep,
            seed=seed,
            num=num,
            resolution=resolution,
            **told,
        )
        return _output(shapes)


class G3ptMix(io.ComfyNode):
    """Two shapes joined."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="G3ptMix",
            display_name="g3pt: Mix",
            category=CATEGORY,
            description="The coarse scales of one shape, the finer ones of another.",
            inputs=[
                Tokens.Input("coarse"),
                Tokens.Input("fine"),
                io.Int.Input("keep", default=2, min=1, max=16, tooltip="Scales of the first."),
                io.Combo.Input("method", options=["resample", "tokens"]),
                _seed(),
                _resolution(),
                *_where(),
            ],
            outputs=_shape_outputs(),
        )

    @classmethod
    def execute(
        cls,
        coarse: Any,
        fine: Any,
        keep: int,
        method: str,
        seed: int,
        resolution: int,
        server: str = "",
        weights: str = "g3pt-small",
    ) -> io.NodeOutput:
        """Mix."""
        shapes = backend(server, weights).mix(
            _listener(),
            coarse=_one(coarse, "coarse"),
            fine=_one(fine, "fine"),
            keep=keep,
            method=method,
            seed=seed,
            resolution=resolution,
        )
        return _output(shapes)


class G3ptComplete(io.ComfyNode):
    """Whole shapes of a part."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="G3ptComplete",
            display_name="g3pt: Complete",
            category=CATEGORY,
            description="Whole shapes of a mesh with missing parts; the best comes first.",
            inputs=[
                io.Mesh.Input("mesh"),
                io.Int.Input("width", default=16, min=1, max=64, tooltip="Candidates a scale."),
                io.Int.Input("survivors", default=4, min=1, max=16, tooltip="Of which are kept."),
                _seed(),
                _num(),
                _resolution(),
                *_where(),
            ],
            outputs=_shape_outputs(),
        )

    @classmethod
    def execute(
        cls,
        mesh: Types.MESH,
        width: int,
        survivors: int,
        seed: int,
        num: int,
        resolution: int,
        server: str = "",
        weights: str = "g3pt-small",
    ) -> io.NodeOutput:
        """Complete."""
        parts = _meshes(mesh)
        if len(parts) != 1:
            raise ValueError(f"mesh: expected one, got {len(parts)}")
        shapes = backend(server, weights).complete(
            _listener(),
            part=parts[0],
            width=width,
            survivors=survivors,
            seed=seed,
            num=num,
            resolution=resolution,
        )
        return _output(shapes)


class G3ptTokenize(io.ComfyNode):
    """Meshes to tokens."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="G3ptTokenize",
            display_name="g3pt: Tokenize",
            category=CATEGORY,
            description="Meshes to tokens.",
            inputs=[io.Mesh.Input("mesh"), _seed(), *_where()],
            outputs=[Tokens.Output(display_name="tokens")],
        )

    @classmethod
    def execute(
        cls, mesh: Types.MESH, seed: int, server: str = "", weights: str = "g3pt-small"
    ) -> io.NodeOutput:
        """Tokenize."""
        worker, listen = backend(server, weights), _listener()
        return io.NodeOutput(
            tuple(worker.tokenize(listen, mesh=one, seed=seed) for one in _meshes(mesh))
        )


class G3ptDetokenize(io.ComfyNode):
    """Tokens to meshes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="G3ptDetokenize",
            display_name="g3pt: Detokenize",
            category=CATEGORY,
            description="Tokens to meshes; fewer scales give a coarser shape.",
            inputs=[
                Tokens.Input("tokens"),
                io.Int.Input("num_scales", default=0, min=0, max=16, tooltip="0: all."),
                _resolution(),
                *_where(),
            ],
            outputs=[io.Mesh.Output(display_name="mesh")],
        )

    @classmethod
    def execute(
        cls,
        tokens: Any,
        num_scales: int,
        resolution: int,
        server: str = "",
        weights: str = "g3pt-small",
    ) -> io.NodeOutput:
        """Detokenize."""
        worker: Local | Remote = backend(server, weights)
        listen = _listener()
        meshes = [
            worker.detokenize(
                listen, tokens=one, num_scales=num_scales or None, resolution=resolution
            )
            for one in tokens
        ]
        return io.NodeOutput(_mesh(meshes))


class G3ptExtension(ComfyExtension):
    """All nodes of this pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The nodes."""
        return [G3ptGenerate, G3ptVary, G3ptMix, G3ptComplete, G3ptTokenize, G3ptDetokenize]
