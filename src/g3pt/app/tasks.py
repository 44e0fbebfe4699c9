"""What a worker process can do: a function per kind of job, and the quick tasks of the page.

A job has a folder of its own. What came with the request lies in it as `FIELD-K.SUFFIX`, results as
`result-K.FORMAT` and `result-K.g3t`, and the mesh of every result without loss as `shape-K.npz`.
Results are those that the commands write: both call the same functions in the same order.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from g3pt.app.kept import KeptShape
from g3pt.app.previews import Progress
from g3pt.app.requests import finishing_of, sampling_of
from g3pt.generation.completion import SearchConfig
from g3pt.generation.pictures import CutPicture, at_own_size, cut_out
from g3pt.generation.pipeline import G3PT
from g3pt.generation.prompts import Prompts
from g3pt.generation.results import GenerationResult, Reconstruction
from g3pt.generation.writing import (
    baker,
    own_unit,
    shape_entry,
    write_completions,
    write_finished,
    write_one,
    write_samples,
    write_tokens,
)
from g3pt.geometry.cameras import canonical_camera
from g3pt.geometry.clouds import read_cloud
from g3pt.geometry.finishing import finish_of
from g3pt.geometry.mesh import TriangleMesh, UnitFrame, to_source, to_unit, unit_frame_of
from g3pt.geometry.render import Scene, save_png
from g3pt.models.g3t import TokenFile, TokenFrame, read_g3t

if TYPE_CHECKING:
    from g3pt.app.work import Bench

PICTURE_SIDE = 512
"""Pixels of the picture of a result."""

Told = dict[str, Any]


class EmptyShapeError(RuntimeError):
    """A job made nothing that could be written."""


def generate(bench: "Bench", told: Told, folder: Path, progress: Progress) -> Told:
    """Pictures, sentences or points to meshes, as `g3pt generate` makes them."""
    pipeline = bench.pipeline(told["model"])
    found = _cut(told, folder, progress)
    prompts = pipeline.read_prompts(
        image=[found] if told["views"] else found or None,
        text=told["text"] or None,
        points=[folder / name for name in told["points"]] or None,
    )
    result = pipeline.generate(
        prompts=prompts,
        every_scale=told["every_scale"],
        best_of=told["best_of"],
        color=told["color"],
        on_scale=progress.listener(
            pipeline, resolution=told["resolution"], previews=told["previews"]
        ),
        **_sampled(told),
    )
    finishing, entries = finishing_of(told), list[Told]()
    for number, shape in enumerate(result.shapes):
        path = folder / f"result-{number}.{told['format']}"
        bake = baker(shape, finishing)
        finish = finish_of((shape.mesh, *reversed(shape.scales)), path, finishing, bake=bake)
        scales: list[Told] = []
        for scale, mesh in enumerate(shape.scales if told["every_scale"] else (), start=1):
            coarse = folder / f"result-{number}-scale{scale}.{told['format']}"
            written = write_one(finish.put(mesh), coarse, compress=finish.compress)
            scales.append({"scale": scale, **written})
        entry = shape_entry(shape) | write_finished(shape.mesh, path, finish)
        entry |= write_tokens(shape.tokens, TokenFrame(), pipeline.weights.fingerprint, path)
        _keep(folder, number, KeptShape(shape.mesh, paint=shape.paint))
        entries.append({**entry, "prompt": shape.prompt, "scales": scales})
    return _outcome(pipeline, entries, folder) | {
        "seconds": {name: round(value, 4) for name, value in result.timings.items()},
        "inputs": [{"cutout": cut.cutout.to_json()} for cut in found],
    }


def _cut(told: Told, folder: Path, progress: Progress) -> list[CutPicture]:
    """Find the objects of the pictures, and say how."""
    found: list[CutPicture] = []
    for number, name in enumerate(told["image"]):
        mask = folder / told["mask"][number] if told["mask"] else None
        cut = cut_out(folder / name, mask=mask, whole_picture=told["whole_picture"])
        save_png(folder / f"cutout-{number}.png", cut.rgba)
        progress.say("condition", {"picture": number, "cutout": cut.cutout.to_json()})
        found.append(cut)
    if not found:
        progress.say("condition", {})
    return found


def _sampled(told: Told) -> Told:
    """Arguments of `G3PT.generate` that all sampling jobs share."""
    return {
        "seed": told["seed"],
        "num": told["num"],
        "sampling": sampling_of(told),
        "resolution": told["resolution"],
        "min_share": told["min_share"],
    }


def _keep(folder: Path, number: int, shape: KeptShape) -> None:
    """Keep a shape without loss, for files in other formats; an empty one has none."""
    if not shape.mesh.is_empty:
        shape.save(_kept(folder, number))


def _kept(folder: Path, number: int) -> Path:
    return folder / f"shape-{number}.npz"


def _outcome(pipeline: G3PT, entries: Sequence[Told], folder: Path) -> Told:
    """What a job says of itself; files are named without their folder.

    Raises:
        EmptyShapeError: if no result has an inside.
    """
    outputs = [_without_folder(entry, folder) for entry in entries]
    if not any(entry["path"] for entry in outputs):
        seeds = ", ".join(str(entry["seed"]) for entry in outputs if "seed" in entry)
        raise EmptyShapeError(f"the shape of seed {seeds} has no inside; try another seed")
    weights = {"name": pipeline.weights.name, "sha256": pipeline.weights.sha256}
    return {"outputs": outputs, "weights": weights}


def _without_folder(entry: Any, folder: Path) -> Any:
    match entry:
        case dict():
            return {key: _without_folder(value, folder) for key, value in entry.items()}
        case list():
            return [_without_folder(value, folder) for value in entry]
        case str():
            return entry.removeprefix(f"{folder}/")
        case _:
            return entry


# --- shapes of other shapes ------------------------------------------------------------------


def reconstruct(bench: "Bench", told: Told, folder: Path, progress: Progress) -> Told:
    """A mesh through the tokenizer and back, as `g3pt reconstruct` makes it."""
    pipeline = bench.pipeline(told["model"])
    progress.say("condition", {})
    result = pipeline.reconstruct(
        _mesh_file(folder, told["mesh"]),
        num_scales=told["num_scales"],
        resolution=told["resolution"],
        dense=told["dense"],
        seed=told["seed"],
        on_scale=progress.listener(pipeline, resolution=told["resolution"], previews=False),
    )
    return _reconstructed(pipeline, result, told, folder)


def detokenize(bench: "Bench", told: Told, folder: Path, progress: Progress) -> Told:
    """Tokens to a mesh, as `g3pt detokenize` makes it."""
    pipeline = bench.pipeline(told["model"])
    progress.say("condition", {})
    file = read_g3t(folder / told["tokens"], num_scales=told["num_scales"])
    result = pipeline.detokenize(
        file,
        resolution=told["resolution"],
        on_scale=progress.listener(pipeline, resolution=told["resolution"], previews=False),
    )
    return _reconstructed(pipeline, result, told, folder)


def _reconstructed(pipeline: G3PT, result: Reconstruction, told: Told, folder: Path) -> Told:
    path = folder / f"result-0.{told['format']}"
    mesh = result.unit_mesh if told["unit_frame"] else result.mesh
    unit = own_unit(result.frame, unit_frame=told["unit_frame"])
    entry = write_finished(mesh, path, finish_of([mesh], path, finishing_of(told), own_unit=unit))
    frame = TokenFrame(scale=result.frame.scale, offset=result.frame.offset)
    entry |= write_tokens(result.tokens, frame, pipeline.weights.fingerprint, path)
    _keep(folder, 0, KeptShape(mesh))
    entry |= {
        "own_unit": unit,
        "tokens": result.tokens.num_tokens,
        "bits": result.tokens.total_bits,
        "queries": result.extraction.queries,
        "queries_dense": result.extraction.queries_dense,
    }
    return _outcome(pipeline, [{**entry, "seed": told["seed"]}], folder)


def tokenize(bench: "Bench", told: Told, folder: Path, progress: Progress) -> Told:
    """A mesh to tokens, as `g3pt tokenize` makes them."""
    pipeline = bench.pipeline(told["model"])
    progress.say("condition", {})
    source = _mesh_file(folder, told["mesh"])
    file = pipeline.tokenize(source, num_scales=told["num_scales"], seed=told["seed"])
    progress.tokenized(file.tokens)
    path = folder / "result-0.g3t"
    size = file.save(path)
    entry = {
        "path": str(path),
        "tokens_path": str(path),
        "tokens": file.tokens.num_tokens,
        "scales": file.tokens.num_scales,
        "bytes": size,
    }
    return _outcome(pipeline, [entry], folder)


def vary(bench: "Bench", told: Told, folder: Path, progress: Progress) -> Told:
    """Variations of a shape, as `g3pt vary` makes them."""
    pipeline = bench.pipeline(told["model"])
    prompts = _prompts(pipeline, told, folder, progress)
    source = pipeline.tokens_of(folder / told["source"], seed=told["seed"])
    result = pipeline.vary(
        source,
        keep=told["keep"],
        prompts=prompts,
        on_scale=progress.listener(
            pipeline, resolution=told["resolution"], previews=told["previews"]
        ),
        **_sampled(told),
    )
    return _placed(pipeline, result, source, told, folder)


def mix(bench: "Bench", told: Told, folder: Path, progress: Progress) -> Told:
    """Two shapes joined, as `g3pt mix` joins them."""
    pipeline = bench.pipeline(told["model"])
    coarse = pipeline.tokens_of(folder / told["coarse"], seed=told["seed"])
    fine = pipeline.tokens_of(folder / told["fine"], seed=told["seed"])
    asked = told["image"] is not None or told["text"] is not None
    prompts = _prompts(pipeline, told, folder, progress)
    result = pipeline.mix(
        coarse,
        fine,
        keep=told["keep"],
        method=told["method"],
        prompts=prompts if asked else None,
        on_scale=progress.listener(
            pipeline, resolution=told["resolution"], previews=told["previews"]
        ),
        **_sampled(told),
    )
    return _placed(pipeline, result, coarse, told, folder)


def _placed(
    pipeline: G3PT, result: GenerationResult, source: TokenFile, told: Told, folder: Path
) -> Told:
    """Write samples at the place of their source."""
    frame = TokenFrame() if told["unit_frame"] else source.frame
    unit = own_unit(source.frame, unit_frame=told["unit_frame"])
    paths = _paths(told, folder)
    entries = write_samples(
        result,
        paths,
        frame,
        finishing_of(told),
        own_unit=unit,
        tokens_of=pipeline.weights.fingerprint,
    )
    place = UnitFrame(scale=frame.scale, offset=frame.offset)
    for number, (entry, shape) in enumerate(zip(entries, result.shapes, strict=True)):
        _keep(folder, number, KeptShape(to_source(shape.mesh, place), place, shape.paint))
        entry |= {
            "own_unit": unit,
            "changed_tokens": shape.tokens.num_different(source.tokens),
        }
    return _outcome(pipeline, entries, folder)


def complete(bench: "Bench", told: Told, folder: Path, progress: Progress) -> Told:
    """Whole shapes of a part, as `g3pt complete` makes them."""
    pipeline = bench.pipeline(told["model"])
    prompts = _prompts(pipeline, told, folder, progress)
    frame = None
    if told["whole"] is not None:
        low, high = told["whole"][:3], told["whole"][3:]
        frame = unit_frame_of(TriangleMesh.from_arrays([low, high, low], [[0, 1, 2]]))
    result = pipeline.complete(
        read_cloud(_mesh_file(folder, told["part"])),
        frame=frame,
        search=SearchConfig(
            keep=told["search_keep"], width=told["width"], survivors=told["survivors"]
        ),
        prompts=prompts,
        on_scale=progress.listener(
            pipeline, resolution=told["resolution"], previews=told["previews"]
        ),
        **_sampled(told),
    )
    entries = write_completions(
        result,
        _paths(told, folder),
        finishing_of(told),
        seed=told["seed"],
        unit_frame=told["unit_frame"],
        tokens_of=pipeline.weights.fingerprint,
    )
    unit = "unit-frame" if told["unit_frame"] else "source"
    for number, (entry, found) in enumerate(zip(entries, result.completions, strict=True)):
        mesh = found.shape.mesh
        placed = mesh if told["unit_frame"] else to_source(mesh, result.frame)
        _keep(folder, number, KeptShape(placed))
        entry["own_unit"] = unit
    return _outcome(pipeline, entries, folder)


def score(bench: "Bench", told: Told, folder: Path, progress: Progress) -> Told:
    """How likely a shape is, as `g3pt score` says it."""
    pipeline = bench.pipeline(told["model"])
    prompts = _prompts(pipeline, told, folder, progress)
    file = pipeline.tokens_of(folder / told["source"], seed=told["seed"])
    progress.tokenized(file.tokens)
    num = told["num_scales"] and min(told["num_scales"], file.tokens.num_scales)
    found = pipeline.score(file, prompts=prompts, num_scales=num)
    return {
        "score": {
            "tokens": sum(found.scale_lengths),
            "nats": found.nats.item(),
            "nats_per_token": found.nats_per_token.item(),
            "bits": found.bits_per_shape.item(),
            "scales": [
                {"scale": scale, "tokens": tokens, "nats": nats}
                for scale, (tokens, nats) in enumerate(
                    zip(found.scale_lengths, found.nats_BS[0].tolist(), strict=True), start=1
                )
            ],
        },
        "outputs": [],
        "weights": {"name": pipeline.weights.name, "sha256": pipeline.weights.sha256},
    }


def _prompts(pipeline: G3PT, told: Told, folder: Path, progress: Progress) -> Prompts:
    image = None if told["image"] is None else folder / told["image"]
    prompts = pipeline.read_prompts(image=image, text=told["text"])
    progress.say("condition", {})
    return prompts


def _paths(told: Told, folder: Path) -> list[Path]:
    return [folder / f"result-{number}.{told['format']}" for number in range(told["num"])]


def _mesh_file(folder: Path, name: str) -> Path:
    """A file of a mesh; tokens are none.

    Raises:
        ValueError: if it holds tokens.
    """
    if name.endswith(".g3t"):
        raise ValueError(f"{name}: holds tokens, a mesh is needed")
    return folder / name


# --- quick tasks -----------------------------------------------------------------------------


def convert(bench: "Bench", told: Told, folder: Path, progress: Progress) -> Told:
    """Write the mesh of a result in another format, size or direction; or draw it.

    A zip holds an OBJ with its material and texture. `told`: number, format, finishing, own_unit,
    and the name of the file to write.
    """
    kept, path = KeptShape.load(_kept(folder, told["number"])), folder / told["name"]
    mesh = kept.mesh
    if told["format"] == "png":
        unit = to_unit(mesh, unit_frame_of(mesh))
        save_png(path, Scene(unit).render(canonical_camera(), size=PICTURE_SIDE, shadow=True))
        return {"path": told["name"]}
    finishing, own_unit = finishing_of(told["finishing"]), told["own_unit"]
    bake = None
    if (side := finishing.texture) is not None:
        bake = partial(kept.textured, side)
    if told["format"] != "zip":
        finish = finish_of([mesh], path, finishing, own_unit=own_unit, bake=bake)
        return _without_folder(write_finished(mesh, path, finish), folder)
    with TemporaryDirectory(dir=folder) as name:
        obj = Path(name) / "g3pt.obj"
        finish = finish_of([mesh], obj, finishing, own_unit=own_unit, bake=bake)
        written = write_finished(mesh, obj, finish)
        with ZipFile(path, "w", ZIP_DEFLATED) as archive:
            for file in sorted(Path(name).iterdir()):
                archive.writestr(ZipInfo(file.name), file.read_bytes(), ZIP_DEFLATED)
    return {**written, "path": told["name"]}


def cutout(bench: "Bench", told: Told, folder: Path, progress: Progress) -> Told:
    """Find the object of a picture, and write the picture at its own size without the rest."""
    mask = None if told["mask"] is None else folder / told["mask"]
    cut = cut_out(folder / told["image"], mask=mask, whole_picture=told["whole_picture"])
    pixels = at_own_size(folder / told["image"], cut)
    save_png(folder / "cutout.png", pixels)
    return {"cutout": cut.cutout.to_json(), "size": [pixels.shape[1], pixels.shape[0]]}


TASKS: dict[str, Callable[["Bench", Told, Path, Progress], Told]] = {
    "generation": generate,
    "reconstruction": reconstruct,
    "tokenization": tokenize,
    "detokenization": detokenize,
    "variation": vary,
    "mix": mix,
    "completion": complete,
    "score": score,
    "convert": convert,
    "cutout": cutout,
}
