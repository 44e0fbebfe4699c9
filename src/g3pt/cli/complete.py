"""`g3pt complete`: complete a partial mesh or point cloud to whole shapes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from g3pt.cli.cutout import CutoutFlags, cut_picture, write_cutouts
from g3pt.cli.finish import FinishFlags, describe_finish
from g3pt.cli.options import (
    MESH_FORMATS,
    Adapter,
    CommonOptions,
    Output,
    WorkError,
    open_pipeline,
    parse,
    plan_outputs,
    report,
    require_files,
    working,
)
from g3pt.cli.shapes import SamplingFlags, scales_shown

if TYPE_CHECKING:
    from g3pt.geometry.mesh import UnitFrame


@dataclass(frozen=True, kw_only=True, slots=True)
class CompleteOptions(CommonOptions):
    """Complete a part of a surface to whole shapes.

    Candidates are sampled scale by scale, and those that agree best with the given points are kept.
    The distance from the points to each result is reported. It is measured one way and says nothing
    about the parts that were missing.
    """

    adapter: Adapter = None

    part: Annotated[Path, tyro.conf.Positional]
    """A mesh with missing parts, or a point cloud: .xyz, .txt, .csv or .npy with 3 or 6 numbers per
    point, or .ply. Missing normals are estimated."""

    whole: tuple[float, ...] = ()
    """Bounding box of the whole shape in the part's own units, X0 Y0 Z0 X1 Y1 Z1 (default: that of
    the part)."""

    image: Path | None = None
    """Picture of the whole shape."""

    cutout: CutoutFlags = field(default_factory=CutoutFlags)

    text: str | None = None
    """Sentence about the whole shape."""

    output: Output
    """A mesh file, or a folder when there are several."""

    num: int = 1
    """Completions to write, best agreement first; at most --survivors."""

    keep: int = 0
    """Coarse scales to take from the tokens of the part itself; 0 samples all. The less is missing,
    the more can be kept."""

    width: int = 16
    """Candidates drawn at every scale; more at scales with few tokens."""

    survivors: int = 4
    """Candidates kept at every scale; more at scales with few tokens."""

    sampling: SamplingFlags = field(default_factory=SamplingFlags)

    resolution: int = 128
    """Grid cells per axis of the mesh, 16 to 1024."""

    min_share: float = 0.01
    """Drop loose parts below this share of the whole surface area; 0 keeps everything."""

    tokens: bool = False
    """Also write the tokens, as NAME.g3t next to the mesh."""

    unit_frame: bool = False
    """Write in the unit frame instead of the part's own place and scale."""

    finish: FinishFlags = field(default_factory=FinishFlags)


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(CompleteOptions, "complete", arguments)
    require_files([options.part], "mesh or point cloud")
    sampling = options.sampling.told()
    if not 0 <= options.min_share <= 1:
        raise ValueError(f"--min-share must lie between 0 and 1, got {options.min_share:g}")
    frame = _frame(options.whole)
    stems = [options.part.stem]
    if options.num > 1:
        stems = [f"{options.part.stem}-{rank}" for rank in range(1, options.num + 1)]
    paths = plan_outputs(options.output, stems, MESH_FORMATS, folder_suffix=".glb")
    options.finish.check_files(paths, has_place=True, unit_frame=options.unit_frame)
    cut = cut_picture(options.image, options.cutout)

    from g3pt.generation.completion import SearchConfig, check_search
    from g3pt.generation.meshing import check_resolution
    from g3pt.generation.writing import write_completions
    from g3pt.geometry.clouds import read_cloud

    check_resolution(options.resolution)
    search = SearchConfig(keep=options.keep, width=options.width, survivors=options.survivors)
    pipeline = open_pipeline(options, adapter=options.adapter)
    prompts = pipeline.read_prompts(image=cut.only, text=options.text)
    check_search(search, options.num, prompts, pipeline.num_scales)
    part = read_cloud(options.part)
    with scales_shown() as on_scale:
        result = pipeline.complete(
            part,
            frame=frame,
            search=search,
            num=options.num,
            prompts=prompts,
            seed=options.seed,
            sampling=sampling,
            resolution=options.resolution,
            min_share=options.min_share,
            on_scale=on_scale,
        )
    with working("writing"):
        outputs = write_completions(
            result,
            paths,
            options.finish,
            seed=options.seed,
            unit_frame=options.unit_frame,
            tokens_of=pipeline.weights.fingerprint if options.tokens else None,
        )
        write_cutouts(cut, options.cutout)
    summary = {
        "outputs": outputs,
        "source": str(options.part),
        "weights": {"name": pipeline.weights.name, "sha256": pipeline.weights.sha256},
    }
    cut.tell()
    report(
        options, summary | cut.summary, [_line(entry) + describe_finish(entry) for entry in outputs]
    )
    if all(entry["path"] is None for entry in outputs):
        raise WorkError("every completion is empty: nothing was written; try another seed")
    return 0


def _frame(box: tuple[float, ...]) -> "UnitFrame | None":
    if not box:
        return None
    from g3pt.geometry.mesh import TriangleMesh, unit_frame_of

    if len(box) != 6 or not all(low < high for low, high in zip(box, box[3:], strict=False)):
        raise ValueError(f"--whole needs X0 Y0 Z0 X1 Y1 Z1, each X0 below X1, got {box}")
    return unit_frame_of(TriangleMesh.from_arrays([box[:3], box[3:], box[:3]], [[0, 1, 2]]))


def _line(entry: dict[str, Any]) -> str:
    if entry["path"] is None:
        return "empty, nothing written"
    return (
        f"{entry['path']}: {entry['faces']} faces, {entry['met']:.0%} of the points met, mean "
        f"distance {entry['distance_mean']:.4f}, largest {entry['distance_max']:.3f} (unit frame)"
    )
