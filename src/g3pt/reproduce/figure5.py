"""Figure 5: sentences to a gallery of rendered meshes. Nothing is trained and nothing is picked.

The sentences are ours: single objects with adjectives, as in the paper, of families that the
bundled weights were trained on. Each is drawn with the same seeds. Unit frame.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, assert_never

import numpy as np

from g3pt.config import to_json
from g3pt.evaluation.sets.families import FamilyReferences
from g3pt.files import write_whole
from g3pt.generation.pipeline import G3PT
from g3pt.generation.preview import mesh_tiles
from g3pt.generation.results import GeneratedShape, ScaleEvent
from g3pt.geometry.mesh import is_closed, num_components
from g3pt.geometry.metrics import winding_test
from g3pt.geometry.render import save_png, sheet
from g3pt.hashes import json_sha256
from g3pt.models.weights.load import DEFAULT_WEIGHTS
from g3pt.procedural import TRAIN_FAMILIES
from g3pt.reproduce.experiments import Scale
from g3pt.training.environment import describe_environment

TITLE = "Figure 5: from text to meshes"
NUM_COLUMNS = 3
"""Sentences side by side in the picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GalleryPrompt:
    """A sentence, and what it asks for."""

    text: str
    """Short enough for a line below its pictures."""
    family: str
    """Procedural family that a classifier should find in the mesh."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """What is drawn, and with which weights."""

    name: str = "figure5"
    scale: Scale
    weights: str
    """A bundled name or a weights folder; it has to know text."""
    prompts: tuple[GalleryPrompt, ...]
    seeds: tuple[int, ...] = (0, 1)
    """Follow each other: side by side in the picture."""
    resolution: int = 128
    min_share: float = 0.01
    """Loose parts below this share of the surface are dropped, as `g3pt generate` does."""
    references: int = 16
    """Known shapes of every family that meshes are compared with: right for 93 % of real ones."""

    def __post_init__(self) -> None:
        if self.seeds != tuple(range(self.seeds[0], self.seeds[0] + len(self.seeds))):
            raise ValueError(f"gallery.seeds must follow each other, got {self.seeds}")
        if unknown := {prompt.family for prompt in self.prompts} - set(TRAIN_FAMILIES):
            raise ValueError(f"gallery.prompts: no training families: {', '.join(sorted(unknown))}")


PROMPTS = tuple(
    GalleryPrompt(text=text, family=family)
    for text, family in (
        ("a tall wooden chair with four legs", "chair"),
        ("a small round table with three legs", "table"),
        ("a slender blue bottle", "bottle"),
        ("a red mug with a handle", "mug"),
        ("a white airplane with two engines", "airplane"),
        ("a small house with a pointed roof", "house"),
        ("a tall stone tower with battlements", "tower"),
        ("a green conical tree", "tree"),
        ("a heavy claw hammer", "hammer"),
        ("a brown guitar with a long neck", "guitar"),
        ("a yellow lamp with a conical shade", "lamp"),
        ("an orange truck with a cargo box", "truck"),
    )
)


def figure5(scale: Scale) -> Gallery:
    """The gallery at a scale; `paper` wants an export of a `car-paper-text` run."""
    match scale:
        case "smoke":
            return Gallery(
                scale=scale,
                weights=DEFAULT_WEIGHTS,
                prompts=PROMPTS[:2],
                resolution=16,
                references=1,
            )
        case "toy":
            return Gallery(scale=scale, weights=DEFAULT_WEIGHTS, prompts=PROMPTS, resolution=64)
        case "small":
            return Gallery(scale=scale, weights=DEFAULT_WEIGHTS, prompts=PROMPTS)
        case "paper":
            weights = "runs/car-paper-text/weights"
            return Gallery(scale=scale, weights=weights, prompts=PROMPTS, resolution=256)
        case _:
            assert_never(scale)


GALLERIES: dict[str, Callable[[Scale], Gallery]] = {"figure5": figure5}
"""By the name that `g3pt reproduce` takes."""


@dataclass(frozen=True, kw_only=True)
class GalleryRow:
    """One mesh of the gallery."""

    prompt: str
    seed: int
    nll: float
    """Negative log-likelihood of the tokens given the sentence, in nats."""
    vertices: int
    faces: int
    components: int
    closed: bool
    asked: str
    """Family that the sentence asks for."""
    found: str | None
    """Family of the most similar known shape; None for an empty mesh."""


@dataclass(frozen=True, eq=False)
class DrawnGallery:
    """A gallery as it came out."""

    gallery: Gallery
    weights: dict[str, str]
    """Name and sha256."""
    shapes: tuple[GeneratedShape, ...]
    rows: tuple[GalleryRow, ...]
    seconds: dict[str, float]
    """Spent on `condition`, `tokens` and `extract`, all meshes together."""
    machine: dict[str, Any]

    @property
    def num_right(self) -> int:
        """Meshes of the family that was asked for."""
        return sum(row.found == row.asked for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with the keys of a reproduced table; there is nothing to compare."""
        return {
            "name": self.gallery.name,
            "scale": self.gallery.scale,
            "recipe": json_sha256({"gallery": to_json(self.gallery)}),
            "weights": self.weights,
            "rows": [asdict(row) for row in self.rows],
            "right": self.num_right,
            "comparisons": [],
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "machine": self.machine,
        }


def draw_gallery(
    pipeline: G3PT, gallery: Gallery, on_scale: Callable[[ScaleEvent], None] | None = None
) -> DrawnGallery:
    """Make every mesh of a gallery and look at what it is.

    Raises:
        ValueError: if the weights know no text.
    """
    result = pipeline.generate(
        text=[prompt.text for prompt in gallery.prompts],
        seed=gallery.seeds[0],
        num=len(gallery.seeds),
        resolution=gallery.resolution,
        min_share=gallery.min_share,
        color="none",  # shapes are judged, and one colour of a sentence says nothing of them
        on_scale=on_scale,
    )
    references = FamilyReferences.build(TRAIN_FAMILIES, gallery.references)
    return DrawnGallery(
        gallery=gallery,
        weights={"name": pipeline.weights.name, "sha256": pipeline.weights.sha256},
        shapes=result.shapes,
        rows=tuple(
            _row(gallery.prompts[shape.prompt], shape, references) for shape in result.shapes
        ),
        seconds=result.timings,
        machine=describe_environment(),
    )


def _row(prompt: GalleryPrompt, shape: GeneratedShape, references: FamilyReferences) -> GalleryRow:
    mesh = shape.mesh
    return GalleryRow(
        prompt=prompt.text,
        seed=shape.seed,
        nll=shape.nll,
        vertices=len(mesh.vertices),
        faces=len(mesh.faces),
        components=0 if mesh.is_empty else num_components(mesh),
        closed=not mesh.is_empty and is_closed(mesh),
        asked=prompt.family,
        found=None if mesh.is_empty else references.classify(winding_test(mesh)),
    )


def write_gallery(drawn: DrawnGallery, folder: Path) -> list[Path]:
    """Write `NAME-SCALE.md`, `.json` and `.png`; each appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / f"{drawn.gallery.name}-{drawn.gallery.scale}"
    files = [base.with_suffix(suffix) for suffix in (".md", ".json", ".png")]
    save_png(files[2], gallery_picture(drawn))
    write_whole(files[0], markdown(drawn, files[2].name))
    text = json.dumps(drawn.to_json(), indent=2, allow_nan=False) + "\n"
    write_whole(files[1], text)
    return files


def gallery_picture(drawn: DrawnGallery) -> np.ndarray:
    """All seeds of a sentence side by side above it, (height, width, 3) bytes."""
    per_prompt = len(drawn.gallery.seeds)
    meshes = [shape.mesh for shape in drawn.shapes]
    cells = [
        np.hstack(mesh_tiles(meshes[first : first + per_prompt]))
        for first in range(0, len(meshes), per_prompt)
    ]
    texts = [prompt.text for prompt in drawn.gallery.prompts]
    starts = range(0, len(cells), NUM_COLUMNS)
    return sheet(
        [cells[first : first + NUM_COLUMNS] for first in starts],
        [texts[first : first + NUM_COLUMNS] for first in starts],
        gap=12,
    )


def markdown(drawn: DrawnGallery, picture: str) -> str:
    """The picture, how it was made, and a line for every mesh."""
    gallery, machine = drawn.gallery, drawn.machine
    seeds = ", ".join(map(str, gallery.seeds))
    name, sha256 = drawn.weights["name"], drawn.weights["sha256"]
    commit, torch = machine["commit"][:10], machine["versions"]["torch"]
    device = "on its processor" if machine["accelerator"] == "none" else machine["accelerator"]
    lines = [
        f"# {TITLE}, {gallery.scale} scale",
        "",
        f"`g3pt reproduce {gallery.name} --scale {gallery.scale}`; commit {commit}, torch {torch}, "
        f"{machine['machine']}, {device}. Weights `{name}` (sha256 {sha256[:12]}), sampled as they "
        f"say, {gallery.resolution} cells per axis. Seeds {seeds} of every sentence, side by side; "
        "none was picked or left out. The sentences are ours. Meshes carry no colour.",
        "",
        f"![{TITLE}]({picture})",
        "",
        f"{drawn.num_right} of {len(drawn.rows)} meshes are most similar to a known shape of the "
        "family that the sentence asks for; others are in italics "
        f"({gallery.references} known shapes of each of {len(TRAIN_FAMILIES)} families).",
        "",
        "| sentence | seed | nats | vertices | parts | closed | family found |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in drawn.rows:
        found = row.asked if row.found == row.asked else f"*{row.found or 'empty'}*"
        closed = "yes" if row.closed else "no"
        lines.append(
            f"| {row.prompt} | {row.seed} | {row.nll:.0f} | {row.vertices:,} | {row.components} "
            f"| {closed} | {found} |"
        )
    return "\n".join([*lines, ""])
