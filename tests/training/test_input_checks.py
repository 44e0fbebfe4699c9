"""Every path and name of a run is looked at before anything is made."""

from dataclasses import replace
from pathlib import Path

import pytest

from g3pt import recipes
from g3pt.preparation.sources import FolderSourceConfig
from g3pt.recipes import tokenizer
from g3pt.stream.dataset import StreamConfig
from g3pt.stream.recorded import RecordedConfig
from g3pt.stream.recording import Selection
from g3pt.training.kinds.stream import WatchConfig
from g3pt.training.start import complete, start, take_stock


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def mixed(**changes):
    """A run of seconds on procedural shapes and on the meshes of a folder that is not there."""
    run = tokenizer.tiny_smoke()
    meshes = replace(
        run.shapes[0],
        path="cache/meshes",
        source=FolderSourceConfig(path="meshes"),
        optional=True,
        **changes,
    )
    data = replace(run.data, weights=(0.6, 0.4))
    return replace(run, shapes=(*run.shapes, meshes), data=data)


def test_optional_shapes_that_are_not_there_are_left_out_with_their_weight():
    run = mixed()
    stock = take_stock(run)
    assert stock.run == replace(run, shapes=run.shapes[:1], data=replace(run.data, weights=(0.6,)))
    (line,) = stock.left_out
    assert "cache/meshes: there are no meshes at meshes; training goes without them" in line
    assert stock.made == (
        "cache/smoke-train: prepared from 8 procedural shapes",
        "cache/smoke-held-out: prepared from 8 procedural shapes",
    )


def test_a_training_goes_without_them_and_says_so(caplog):
    result = start(mixed(), Path("run"))
    assert result.finished
    assert "there are no meshes at meshes" in caplog.text


def test_optional_shapes_that_are_there_are_taken(mesh_file):
    Path("meshes").mkdir()
    mesh_file(Path("meshes/cube.glb"))
    run = mixed()
    assert take_stock(run).run == run
    assert "cache/meshes: prepared from 1 folder shapes" in take_stock(run).made


def test_meshes_without_a_licence_are_taken_as_ones_own_and_that_is_said(mesh_file):
    Path("meshes").mkdir()
    mesh_file(Path("meshes/cube.glb"))
    (line,) = take_stock(mixed()).left_out
    assert "cache/meshes: none of its 1 shapes names a licence, they are taken as yours" in line


def manifest(*licences: str) -> None:
    rows = [
        f'{{"id": "{number}", "path": "cube.glb", "licence": "{licence}"}}'
        for number, licence in enumerate(licences)
    ]
    Path("meshes/manifest.jsonl").write_text("\n".join(rows))


def test_what_a_set_of_others_leaves_out_for_its_licence_is_said(mesh_file):
    Path("meshes").mkdir()
    mesh_file(Path("meshes/cube.glb"))
    manifest("CC0-1.0", "unknown", "CC-BY-4.0")
    (line,) = take_stock(mixed()).left_out
    assert "2 of its 3 shapes are left out for their licence: unknown (1), CC-BY-4.0 (1)" in line
    assert "--data.selection.licences" in line


def test_a_set_of_which_nothing_may_be_taken_is_refused_before_it_is_made(mesh_file):
    Path("meshes").mkdir()
    mesh_file(Path("meshes/cube.glb"))
    manifest("CC-BY-4.0")
    with pytest.raises(ValueError, match=r"none of its 1 shapes is under CC0-1.0, MIT-0") as error:
        start(mixed(), Path("run"))
    assert "there are CC-BY-4.0 (1); choose others with --data.selection.split" in str(error.value)
    assert not Path("cache").exists()


def test_a_prepared_set_without_the_split_is_refused_with_the_splits_that_it_has():
    run = tokenizer.tiny_smoke()
    complete(run)
    data = replace(run.data, shards=("cache/smoke-held-out",), weights=())
    with pytest.raises(ValueError, match=r"is of split train; there are val \(8\)"):
        take_stock(replace(run, data=data))


@pytest.fixture
def mesh_file():
    from g3pt.geometry.mesh import write_mesh
    from g3pt.procedural import make_shape

    return lambda path: write_mesh(path, make_shape(1).mesh(16))


def test_a_folder_with_no_mesh_in_it_is_a_mistake_even_if_it_is_optional():
    Path("meshes").mkdir()
    with pytest.raises(ValueError, match="shapes: meshes: holds no shapes"):
        take_stock(mixed())


def test_everything_that_is_wrong_is_said_at_once_and_before_anything_is_made(tmp_path):
    run = mixed()
    needed = replace(run.shapes[1], optional=False)
    run = replace(
        run,
        initial="runs/nowhere",
        shapes=(run.shapes[0], needed),
        validation=replace(run.validation, shards="cache/nothing"),
        data=replace(run.data, weights=(1.0, 2.0, 3.0)),
    )
    with pytest.raises(FileNotFoundError) as error:
        start(run, tmp_path / "run")
    for words in (
        "initial: runs/nowhere: there is no such weights folder",
        "shapes: source.path: expected a folder of meshes at meshes",
        "validation.shards: expected a pack or a complete set of shapes at cache/nothing",
        "data.weights: expected one for each of 2 sets of shapes",
    ):
        assert words in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_shapes_is_refused_before_the_first_set_is_made(tmp_path):
    run = tokenizer.tiny_smoke()
    Path("cache/smoke-held-out").mkdir(parents=True)
    Path("cache/smoke-held-out/notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"held_out: .*expected a new or empty folder"):
        complete(run)
    assert not Path("cache/smoke-train").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "expected a run folder with checkpoints, or config.json and model.safetensors"),
        ({"checkpoints/empty": ""}, "has written no checkpoint yet"),
    ],
)
def test_a_folder_without_a_model_is_no_tokenizer(content, words):
    run = replace(recipes.recipe("car-tiny-smoke"), tokenizer="mine")
    Path("mine").mkdir()
    for name, text in content.items():
        Path("mine", name).parent.mkdir(parents=True)
        Path("mine", name).write_text(text)
    with pytest.raises(FileNotFoundError, match=rf"tokenizer: .*{words}"):
        take_stock(run)
    assert take_stock(run, promised=["mine"]).run == run


def test_caches_and_encoders_that_are_named_have_to_be_there():
    from g3pt.models.conditioning import DinoConditionConfig

    run = recipes.recipe("car-tiny-smoke")
    condition = DinoConditionConfig(source="weights/dino")
    run = replace(
        run,
        tokenizer="g3pt-small",
        model=replace(run.model, conditions=(condition,)),
        data=replace(run.data, shards=("cache/a",), tokens=("cache/a.tokens",)),
    )
    with pytest.raises(FileNotFoundError) as error:
        take_stock(run)
    for words in (
        "model.conditions: dinov2: weights/dino: no such folder",
        "data.shards: expected a pack or a complete set of shapes at cache/a",
        "data.tokens: there is no folder cache/a.tokens",
    ):
        assert words in str(error.value)


def test_a_stream_goes_without_the_stock_only_where_it_is_optional():
    run = recipes.recipe("car-stream-small-smoke")
    data = replace(run.data, meshes=2, stock="cache/stock.safetensors", stock_is_optional=True)
    stock = take_stock(replace(run, data=data))
    assert isinstance(stock.run.data, StreamConfig)
    assert (stock.run.data.meshes, stock.run.data.stock) == (0, "")
    assert "cache/stock.safetensors: there is no stock of meshes" in stock.left_out[0]
    with pytest.raises(FileNotFoundError, match=r"data.stock: there is no file .* --stock` makes"):
        take_stock(replace(run, data=replace(data, stock_is_optional=False)))
    alone = replace(data, grammar=0, families=0)
    with pytest.raises(FileNotFoundError, match=r"data.stock"):
        take_stock(replace(run, data=alone))


def test_a_stream_is_watched_by_the_yardsticks_that_are_there():
    run = recipes.recipe("car-stream-small-smoke")
    Path("real").write_bytes(b"")
    watch = WatchConfig(yardsticks=(), optional=("real", "others"))
    stock = take_stock(replace(run, watch=watch))
    assert stock.run.watch == WatchConfig(yardsticks=("real",))
    assert "others: there is no such yardstick" in stock.left_out[0]
    watch = WatchConfig(yardsticks=("y/known",))
    with pytest.raises(FileNotFoundError, match=r"yardsticks --make y` makes it"):
        take_stock(replace(run, watch=watch))
    assert take_stock(replace(run, watch=watch), promised=["y/known"]).run.watch == watch


def test_recordings_are_left_out_where_they_are_optional():
    run = recipes.recipe("car-stream-small-smoke")
    Path("grammar").mkdir()
    Path("grammar/recording.json").write_text("{}")
    kept, gone = Selection(folder="grammar"), Selection(folder="warped", optional=True)
    stock = take_stock(replace(run, data=RecordedConfig(selections=(kept, gone))))
    assert isinstance(stock.run.data, RecordedConfig)
    assert stock.run.data.selections == (kept,)
    assert "warped: there is no such recording" in stock.left_out[0]
    needed = RecordedConfig(selections=(kept, replace(gone, optional=False)))
    with pytest.raises(FileNotFoundError, match="there is no recording in warped"):
        take_stock(replace(run, data=needed))
    with pytest.raises(ValueError, match="none of these recordings is there"):
        take_stock(replace(run, data=RecordedConfig(selections=(gone,))))
