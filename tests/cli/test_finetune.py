"""`g3pt finetune` from meshes to an adapter, at toy size."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from stocks import box


def write_meshes(folder: Path, num: int = 6) -> Path:
    from g3pt.geometry.mesh import concatenate, write_mesh

    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(num):
        high = tuple(rng.uniform(0.5, 2.0, size=3))
        foot = box((0.0, -0.6, 0.0), (0.4 + 0.1 * number, 0.1, 0.4))
        write_mesh(folder / f"gizmo_{number}.ply", concatenate([box((0.0, 0.0, 0.0), high), foot]))
    return folder


@pytest.fixture(autouse=True)
def few_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    from g3pt.training import finetune_plan as finetune

    monkeypatch.setattr(finetune, "MIN_EXAMPLES", 8)
    monkeypatch.setattr(finetune, "PART", 4)


def call(*arguments: object) -> int:
    from g3pt.cli.main import main

    fixed = ["--device", "cpu", "--threads", "1", "--warps", "2", "--steps", "3", "--rank", "2"]
    return main(["finetune", *map(str, arguments), *fixed])


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_meshes(tmp_path_factory.mktemp("own") / "meshes")


@pytest.fixture(scope="module")
def made(
    meshes: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    from contextlib import redirect_stderr, redirect_stdout
    from io import StringIO

    from g3pt.training import finetune_plan as finetune

    folder, printed = tmp_path_factory.mktemp("out") / "mine", StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(printed),
        redirect_stderr(printed),
    ):
        patch.setattr(finetune, "MIN_EXAMPLES", 8)
        patch.setattr(finetune, "PART", 4)
        assert call(meshes, "--weights", tiny_weights, "-o", folder) == 0
    return folder, printed.getvalue()


def test_the_result_is_a_small_adapter_with_card_credits_table_and_sheet(made) -> None:
    folder, printed = made
    names = {path.name for path in folder.iterdir()}
    assert {"adapter.json", "adapter.safetensors", "words.txt", "README.md"} <= names
    assert {"ATTRIBUTION.md", "evaluation.json", "sheet.png"} <= names
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5_000_000
    assert "| own | 2 | sample |" in printed
    assert f"--adapter {folder}" in printed
    # weights that were never trained hold nothing in their tokens
    assert "tokens of your own held-out meshes decode to an IoU of 0." in printed
    card = (folder / "README.md").read_text()
    assert "unknown (6)" in card  # the licence of one's own files is not refused
    assert "An untrained model for tests." in card
    report = json.loads((folder / "evaluation.json").read_text())
    assert (report["meshes"]["trained"], report["meshes"]["held_out"]) == (4, 2)
    assert "gizmo" in report["new_words"]
    assert 0 <= report["best_step"] <= report["steps"]
    learnt = any(row["difference"] for row in report["table"] if row["answer"] != "tokens")
    assert ("nothing was learnt" in printed) == (report["best_step"] == 0)
    assert report["best_step"] or not learnt
    for row in report["table"]:
        assert row["difference"] == pytest.approx(row["after"] - row["before"])
        assert row["low"] <= row["difference"] <= row["high"]


def test_no_held_out_mesh_is_trained_on(made) -> None:
    from g3pt.shapes.mesh_stock import MeshStock
    from g3pt.shapes.yardstick import load_yardstick

    work = Path(f"{made[0]}.work")
    trained = {one["id"] for one in MeshStock.read(work / "train.safetensors").objects}
    held = set(load_yardstick(work / "own.safetensors").ids)
    assert len(trained) == 4
    assert len(held) == 2
    assert not trained & held


def test_an_adapter_generates_and_keeps_old_words(made, tiny_weights: Path, tmp_path: Path) -> None:
    from g3pt.cli.main import main
    from g3pt.models.conditioning.growing import EMBEDDING
    from g3pt.models.weights.load import load_weights

    arguments = ["--weights", str(tiny_weights), "--adapter", str(made[0]), "--device", "cpu"]
    arguments += ["--resolution", "16", "-o", str(tmp_path / "a.glb")]
    assert main(["generate", "--text", "a gizmo", *arguments]) in (0, 1)  # 1: an empty mesh
    before = load_weights(tiny_weights, "cpu").car.state_dict()
    after = load_weights(tiny_weights, "cpu", adapter=made[0]).car.state_dict()
    old = before[f"{EMBEDDING}.weight"]
    assert torch.equal(after[f"{EMBEDDING}.weight"][: len(old)], old)
    assert any(not torch.equal(after[name], before[name]) for name in before if "blocks" in name)


def test_export_merges_an_adapter(made, tiny_weights: Path, tmp_path: Path) -> None:
    from g3pt.cli.main import main
    from g3pt.models.weights.load import load_weights

    whole = ["--tokenizer", str(tiny_weights), "--car", str(tiny_weights), "--storage", "float32"]
    whole += ["--adapter", str(made[0]), "-o", str(tmp_path)]
    assert main(["export", *whole]) == 0
    merged = load_weights(tmp_path, "cpu").car
    adapted = load_weights(tiny_weights, "cpu", adapter=made[0]).car
    torch.testing.assert_close(merged.state_dict(), adapted.state_dict())
    assert merged.config == adapted.config


def test_a_stopped_finetuning_goes_on_as_if_it_had_not_been_stopped(
    made, meshes: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from g3pt.training.finetuning import FinetuneTask

    arguments = (meshes, "--weights", tiny_weights, "-o", tmp_path / "mine")
    whole = FinetuneTask.loss

    def stop(self, batch, *, step: int, progress: float):
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, batch, step=step, progress=progress)

    # What is prepared is taken from the other finetuning, but for a recording.
    work = tmp_path / "mine.work"
    shutil.copytree(f"{made[0]}.work", work, ignore=shutil.ignore_patterns("run"))
    (work / "after.json").unlink()
    shutil.rmtree(work / "recordings" / "meshes")
    with monkeypatch.context() as patch:
        patch.setattr(FinetuneTask, "loss", stop)
        assert call(*arguments, "--resume") == 75
    assert not (tmp_path / "mine").exists()
    assert call(*arguments) == 2  # without --resume
    assert call(*arguments, "--held-out", "0.5", "--resume") == 2  # another one
    assert call(*arguments, "--resume") == 0
    for name in ("adapter.safetensors", "words.txt"):
        assert (tmp_path / "mine" / name).read_bytes() == (made[0] / name).read_bytes()


def test_whole_weights_with_their_decoder_keep_the_tokens(
    meshes: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    from g3pt.models.weights.load import load_weights

    folder = tmp_path / "mine"
    flags = ("--full", "--decoder", "--captions", "none")
    assert call(meshes, "--weights", tiny_weights, "-o", folder, *flags) == 0
    before, after = load_weights(tiny_weights, "cpu"), load_weights(folder, "cpu")
    assert after.config.car == before.config.car  # no captions, no new words
    assert after.config.sampling == before.config.sampling
    for name, old in before.tokenizer.state_dict().items():
        same = torch.equal(old, after.tokenizer.state_dict()[name])
        assert same or name.startswith("decoder."), name
    changed = [n for n, t in after.tokenizer.state_dict().items() if n.startswith("decoder.")]
    assert any(
        not torch.equal(before.tokenizer.state_dict()[n], after.tokenizer.state_dict()[n])
        for n in changed
    )


def test_merged_weights_need_no_adapter(made, meshes: Path, tiny_weights: Path, tmp_path) -> None:
    from g3pt.models.weights.load import load_weights

    folder, work = tmp_path / "mine", Path(f"{made[0]}.work")
    again = ("--work", work, "--resume", "--merge")  # nothing is trained again
    assert call(meshes, "--weights", tiny_weights, "-o", folder, *again) == 0
    adapted = load_weights(tiny_weights, "cpu", adapter=made[0]).car.state_dict()
    merged = load_weights(folder, "cpu").car.state_dict()
    # The weights are stored as float16.
    torch.testing.assert_close(merged, adapted, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_finetuned_is_refused(
    tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none").mkdir()
    arguments = ("--weights", tiny_weights, "-o", tmp_path / "mine")
    assert call(tmp_path / "none", *arguments) == 2
    assert "none" in capsys.readouterr().err
    one = write_meshes(tmp_path / "one", num=1)
    assert call(one, *arguments) == 2
    assert "holds one mesh; at least 2 are needed" in capsys.readouterr().err
    assert call(one, *arguments, "--yardsticks", tmp_path) == 2
    assert "there is no yardstick" in capsys.readouterr().err
    assert not (tmp_path / "mine.work").exists()


def test_a_dry_run_writes_nothing(
    meshes: Path, tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(meshes, "--weights", tiny_weights, "-o", tmp_path / "mine", "--dry-run") == 0
    assert "6 meshes: about 4 to train on, 2 held out" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
