"""Shapes to files, and what is said of each: the same for the command line and for served jobs.

An entry is a dictionary of JSON values. Its `path` is None if the mesh is empty; such a mesh is not
written.
"""

from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from g3pt.generation.completion import CompletionResult
from g3pt.generation.results import GeneratedShape, GenerationResult, ShapeColor
from g3pt.generation.selection import Selection
from g3pt.geometry.finishing import Finish, Finishing, finish_of
from g3pt.geometry.mesh import (
    TriangleMesh,
    UnitFrame,
    is_closed,
    num_components,
    to_source,
    to_unit,
    write_mesh,
)
from g3pt.geometry.texture import Texture, TexturedMesh
from g3pt.models.g3t import TokenFrame, TokenPyramid, write_g3t


def own_unit(frame: TokenFrame | UnitFrame, *, unit_frame: bool) -> str | None:
    """Name the unit of a shape that has a place and scale of its own, or None if it has none.

    A mesh that was read has one, and the unit frame is one if it was asked for. The tokens of a
    generated shape have none: such a shape may be placed as its format expects.
    """
    if unit_frame:
        return "unit-frame"
    return "source" if (frame.scale, *frame.offset) != (1.0, 0.0, 0.0, 0.0) else None


def write_one(
    mesh: TriangleMesh,
    path: Path,
    *,
    compress: Literal["draco"] | None = None,
    texture: Texture | None = None,
) -> dict[str, Any]:
    """Write a mesh and describe it; an empty one is not written and has no path."""
    if mesh.is_empty:
        return {"path": None, "vertices": 0, "faces": 0, "closed": False, "components": 0}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mesh(path, mesh, compress=compress, texture=texture)
    return {
        "path": str(path),
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "closed": is_closed(mesh),
        "components": num_components(mesh),
    }


def write_finished(mesh: TriangleMesh, path: Path, finish: Finish) -> dict[str, Any]:
    """Write a finished mesh, and describe it with what the numbers of the file mean.

    Args:
        mesh: what was finished; an empty one is not written.
        path: the file.
        finish: how `mesh` leaves, by `finish_of`.
    """
    if mesh.is_empty:
        return write_one(mesh, path)
    written = write_one(finish.mesh, path, compress=finish.compress, texture=finish.texture)
    return {**written, **finish.said}


def baker(
    shape: GeneratedShape,
    finishing: Finishing,
    to_unit: Callable[[TriangleMesh], TriangleMesh] = lambda mesh: mesh,
) -> Callable[[TriangleMesh], TexturedMesh] | None:
    """What gives versions of a shape a texture for `finish_of`; None if it has no colours.

    Args:
        shape: in the unit frame.
        finishing: says how large the texture is.
        to_unit: moves versions to the unit frame.
    """
    side = finishing.texture
    if side is None or shape.mesh.is_empty or shape.mesh.colors is None:
        return None
    return lambda mesh: shape.textured(side, mesh=to_unit(mesh))


def write_tokens(
    tokens: TokenPyramid, frame: TokenFrame, fingerprint: str, path: Path
) -> dict[str, str]:
    """Write the tokens next to the mesh at `path`, and return the name of the file."""
    beside = path.with_suffix(".g3t")
    beside.parent.mkdir(parents=True, exist_ok=True)
    write_g3t(beside, tokens, frame, fingerprint)
    return {"tokens_path": str(beside)}


def shape_entry(shape: GeneratedShape) -> dict[str, Any]:
    """How a generated shape came about: its seed, likelihood, kind of answer and colours."""
    entry: dict[str, Any] = {"seed": shape.seed, "nll": shape.nll}
    if shape.selection is not None:
        entry |= _candidates(shape.selection)
    if shape.consensus:
        entry["consensus"] = {"samples": len(shape.consensus), "seeds": list(shape.consensus)}
    if shape.guessed:
        entry["guess"] = True
    if shape.guessed_because is not None:
        entry["guess_because"] = shape.guessed_because
    if shape.spread is not None:
        entry["spread"] = shape.spread
    return {**entry, "color": color_entry(shape.color)}


def _candidates(selection: Selection) -> dict[str, Any]:
    """Seeds and scores of all candidates; the score of an empty mesh is None."""
    choice = selection.choice
    scores = [score if isfinite(score) else None for score in choice.scores]
    return {
        "selected_by": choice.criterion,
        "candidates": [
            {"seed": seed, "score": score}
            for seed, score in zip(selection.seeds, scores, strict=True)
        ],
    }


def color_entry(color: ShapeColor) -> dict[str, Any]:
    """Where the colours of a mesh came from."""
    entry: dict[str, Any] = {"method": color.method}
    if color.reason:
        entry["reason"] = color.reason
    if color.words:
        entry["words"] = color.words
    if color.azimuth is not None and color.elevation is not None:
        entry["camera"] = {
            "azimuth": round(color.azimuth, 2),
            "elevation": round(color.elevation, 2),
        }
    if color.silhouette_iou is not None:
        entry["silhouette_iou"] = round(color.silhouette_iou, 4)
    if color.seen_share is not None:
        entry["seen_share"] = round(color.seen_share, 4)
    return entry


def write_samples(
    result: GenerationResult,
    paths: Sequence[Path],
    frame: TokenFrame,
    finishing: Finishing,
    *,
    own_unit: str | None,
    tokens_of: str | None = None,
) -> list[dict[str, Any]]:
    """Write samples at the place and scale of a frame, and describe them.

    Args:
        result: the samples.
        paths: a file for each.
        frame: place and scale.
        finishing: how they leave.
        own_unit: as `own_unit` says of the frame.
        tokens_of: fingerprint of the tokenizer, if the tokens are to be written as well.
    """
    place = UnitFrame(scale=frame.scale, offset=frame.offset)
    entries: list[dict[str, Any]] = []
    for shape, path in zip(result.shapes, paths, strict=True):
        entry: dict[str, Any] = {"seed": shape.seed, "nll": shape.nll}
        entry["color"] = color_entry(shape.color)
        mesh = to_source(shape.mesh, place)
        bake = baker(shape, finishing, lambda one: to_unit(one, place))
        finish = finish_of([mesh], path, finishing, own_unit=own_unit, bake=bake)
        entry |= write_finished(mesh, path, finish)
        if tokens_of is not None:
            entry |= write_tokens(shape.tokens, frame, tokens_of, path)
        entries.append(entry)
    return entries


def write_completions(
    result: CompletionResult,
    paths: Sequence[Path],
    finishing: Finishing,
    *,
    seed: int,
    unit_frame: bool,
    tokens_of: str | None = None,
) -> list[dict[str, Any]]:
    """Write completions at the place and scale of their part, and describe them.

    Args:
        result: the completions.
        paths: a file for each.
        finishing: how they leave.
        seed: seed of the search.
        unit_frame: write in the unit frame instead.
        tokens_of: fingerprint of the tokenizer, if the tokens are to be written as well.
    """
    entries: list[dict[str, Any]] = []
    for found, path in zip(result.completions, paths, strict=False):
        mesh, frame = found.shape.mesh, TokenFrame()
        if not unit_frame:
            mesh = to_source(mesh, result.frame)
            frame = TokenFrame(scale=result.frame.scale, offset=result.frame.offset)
        unit = "unit-frame" if unit_frame else "source"
        entry: dict[str, Any] = {"seed": seed, "nll": found.shape.nll}
        entry |= write_finished(mesh, path, finish_of([mesh], path, finishing, own_unit=unit))
        if found.agreement is not None:
            entry |= {
                "distance_mean": found.agreement.mean,
                "distance_max": found.agreement.largest,
                "met": found.agreement.met,
            }
        if tokens_of is not None:
            entry |= write_tokens(found.shape.tokens, frame, tokens_of, path)
        entries.append(entry)
    return entries
