"""Colours of generated meshes: those of the picture, or of the words of the sentence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from g3pt.arguments import PromptError
from g3pt.generation.color_words import colors_of_sentence
from g3pt.generation.pictures import PreparedPicture
from g3pt.generation.prompts import Prompts
from g3pt.generation.resemblance import Resemblance, has_outline, resemblance_of
from g3pt.generation.results import GeneratedShape, ShapeColor
from g3pt.geometry.coloring import PicturePaint, color_from_picture
from g3pt.geometry.mesh import NEUTRAL_GREY, TriangleMesh
from g3pt.geometry.repaint import repainted
from g3pt.geometry.sections import find_part

ColorSource = Literal["auto", "picture", "text", "none"]
"""Where colours come from; `auto`: the picture if there is one and the silhouettes agree, otherwise
the colour words of the sentence if there are any, otherwise nothing."""


@dataclass(frozen=True, eq=False)
class Colored:
    """A mesh, with colours if there are any, and what was done."""

    mesh: TriangleMesh
    color: ShapeColor
    resemblance: Resemblance | None = None
    """How far the mesh has the outline of its picture, if that was looked for."""
    paint: PicturePaint | None = None
    """How the picture gave the colours, if it did."""


def check_color(color: ColorSource, prompts: Prompts) -> None:
    """Refuse a source of colours that the prompts do not have.

    Raises:
        PromptError: if there is no such source, or nothing to take colours from.
    """
    if color not in get_args(ColorSource):
        raise PromptError(f"color must be one of {', '.join(get_args(ColorSource))}, got {color!r}")
    if color == "picture" and not prompts.pictures:
        raise PromptError("color: colours are to come from a picture, and there is none")
    if color == "text" and not prompts.texts:
        raise PromptError("color: colours are to come from a sentence, and there is none")


def color_shapes(
    shapes: Sequence[GeneratedShape],
    prompts: Prompts,
    color: ColorSource,
    on_shape: Callable[[int, GeneratedShape, int], None],
) -> list[GeneratedShape]:
    """Give shapes colours; vertices and faces stay. Meshes of coarser scales take over theirs.

    Args:
        shapes: in the unit frame.
        prompts: the prompts that they were made from.
        color: allowed by `check_color`.
        on_shape: called with number, shape and total before a picture colours a shape.
    """
    colored: list[GeneratedShape] = []
    for number, shape in enumerate(shapes):
        if prompts.pictures and color in ("auto", "picture"):
            on_shape(number, shape, len(shapes))
        colored.append(_colored_shape(shape, prompts, color))
    return colored


def _colored_shape(shape: GeneratedShape, prompts: Prompts, color: ColorSource) -> GeneratedShape:
    picture = prompts.pictures[shape.prompt] if prompts.pictures else None
    text = prompts.texts[shape.prompt] if prompts.texts else None
    done = color_mesh(shape.mesh, picture, text, color, known=shape.resemblance)
    return replace(
        shape,
        extraction=replace(shape.extraction, mesh=done.mesh),
        scales=tuple(repainted(mesh, done.mesh) for mesh in shape.scales),
        color=done.color,
        resemblance=done.resemblance,
        paint=done.paint,
    )


def color_mesh(
    mesh: TriangleMesh,
    picture: PreparedPicture | None,
    text: str | None,
    color: ColorSource = "auto",
    *,
    known: Resemblance | None = None,
) -> Colored:
    """Give a mesh the colours of its picture, or of its sentence.

    Args:
        mesh: in the unit frame.
        picture: the picture that it was made from, if there was one.
        text: the sentence that it was made from, if there was one.
        color: where the colours come from.
        known: what was found before about this mesh and this picture.
    """
    done = Colored(mesh, ShapeColor("none"), known)
    if color == "none" or (picture is None and text is None):
        return done
    if mesh.is_empty:
        return replace(done, color=ShapeColor("none", reason="the mesh is empty"))
    if picture is not None and color != "text":
        done = _from_picture(mesh, picture, known)
    if done.color.method == "none" and text is not None and color != "picture":
        painted, words = _from_words(mesh, text)
        if words.method == "text" or picture is None:
            done = replace(done, mesh=painted, color=words)
    return done


def _from_picture(
    mesh: TriangleMesh, picture: PreparedPicture, known: Resemblance | None
) -> Colored:
    if not has_outline(picture):
        reason = "the object could not be separated from the background of the picture"
        return Colored(mesh, ShapeColor("none", reason=reason))
    resemblance = known or resemblance_of(mesh, picture)
    found = resemblance.found
    color = ShapeColor(
        "none",
        azimuth=found.view.orbit.azimuth,
        elevation=found.view.orbit.elevation,
        silhouette_iou=found.iou,
    )
    if not resemblance.agrees:
        reason = (
            f"the silhouettes of picture and mesh agree too little (IoU {found.iou:.2f}, "
            f"{resemblance.needed:.2f} is needed)"
        )
        return Colored(mesh, replace(color, reason=reason), resemblance)
    given = color_from_picture(mesh, picture.cut_rgba, found.view)
    if given is None:
        reason = "the camera that was found for the picture sees nothing of the mesh"
        return Colored(mesh, replace(color, reason=reason), resemblance)
    color = replace(color, method="picture", seen_share=given.seen_share)
    return Colored(given.mesh, color, resemblance, given.paint)


def _from_words(mesh: TriangleMesh, text: str) -> tuple[TriangleMesh, ShapeColor]:
    """Flat colours; what the sentence names no colour for is `NEUTRAL_GREY`."""
    named = colors_of_sentence(text)
    rgba = np.tile(np.array(NEUTRAL_GREY, dtype=np.uint8), (len(mesh.vertices), 1))
    words: list[str] = []
    if named.whole is not None:
        rgba[:, :3] = named.whole.rgb
        words.append(named.whole.words)
    for part in named.parts:
        found = find_part(mesh, part.end)
        if found is not None:
            rgba[found, :3] = part.color.rgb
            words.append(f"{part.color.words} {part.part}")
    if not words:
        reason = "the sentence names no colour of the whole"
        if named.parts:
            reason += ", and its coloured parts are not found in the mesh"
        return mesh, ShapeColor("none", reason=reason)
    colored = TriangleMesh(mesh.vertices, mesh.faces, rgba)
    return colored, ShapeColor("text", words=", ".join(words))
