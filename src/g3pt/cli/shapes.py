"""What the commands that sample shapes share: flags, their limits, files and their description."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from g3pt.cli.options import CommonOptions, make_folder_for, working
from g3pt.cli.progress import steps

if TYPE_CHECKING:
    from g3pt.generation.pipeline import G3PT
    from g3pt.generation.results import GenerationResult, ScaleEvent
    from g3pt.generation.token_work import SamplingNumbers
    from g3pt.geometry.mesh import TriangleMesh
    from g3pt.models.g3t import TokenFrame, TokenPyramid


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingOptions(CommonOptions):
    """Flags of how shapes are sampled and meshed."""

    num: int = 1
    """Samples of each."""

    resolution: int = 128
    """Grid cells per axis of the mesh, 16 to 1024."""

    guidance: float | None = None
    """How much more the prompt counts, 1 is neutral (default: as the weights say)."""

    temperature: float | None = None
    """Below 1 is more typical, 0 always takes the likeliest token."""

    top_k: int | None = None
    """Keep the k likeliest tokens; 0 keeps all."""

    top_p: float | None = None
    """Keep the likeliest tokens that hold this probability."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the generator; auto is bfloat16 where a GPU has it, else float32."""

    min_share: float = 0.01
    """Drop loose parts below this share of the whole surface; 0 keeps everything."""

    tokens: bool = False
    """Also write the tokens, as NAME.g3t beside the mesh."""

    def check(self) -> None:
        """Refuse settings out of range before any work, so that they count as wrong input.

        Raises:
            ValueError: naming the flag and its range.
        """
        from g3pt.generation.codec import check_resolution

        check_resolution(self.resolution)
        if self.num < 1:
            raise ValueError(f"--num must be at least 1, got {self.num}")
        limits = {
            "guidance": (self.guidance, 0.0, float("inf")),
            "temperature": (self.temperature, 0.0, float("inf")),
            "top-k": (self.top_k, 0, float("inf")),
            "top-p": (self.top_p, 1e-9, 1.0),
            "min-share": (self.min_share, 0.0, 1.0),
        }
        for name, (value, low, high) in limits.items():
            if value is not None and not low <= value <= high:
                raise ValueError(f"--{name} must lie between {low:g} and {high:g}, got {value:g}")

    def sampling(self) -> "SamplingNumbers":
        """The flags as arguments of `G3PT.generate`."""
        return {
            "seed": self.seed,
            "num": self.num,
            "guidance": self.guidance,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "resolution": self.resolution,
            "min_share": self.min_share,
        }


def write_one(mesh: "TriangleMesh", path: Path) -> dict[str, Any]:
    """Write a mesh and describe it; an empty one is not written and has no path."""
    from g3pt.geometry.mesh import is_closed, num_components, write_mesh

    if mesh.is_empty:
        return {"path": None, "vertices": 0, "faces": 0, "closed": False, "components": 0}
    make_folder_for(path)
    write_mesh(path, mesh)
    return {
        "path": str(path),
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "closed": is_closed(mesh),
        "components": num_components(mesh),
    }


def write_tokens(
    pipeline: "G3PT", tokens: "TokenPyramid", frame: "TokenFrame", path: Path
) -> dict[str, str]:
    """Write the tokens beside the mesh at `path` and name the file."""
    from g3pt.models.g3t import write_g3t

    beside = path.with_suffix(".g3t")
    make_folder_for(beside)
    write_g3t(beside, tokens, frame, pipeline.weights.fingerprint)
    return {"tokens_path": str(beside)}


def describe(entry: dict[str, Any]) -> str:
    """What became of one sample, as a line."""
    if entry["path"] is None:
        return f"seed {entry['seed']}: empty, nothing written"
    parts = "1 part" if entry["components"] == 1 else f"{entry['components']} parts"
    state = "closed" if entry["closed"] else "open"
    return f"{entry['path']}: {entry['faces']} faces, {state}, {parts}, seed {entry['seed']}"


def empty_message(outputs: list[dict[str, Any]]) -> str | None:
    """What to say if some samples have no inside."""
    empty = [str(entry["seed"]) for entry in outputs if entry["path"] is None]
    if not empty:
        return None
    return (
        f"the shape of seed {', '.join(empty)} has no inside: nothing was written for it; "
        "try another seed"
    )


def write_samples(
    pipeline: "G3PT",
    result: "GenerationResult",
    paths: Sequence[Path],
    frame: "TokenFrame",
    options: SamplingOptions,
) -> list[dict[str, Any]]:
    """Write samples at the place and scale of a frame, and describe them."""
    from g3pt.geometry.mesh import UnitFrame, to_source

    place = UnitFrame(scale=frame.scale, offset=frame.offset)
    entries: list[dict[str, Any]] = []
    for shape, path in zip(result.shapes, paths, strict=True):
        entry = {"seed": shape.seed, "nll": shape.nll}
        entry |= write_one(to_source(shape.mesh, place), path)
        if options.tokens:
            entry |= write_tokens(pipeline, shape.tokens, frame, path)
        entries.append(entry)
    return entries


def sample_stems(stem: str, options: SamplingOptions) -> list[str]:
    """File names of samples: the seed belongs to the name where there are several."""
    if options.num == 1:
        return [stem]
    return [f"{stem}-{options.seed + k}" for k in range(options.num)]


@contextmanager
def scales_shown() -> "Iterator[Callable[[ScaleEvent], None]]":
    """Show how many scales are sampled while the block runs; failures in it are of the work."""
    with steps() as shown, working("generating"):
        yield lambda event: shown.show("scales", event.scale + 1, event.num_scales)
