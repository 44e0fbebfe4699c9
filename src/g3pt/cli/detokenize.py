"""`g3pt detokenize`: `.g3t` token files to meshes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g3pt.cli.finish import FinishFlags, describe_finish
from g3pt.cli.lod import LodFlags, write_reconstruction
from g3pt.cli.options import (
    MESH_FORMATS,
    CommonOptions,
    Inputs,
    Output,
    WorkError,
    open_pipeline,
    parse,
    plan_outputs,
    report,
    require_files,
    working,
)
from g3pt.cli.progress import tracked

if TYPE_CHECKING:
    from g3pt.generation.pipeline import G3PT


@dataclass(frozen=True, kw_only=True, slots=True)
class DetokenizeOptions(CommonOptions):
    """Turn token files back into meshes, with all their scales or the first few."""

    tokens: Inputs
    """Files that `g3pt tokenize` wrote."""

    output: Output
    """A mesh file, or a folder when there are several."""

    scales: int | None = None
    """Use the first scales only: a coarser shape."""

    resolution: int = 128
    """Grid cells per axis of the mesh, 16 to 1024."""

    unit_frame: bool = False
    """Write in the unit frame instead of the source's own place and scale."""

    lod: LodFlags = field(default_factory=LodFlags)

    finish: FinishFlags = field(default_factory=FinishFlags)


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(DetokenizeOptions, "detokenize", arguments)
    require_files(options.tokens, "token file")
    stems = [path.stem for path in options.tokens]
    paths = plan_outputs(options.output, stems, MESH_FORMATS, folder_suffix=".glb")
    options.finish.check_files(paths, unit_frame=options.unit_frame, levels=options.lod.lod)

    from g3pt.generation.meshing import check_resolution

    check_resolution(options.resolution)
    pipeline = open_pipeline(options)
    pipeline.check_num_scales(options.scales)
    options.lod.check(paths, options.scales or pipeline.num_scales)
    pairs = list(zip(options.tokens, paths, strict=True))
    outputs = [
        _detokenize(pipeline, source, path, options)
        for source, path in tracked(pairs, "token files", len(pairs))
    ]
    summary = {"outputs": outputs, "weights": {"name": pipeline.weights.name}}
    report(
        options,
        summary,
        [
            f"{entry['path'] or 'empty'}: {entry['faces']} faces" + describe_finish(entry)
            for entry in outputs
        ],
    )
    if empty := [entry["source"] for entry in outputs if entry["path"] is None]:
        raise WorkError(f"decoded as empty, nothing written: {', '.join(empty)}")
    return 0


def _detokenize(
    pipeline: "G3PT", source: Path, path: Path, options: DetokenizeOptions
) -> dict[str, Any]:
    from g3pt.geometry.mesh import is_closed
    from g3pt.models.g3t import read_g3t

    file = read_g3t(source, num_scales=options.scales)
    pipeline.check_tokens(file, str(source))
    with working(f"detokenizing {source}"):
        result = pipeline.detokenize(file, resolution=options.resolution)
        empty = result.unit_mesh.is_empty
        written = write_reconstruction(
            pipeline,
            result,
            path,
            options.lod,
            options.finish,
            resolution=options.resolution,
            unit_frame=options.unit_frame,
            seed=options.seed,
        )
    return {
        "faces": len(result.unit_mesh.faces),
        "closed": not empty and is_closed(result.unit_mesh),
        **written,
        "source": str(source),
        "tokens": result.tokens.num_tokens,
        "scales": result.tokens.num_scales,
        "bytes": 0 if empty else Path(written["path"]).stat().st_size,
    }
