"""docs/first-experiment.md runs as it stands there, with the flags that it names to be quick."""

import os
import re
import shlex
from pathlib import Path

import pytest
import torch

from pages import ROOT, commands, fenced_blocks

PAGE = "docs/first-experiment.md"


def rehearsal() -> dict[str, list[str]]:
    """Command -> flags that shorten it, from the table of the page."""
    rows = re.findall(r"^\| `(\w+)` \| `(--[^`]+)` \|$", (ROOT / PAGE).read_text(), re.MULTILINE)
    return {command: shlex.split(flags) for command, flags in rows}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An empty folder that sees the examples; the threads of torch are put back.

    Little is measured of each object: surfaces of models that have learnt nothing are far from the
    true ones, where neighbours are slow to find.
    """
    from g3pt.evaluation import objects
    from g3pt.reproduce.tokenizer_sizes import smoke_settings

    monkeypatch.setattr("g3pt.evaluation.protocols.generation.PER_FAMILY", 1)
    monkeypatch.setattr(objects, "quick_settings", lambda seed=0: smoke_settings())
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # shapes are made in this process
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def test_the_page_runs_from_its_first_command_to_its_last(folder: Path, capsys) -> None:
    from g3pt.cli.main import main

    short = rehearsal()
    assert {"train", "evaluate", "generate"} <= set(short)
    lines = commands(PAGE)
    assert len(lines) >= 12
    for line in lines:
        program, command, *others = shlex.split(line)
        assert program == "g3pt"
        code = main([command, *others, *short.get(command, [])])
        captured = capsys.readouterr()
        assert code == 0, f"{line}\n{captured.out[-2000:]}{captured.err[-2000:]}"
    for name in ("first.png", "mine.png", "mine.g3t", "mine-coarse.glb", "sheet.png"):
        assert (folder / name).is_file(), name
    (block,) = fenced_blocks(PAGE, "python")
    exec(block.replace('"tokenizer-first"', '"tokenizer-first-smoke"'), {})
    assert (folder / "runs/sweep-3/checkpoints").is_dir()
