"""`g3pt mix`: join the coarse scales of one shape and the finer scales of another."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from g3pt.cli.cutout import CutoutFlags, cut_picture, write_cutouts
from g3pt.cli.options import (
    MESH_FORMATS,
    Output,
    WorkError,
    open_pipeline,
    parse,
    plan_outputs,
    report,
    require_files,
    working,
)
from g3pt.cli.shapes import (
    SamplingOptions,
    describe,
    empty_message,
    sample_stems,
    scales_shown,
    write_in_place,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class MixOptions(SamplingOptions):
    """Join two shapes: the coarse scales of the first, the finer scales of the second."""

    coarse: Annotated[Path, tyro.conf.Positional]
    """Shape that gives the coarse scales: a .g3t token file, or a mesh."""

    fine: Annotated[Path, tyro.conf.Positional]
    """Shape that gives the finer scales: a .g3t token file, or a mesh."""

    keep: int
    """Number of scales taken from the first shape."""

    method: Literal["resample", "tokens"] = "resample"
    """`resample`: sample the finer scales, with the second shape as the prompt: the given image
    or text, or else a picture of it. `tokens`: take its tokens as they are."""

    image: Path | None = None
    """Picture of the second shape."""

    cutout: CutoutFlags = field(default_factory=CutoutFlags)

    text: str | None = None
    """Sentence about the second shape."""

    output: Output
    """A mesh file, or a folder when there are several samples."""

    unit_frame: bool = False
    """Write in the unit frame instead of the first shape's own place and scale."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(MixOptions, "mix", arguments)
    require_files([options.coarse, options.fine], "token file or mesh")
    options.check()
    if options.method == "tokens" and options.num > 1:
        raise ValueError("--method tokens leaves nothing to chance: --num must be 1")
    stems = sample_stems(f"{options.coarse.stem}-{options.fine.stem}", options)
    paths = plan_outputs(options.output, stems, MESH_FORMATS, folder_suffix=".glb")
    colored = options.image is not None or options.text is not None
    options.finish.check_files(paths, unit_frame=options.unit_frame, colored=colored)
    cut = cut_picture(options.image, options.cutout)

    pipeline = open_pipeline(options, dtype=options.dtype, adapter=options.adapter)
    coarse = pipeline.tokens_of(options.coarse, seed=options.seed)
    fine = pipeline.tokens_of(options.fine, seed=options.seed)
    prompts = None
    if options.image is not None or options.text is not None:
        prompts = pipeline.read_prompts(image=cut.only, text=options.text)
    with scales_shown() as on_scale:
        result = pipeline.mix(
            coarse,
            fine,
            keep=options.keep,
            method=options.method,
            prompts=prompts,
            on_scale=on_scale,
            **options.request(),
        )
    with working("writing"):
        outputs = write_in_place(
            pipeline, result, paths, coarse.frame, options, unit_frame=options.unit_frame
        )
        write_cutouts(cut, options.cutout)
    summary = {
        "outputs": outputs,
        "coarse": str(options.coarse),
        "fine": str(options.fine),
        "keep": options.keep,
        "method": options.method,
        "weights": {"name": pipeline.weights.name, "sha256": pipeline.weights.sha256},
    }
    cut.tell()
    report(options, summary | cut.summary, [describe(entry) for entry in outputs])
    if message := empty_message(outputs):
        raise WorkError(message)
    return 0
