"""`g3pt reconstruct`: tokenize meshes, decode the tokens, and score the result."""

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
class ReconstructOptions(CommonOptions):
    """Tokenize meshes, decode the tokens again, and score the reconstructions."""

    mesh: Inputs
    """Mesh files."""

    output: Output
    """A mesh file, or a folder when there are several."""

    scales: int | None = None
    """Keep the first scales only."""

    resolution: int = 128
    """Grid cells per axis of the mesh, 16 to 1024."""

    dense: bool = False
    """Query the whole grid instead of tracking the surface: slow, but exact."""

    unit_frame: bool = False
    """Write in the unit frame instead of the source's own place and scale."""

    lod: LodFlags = field(default_factory=LodFlags)

    finish: FinishFlags = field(default_factory=FinishFlags)


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(ReconstructOptions, "reconstruct", arguments)
    require_files(options.mesh, "mesh")
    stems = [path.stem for path in options.mesh]
    paths = plan_outputs(options.output, stems, MESH_FORMATS, folder_suffix=".glb")
    options.finish.check_files(
        paths, has_place=True, unit_frame=options.unit_frame, levels=options.lod.lod
    )

    from g3pt.generation.meshing import check_resolution

    check_resolution(options.resolution)
    pipeline = open_pipeline(options)
    pipeline.check_num_scales(options.scales)
    options.lod.check(paths, options.scales or pipeline.num_scales)
    pairs = list(zip(options.mesh, paths, strict=True))
    outputs = [
        _reconstruct(pipeline, source, path, options)
        for source, path in tracked(pairs, "meshes", len(pairs))
    ]
    summary = {
        "outputs": outputs,
        "weights": {"name": pipeline.weights.name, "sha256": pipeline.weights.sha256},
    }
    report(options, summary, [_line(entry) + describe_finish(entry) for entry in outputs])
    if empty := [entry["source"] for entry in outputs if entry["path"] is None]:
        raise WorkError(f"reconstructed as empty, nothing written: {', '.join(empty)}")
    return 0


def _reconstruct(
    pipeline: "G3PT", source: Path, path: Path, options: ReconstructOptions
) -> dict[str, Any]:
    import numpy as np

    from g3pt.evaluation.objects import EvaluationSettings
    from g3pt.generation.surface import place_mesh
    from g3pt.geometry.mesh import is_closed
    from g3pt.geometry.metrics import compare_meshes, winding_test

    placed = place_mesh(source)
    with working(f"reconstructing {source}"):
        result = pipeline.reconstruct(
            placed,
            num_scales=options.scales,
            resolution=options.resolution,
            dense=options.dense,
            seed=options.seed,
        )
        empty = result.unit_mesh.is_empty
        truth = placed.bounded
        rng = np.random.default_rng(options.seed)
        scores = compare_meshes(
            None if empty else result.unit_mesh,
            truth.mesh,
            truth.contains,
            rng=rng,
            prediction_contains=None if empty else winding_test(result.unit_mesh),
            truth_samples=truth.sample_surface(EvaluationSettings().num_surface, rng),
        )
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
        "closed": not empty and is_closed(result.unit_mesh),
        **written,
        "source": str(source),
        "tokens": result.tokens.num_tokens,
        "bits": result.tokens.total_bits,
        "iou": scores.iou,
        "chamfer_mean": scores.chamfer_mean,
        "fscore_001": scores.fscores[0.01].fscore,
        "queries": result.extraction.queries,
        "queries_dense": result.extraction.queries_dense,
    }


def _line(entry: dict[str, Any]) -> str:
    return (
        f"{entry['path'] or 'empty'}: {entry['tokens']} tokens, IoU {entry['iou']:.3f}, "
        f"Chamfer {entry['chamfer_mean']:.4f}, F@0.01 {entry['fscore_001']:.3f}, "
        f"{entry['queries_dense'] / max(entry['queries'], 1):.0f}x fewer queries than dense"
    )
