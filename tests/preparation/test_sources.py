import pickle

import numpy as np
import pytest


def ids(config):
    from g3pt.preparation.sources import list_shapes

    return [ref.id for ref in list_shapes(config)]


def test_the_manifest_is_filtered_by_split_and_licence(mesh_folder):
    from g3pt.preparation.sources import FolderSourceConfig

    train = FolderSourceConfig(path=str(mesh_folder), split="train")
    assert ids(train) == ["cube", "slab", "broken", "pole", "sheet", "named-author"]
    free = FolderSourceConfig(path=str(mesh_folder), split="train", licences=("MIT-0",))
    assert ids(free) == ["slab"]
    val = FolderSourceConfig(path=str(mesh_folder), split="val")
    assert ids(val) == ["kept-for-validation"]


def test_a_mesh_keeps_its_words_and_its_way_back(mesh_folder):
    from g3pt.preparation.sources import FolderSourceConfig, list_shapes, load_shape

    shape = load_shape(list_shapes(FolderSourceConfig(path=str(mesh_folder)))[1])
    assert shape.captions == ("a slab",) and shape.family == "box" and shape.licence == "MIT-0"
    frame = shape.details["frame"]
    assert frame["scale"] == pytest.approx(1.9 / 4)
    assert frame["offset"] == pytest.approx([5, 0, 0])
    assert shape.details["num_faces"] == 12
    assert shape.details["extents"] == pytest.approx([4, 1, 2])
    extents = shape.mesh().vertices.max(axis=0) - shape.mesh().vertices.min(axis=0)
    assert np.allclose(extents, [1.9, 0.475, 0.95], atol=1e-5)


def test_files_without_a_manifest_are_found_and_named_after_themselves(mesh_folder, tmp_path):
    from g3pt.preparation.sources import FolderSourceConfig, list_shapes, load_shape

    (tmp_path / "deep").mkdir()
    for name in ("deep/oak_table-02.glb", "cup.glb"):
        (tmp_path / name).write_bytes((mesh_folder / "cube.glb").read_bytes())
    (tmp_path / "notes.txt").write_text("no mesh")
    refs = list_shapes(FolderSourceConfig(path=str(tmp_path)))
    assert [ref.id for ref in refs] == ["cup.glb", "deep/oak_table-02.glb"]
    assert load_shape(refs[1]).captions == ("oak table",)


def test_a_folder_without_fitting_meshes_is_refused(mesh_folder):
    from g3pt.preparation.sources import FolderSourceConfig

    with pytest.raises(ValueError, match=r"is of split test; there are train"):
        ids(FolderSourceConfig(path=str(mesh_folder), split="test"))
    with pytest.raises(FileNotFoundError, match="folder of meshes"):
        ids(FolderSourceConfig(path=str(mesh_folder / "missing")))


def test_limit_keeps_the_first_meshes(mesh_folder):
    from g3pt.preparation.sources import FolderSourceConfig

    assert ids(FolderSourceConfig(path=str(mesh_folder), limit=2)) == ["cube", "slab"]


def test_the_solid_of_a_mesh_has_the_resolution_asked_for(mesh_folder):
    from g3pt.preparation.sources import FolderSourceConfig, list_shapes, load_shape

    (cube, *_) = list_shapes(FolderSourceConfig(path=str(mesh_folder)))
    assert load_shape(cube, solid_resolution=32).solid.voxel == 2 / 32


def test_procedural_shapes_are_named_by_family_and_seed():
    from g3pt.preparation.sources import ProceduralSourceConfig, list_shapes, load_shape
    from g3pt.procedural import HELD_OUT_FAMILIES, TRAIN_FAMILIES

    refs = list_shapes(ProceduralSourceConfig(num=40, first_seed=100))
    assert refs[3].id.endswith("-103") and len({ref.id for ref in refs}) == 40
    assert {ref.family for ref in refs} <= set(TRAIN_FAMILIES)
    shape = load_shape(refs[3])
    assert shape.id == refs[3].id and shape.captions and shape.family in TRAIN_FAMILIES
    kept_away = list_shapes(ProceduralSourceConfig(num=40, families="held_out"))
    assert {ref.family for ref in kept_away} == set(HELD_OUT_FAMILIES)


def test_the_grammar_is_a_source_of_shapes_without_kinds():
    from g3pt.preparation.sources import ProceduralSourceConfig, list_shapes, load_shape

    refs = list_shapes(ProceduralSourceConfig(num=3, first_seed=5, families="grammar"))
    assert [ref.id for ref in refs] == [f"procedural-assembly-{seed}" for seed in (5, 6, 7)]
    (cut,) = list_shapes(ProceduralSourceConfig(num=1, first_seed=5, families="cut-grammar"))
    assert load_shape(cut).id == "procedural-cut-assembly-5"
    shape = load_shape(refs[0])
    assert shape.id == refs[0].id and shape.captions
    samples = shape.sample_surface(100, np.random.default_rng(0))
    assert shape.surface_colors(samples).shape == (100, 3)


def test_held_out_seeds_belong_to_validation():
    from g3pt.preparation.sources import ProceduralSourceConfig, list_shapes
    from g3pt.procedural import HELD_OUT_SEEDS

    first = HELD_OUT_SEEDS.start - 2
    refs = list_shapes(ProceduralSourceConfig(num=4, first_seed=first))
    assert [ref.split for ref in refs] == ["train", "train", "val", "val"]


def test_only_keeps_families_by_name():
    from g3pt.preparation.sources import ProceduralSourceConfig
    from g3pt.procedural import TRAIN_FAMILIES

    name = TRAIN_FAMILIES[0]
    source = ProceduralSourceConfig(num=5, only=(name,))
    assert all(each.startswith(f"procedural-{name}-") for each in ids(source))
    with pytest.raises(ValueError, match="no train family is called dragon"):
        ids(ProceduralSourceConfig(only=("dragon",)))


def test_a_procedural_record_agrees_with_the_exact_field(small_prepare):
    from g3pt.preparation.prepare import prepare_shape
    from g3pt.preparation.sources import ProceduralSourceConfig, list_shapes, load_shape
    from g3pt.shapes.queries import volume_queries
    from g3pt.shapes.stored import positions

    (ref,) = list_shapes(ProceduralSourceConfig(num=1, first_seed=11))
    shape = load_shape(ref)
    record = prepare_shape(shape, small_prepare)
    queries = positions(volume_queries(record.description["query_key"], np.arange(512)))
    inside = np.unpackbits(record.volume_inside, bitorder="little").astype(bool)
    assert np.array_equal(inside, shape.contains(queries)) and inside.any()
    assert record.colors is not None and record.description["quality"] == {}


def test_an_error_of_a_shape_keeps_its_code_on_the_way_between_processes():
    from g3pt.preparation.sources import ShapeError

    copy = pickle.loads(pickle.dumps(ShapeError("no interior", code="no_interior")))
    assert (str(copy), copy.code) == ("no interior", "no_interior")
