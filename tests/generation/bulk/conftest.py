"""A manifest of pictures and sentences, good and bad, for the untrained weights."""

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rows, of which one has no picture, one no readable picture and one neither."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    for number, name in enumerate(("red", "blue")):
        image = Image.new("RGB", (64, 64), "white")
        image.paste((200 - 100 * number, 30, 30 + 150 * number), (16, 20 + number, 48, 60))
        image.save(folder / f"{name}.png")
    (folder / "words.png").write_text("no picture")
    table = folder / "manifest.csv"
    table.write_text(
        "id,image,text,seed\n"
        "red/mug,red.png,,\n"
        "blue,blue.png,a mug,5\n"
        "said,,a red table,\n"
        "gone,nowhere.png,,\n"
        "broken,words.png,,\n"
        "empty,,,\n"
    )
    return table


@pytest.fixture(scope="module")
def settings():
    """Settings that take fractions of a second a row."""
    from g3pt.generation.bulk.tasks import BulkSettings

    return BulkSettings(resolution=16, tokens=True, cutouts=True, per_shard=4)


@pytest.fixture(scope="module")
def models(tiny_weights: Path):
    """The untrained weights, loaded by whoever works."""
    from g3pt.generation.bulk.tasks import ModelSource
    from g3pt.models.weights.load import load_weights

    sha256 = load_weights(tiny_weights, "cpu").sha256
    return ModelSource(load=load_weights, weights=str(tiny_weights), device="cpu", sha256=sha256)


@pytest.fixture(scope="session")
def results_of():
    """The files of a folder that must not depend on how it was made."""

    def files(out: Path) -> dict[str, bytes]:
        names = ("shard-*", "index.jsonl", "config.json")
        found = [file for name in names for file in sorted(out.glob(name))]
        inner = [file for folder in found if folder.is_dir() for file in sorted(folder.iterdir())]
        plain = [file for file in [*found, *inner] if file.is_file()]
        return {str(file.relative_to(out)): file.read_bytes() for file in plain}

    return files
