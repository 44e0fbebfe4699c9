"""`g3pt generate`: make meshes from pictures or sentences."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from g3pt.cli import generate_many, remote
from g3pt.cli.color import ColorFlags
from g3pt.cli.cutout import CutoutFlags, CutPictures, cut_pictures, write_cutouts
from g3pt.cli.lod import LodFlags, make_chain, write_chain
from g3pt.cli.options import (
    MESH_FORMATS,
    Output,
    WorkError,
    make_folder_for,
    open_pipeline,
    parse,
    plan_outputs,
    report,
    require_files,
    require_suffix,
    require_writable,
    words_to_stem,
    working,
)
from g3pt.cli.shapes import (
    SamplingOptions,
    describe,
    empty_message,
    scales_shown,
)

if TYPE_CHECKING:
    from g3pt.generation.coloring import ColorSource
    from g3pt.generation.pipeline import G3PT
    from g3pt.generation.prompts import Prompts
    from g3pt.generation.results import GeneratedShape, GenerationResult


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateOptions(SamplingOptions):
    """Make closed meshes from pictures, sentences, or parts of a scanned surface.

    Each picture, sentence or point cloud gives one shape, sampled --num times. Pictures and
    sentences given together describe the same shapes, in the same order.

    With --manifest FOLDER_OR_TABLE OUT the command makes very many shapes, resumably; its flags are
    those of `g3pt generate --manifest --help`.
    """

    image: tuple[Path, ...] = ()
    """Pictures of one object each, on any background."""

    cutout: CutoutFlags = field(default_factory=CutoutFlags)

    views: bool = False
    """The pictures are views of one shape, in this order, for weights that take several."""

    text: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A sentence that describes the shape; may be given several times."""

    points: tuple[Path, ...] = ()
    """Point clouds of the visible surface, for weights that take them: .npy, .xyz, .ply or a mesh,
    in the unit frame of the whole shape."""

    output: Output
    """A mesh file, or a folder when there are several shapes."""

    best_of: int = 1
    """Candidates per sample, with consecutive seeds. The one that agrees best with the picture is
    kept, or the likeliest if there is no picture."""

    every_scale: bool = False
    """Also write the mesh of every coarser scale, as NAME-scale1.glb and so on."""

    lod: LodFlags = field(default_factory=LodFlags)

    color: ColorFlags = field(default_factory=ColorFlags)

    preview: Path | None = None
    """Also write a PNG sheet: prompt, scales from coarse to fine, mesh."""

    server: str | None = None
    """Have the shapes made by a `g3pt serve` at this address, http://HOST:PORT. Its secret, if it
    asks for one, is that of the environment variable G3PT_TOKEN."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    if any(one.partition("=")[0] == generate_many.FLAG for one in arguments):
        return generate_many.main(arguments)
    options = parse(GenerateOptions, "generate", arguments)
    started = time.perf_counter()
    _check(options)
    cut, cutting = _cut(options)
    texts = [text for number, text in enumerate(options.text) if number not in cut.refused]
    images = [path for number, path in enumerate(options.image) if number in cut.kept]
    files = images[:1] if options.views else images or options.points
    stems = [path.stem for path in files] or [words_to_stem(text) for text in texts]
    if options.num > 1:
        step = options.best_of * (options.sampling.consensus or 1)
        seeds = [options.seed + k * step for k in range(options.num)]
        stems = [f"{stem}-{seed}" for stem in stems for seed in seeds]
    paths = plan_outputs(options.output, stems, MESH_FORMATS, folder_suffix=".glb")
    options.color.check(paths, pictures=bool(options.image), texts=bool(options.text))
    colored = bool(options.image or options.text) and options.color.color != "none"
    options.finish.check_files(paths, levels=options.lod.lod, colored=colored)

    if options.server is not None:
        remote.check(options, paths)
        summary = remote.make(options, list(cut.kept), texts, paths)
    else:
        summary = _make(options, cut, texts, paths, started + cutting)
        summary["seconds"]["condition"] += round(cutting, 4)
    outputs = summary["outputs"]
    with working("writing"):
        write_cutouts(cut, options.cutout)
    lines = [describe(entry) + _why_guessed(entry) for entry in outputs]
    cut.tell()
    report(options, summary | cut.summary, lines)
    if message := "; ".join(filter(None, (cut.complaint, empty_message(outputs)))):
        raise WorkError(message)
    return 0


def _make(
    options: GenerateOptions,
    cut: CutPictures,
    texts: Sequence[str],
    paths: Sequence[Path],
    started: float,
) -> dict[str, Any]:
    """Make all shapes in this process, and write them.

    Args:
        options: the flags.
        cut: the pictures.
        texts: the sentences that go with them, or stand alone.
        paths: a file for each shape.
        started: when loading began.

    Returns:
        `outputs`, `seconds` and `weights`, as they are reported.
    """
    pipeline = open_pipeline(options, dtype=options.dtype, adapter=options.adapter)
    options.lod.check(paths, pipeline.num_scales)
    seconds = {"load": time.perf_counter() - started}
    started = time.perf_counter()
    found = list(cut.kept.values())
    prompts = pipeline.read_prompts(
        image=[found] if options.views else found or None,
        text=texts or None,
        points=options.points or None,
    )
    seconds["condition"] = time.perf_counter() - started
    result = _generate(pipeline, prompts, options, options.color.source(paths))
    seconds |= {name: result.timings[name] for name in ("tokens", "extract", "color")}
    started = time.perf_counter()
    with working("writing"):
        outputs = [
            _write(pipeline, shape, path, options)
            for shape, path in zip(result.shapes, paths, strict=True)
        ]
        if options.preview is not None:
            _write_preview(pipeline, result, options.preview)
    seconds["write"] = time.perf_counter() - started
    return {
        "outputs": outputs,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "weights": {"name": pipeline.weights.name, "sha256": pipeline.weights.sha256},
    }


def _cut(options: GenerateOptions) -> tuple[CutPictures, float]:
    """Find the objects before the weights are read, so that a wrong picture is told at once.

    Returns:
        What was found, and the seconds that it took.

    Raises:
        PictureError: if no picture can be used, or one of the views of a shape cannot.
    """
    started = time.perf_counter()
    cut = cut_pictures(options.image, options.cutout)
    if options.views and cut.complaint:
        raise ValueError(next(iter(cut.refused.values())))
    return cut, time.perf_counter() - started


def _check(options: GenerateOptions) -> None:
    if not (options.image or options.text or options.points):
        raise ValueError("give --image, --text or --points")
    if options.points and (options.image or options.text):
        raise ValueError("--points stands alone: leave out --image and --text")
    pictured = 1 if options.views else len(options.image)
    if options.image and options.text and pictured != len(options.text):
        raise ValueError(
            f"--image and --text describe the same shapes, so as many of both are needed: got "
            f"pictures of {pictured} and {len(options.text)} sentences"
        )
    if options.points:
        require_files(options.points, "point cloud")
    if options.views and not options.image:
        raise ValueError("--views joins the pictures of --image; there are none")
    if options.image:
        require_files(options.image, "picture")
    if options.every_scale and options.finish.texture is not None:
        raise ValueError(
            "--texture belongs to one mesh, --every-scale writes several: leave one out"
        )
    options.cutout.check(options.image)
    if options.preview is not None:
        require_suffix(options.preview, (".png",), "--preview")
        require_writable(options.preview)
    if options.best_of < 1:
        raise ValueError(f"--best-of must be at least 1, got {options.best_of}")
    if options.best_of > 1 and (options.sampling.consensus or 1) > 1:
        raise ValueError(
            "--best-of keeps one of several samples, --consensus joins them: give one of the two"
        )
    options.check()


def _generate(
    pipeline: "G3PT", prompts: "Prompts", options: GenerateOptions, color: "ColorSource"
) -> "GenerationResult":
    pipeline.check_num_scales(options.sampling.num_scales or None)
    with scales_shown() as on_scale:
        return pipeline.generate(
            prompts=prompts,
            every_scale=options.every_scale or options.lod.needs_scales,
            best_of=options.best_of,
            color=color,
            on_scale=on_scale,
            **options.request(),
        )


def _write(
    pipeline: "G3PT", shape: "GeneratedShape", path: Path, options: GenerateOptions
) -> dict[str, Any]:
    from g3pt.generation.writing import (
        baker,
        shape_entry,
        write_finished,
        write_one,
        write_tokens,
    )
    from g3pt.geometry.finishing import finish_of
    from g3pt.models.g3t import TokenFrame

    meshes = (shape.mesh, *reversed(shape.scales))
    finish = finish_of(meshes, path, options.finish, bake=baker(shape, options.finish))
    scales = []
    for number, mesh in enumerate(shape.scales if options.every_scale else (), start=1):
        coarse = path.with_name(f"{path.stem}-scale{number}{path.suffix}")
        scales.append(
            {"scale": number, **write_one(finish.put(mesh), coarse, compress=finish.compress)}
        )
    entry = shape_entry(shape)
    if options.lod.lod and not shape.mesh.is_empty:
        levels = make_chain(options.lod, shape.mesh, shape.scales, seed=options.seed)
        entry |= write_chain(options.lod, levels, path, finish.put) | finish.said
    else:
        entry |= write_finished(shape.mesh, path, finish)
    if options.tokens:
        entry |= write_tokens(shape.tokens, TokenFrame(), pipeline.weights.fingerprint, path)
    if scales:
        final = {key: entry[key] for key in ("path", "vertices", "faces", "closed", "components")}
        scales.append({"scale": shape.tokens.num_scales, **final})
    return {**entry, "scales": scales}


def _why_guessed(entry: dict[str, Any]) -> str:
    """A remark if the weights chose the first guess by default."""
    because = entry.get("guess_because")
    if because is None:
        return ""
    reason = {
        "spread": "their samples do not agree",
        "outline": "the mean of their samples does not have the outline of the picture",
    }[because]
    return (
        f"; nothing that these weights know well: {reason}, so this is the first guess, which is "
        "coarse where the picture does not show it (--num 4 shows samples)"
    )


def _write_preview(pipeline: "G3PT", result: "GenerationResult", path: Path) -> None:
    import numpy as np

    from g3pt.geometry.render import save_png

    make_folder_for(path)
    save_png(path, np.asarray(pipeline.preview(result)))
