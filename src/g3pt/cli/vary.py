"""`g3pt vary`: keep the coarse scales of a shape, sample the others anew."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

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
class VaryOptions(SamplingOptions):
    """Make variations of a shape: keep its first scales and sample the others anew.

    The prompt is optional. A generated shape stays unchanged if it is varied with its own seed,
    prompt and settings.
    """

    source: Annotated[Path, tyro.conf.Positional]
    """A .g3t token file, or a mesh, which is tokenized first."""

    keep: int
    """Number of scales to keep: 1 keeps little more than the size; all but the last change least.
    """

    image: Path | None = None
    """Picture that the variations should resemble."""

    cutout: CutoutFlags = field(default_factory=CutoutFlags)

    text: str | None = None
    """Sentence that describes the variations."""

    output: Output
    """A mesh file, or a folder when there are several variations."""

    unit_frame: bool = False
    """Write in the unit frame instead of the source's own place and scale."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(VaryOptions, "vary", arguments)
    require_files([options.source], "token file or mesh")
    options.check()
    stems = sample_stems(options.source.stem, options)
    paths = plan_outputs(options.output, stems, MESH_FORMATS, folder_suffix=".glb")
    colored = options.image is not None or options.text is not None
    options.finish.check_files(paths, unit_frame=options.unit_frame, colored=colored)
    cut = cut_picture(options.image, options.cutout)

    pipeline = open_pipeline(options, dtype=options.dtype, adapter=options.adapter)
    prompts = pipeline.read_prompts(image=cut.only, text=options.text)
    source = pipeline.tokens_of(options.source, seed=options.seed)
    with scales_shown() as on_scale:
        result = pipeline.vary(
            source, keep=options.keep, prompts=prompts, on_scale=on_scale, **options.request()
        )
    with working("writing"):
        outputs = write_in_place(
            pipeline, result, paths, source.frame, options, unit_frame=options.unit_frame
        )
        write_cutouts(cut, options.cutout)
    for entry, shape in zip(outputs, result.shapes, strict=True):
        entry["changed_tokens"] = shape.tokens.num_different(source.tokens)
    summary = {
        "outputs": outputs,
        "source": str(options.source),
        "keep": options.keep,
        "weights": {"name": pipeline.weights.name, "sha256": pipeline.weights.sha256},
    }
    cut.tell()
    report(options, summary | cut.summary, [describe(entry) for entry in outputs])
    if message := empty_message(outputs):
        raise WorkError(message)
    return 0
