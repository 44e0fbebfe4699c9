"""`g3pt score`: how likely shapes are under the generator, scale by scale."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g3pt.cli.cutout import CutoutFlags, cut_picture, write_cutouts
from g3pt.cli.options import (
    Adapter,
    CommonOptions,
    Inputs,
    open_pipeline,
    parse,
    report,
    require_files,
    working,
)
from g3pt.cli.progress import tracked

if TYPE_CHECKING:
    from g3pt.generation.pipeline import G3PT
    from g3pt.generation.prompts import Prompts
    from g3pt.models.g3t import TokenFile


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreOptions(CommonOptions):
    """Say how likely shapes are: the more nats per token, the more unusual the shape.

    Shapes are scored unconditionally, or given a picture or a sentence.
    """

    adapter: Adapter = None

    files: Inputs
    """Token files (.g3t) or meshes, which are tokenized first."""

    image: Path | None = None
    """Picture that all shapes are conditioned on."""

    cutout: CutoutFlags = field(default_factory=CutoutFlags)

    text: str | None = None
    """Sentence that all shapes are conditioned on."""

    scales: int | None = None
    """Score the first scales only."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(ScoreOptions, "score", arguments)
    require_files(options.files, "token file or mesh")
    cut = cut_picture(options.image, options.cutout)

    pipeline = open_pipeline(options, dtype="float32", adapter=options.adapter)
    pipeline.check_num_scales(options.scales)
    prompts = pipeline.read_prompts(image=cut.only, text=options.text)
    sources = [
        (path, pipeline.tokens_of(path, seed=options.seed))
        for path in tracked(options.files, "files", len(options.files))
    ]
    with working("scoring"):
        outputs = [_score(pipeline, path, file, prompts, options) for path, file in sources]
        write_cutouts(cut, options.cutout)
    summary = {
        "outputs": outputs,
        "weights": {"name": pipeline.weights.name, "sha256": pipeline.weights.sha256},
    }
    cut.tell()
    report(options, summary | cut.summary, [_line(entry) for entry in outputs])
    return 0


def _score(
    pipeline: "G3PT", path: Path, file: "TokenFile", prompts: "Prompts", options: ScoreOptions
) -> dict[str, Any]:
    num_scales = options.scales and min(options.scales, file.tokens.num_scales)
    found = pipeline.score(file, prompts=prompts, num_scales=num_scales)
    by_scale = zip(
        found.scale_lengths,
        found.nats_BS[0].tolist(),
        found.scale_nats_per_token[0].tolist(),
        strict=True,
    )
    return {
        "source": str(path),
        "tokens": sum(found.scale_lengths),
        "nats": found.nats.item(),
        "nats_per_token": found.nats_per_token.item(),
        "bits": found.bits_per_shape.item(),
        "scales": [
            {"scale": number, "tokens": tokens, "nats": nats, "nats_per_token": per_token}
            for number, (tokens, nats, per_token) in enumerate(by_scale, start=1)
        ],
    }


def _line(entry: dict[str, Any]) -> str:
    scales = " ".join(f"{scale['nats_per_token']:.2f}" for scale in entry["scales"])
    return (
        f"{entry['source']}: {entry['nats_per_token']:.3f} nats per token, "
        f"{entry['bits']:.0f} bits; by scale {scales}"
    )
