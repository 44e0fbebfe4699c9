"""`g3pt tokenize`: meshes to `.g3t` token files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g3pt.cli.options import (
    CommonOptions,
    Inputs,
    Output,
    make_folder_for,
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
class TokenizeOptions(CommonOptions):
    """Turn meshes into token files of a few hundred bytes each."""

    mesh: Inputs
    """Mesh files."""

    output: Output
    """A .g3t file, or a folder when there are several."""

    scales: int | None = None
    """Keep the first scales only."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(TokenizeOptions, "tokenize", arguments)
    require_files(options.mesh, "mesh")
    stems = [path.stem for path in options.mesh]
    paths = plan_outputs(options.output, stems, (".g3t",), folder_suffix=".g3t")

    from g3pt.generation.pipeline import G3PT

    pipeline = G3PT.from_pretrained(options.weights, options.device)
    pipeline.check_num_scales(options.scales)
    pairs = list(zip(options.mesh, paths, strict=True))
    outputs = [
        _tokenize(pipeline, source, path, options)
        for source, path in tracked(pairs, "meshes", len(pairs))
    ]
    summary = {"outputs": outputs, "weights": {"name": pipeline.weights.name}}
    report(
        options,
        summary,
        [f"{entry['path']}: {entry['tokens']} tokens, {entry['bytes']} bytes" for entry in outputs],
    )
    return 0


def _tokenize(
    pipeline: "G3PT", source: Path, path: Path, options: TokenizeOptions
) -> dict[str, Any]:
    from g3pt.geometry.mesh import read_mesh
    from g3pt.models.tokens import write_g3t

    mesh = read_mesh(source)
    with working(f"tokenizing {source}"):
        file = pipeline.tokenize(mesh, num_scales=options.scales, seed=options.seed)
        make_folder_for(path)
        size = write_g3t(path, file.tokens, file.frame, file.fingerprint)
    return {
        "path": str(path),
        "source": str(source),
        "tokens": file.tokens.num_tokens,
        "scales": file.tokens.num_scales,
        "bytes": size,
    }
