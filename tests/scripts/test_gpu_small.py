"""The job for one GPU, rehearsed from its first line to its last at toy size."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from g3pt.config import save_json
from g3pt.recipes.stream import small_smoke
from g3pt.training import fitting
from g3pt.training.kinds.stream import WatchConfig
from g3pt.training.start import complete

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_small.py"


@pytest.mark.skipif(not SCRIPT.is_file(), reason="an installed package has no scripts")
def test_everything_that_is_kept_is_written(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from g3pt.evaluation.objects import list_objects
    from g3pt.evaluation.sets.yardsticks import YardstickConfig, build_yardstick
    from g3pt.models.weights.load import load_weights
    from g3pt.shapes.yardstick import save_yardstick

    sizes = YardstickConfig(num_points=256, num_queries=128, picture_size=64, render_size=64)
    yardstick = build_yardstick("real", list_objects("procedural", limit=2), sizes).yardstick
    save_yardstick(tmp_path / "real.safetensors", yardstick)
    monkeypatch.setattr(fitting, "NUM_CAPTIONED", 512)  # shapes that give the words
    smoke = small_smoke()
    run, _ = complete(
        replace(
            smoke,
            tokenizer=str(tiny_weights),
            loss=replace(smoke.loss, scale_weights=(), soft_targets=smoke.loss.soft_targets[:3]),
            watch=WatchConfig(yardsticks=(str(tmp_path / "real.safetensors"),), consensus=2),
            train=replace(smoke.train, eval_every=2, keep_best="iou/new"),
        )
    )
    save_json(tmp_path / "run.json", run)
    out = tmp_path / "out"
    command = [sys.executable, str(SCRIPT), "--run", str(tmp_path / "run.json")]
    command += ["--tokenizer", str(tiny_weights), "--out", str(out), "--objects", "2"]
    command += ["--work", str(tmp_path / "work")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["trained"]["steps"] == 4
    assert {"iou/real/sample", "iou/real/consensus_of_2", "iou/real/guess"} <= set(
        report["summary"]
    )
    assert len(report["objects"]["real"]["ids"]) == 2
    assert (out / "metrics.jsonl").is_file()
    assert all(path.stat().st_size <= 15_000_000 for path in out.iterdir())
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("config.json", "vocab.txt", "model.safetensors", "README.md"):
        (folder / name).write_bytes((out / name).read_bytes())
    car = load_weights(folder, "cpu").car
    assert car is not None
    assert car.guess is not None
