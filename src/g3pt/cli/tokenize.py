"""`g3pt tokenize`: meshes to `.g3t` token files, or shards to the token cache of CAR training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from g3pt.cli.options import (
    CommonOptions,
    Inputs,
    make_folder_for,
    names_of,
    open_pipeline,
    parse,
    plan_outputs,
    report,
    require_files,
    require_writable,
    working,
)
from g3pt.cli.progress import steps, tracked

if TYPE_CHECKING:
    from g3pt.generation.pipeline import G3PT


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizeOptions(CommonOptions):
    """Turn meshes into token files of a few hundred bytes each, or shards into packed tokens."""

    mesh: Inputs = ()
    """Mesh files."""

    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """A .g3t file, or a folder when there are several. With --shards: the folder of the packed
    tokens (default: next to the shards, where training looks for them)."""

    scales: int | None = None
    """Keep the first scales only."""

    spread: int = 1
    """Candidates of every surface point: more than 1 keeps well-spread points, and the tokens
    depend less on the seed (8 does as much as four times the points)."""

    shards: Path | None = None
    """A folder of shards: tokenize all its objects for generator training."""

    split: str = "train"
    """With --shards: only objects of this split; empty takes all."""

    licence: str = ""
    """With --shards: only objects under these licences, separated by commas."""

    resamplings: int = 4
    """With --shards: token pyramids per shape, each from its own draw of surface points."""

    num_points: int = 2048
    """With --shards: surface points per draw."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(TokenizeOptions, "tokenize", arguments)
    if options.shards is not None:
        if options.mesh:
            raise ValueError("name mesh files or --shards, not both")
        if options.spread != 1:
            raise ValueError("--spread is for mesh files: points of shards are drawn already")
        return _tokenize_shards(options, options.shards)
    if options.spread < 1:
        raise ValueError(f"--spread must be at least 1, got {options.spread}")
    require_files(options.mesh, "mesh")
    if options.output is None:
        raise ValueError("-o is needed: a .g3t file or a folder")
    stems = [path.stem for path in options.mesh]
    paths = plan_outputs(options.output, stems, (".g3t",), folder_suffix=".g3t")

    pipeline = open_pipeline(options)
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
    from g3pt.generation.surface import place_mesh

    mesh = place_mesh(source)
    with working(f"tokenizing {source}"):
        file = pipeline.tokenize(
            mesh, num_scales=options.scales, spread=options.spread, seed=options.seed
        )
        make_folder_for(path)
        size = file.save(path)
    return {
        "path": str(path),
        "source": str(source),
        "tokens": file.tokens.num_tokens,
        "scales": file.tokens.num_scales,
        "bytes": size,
    }


def _tokenize_shards(options: TokenizeOptions, path: Path) -> int:
    import numpy as np
    import torch

    from g3pt.hashes import tensors_sha256
    from g3pt.models.token_statistics import scale_statistics
    from g3pt.models.tokenizer import require_tokens
    from g3pt.shapes.cache.tokens import TokenCacheConfig, TokenizerIdentity, build_token_cache
    from g3pt.shapes.shape_set import Selection
    from g3pt.shapes.shards import ShardSet
    from g3pt.training.ingredients import token_folder
    from g3pt.training.signals import stop_at_once
    from g3pt.training.usable import load_models

    licences = names_of(options.licence)
    shapes = ShardSet(path, Selection(split=options.split, licences=licences))
    weights = load_models(options.weights, options.device)
    tokenizer = require_tokens(weights.tokenizer, weights.name)
    name = tensors_sha256(tokenizer.state_dict())
    folder = options.output or token_folder(shapes, name)
    require_writable(folder)
    identity = TokenizerIdentity(
        fingerprint=name, scale_lengths=tokenizer.scale_lengths, num_bits=tokenizer.num_bits
    )
    with stop_at_once(), working(f"tokenizing {path}"), steps() as shown:
        cache = build_token_cache(
            tokenizer.tokenize,
            identity,
            shapes,
            folder,
            TokenCacheConfig(
                resamplings=options.resamplings, num_points=options.num_points, seed=options.seed
            ),
            device=next(tokenizer.parameters()).device,
            on_progress=lambda done, total: shown.show("pyramids", done, total),
        )
    size = sum(file.stat().st_size for file in cache.path.iterdir())
    indices_BT = torch.from_numpy(np.stack([cache.indices(row, 0) for row in range(len(cache))]))
    scales = indices_BT.split(list(identity.scale_lengths), dim=1)
    use = [scale_statistics(part, identity.num_bits) for part in (indices_BT, *scales)]
    entry = {
        "path": str(cache.path),
        "shapes": len(cache),
        "tokens": sum(identity.scale_lengths) * len(cache) * cache.resamplings,
        "bytes": size,
        "usage": use[0].usage,
        "usage_by_scale": [of_scale.usage for of_scale in use[1:]],
        "perplexity": use[0].perplexity,
    }
    summary = {"outputs": [entry], "weights": {"name": options.weights}}
    line = f"{cache.path}: {len(cache)} shapes, {size} bytes, {use[0].usage:.1%} of the codebook"
    report(options, summary, [line])
    return 0
