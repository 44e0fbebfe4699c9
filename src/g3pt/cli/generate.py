"""`g3pt generate`: pictures or sentences to meshes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from g3pt.cli.options import (
    MESH_FORMATS,
    CommonOptions,
    Output,
    WorkError,
    make_folder_for,
    parse,
    plan_outputs,
    report,
    require_files,
    require_suffix,
    words_to_stem,
    working,
)
from g3pt.cli.progress import steps

if TYPE_CHECKING:
    from g3pt.generation.pipeline import G3PT
    from g3pt.generation.prompts import Prompts
    from g3pt.generation.results import GeneratedShape, GenerationResult
    from g3pt.geometry.mesh import TriangleMesh


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateOptions(CommonOptions):
    """Make closed meshes from pictures or sentences.

    Give pictures or sentences; each is a shape of its own, --num samples of each.
    """

    image: tuple[Path, ...] = ()
    """Pictures of one object each. Transparent or plain backgrounds work best."""

    text: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A sentence that describes the shape; may be given several times."""

    points: tuple[Path, ...] = ()
    """Point clouds, for weights that know them."""

    output: Output
    """A mesh file, or a folder when there are several shapes."""

    num: int = 1
    """Samples of each picture or sentence."""

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

    scales: int | None = None
    """Stop after this many scales, a coarser shape."""

    min_share: float = 0.01
    """Drop loose parts below this share of the whole surface; 0 keeps everything."""

    every_scale: bool = False
    """Also write the mesh of every coarser scale, as NAME-scale1.glb and so on."""

    preview: Path | None = None
    """Write a PNG sheet: input, the scales from coarse to fine, the mesh."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(GenerateOptions, "generate", arguments)
    started = time.perf_counter()
    _check(options)
    stems = [path.stem for path in options.image] + [words_to_stem(text) for text in options.text]
    if options.num > 1:
        stems = [f"{stem}-{options.seed + k}" for stem in stems for k in range(options.num)]
    paths = plan_outputs(options.output, stems, MESH_FORMATS, folder_suffix=".glb")

    from g3pt.generation.pipeline import G3PT

    pipeline = G3PT.from_pretrained(options.weights, options.device)
    seconds = {"load": time.perf_counter() - started}
    started = time.perf_counter()
    prompts = pipeline.read_prompts(image=options.image or None, text=options.text or None)
    seconds["condition"] = time.perf_counter() - started
    result = _generate(pipeline, prompts, options)
    seconds |= {name: result.timings[name] for name in ("tokens", "extract")}
    started = time.perf_counter()
    with working("writing"):
        outputs = [_write(shape, path) for shape, path in zip(result.shapes, paths, strict=True)]
        if options.preview is not None:
            _write_preview(pipeline, result, options.preview)
    seconds["write"] = time.perf_counter() - started
    summary = {
        "outputs": outputs,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "weights": {"name": pipeline.weights.name, "sha256": pipeline.weights.sha256},
    }
    report(options, summary, [_line(entry) for entry in outputs])
    empty = [str(entry["seed"]) for entry in outputs if entry["path"] is None]
    if empty:
        raise WorkError(
            f"the shape of seed {', '.join(empty)} has no inside: nothing was written for it; "
            "try another seed"
        )
    return 0


def _check(options: GenerateOptions) -> None:
    given = [bool(options.image), bool(options.text), bool(options.points)]
    if sum(given) != 1:
        raise ValueError("give exactly one of --image, --text and --points")
    if options.points:
        require_files(options.points, "point cloud")
        raise ValueError("--points: these weights take no point clouds; give --image or --text")
    if options.image:
        require_files(options.image, "picture")
    if options.num < 1:
        raise ValueError(f"--num must be at least 1, got {options.num}")
    if options.preview is not None:
        require_suffix(options.preview, (".png",), "--preview")

    from g3pt.generation.pipeline import check_resolution

    check_resolution(options.resolution)


def _generate(pipeline: "G3PT", prompts: "Prompts", options: GenerateOptions) -> "GenerationResult":
    from g3pt.generation.results import ScaleEvent

    _check_sampling(pipeline, options)
    with steps() as shown, working("generating"):

        def on_scale(event: ScaleEvent) -> None:
            shown.show("scales", event.scale + 1, event.num_scales)

        return pipeline.generate(
            prompts=prompts,
            seed=options.seed,
            num=options.num,
            guidance=options.guidance,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            num_scales=options.scales,
            resolution=options.resolution,
            min_share=options.min_share,
            every_scale=options.every_scale,
            on_scale=on_scale,
        )


def _check_sampling(pipeline: "G3PT", options: GenerateOptions) -> None:
    """Refuse settings out of range before any work, so that they count as wrong input."""
    pipeline.check_num_scales(options.scales)
    limits = {
        "guidance": (options.guidance, 0.0, float("inf")),
        "temperature": (options.temperature, 0.0, float("inf")),
        "top-k": (options.top_k, 0, float("inf")),
        "top-p": (options.top_p, 1e-9, 1.0),
        "min-share": (options.min_share, 0.0, 1.0),
    }
    for name, (value, low, high) in limits.items():
        if value is not None and not low <= value <= high:
            raise ValueError(f"--{name} must lie between {low:g} and {high:g}, got {value:g}")


def _write(shape: "GeneratedShape", path: Path) -> dict[str, Any]:
    make_folder_for(path)
    scales = []
    for number, mesh in enumerate(shape.scales, start=1):
        coarse = path.with_name(f"{path.stem}-scale{number}{path.suffix}")
        scales.append({"scale": number, **_write_one(mesh, coarse)})
    entry = {"seed": shape.seed, "nll": shape.nll, **_write_one(shape.mesh, path)}
    if scales:
        final = {key: entry[key] for key in ("path", "vertices", "faces", "closed", "components")}
        scales.append({"scale": shape.tokens.num_scales, **final})
    return {**entry, "scales": scales}


def _write_one(mesh: "TriangleMesh", path: Path) -> dict[str, Any]:
    """Write a mesh and describe it; an empty one is not written and has no path."""
    from g3pt.geometry.mesh import is_closed, num_components, write_mesh

    if mesh.is_empty:
        return {"path": None, "vertices": 0, "faces": 0, "closed": False, "components": 0}
    write_mesh(path, mesh)
    return {
        "path": str(path),
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "closed": is_closed(mesh),
        "components": num_components(mesh),
    }


def _write_preview(pipeline: "G3PT", result: "GenerationResult", path: Path) -> None:
    from g3pt.generation.preview import preview_sheet
    from g3pt.geometry.render import save_png

    make_folder_for(path)
    save_png(path, preview_sheet(pipeline, result))


def _line(entry: dict[str, Any]) -> str:
    if entry["path"] is None:
        return f"seed {entry['seed']}: empty, nothing written"
    parts = "1 part" if entry["components"] == 1 else f"{entry['components']} parts"
    state = "closed" if entry["closed"] else "open"
    return f"{entry['path']}: {entry['faces']} faces, {state}, {parts}, seed {entry['seed']}"
