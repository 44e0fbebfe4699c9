from pathlib import Path

import pytest

from g3pt.cli.evaluate import source_named
from g3pt.data.procedural import HELD_OUT_SEEDS
from g3pt.data.sources import FolderSourceConfig, ProceduralSourceConfig


def test_procedural_names_mean_held_out_shapes() -> None:
    seeds = source_named("procedural", "", 20)
    families = source_named("procedural-held-out", "", 20)
    assert isinstance(seeds, ProceduralSourceConfig)
    assert isinstance(families, ProceduralSourceConfig)
    assert seeds.first_seed == families.first_seed == HELD_OUT_SEEDS.start
    assert (seeds.families, families.families) == ("train", "held_out")


def test_any_other_name_is_a_folder(tmp_path: Path) -> None:
    config = source_named(str(tmp_path), "val", 5)
    assert config == FolderSourceConfig(path=str(tmp_path), split="val", limit=5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "evaluate what? choose one of meshes, reconstruction, generation"),
        (("everything",), "got 'everything'"),
        (("meshes", "--prediction", "nowhere", "--truth", "nowhere"), "no such folder of meshes"),
    ],
)
def test_wrong_requests_exit_2(arguments: tuple, sentence: str, g3pt) -> None:
    code, stdout, stderr = g3pt("evaluate", *arguments, weights=None)
    assert (code, stdout) == (2, "")
    assert sentence in stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--data", "nowhere"), "neither procedural, procedural-held-out nor a folder"),
        (("--data", "procedural", "--limit", 0), "give a --limit"),
        (("--data", "procedural", "--limit", -1), "must not be negative"),
        (("--data", "procedural", "--resolution", 10**6), "between 16 and 1024"),
    ],
)
@pytest.mark.parametrize("mode", ["reconstruction", "generation"])
def test_wrong_data_exits_2(mode: str, arguments: tuple, sentence: str, g3pt) -> None:
    code, stdout, stderr = g3pt("evaluate", mode, *arguments)
    assert (code, stdout) == (2, "")
    assert sentence in stderr
