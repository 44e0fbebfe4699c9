"""`g3pt finetune`: a generator on one's own meshes, with a table of what it learnt and forgot."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from g3pt.cli.options import (
    CommonOptions,
    Output,
    parse,
    report,
    require_folder,
    say,
    working,
)
from g3pt.cli.progress import steps
from g3pt.cli.speech import WITH_TIME, listen
from g3pt.files import alone_in, staying, whole_folder

if TYPE_CHECKING:
    from g3pt.evaluation.finetuned import Data, Trained
    from g3pt.models.weights.load import LoadedWeights
    from g3pt.preparation.inputs import MeshRef
    from g3pt.shapes.yardstick import Yardstick
    from g3pt.training.finetune_plan import FinetuneConfig

REPORT_FILE = "evaluation.json"
SHEET_FILE = "sheet.png"
MAX_PICTURED = 8
POOR_TOKENS = 0.6
"""IoU of held-out meshes and the shapes of their own tokens, below which this is said."""
NOT_BETTER = (
    "nothing was learnt: no state was better on the held-out meshes than the weights before the "
    "first step, which are kept as they were; more meshes of one kind may help"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneOptions(CommonOptions):
    """Train a generator on your own meshes.

    The meshes are split, warped into many examples, drawn and tokenized. Then the generator learns
    them, together with procedural shapes against forgetting. In the end the held-out meshes and the
    yardsticks are measured before and after. The result is an adapter of a few megabytes for
    --adapter, or whole weights.
    """

    meshes: Annotated[str, tyro.conf.Positional]
    """A folder, a table (.csv, .jsonl, .parquet), or an archive (.zip, .tar)."""

    output: Output
    """Folder of the result."""

    full: bool = False
    """Train all weights of the generator in place of adapters; the result is whole weights."""

    decoder: bool = False
    """Also train the decoder of the tokenizer; the result is whole weights. Tokens are kept."""

    merge: bool = False
    """Write whole weights with the adapter in them, which need no --adapter."""

    captions: Literal["given", "none"] = "given"
    """`given`: those of a table, or else file names; `none`: train on pictures alone."""

    held_out: float = 0.25
    """Share of the meshes that are held out, at most 100; a table's split `val` comes first."""

    yardsticks: Path | None = None
    """Folder of yardsticks (`g3pt evaluate yardsticks --make`), to see what was forgotten."""

    yardstick_objects: int = 32
    """Objects of each yardstick that are measured."""

    rank: int = 16
    """Inner rank of the adapters; their size grows with it."""

    lr: float = 0.0
    """Peak learning rate; 0 is 5e-4 for adapters and 1e-4 for --full."""

    steps: int = 0
    """At most so many steps; 0 takes 120 to 4,000, by the number of meshes. Training ends earlier
    when the held-out meshes do not improve any more."""

    warps: int = 40
    """Examples that are made of each mesh, every one in another warp; 512 to 20,000 in all."""

    replay: float = 0.5
    """Examples of procedural shapes for each example of a mesh, against forgetting."""

    name: str = ""
    """Name of the result (default: that of the output folder)."""

    work: Path | None = None
    """Folder of prepared data and checkpoints (default: OUTPUT.work); needed only to go on."""

    resume: bool = False
    """Go on with a finetuning that was stopped."""

    dry_run: bool = False
    """List the meshes, say what would be made and trained, and write nothing."""

    limit: int = 0
    """At most so many meshes; 0 takes all."""

    gltf_colors: Literal["linear", "srgb"] = "linear"
    """What COLOR_0 of GLB and glTF files holds: linear light, as the specification says, or sRGB
    display values."""

    workers: int = 1
    """Processes that read meshes."""

    threads: int = 0
    """Threads of torch; 0 is torch's default."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(FinetuneOptions, "finetune", arguments)
    _check(options)
    refs = _refs(options)

    from g3pt.evaluation.finetuned import begin
    from g3pt.models.weights.load import load_weights
    from g3pt.training.signals import stop_at_once

    weights = load_weights(options.weights, options.device)
    config = _config(options, weights)
    config.loss(_car(weights).config, weights.config.sampling)
    if options.dry_run:
        return _plan(options, refs, config)
    work = options.work or Path(f"{options.output}.work")
    require_folder(work)
    work.mkdir(parents=True, exist_ok=True)
    with staying(work), alone_in(work):
        begin(config, work, resume=options.resume)
        with stop_at_once("--resume goes on"):
            return _finetune(options, refs, config, weights, work)


def _check(options: FinetuneOptions) -> None:
    require_folder(options.output)
    for name in ("yardstick_objects", "workers"):
        if getattr(options, name) < 1:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} must be at least 1, got {getattr(options, name)}")
    if options.yardsticks is not None:
        from g3pt.shapes.yardstick import YARDSTICKS, yardstick_path

        if not any(yardstick_path(options.yardsticks, name).is_file() for name in YARDSTICKS):
            raise FileNotFoundError(
                f"--yardsticks {options.yardsticks}: there is no yardstick; `g3pt evaluate "
                f"yardsticks --make {options.yardsticks}` makes them"
            )


def _refs(options: FinetuneOptions) -> "list[MeshRef]":
    from g3pt.preparation.inputs import list_meshes, source_from_text

    source = source_from_text(options.meshes, limit=options.limit, gltf_colors=options.gltf_colors)
    refs = list_meshes(source)
    if not refs:
        raise ValueError(f"{options.meshes}: there are no meshes to train on")
    if len(refs) < 2:
        raise ValueError(
            f"{options.meshes}: holds one mesh; at least 2 are needed, one to train on and one to "
            "hold out"
        )
    if options.captions == "none":
        refs = [replace(ref, captions=()) for ref in refs]
    return refs


def _car(weights: "LoadedWeights") -> Any:
    if weights.car is None:
        raise ValueError(f"weights {weights.name} hold no generator to finetune")
    return weights.car


def _config(options: FinetuneOptions, weights: "LoadedWeights") -> "FinetuneConfig":
    from g3pt.training.finetune_plan import FinetuneConfig, picture_side

    picture_side(_car(weights).config)
    return FinetuneConfig(
        weights=options.weights,
        sha256=weights.sha256,
        full=options.full,
        decoder=options.decoder,
        rank=options.rank,
        lr=options.lr,
        held_out=options.held_out,
        warps=options.warps,
        replay=options.replay,
        steps=options.steps,
        seed=options.seed,
        device=options.device,
        threads=options.threads,
    )


def _plan(options: FinetuneOptions, refs: "Sequence[MeshRef]", config: "FinetuneConfig") -> int:
    from g3pt.training.cards import licences_of

    held = max(1, round(config.held_out * len(refs)))
    num = len(refs) - held
    plan = {
        "meshes": len(refs),
        "trained": num,
        "held_out": held,
        "examples": config.num_examples(num),
        "procedural": 2 * config.num_replayed(num),
        "steps": config.num_steps(num),
        "learning_rate": config.peak_lr,
        "licences": dict(Counter(ref.licence for ref in refs)),
    }
    lines = [
        f"{len(refs)} meshes: about {num} to train on, {held} held out",
        f"{plan['examples']} warped examples of them, {plan['procedural']} procedural ones",
        f"at most {plan['steps']} steps, learning rate {config.peak_lr:g}",
        f"licences: {licences_of(refs)}",
    ]
    report(options, plan, lines)
    return 0


def _finetune(
    options: FinetuneOptions,
    refs: "Sequence[MeshRef]",
    config: "FinetuneConfig",
    weights: "LoadedWeights",
    work: Path,
) -> int:
    from g3pt.evaluation.finetuned import (
        as_stored,
        prepare,
        record_examples,
        train_generator,
    )
    from g3pt.evaluation.protocols.before_after import measure, table, table_lines
    from g3pt.models.tokenizer import require_tokens
    from g3pt.training.checkpoint import list_checkpoints
    from g3pt.training.loop import BEST_FOLDER
    from g3pt.training.signals import Stopped

    name = options.name or options.output.name
    with steps() as shown:
        data = prepare(refs, config, work, shown.show, workers=options.workers)
        say(f"split: {data.split.how}; {len(data.split.refused)} meshes are of no use")
        if flagged := len(data.stock) - data.num_meshes:
            say(f"{flagged} meshes are left out: their solids differ from their surfaces")
        recorded = record_examples(data, config, weights, work, shown.show)
        sets = _sets(options, data)
        tokenizer = require_tokens(weights.tokenizer, weights.name)
        before = measure(
            weights, _car(weights), tokenizer, sets, work / "before.json", shown.show,
            name="before", seed=options.seed,
        )  # fmt: skip
    _say_of_tokens(before)
    listen(20, "g3pt.training", layout=WITH_TIME)  # INFO: steps and minutes left
    with working("training"):
        trained = train_generator(data, recorded, config, weights, work, name=name)
    if not trained.result.finished:
        raise Stopped(f"stopped after step {trained.result.step}; --resume goes on")
    as_stored(trained)
    with steps() as shown:
        after = measure(
            weights, trained.car, tokenizer, sets, work / "after.json", shown.show,
            name="after", seed=options.seed,
        )  # fmt: skip
    rows = table(before, after)
    lines = table_lines(rows)
    summary: dict[str, Any] = {
        "path": str(options.output),
        "name": name,
        "base": {"name": weights.name, "sha256": weights.sha256},
        "meshes": {
            "trained": data.num_meshes,
            "held_out": len(data.own),
            "refused": dict(data.split.refused),
            "split": data.split.how,
        },
        "new_words": list(trained.words),
        "steps": trained.result.step,
        "best_step": max(list_checkpoints(trained.result.run / BEST_FOLDER), default=0),
        "table": rows,
    }
    with working("writing"), whole_folder(options.output, parents=True) as place:
        _write(place, options, refs, weights, trained, summary, lines)
        _draw(options, refs, data, weights, trained, place / SHEET_FILE)
    size = sum(path.stat().st_size for path in options.output.iterdir() if path.name != SHEET_FILE)
    summary["bytes"] = size
    how = "--weights" if _is_whole(options) else f"--weights {options.weights} --adapter"
    if not summary["best_step"]:
        lines.append(NOT_BETTER)
    lines = [
        *lines,
        f"{options.output}: {size / 1e6:.1f} MB; use it with {how} {options.output}",
    ]
    report(options, summary, lines)
    return 0


def _say_of_tokens(before: Mapping[str, Any]) -> None:
    """Warn if tokens hold the user's own meshes badly: no answer is better than the tokens."""
    from g3pt.evaluation.finetuned import OWN

    for row in before["rows"]:
        held = row["iou"]["tokens"]["mean"]
        if row["set"] == OWN and held < POOR_TOKENS:
            say(
                f"the tokens of your own held-out meshes decode to an IoU of {held:.2f} only, and "
                "answers cannot be better than that: look whether the meshes are closed, or too "
                "thin for these weights"
            )


def _is_whole(options: FinetuneOptions) -> bool:
    return options.full or options.decoder or options.merge


def _sets(options: FinetuneOptions, data: "Data") -> "list[Yardstick]":
    from g3pt.shapes.yardstick import load_yardsticks

    others = () if options.yardsticks is None else load_yardsticks(options.yardsticks)
    return [data.own, *(each.first(options.yardstick_objects) for each in others)]


# --- what is written -----------------------------------------------------------------------------


def _write(
    folder: Path,
    options: FinetuneOptions,
    refs: "Sequence[MeshRef]",
    weights: "LoadedWeights",
    trained: "Trained",
    summary: Mapping[str, Any],
    lines: Sequence[str],
) -> None:
    """The adapter or the weights, with card, credits and report."""
    import json

    from g3pt.models.conditioning.growing import with_words
    from g3pt.models.weights.adapter import merged_copy, save_adapter
    from g3pt.models.weights.folder import write_beside
    from g3pt.models.weights.load import save_weights
    from g3pt.models.weights.places import ATTRIBUTION_FILE, CARD_FILE, LICENCE_FILE
    from g3pt.training.cards import finetuned_card, finetuned_credits

    what = "all weights" if options.full else f"adapters of rank {options.rank}"
    what += " and the decoder of the tokenizer" if options.decoder else ""
    licence = None if weights.folder is None else weights.folder / LICENCE_FILE
    beside = {
        CARD_FILE: finetuned_card(
            summary, refs, what=what, table=lines, picture=SHEET_FILE, base=weights.folder
        ),
        ATTRIBUTION_FILE: finetuned_credits(refs, weights.folder),
        LICENCE_FILE: licence if licence is not None and licence.is_file() else None,
        REPORT_FILE: json.dumps(summary, allow_nan=False, indent=1) + "\n",
    }
    name = str(summary["name"])
    if _is_whole(options):
        car = trained.car
        if trained.adapter is not None:
            car = merged_copy(with_words(_car(weights), trained.words), trained.car)
        save_weights(
            folder,
            weights.tokenizer,
            car,
            config=replace(weights.config, name=name, car=car.config),
        )
    else:
        assert trained.adapter is not None
        save_adapter(folder, trained.car, trained.adapter, trained.words)
    write_beside(folder, beside)


def _draw(
    options: FinetuneOptions,
    refs: "Sequence[MeshRef]",
    data: "Data",
    weights: "LoadedWeights",
    trained: "Trained",
    path: Path,
) -> None:
    """A sheet of held-out meshes: picture, answer before and after, the mesh itself."""
    import numpy as np
    from PIL import Image

    from g3pt.generation.pipeline import G3PT
    from g3pt.generation.preview import TILE, mesh_tiles
    from g3pt.geometry.mesh import to_unit, unit_frame_of
    from g3pt.geometry.render import save_png, sheet

    some = data.own.first(MAX_PICTURED)
    pictures = [Image.fromarray(each) for each in some.pictures_BSS4]
    meshes = []
    for car in (_car(weights), trained.car):
        pipeline = G3PT(replace(weights, car=car, config=replace(weights.config, car=car.config)))
        made = pipeline.generate(image=pictures, seed=options.seed, resolution=96)
        meshes.append([shape.mesh for shape in made.shapes])
    by_id = {ref.id: ref for ref in refs}
    true = [by_id[one].read(_ignore) for one in some.ids]
    true = [to_unit(mesh, unit_frame_of(mesh)) for mesh in true]
    rows = []
    for number, picture in enumerate(pictures):
        shown = [meshes[0][number], meshes[1][number], true[number]]
        rows.append([np.asarray(picture.resize((TILE, TILE))), *mesh_tiles(shown)])
    titles = [[one, "before", "after", "the mesh"] for one in some.ids]
    save_png(path, sheet(rows, titles))


def _ignore(note: str) -> None:
    """Missing textures were named when the meshes were read."""
