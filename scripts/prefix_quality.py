"""Prefixes of CVQ beside other tokenizers and continuous latent sets, at equal bits.

    pip install --no-deps cod-vae==1.0.0     # optional: rows of another package
    python scripts/prefix_quality.py --scale toy

Rows that are missing are trained, two to four minutes each on one core at toy scale; then all are
measured, and `prefix-SCALE.md`, `.json` and `.png` are written to --out (`prefix-xN-SCALE` for
--factor N). A rerun goes on where this one stopped. Rows of our own are described in
`g3pt.reproduce.prefix`.

cod-vae is an independent implementation of COD-VAE (a small continuous latent set), run as it is
installed: its model, losses, optimiser and both stages of its recipe, on the draws of shapes,
points and queries that our rows see. Its frame is ours, the cube [-1, 1]^3 and positive inside.
"""

import argparse
import contextlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata, util
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from jaxtyping import Float32, Float64

from g3pt.evaluation.codecs.field_codecs import FieldCodec, LatentSet, RoundedLatentsCodec
from g3pt.evaluation.report.plots import require_matplotlib
from g3pt.files import write_whole
from g3pt.geometry.sampling import SurfaceSamples
from g3pt.geometry.sparse_grid import FieldFunction
from g3pt.hashes import tensors_sha256
from g3pt.models.devices import resolve_device
from g3pt.reproduce.experiments import Experiment, Scale
from g3pt.reproduce.prefix import (
    RatedRow,
    RatedRun,
    known_surfaces,
    measure_prefixes,
    own_rows,
    prefix,
    prefix_sets,
    training_data,
    write_quality,
)
from g3pt.reproduce.series import RECIPE_FILE, ROW_FILE, run_series
from g3pt.reproduce.tables import tokenizer_run
from g3pt.shapes.datasets.tokenizer import TokenizerDataConfig, TokenizerDataset
from g3pt.training.kinds.tokenizer import TokenizerRun

INSTALL = "cod-vae is not installed, its rows are left out: pip install --no-deps cod-vae==1.0.0"
CHUNK = 4096
"""Query points that cod-vae decodes at a time."""
EPOCHS = 100
"""Of each stage in the recipe of cod-vae; here they are shorter, and fewer for very short runs."""


def main() -> None:
    """Train, measure, report."""
    arguments = parse()
    require_matplotlib()
    torch.set_num_threads(1)
    seeds = tuple(dict.fromkeys(arguments.seeds))
    experiment = prefix(arguments.scale, arguments.factor, seeds)
    if not arguments.report_only:
        run_series(
            experiment,
            arguments.runs,
            workers=arguments.workers,
            on_row=lambda name, done, total: print(f"trained {done}/{total}: {name}", flush=True),
        )
    rows, notes = own_rows(experiment, arguments.runs), list[str]()
    wanted = [variant.label for variant in experiment.variants]
    if util.find_spec("cod_vae") is None:
        print(INSTALL, flush=True)
        notes.append("cod-vae was not installed; its rows are missing.")
    else:
        rows += cod_rows(
            experiment, arguments.runs, arguments.factor, trains=not arguments.report_only
        )
        notes += cod_notes(experiment)
        wanted += [row.label for row in ROWS[arguments.scale]]
    trained = {row.label: len(row.runs) for row in rows}
    if missing := [name for name in wanted if trained.get(name, 0) < len(seeds)]:
        notes.append(f"Not trained with all seeds: {'; '.join(missing)}.")
    quality = measure_prefixes(
        experiment,
        rows,
        prefix_sets(arguments.scale),
        notes=notes,
        on_row=lambda name: print(f"measuring {name}", flush=True),
    )
    command = f"python scripts/prefix_quality.py --scale {arguments.scale}"
    if arguments.factor > 1:
        command += f" --factor {arguments.factor}"
    if seeds != (0,):
        command += f" --seeds {' '.join(map(str, seeds))}"
    for file in write_quality(quality, arguments.out, command):
        print(file)


# --- cod-vae -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CodRow:
    """A model of cod-vae by the size of its latent set."""

    num_latents: int
    latent_dim: int
    lr: float | None = None
    """Learning rate at our batch; None is that of the package, 1e-4 at a batch of 256, scaled."""

    @property
    def name(self) -> str:
        """Of the folder."""
        own = "-own-lr" if self.lr is None else ""
        return f"cod-{self.num_latents}x{self.latent_dim}{own}"

    @property
    def label(self) -> str:
        """In tables."""
        own = ", its own learning rate" if self.lr is None else ""
        return f"cod-vae, {self.num_latents} latents of {self.latent_dim}{own}"


LR = 2e-3
"""That of our own rows; the package's own, 6e-6 at a batch of 16, is for runs of many days."""

ROWS: dict[Scale, tuple[CodRow, ...]] = {
    "smoke": (CodRow(num_latents=4, latent_dim=4, lr=LR),),
    "toy": (
        CodRow(num_latents=8, latent_dim=4, lr=LR),
        CodRow(num_latents=8, latent_dim=16, lr=LR),
        CodRow(num_latents=16, latent_dim=8, lr=LR),
        CodRow(num_latents=8, latent_dim=16),
    ),
}

SIZES: dict[Scale, dict[str, Any]] = {
    "smoke": {
        "embed_dim": 16,
        "query_dim": 8,
        "encoder_num_patches": 16,
        "decoder_output_resolution": 8,
        "decoder_output_patch_size": 2,
        "num_latent_layers": 1,
        "decoder_num_layers": 1,
    },
    "toy": {
        "embed_dim": 48,
        "query_dim": 16,
        "encoder_num_patches": 128,
        "decoder_output_resolution": 32,
        "decoder_output_patch_size": 4,
        "num_latent_layers": 2,
        "decoder_num_layers": 2,
    },
}
"""Chosen so that toy models have the parameters of the toy CVQ, within 5 %."""


def cod_config(scale: Scale, row: CodRow) -> Any:
    """The `CODVAEConfig` of a row."""
    from cod_vae import CODVAEConfig

    return CODVAEConfig(
        num_latents=row.num_latents,
        latent_dim=row.latent_dim,
        num_heads=2,
        latent_mlp_ratio=2.0,
        encoder_num_blocks=1,
        encoder_num_layers_per_block=1,
        encoder_mlp_ratio=2.0,
        decoder_num_init_layers=1,
        decoder_mlp_ratio=2.0,
        **SIZES[scale],
    )


def cod_notes(experiment: Experiment) -> list[str]:
    """What differs between rows of cod-vae and ours."""
    steps = tokenizer_run(experiment.variants[0]).train.steps
    return [
        f"cod-vae {metadata.version('cod-vae')} is trained for {steps} steps in each of its two "
        f"stages, ours for {steps} in all. It sees the same draws of shapes, points and queries, "
        "without normals and without its own augmentation.",
        f"Its learning rate is {LR:g}, that of our rows, except where its own is named. It keeps "
        "its optimiser (AdamW, no warm-up, a schedule in stage 2 alone), its losses and its "
        "stochastic depth, and has no running average of weights; ours have.",
    ]


def cod_rows(experiment: Experiment, root: Path, factor: int, *, trains: bool) -> list[RatedRow]:
    """The rows of cod-vae; those that are missing are trained, or else left out."""
    (reference, *_) = experiment.variants
    rows: list[RatedRow] = []
    for row in ROWS[experiment.scale]:
        name = row.name if factor == 1 else f"{row.name}-x{factor}"
        config, parameters = cod_config(experiment.scale, row), 0
        runs: list[RatedRun] = []
        for seed in reference.seeds:
            run = tokenizer_run(replace(reference, run=reference.seeded(seed)))
            folder = root / experiment.scale / f"{name}-seed{seed}"
            if not trains and not (folder / ROW_FILE).is_file():
                continue
            parameters = train_cod(config, row.lr, run, folder)["parameters"]
            print(f"trained: {name}, seed {seed}", flush=True)
            opening = partial(_open, folder / WEIGHTS, run)
            runs.append(RatedRun(seed=seed, folder=folder, open=opening))
        if runs:
            rows.append(
                RatedRow(
                    name=name,
                    label=row.label,
                    parameters=parameters,
                    steps=2 * tokenizer_run(reference).train.steps,
                    is_rounded=True,
                    runs=tuple(runs),
                )
            )
    return rows


WEIGHTS = "cod.npz"


def _open(weights: Path, run: TokenizerRun) -> FieldCodec:
    return RoundedLatentsCodec(CodLatents(weights, run.data.num_points), known_surfaces(run))


def train_cod(config: Any, lr: float | None, run: TokenizerRun, folder: Path) -> dict[str, Any]:
    """Train both stages unless that is done: `recipe.json`, weights, a log, `row.json` last.

    Args:
        config: the `CODVAEConfig`.
        lr: learning rate of both stages; None is the package's.
        run: one of ours, which gives the data, the steps of a stage and the seed.
        folder: of the row.

    Returns:
        What `row.json` says.

    Raises:
        ValueError: if the folder holds another recipe.
    """
    from cod_vae import save_npz
    from cod_vae.torch.training import train

    data = training_data(run)
    stages = [cod_stage(stage, lr, run) for stage in (1, 2)]
    recipe = {
        "cod_vae": metadata.version("cod-vae"),
        "model": asdict(config),
        "stages": [asdict(stage) for stage in stages],
        "data": asdict(data),
    }
    text = json.dumps(recipe, indent=2) + "\n"
    known, done = folder / RECIPE_FILE, folder / ROW_FILE
    if known.is_file() and known.read_text(encoding="utf-8") != text:
        raise ValueError(
            f"{folder}: was trained by another recipe (see recipe.json in it); move it away, or "
            "name another folder with --runs"
        )
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(known, text)
    params, device = None, str(resolve_device(run.train.device))
    with (folder / "training.log").open("w") as log, contextlib.redirect_stdout(log):
        for stage in stages:
            draws = PreparedDraws(data, per_epoch=run.train.steps // stage.epochs * data.batch_size)
            params = train(config, stage, draws, params, device=device)
    save_npz(folder / WEIGHTS, config, params)
    latents = CodLatents(folder / WEIGHTS, data.num_points)
    row = {"parameters": latents.num_parameters, "steps": [run.train.steps] * 2}
    write_whole(done, json.dumps(row, indent=2) + "\n")
    return row


def cod_stage(stage: int, lr: float | None, run: TokenizerRun) -> Any:
    """The `TrainingConfig` of a stage: as many epochs as in its recipe if the steps permit.

    Its learning rate is for a batch of 256 and scaled by the package to ours.
    """
    from cod_vae.training.config import TrainingConfig

    epochs = math.gcd(run.train.steps, EPOCHS)
    usual = TrainingConfig(stage=stage, batch_size=run.data.batch_size, seed=run.train.seed)
    return replace(
        usual,
        epochs=epochs,
        lr=usual.lr if lr is None else lr * usual.base_batch_size / usual.batch_size,
        lr_milestones=tuple(round(at * epochs / EPOCHS) for at in usual.lr_milestones),
    )


class PreparedDraws:
    """What the training of cod-vae asks of a data set: the draws that our rows see, one by one.

    An epoch shuffles the draws of a few batches among themselves.
    """

    def __init__(self, data: TokenizerDataConfig, *, per_epoch: int) -> None:
        self.num_vol_queries = data.num_volume_queries
        self._draws = TokenizerDataset(replace(data, batch_size=1))
        self._per_epoch, self._epoch = per_epoch, 0

    def __len__(self) -> int:
        return self._per_epoch

    def set_epoch(self, epoch: int) -> None:
        """Go on to the draws of an epoch."""
        self._epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Float32[np.ndarray, "..."]]:
        """Surface points, queries (those of the volume first) and labels, 1 inside."""
        draw = self._draws.batch(self._epoch * self._per_epoch + index)
        return {
            "surface": draw.points_BN3[0].numpy(),
            "queries": draw.queries_BQ3[0].numpy(),
            "labels": draw.occupancy_BQ[0].numpy(),
        }


class CodLatents(LatentSet):
    """The latents of a trained model of cod-vae."""

    def __init__(self, weights: Path, num_points: int) -> None:
        from cod_vae import load_npz
        from cod_vae.torch import CODVAETorch

        self._model = CODVAETorch(*load_npz(weights), device="cpu")
        self._num_points = num_points

    @property
    def num_points(self) -> int:
        """Surface points that it was trained with."""
        return self._num_points

    @property
    def sha256(self) -> str:
        """Of its weights."""
        return tensors_sha256(self._model.module.state_dict())

    @property
    def num_parameters(self) -> int:
        """Of all parts, the latent VAE included."""
        return sum(parameter.numel() for parameter in self._model.module.parameters())

    def encode(self, surface: SurfaceSamples) -> Float64[np.ndarray, "L E"]:
        """The mean of the latents."""
        return self._model.encode(surface.points).astype(np.float64)

    def field(self, latents_LE: Float64[np.ndarray, "L E"]) -> FieldFunction:
        """Logits, positive inside; each call decodes the planes anew."""
        return lambda points: self._model.decode(latents_LE, points, chunk_size=CHUNK)


# --- command line ------------------------------------------------------------------------------


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", choices=("smoke", "toy"), default="toy", help="of the tables")
    parser.add_argument("--factor", type=int, default=1, help="so many times the steps")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of every row")
    parser.add_argument(
        "--workers", type=int, default=1, help="rows of ours that are trained at a time"
    )
    parser.add_argument(
        "--report-only", action="store_true", help="measure the rows that are there, train nothing"
    )
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/reproduce"), help="folder of the trained rows"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("docs/results"), help="folder of the report"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
