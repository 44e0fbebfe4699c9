import numpy as np
import pytest


def test_the_manifest_is_filtered_by_split_and_licence(mesh_folder):
    from g3pt.data.sources import FolderSourceConfig, open_source

    train = open_source(FolderSourceConfig(path=str(mesh_folder), split="train"))
    assert train.ids == ["cube", "slab", "broken", "pole", "sheet", "named-author"]
    free = FolderSourceConfig(path=str(mesh_folder), split="train", licences=("MIT-0",))
    assert open_source(free).ids == ["slab"]
    val = open_source(FolderSourceConfig(path=str(mesh_folder), split="val"))
    assert val.ids == ["kept-for-validation"]


def test_a_mesh_keeps_its_words_and_its_way_back(mesh_folder):
    from g3pt.data.sources import FolderSourceConfig, open_source

    source = open_source(FolderSourceConfig(path=str(mesh_folder), solid_resolution=32))
    shape = source.load(1)
    assert shape.captions == ("a slab",) and shape.family == "box" and shape.licence == "MIT-0"
    frame = shape.details["frame"]
    assert frame["scale"] == pytest.approx(1.9 / 4)
    assert frame["offset"] == pytest.approx([5, 0, 0])
    extents = shape.mesh().vertices.max(axis=0) - shape.mesh().vertices.min(axis=0)
    assert np.allclose(extents, [1.9, 0.475, 0.95], atol=1e-5)


def test_files_without_a_manifest_are_found_and_named_after_themselves(mesh_folder, tmp_path):
    from g3pt.data.sources import FolderSourceConfig, open_source

    (tmp_path / "deep").mkdir()
    for name in ("deep/oak_table-02.glb", "cup.glb"):
        (tmp_path / name).write_bytes((mesh_folder / "cube.glb").read_bytes())
    (tmp_path / "notes.txt").write_text("no mesh")
    source = open_source(FolderSourceConfig(path=str(tmp_path)))
    assert source.ids == ["cup.glb", "deep/oak_table-02.glb"]
    assert source.load(1).captions == ("oak table",)


def test_a_folder_without_fitting_meshes_is_refused(mesh_folder):
    from g3pt.data.sources import FolderSourceConfig, open_source

    with pytest.raises(ValueError, match="no mesh fits split=test"):
        open_source(FolderSourceConfig(path=str(mesh_folder), split="test"))
    with pytest.raises(FileNotFoundError, match="folder of meshes"):
        open_source(FolderSourceConfig(path=str(mesh_folder / "missing")))


def test_limit_keeps_the_first_meshes(mesh_folder):
    from g3pt.data.sources import FolderSourceConfig, open_source

    assert open_source(FolderSourceConfig(path=str(mesh_folder), limit=2)).ids == ["cube", "slab"]


def test_procedural_shapes_are_named_by_family_and_seed():
    from g3pt.data.procedural import HELD_OUT_FAMILIES, TRAIN_FAMILIES
    from g3pt.data.sources import ProceduralSourceConfig, open_source

    source = open_source(ProceduralSourceConfig(num=40, first_seed=100))
    assert source.ids[3].endswith("-103") and len(set(source.ids)) == 40
    assert {name.split("-")[1] for name in source.ids} <= set(TRAIN_FAMILIES)
    shape = source.load(3)
    assert shape.id == source.ids[3] and shape.captions and shape.family in TRAIN_FAMILIES
    kept_away = open_source(ProceduralSourceConfig(num=40, families="held_out"))
    assert {name.split("-")[1] for name in kept_away.ids} == set(HELD_OUT_FAMILIES)


def test_only_keeps_families_by_name():
    from g3pt.data.procedural import TRAIN_FAMILIES
    from g3pt.data.sources import ProceduralSourceConfig, open_source

    name = TRAIN_FAMILIES[0]
    source = open_source(ProceduralSourceConfig(num=5, only=(name,)))
    assert all(shape_id.startswith(f"procedural-{name}-") for shape_id in source.ids)
    with pytest.raises(ValueError, match="no train family is called dragon"):
        open_source(ProceduralSourceConfig(only=("dragon",)))


def test_a_procedural_record_agrees_with_the_exact_field(small_prepare):
    from g3pt.data.prepare import positions, prepare_shape
    from g3pt.data.sources import ProceduralSourceConfig, open_source

    shape = open_source(ProceduralSourceConfig(num=1, first_seed=11)).load(0)
    record = prepare_shape(shape, small_prepare)
    inside = np.unpackbits(record.near_inside, bitorder="little").astype(bool)
    assert np.array_equal(inside, shape.contains(positions(record.near)))
