"""Records, trains and measures the rows of the table `unseen`; finished ones are kept.

    ROOT/unseen-SCALE/
        pools/NAME/         recordings, made when a row needs them and as long as it needs them
        NAME-seedN/         a run, as `g3pt train` leaves it, and
            row.json        last: what the yardsticks say of it

A rerun continues all three where they were stopped.
"""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from g3pt.config import save_json
from g3pt.evaluation.report.yardsticks import yardstick_report
from g3pt.evaluation.sets.yardsticks import NEAREST_PICTURE, nearest_pictures
from g3pt.files import read_json, write_whole
from g3pt.generation.answers import Answer, ConsensusAnswer, GuessAnswer, SampleAnswer
from g3pt.geometry.triangles import TriangleMesh
from g3pt.models.tokenizer import DiscreteTokenizer, require_tokens
from g3pt.procedural import make_shape
from g3pt.recipes.pools import record_pool
from g3pt.reproduce.series import RECIPE_FILE, ROW_FILE, OnRow, check_recipe
from g3pt.reproduce.unseen import Share, UnseenRow, UnseenTable
from g3pt.shapes.mesh_stock import MeshStock
from g3pt.shapes.queries import POSITION_STEPS
from g3pt.shapes.yardstick import YARDSTICKS, Yardstick, load_yardstick, yardstick_path
from g3pt.stream.recorded import RecordedConfig
from g3pt.stream.recording import Recording
from g3pt.training.checkpoint import list_checkpoints
from g3pt.training.environment import describe_environment
from g3pt.training.kinds.stream import WATCHED, StreamRun
from g3pt.training.signals import Stopped
from g3pt.training.start import start
from g3pt.training.trained import load_car, load_tokenizer
from g3pt.training.yardsticks import ReadyYardstick, measure_yardstick, ready_yardstick

LOGGER = logging.getLogger(__name__)
NEAREST = "nearest"
"""Folder of the row that trains nothing."""


def run_unseen(
    table: UnseenTable, root: Path, on_row: OnRow | None = None, *, only: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Record, train and measure what is missing, first seeds first.

    Args:
        table: what is wanted.
        root: folder of the table; finished rows in it are taken as they are.
        on_row: called after every row.
        only: names of rows, which are finished without retrieval; empty is all.

    Returns:
        The rows, retrieval last.

    Raises:
        FileNotFoundError: if stock or yardsticks are not there.
        ValueError: if a folder holds the run of another recipe.
    """
    _require_inputs(table)
    root.mkdir(parents=True, exist_ok=True)
    workshop = _Workshop(table, root)
    wanted = sorted(
        ((row, seed) for row in table.rows if not only or row.name in only for seed in row.seeds),
        key=lambda pair: pair[1],
    )
    for done, (row, seed) in enumerate(wanted, start=1):
        workshop.finish(row, seed)
        if done == 1 and not only:
            workshop.retrieve()
        if on_row is not None:
            on_row(f"{row.name}-seed{seed}", done, len(wanted))
    return finished_rows(table, root)


def _require_inputs(table: UnseenTable) -> None:
    """Check for files that must be made beforehand, before hours are spent on recording.

    Raises:
        FileNotFoundError: naming all that is missing, and what makes it.
    """
    missing = list[str]()
    if table.stock and not Path(table.stock).is_file():
        missing.append(f"{table.stock} (g3pt prepare MESHES {table.stock} --stock --split train)")
    if table.yardsticks:
        made = f"g3pt evaluate yardsticks --make {table.yardsticks} --meshes MESHES"
        files = [yardstick_path(table.yardsticks, name) for name in YARDSTICKS]
        missing += [f"{file} ({made})" for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            "the table compares with real meshes and needs " + ", ".join(missing)
        )


def finished_rows(table: UnseenTable, root: Path) -> list[dict[str, Any]]:
    """The rows that are finished by now, in the order of the table, retrieval last."""
    names = [f"{row.name}-seed{seed}" for row in table.rows for seed in row.seeds]
    files = [root / name / ROW_FILE for name in (*names, NEAREST)]
    return [read_json(file) for file in files if file.exists()]


class _Workshop:
    """What all rows share: tokenizer and yardsticks, prepared once."""

    def __init__(self, table: UnseenTable, root: Path) -> None:
        self._table, self._root = table, root
        self._tokenizer: DiscreteTokenizer = require_tokens(
            load_tokenizer(table.tokenizer), table.tokenizer
        ).eval()
        self._ready: list[ReadyYardstick] | None = None

    def finish(self, row: UnseenRow, seed: int) -> None:
        """Record what a row needs, train it and measure it, as far as that is not done."""
        table, run = self._table, self._table.run(row, seed, self._root)
        folder = self._root / run.name
        check_recipe(folder, run)
        if (folder / ROW_FILE).exists():
            return
        for share in row.shares:
            self._record(share)
        folder.mkdir(exist_ok=True)
        save_json(folder / RECIPE_FILE, run)
        first = max(list_checkpoints(folder / "checkpoints"), default=0)
        began = time.process_time()
        result = start(run, folder, resume=True)
        if not result.finished:
            raise Stopped("stopped by a signal; a rerun goes on there")
        seconds = (time.process_time() - began) / max(result.step - first, 1)
        car = load_car(folder)
        answers: list[Answer] = [SampleAnswer(), ConsensusAnswer(num_samples=table.consensus)]
        if car.guess is not None:
            answers.append(GuessAnswer())
        measured = [
            measure_yardstick(self._tokenizer, car, ready, answers, WATCHED, seed=seed)
            for ready in self.ready
        ]
        distinct = sum(len(Recording(one)) for one in _recorded(run).selections)
        about = {
            "name": row.name,
            "label": row.label,
            "seed": seed,
            "distinct": distinct,
            "steps": result.step,
            "batch_size": table.batch_size,
            "parameters": sum(parameter.numel() for parameter in car.parameters()),
            "core_minutes": seconds * result.step / 60,
            "loss": result.loss,
            "environment": describe_environment(),
        }
        self._write(folder, yardstick_report(measured, **about))

    def retrieve(self) -> None:
        """The row that copies the known shape whose canonical picture is nearest in pixels."""
        folder = self._root / NEAREST
        if (folder / ROW_FILE).exists():
            return
        folder.mkdir(exist_ok=True)
        row = max(self._table.rows, key=lambda one: len(one.shares))
        shares = [share for share in row.shares if share.pool != "warped"]
        for share in shares:
            self._record(share)
        bank = _Bank(self._table, self._root, shares)
        rows: list[dict[str, Any]] = []
        for ready in self.ready:
            iou_B = bank.iou(ready.yardstick, self._table.num_queries)
            sound_B = iou_B[~ready.yardstick.flagged_B]
            rows.append(
                {
                    "set": ready.yardstick.name,
                    "ids": [
                        one
                        for one, flagged in zip(
                            ready.yardstick.ids, ready.yardstick.flagged_B, strict=True
                        )
                        if not flagged
                    ],
                    "iou": sound_B.tolist(),
                }
            )
        self._write(
            folder,
            {"name": NEAREST_PICTURE, "label": bank.label, "distinct": len(bank), "sets": rows},
        )

    @property
    def ready(self) -> list[ReadyYardstick]:
        """The yardsticks with their tokens."""
        if self._ready is None:
            table = self._table
            self._ready = [
                ready_yardstick(
                    self._tokenizer,
                    one.first(table.num_objects),
                    num_scales=3,
                    num_points=table.pools[0].config.maker.num_points,
                    num_queries=table.num_queries,
                )
                for one in self._yardsticks()
            ]
        return self._ready

    def _yardsticks(self) -> list[Yardstick]:
        if self._table.yardsticks:
            paths = [yardstick_path(self._table.yardsticks, name) for name in YARDSTICKS]
            return [load_yardstick(path) for path in paths]
        from g3pt.evaluation.sets.yardsticks import (
            YardstickConfig,
            build_yardstick,
            yardstick_objects,
        )

        config = YardstickConfig(
            num_points=256, num_queries=64, picture_size=64, render_size=64, solid_resolution=32
        )
        objects = yardstick_objects(None, self._table.num_objects)
        return [build_yardstick(name, each, config).yardstick for name, each in objects.items()]

    def _record(self, share: Share) -> None:
        """Record a pool to the length that a share needs."""
        pool = self._table.pool(share.pool)
        num = pool.num if share.num_families or not share.num else share.num
        LOGGER.info("recording %s", pool.name)
        record_pool(
            pool,
            self._root / "pools",
            num,
            self._tokenizer,
            on_part=lambda done, total: LOGGER.info("%s: part %d of %d", pool.name, done, total),
        )

    @staticmethod
    def _write(folder: Path, row: dict[str, Any]) -> None:
        write_whole(folder / ROW_FILE, json.dumps(row, indent=1) + "\n")


def _recorded(run: StreamRun) -> RecordedConfig:
    assert isinstance(run.data, RecordedConfig)
    return run.data


class _Bank:
    """Recorded shapes that can be copied, found by their canonical pictures."""

    def __init__(self, table: UnseenTable, root: Path, shares: Sequence[Share]) -> None:
        self._recordings = [Recording(table.selection(share, root)) for share in shares]
        self.label = "nearest picture of: " + ", ".join(share.pool for share in shares)
        self._places = [
            (recording, place) for recording in self._recordings for place in range(len(recording))
        ]
        self._pictures_MSS4 = np.stack(
            [recording.column("canonical_BZZ4", place) for recording, place in self._places]
        )
        self._stock = MeshStock.read(table.stock) if table.stock else None

    def __len__(self) -> int:
        return len(self._places)

    def iou(self, yardstick: Yardstick, num_queries: int) -> np.ndarray:
        """IoU of every object with what is copied for it."""
        queries_Q3 = yardstick.queries[:num_queries]
        wanted_BQ = yardstick.inside_BQ[:, :num_queries]
        found: list[float] = []
        chosen_B = nearest_pictures(yardstick.pictures_BSS4, self._pictures_MSS4)
        for chosen, wanted_Q in zip(chosen_B, wanted_BQ, strict=True):
            recording, place = self._places[int(chosen)]
            inside_Q = self._inside(str(recording.origins[place]), queries_Q3)
            union = (inside_Q | wanted_Q).sum()
            found.append(float((inside_Q & wanted_Q).sum() / union) if union else 1.0)
        return np.array(found)

    def _inside(self, origin: str, queries_Q3: np.ndarray) -> np.ndarray:
        """Labels of a shape by its id."""
        if origin.startswith("procedural-"):
            family, _, seed = origin.removeprefix("procedural-").rpartition("-")
            return make_shape(int(seed), family).contains(queries_Q3)
        assert self._stock is not None, "meshes come from a stock"
        from g3pt.geometry.solid import Solid  # needs libigl, which a training does without

        rows = [row for row, one in enumerate(self._stock.objects) if one["id"] == origin]
        surface = self._stock.surface(rows[0])
        mesh = TriangleMesh.from_arrays(surface.vertices_P3 / POSITION_STEPS, surface.faces_F3)
        return Solid.from_mesh(mesh, resolution=96).contains(queries_Q3.astype(np.float64))
