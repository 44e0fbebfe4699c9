from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from g3pt.generation import preview
from g3pt.generation.pipeline import G3PT
from g3pt.generation.preview import TILE

PICTURE = Image.new("RGB", (64, 64), "white")
PICTURE.paste((200, 30, 30), (16, 16, 48, 48))


@pytest.fixture(scope="module")
def pipeline(tiny_weights: Path) -> G3PT:
    return G3PT.from_pretrained(tiny_weights, "cpu")


def test_a_row_shows_the_picture_every_scale_and_its_seed(pipeline: G3PT) -> None:
    result = pipeline.generate(image=PICTURE, num=2, resolution=16, every_scale=True, color="none")
    page = np.asarray(pipeline.preview(result))
    columns = 1 + pipeline.num_scales
    assert columns * TILE <= page.shape[1] < (columns + 1) * TILE
    assert 2 * TILE <= page.shape[0] < 3 * TILE
    red = (page[..., 0] > 150) & (page[..., 1] < 80)
    assert red[:, :TILE].any() and not red[:, TILE + 8 :].any()


def test_the_file_name_of_a_picture_is_below_it(
    pipeline: G3PT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels: list[list[str]] = []
    drawn = preview.sheet
    monkeypatch.setattr(
        preview, "sheet", lambda rows, told: labels.extend(told) or drawn(rows, told)
    )
    files = [tmp_path / name for name in ("mug.png", "a-very-long-name-of-a-photograph.png")]
    for file in files:
        PICTURE.save(file)
    pipeline.preview(pipeline.generate(image=files, seed=7, resolution=16, every_scale=True))
    assert labels[0][0] == "mug.png, seed 7"
    assert labels[1][0] == "a-very-l..ograph.png, seed 7"


def test_text_and_missing_prompts_have_a_tile_too(pipeline: G3PT) -> None:
    for prompt in ({"text": "a very long sentence " * 40}, {}):
        result = pipeline.generate(resolution=16, every_scale=True, **prompt)
        tile = np.asarray(pipeline.preview(result))[:TILE, :TILE]
        assert (tile < 128).any()
        assert (np.asarray(tile[:, 4:10]) > 250).mean() > 0.9


@pytest.mark.parametrize("every_scale", [True, False])
def test_all_scales_have_the_colours_of_the_mesh(pipeline: G3PT, every_scale: bool) -> None:
    result = pipeline.generate(text="a red mug", resolution=16, every_scale=every_scale)
    assert not result.meshes[0].is_empty
    page = np.asarray(pipeline.preview(result))
    red = (page[..., 0] > 100) & (page[..., 1] < 80)
    tiles = [red[:, TILE * k + 8 : TILE * (k + 1)] for k in range(1, 1 + pipeline.num_scales)]
    assert not red[:, :TILE].any() and all(tile.any() for tile in tiles)
