"""What can be asked for: a model per kind of job, unknown fields refused, errors by field.

The settings of sampling and finishing are the fields of `Sampling` and `Finishing`, so that a
request and the command line mean the same.
"""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    Tag,
    WithJsonSchema,
    model_validator,
)

from g3pt.app.fields import model_of, values_of
from g3pt.arguments import MAX_SEED
from g3pt.geometry.finishing import Finishing
from g3pt.geometry.texture import MIN_TEXTURE
from g3pt.models.sampling import Sampling

MeshFormat = Literal["glb", "obj", "stl", "ply", "3mf"]
ResultFormat = Literal["glb", "obj", "stl", "ply", "3mf", "g3t", "png", "zip"]
"""`zip` holds an OBJ with its material and texture."""
MEDIA_TYPES = {
    "glb": "model/gltf-binary",
    "obj": "model/obj",
    "stl": "model/stl",
    "ply": "application/octet-stream",
    "3mf": "model/3mf",
    "g3t": "application/octet-stream",
    "png": "image/png",
    "zip": "application/zip",
}
"""Media type of every format of results."""
ShapeFormat = Literal["glb", "obj", "stl", "ply", "off", "3mf", "g3t"]
CloudFormat = Literal["glb", "obj", "stl", "ply", "off", "npy", "xyz", "txt", "csv"]
JOB_ID = r"^[0-9a-f]{32}$"

MAX_RESOLUTION = 256
MAX_SIDE = 4096
"""Pixels of the side of a texture."""
MAX_SAMPLES = 64
"""Samples that one request may ask for: prompts times num times best_of times consensus."""
MAX_PROMPTS = 8
MAX_TEXT = 1000


@dataclass(frozen=True, eq=False)
class Blob:
    """Bytes that came with a request, and what they are said to be."""

    data: bytes
    format: str
    """Without a dot; `png` for all pictures, whose own header tells more."""


def decode(text: object) -> bytes:
    """The bytes of base64 text or of a data URL.

    Raises:
        ValueError: if it is neither; the text itself is not repeated.
    """
    if not isinstance(text, str):
        raise ValueError(f"expected base64 text or a data URL, got {type(text).__name__}")
    if text.startswith("data:"):
        head, comma, body = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise ValueError("a data URL must be of the form data:TYPE;base64,DATA")
        text = body
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(
            "is not base64; files and addresses on the network are not read by a server"
        ) from None
    if not data:
        raise ValueError("is empty")
    return data


def _picture(value: object) -> Blob:
    return value if isinstance(value, Blob) else Blob(decode(value), "png")


def _bytes(value: object) -> Blob:
    return value if isinstance(value, Blob) else Blob(decode(value), "")


_BASE64: dict[str, Any] = {"type": "string", "contentEncoding": "base64", "minLength": 1}
Picture = Annotated[
    Blob,
    PlainValidator(_picture),
    PlainSerializer(lambda blob: f"{len(blob.data)} bytes"),
    WithJsonSchema(_BASE64 | {"description": "A picture as base64 or data URL."}),
]
Data = Annotated[
    Blob,
    PlainValidator(_bytes),
    PlainSerializer(lambda blob: f"{len(blob.data)} bytes"),
    WithJsonSchema(_BASE64),
]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
JobId = Annotated[str, Field(pattern=JOB_ID)]


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        serialize_by_alias=False,
    )


class StoredShape(_Strict):
    """A shape that a finished job of this server made."""

    job: JobId
    """Id of the job."""
    sample: int = Field(0, ge=0, lt=MAX_SAMPLES)
    """Number of the shape in that job."""


class InlineShape(_Strict):
    """A mesh or tokens, sent along."""

    data: Data
    """Base64 text or a data URL."""
    format: ShapeFormat
    """What the bytes are."""


class InlineCloud(_Strict):
    """Points of a surface, sent along."""

    data: Data
    """Base64 text or a data URL."""
    format: CloudFormat
    """What the bytes are."""


def _shape(value: object) -> object:
    """An uploaded file has its format in its name."""
    if isinstance(value, Blob):
        return {"data": value, "format": value.format}
    return value


def _tag(value: object) -> str:
    """Which of the two a shape is: one of another job, or one that was sent along."""
    named = "job" in value if isinstance(value, dict) else isinstance(value, StoredShape)
    return STORED if named else INLINE


INLINE, STORED = "inline", "stored"
Shape = Annotated[
    Annotated[InlineShape, Tag(INLINE)] | Annotated[StoredShape, Tag(STORED)], Discriminator(_tag)
]
Part = Annotated[
    Annotated[InlineCloud, Tag(INLINE)] | Annotated[StoredShape, Tag(STORED)], Discriminator(_tag)
]


class Request(_Strict):
    """What every job can be told."""

    model: str | None = Field(None, max_length=200)
    """Name of one of the server's weights; the first by default."""
    seed: int = Field(0, ge=0, le=MAX_SEED)
    """Seed of everything random; sample k has seed + k."""
    timeout: float | None = Field(None, gt=0)
    """Seconds that the job may run; the server has a limit of its own."""

    @model_validator(mode="before")
    @classmethod
    def _lists_and_files_fit(cls, value: Any) -> Any:
        """Arrays become tuples, and files of a form shapes and clouds, where these are asked for.

        What a validator has seen counts as values of Python, where a strict model tells lists and
        tuples apart.
        """
        if not isinstance(value, dict):
            return value
        given = cast("dict[str, Any]", value)
        return {name: cls._fitting(name, item) for name, item in given.items()}

    @classmethod
    def _fitting(cls, name: str, item: Any) -> Any:
        if name in PICTURE_FIELDS:
            return item
        if not isinstance(item, list):
            return _shape(item)
        several = [_shape(one) for one in cast("list[Any]", item)]
        field = cls.model_fields.get(name)
        return tuple(several) if field and "tuple[" in str(field.annotation) else several

    def blobs(self) -> Iterator[tuple[str, Blob]]:
        """Bytes in the request, with the names of their fields (`image.0`, `source.data`)."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            several = cast("list[Any]", value) if isinstance(value, list | tuple) else [value]
            for number, one in enumerate(several):
                place = f"{name}.{number}" if isinstance(value, list | tuple) else name
                match one:
                    case Blob():
                        yield place, one
                    case InlineShape(data=blob, format=form) | InlineCloud(data=blob, format=form):
                        yield place, Blob(blob.data, form)
                    case _:
                        pass

    def shapes(self) -> Iterator[tuple[str, StoredShape]]:
        """Shapes of other jobs that the request names, with the names of their fields."""
        for name in type(self).model_fields:
            if isinstance(value := getattr(self, name), StoredShape):
                yield name, value


PICTURE_FIELDS = ("image", "mask")

FinishingFields = model_of(
    Finishing,
    _Strict,
    texture={"ge": MIN_TEXTURE, "le": MAX_SIDE},
    up={"validation_alias": AliasChoices("up", "up_axis")},
    faces={"ge": 4},
)
SamplingFields = model_of(Sampling, _Strict)


class _Meshed(Request, FinishingFields):
    resolution: int = Field(128, ge=16, le=MAX_RESOLUTION)
    """Grid cells per axis of the mesh."""
    format: MeshFormat = "glb"
    """Format of the file; `/result` converts to others."""
    unit_frame: bool = False
    """Write in the unit frame instead of the source's own place and scale."""

    def finishing(self) -> Finishing:
        """How the mesh is to leave."""
        return finishing_of(self.model_dump())

    @model_validator(mode="after")
    def _format_carries_it(self) -> "_Meshed":
        finishing = self.finishing()
        suffixes, colored = [f".{self.format}"], self.is_colored()
        finishing.check(suffixes, unit_frame=self.unit_frame, colored=colored)
        if finishing.texture is not None and self.format != "glb":
            raise ValueError(
                "texture: the file of a job has one in glb; `/result.zip` makes an OBJ with one"
            )
        return self

    def is_colored(self) -> bool:
        """Whether its meshes may get colours."""
        return False


class _Sampled(_Meshed, SamplingFields):
    num: int = Field(1, ge=1, le=16)
    """Samples per prompt."""
    min_share: float = Field(0.01, ge=0, le=1)
    """Drop loose parts below this share of the whole surface area; 0 keeps everything."""
    previews: bool = True
    """Make a small mesh of every scale while the first sample is drawn."""

    def prompts(self) -> int:
        """Number of prompts."""
        return 1

    @model_validator(mode="after")
    def _settings_fit(self) -> "_Sampled":
        sampling_of(self.model_dump())
        each = getattr(self, "best_of", 1) * (getattr(self, "consensus", None) or 1)
        if (total := self.prompts() * self.num * each) > MAX_SAMPLES:
            raise ValueError(
                f"num: {total} samples in all (prompts x num x best_of x consensus) are more than "
                f"the {MAX_SAMPLES} of one request"
            )
        return self


class _Prompted(_Sampled):
    image: Picture | None = None
    """Picture that the shape should resemble."""
    text: Text | None = None
    """Sentence that describes the shape."""

    def is_colored(self) -> bool:
        """Whether its meshes may get colours."""
        return self.image is not None or self.text is not None


class GenerationRequest(_Sampled):
    """Make closed meshes from pictures, sentences, or parts of a scanned surface."""

    image: Annotated[list[Picture], Field(max_length=MAX_PROMPTS)] = []
    """Pictures of one object each, or views of one; a single picture needs no list."""
    mask: Annotated[list[Picture], Field(max_length=MAX_PROMPTS)] = []
    """Which part of each picture is its object: white, or opaque."""
    whole_picture: bool = False
    """Take each whole picture as the object."""
    views: bool = False
    """The pictures are views of one shape, for weights that take several."""
    text: Annotated[list[Text], Field(max_length=MAX_PROMPTS)] = []
    """Sentences, one shape each; with pictures, about the same shapes."""
    points: Annotated[list[InlineCloud], Field(max_length=MAX_PROMPTS)] = []
    """Points of the visible surface in the unit frame of the whole shape."""
    best_of: int = Field(1, ge=1, le=16)
    """Candidates per sample, of which the one that agrees best with the prompt is kept."""
    every_scale: bool = False
    """Also make the whole mesh of every coarser scale."""
    color: Literal["auto", "picture", "text", "none"] = "auto"
    """Where vertex colours come from."""

    @model_validator(mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        given = cast("dict[str, Any]", value)
        several = ("image", "mask", "text", "points")
        return {
            name: [item] if name in several and not isinstance(item, list) else item
            for name, item in given.items()
        }

    def prompts(self) -> int:
        """Number of prompts; views of one shape are one."""
        pictures = min(1, len(self.image)) if self.views else len(self.image)
        return max(pictures, len(self.text), len(self.points), 1)

    def is_colored(self) -> bool:
        """Whether its meshes may get colours."""
        return bool(self.image or self.text) and self.color != "none"

    @model_validator(mode="after")
    def _prompts_fit(self) -> "GenerationRequest":
        if not (self.image or self.text or self.points):
            raise ValueError("image: give a picture, or a text, or points; there is no prompt")
        if self.points and (self.image or self.text):
            raise ValueError("points: stand alone, leave out image and text")
        pictured = 1 if self.views else len(self.image)
        if self.image and self.text and pictured != len(self.text):
            raise ValueError(
                f"text: describes the same shapes as image, got {len(self.text)} for {pictured}"
            )
        if (self.mask or self.whole_picture) and not self.image:
            raise ValueError("mask: tells where a picture shows its object; there is no image")
        if self.mask and len(self.mask) != len(self.image):
            raise ValueError(
                f"mask: give one for each picture, got {len(self.mask)} for {len(self.image)}"
            )
        if self.mask and self.whole_picture:
            raise ValueError("mask: give a mask or whole_picture, not both")
        if self.views and not self.image:
            raise ValueError("views: joins the pictures of image; there are none")
        if self.best_of > 1 and (getattr(self, "consensus", None) or 1) > 1:
            raise ValueError("best_of: keeps one of several samples, consensus joins them")
        if self.every_scale and getattr(self, "texture", None) is not None:
            raise ValueError("texture: belongs to one mesh, every_scale writes several")
        if self.color == "picture" and not self.image:
            raise ValueError("color: is to come from a picture; there is none")
        if self.color == "text" and not self.text:
            raise ValueError("color: is to come from a text; there is none")
        return self


class ReconstructionRequest(_Meshed):
    """Tokenize a mesh and make a mesh of its tokens."""

    mesh: Shape
    """The mesh."""
    num_scales: int | None = Field(None, ge=1)
    """Keep the first scales only."""
    dense: bool = False
    """Query the whole grid instead of tracking the surface: slow, but exact."""


class TokenizationRequest(Request):
    """Turn a mesh into tokens."""

    mesh: Shape
    """The mesh."""
    num_scales: int | None = Field(None, ge=1)
    """Keep the first scales only."""


class DetokenizationRequest(_Meshed):
    """Turn tokens back into a mesh."""

    tokens: Shape
    """Tokens (format `g3t`), or a shape of another job."""
    num_scales: int | None = Field(None, ge=1)
    """Use the first scales only."""


class VariationRequest(_Prompted):
    """Keep the first scales of a shape and sample the others anew."""

    source: Shape
    """The shape to vary."""
    keep: int = Field(ge=1)
    """Number of scales to keep."""


class MixRequest(_Prompted):
    """Join two shapes: the coarse scales of the first, the finer scales of the second."""

    coarse: Shape
    """Shape that gives the coarse scales."""
    fine: Shape
    """Shape that gives the finer scales."""
    keep: int = Field(ge=1)
    """Number of scales taken from the first shape."""
    method: Literal["resample", "tokens"] = "resample"
    """`resample` samples the finer scales with the second shape as the prompt; `tokens` takes its
    tokens as they are."""

    @model_validator(mode="after")
    def _tokens_are_certain(self) -> "MixRequest":
        if self.method == "tokens" and self.num > 1:
            raise ValueError("num: must be 1, mixing tokens leaves nothing to chance")
        return self


class CompletionRequest(_Prompted):
    """Complete a part of a surface to whole shapes."""

    part: Part
    """A mesh with missing parts, or points of it."""
    whole: tuple[float, float, float, float, float, float] | None = None
    """Bounding box of the whole shape in the part's own units: x, y, z of the lowest corner, then
    of the highest (default: that of the part)."""
    search_keep: int = Field(0, ge=0)
    """Coarse scales to take from the tokens of the part itself."""
    width: int = Field(16, ge=1, le=64)
    """Candidates drawn at every scale."""
    survivors: int = Field(4, ge=1, le=16)
    """Candidates kept at every scale."""

    def is_colored(self) -> bool:
        """Completions get no colours."""
        return False

    @model_validator(mode="after")
    def _search_fits(self) -> "CompletionRequest":
        if self.survivors > self.width:
            raise ValueError(f"survivors: at most the width, {self.width}, got {self.survivors}")
        if self.num > self.survivors:
            raise ValueError(f"num: at most the survivors, {self.survivors}, got {self.num}")
        box = self.whole
        if box is not None and not all(
            low < high for low, high in zip(box[:3], box[3:], strict=True)
        ):
            raise ValueError("whole: the lowest corner comes first")
        return self


class ScoreRequest(Request):
    """How likely a shape is under the generator, scale by scale."""

    source: Shape
    """The shape."""
    image: Picture | None = None
    """Picture to condition on."""
    text: Text | None = None
    """Sentence to condition on."""
    num_scales: int | None = Field(None, ge=1)
    """Score the first scales only."""


KINDS: dict[str, type[Request]] = {
    "generation": GenerationRequest,
    "reconstruction": ReconstructionRequest,
    "tokenization": TokenizationRequest,
    "detokenization": DetokenizationRequest,
    "variation": VariationRequest,
    "mix": MixRequest,
    "completion": CompletionRequest,
    "score": ScoreRequest,
}
"""Kind of a job -> what can be asked for."""
PLURALS = {kind: f"{kind}es" if kind == "mix" else f"{kind}s" for kind in KINDS}
"""Kind of a job -> last part of its address."""


class CutoutRequest(_Strict):
    """Find the object of a picture, without making anything of it."""

    image: Picture
    """The picture."""
    mask: Picture | None = None
    """Which part of the picture is its object: white, or opaque."""
    whole_picture: bool = False
    """Take the whole picture as the object."""


def finishing_of(request: dict[str, Any]) -> Finishing:
    """The finishing that a request asks for."""
    return Finishing(**values_of(Finishing, request))


def sampling_of(request: dict[str, Any]) -> Sampling:
    """The settings of the sampler that a request asks for."""
    return Sampling(**values_of(Sampling, request))
