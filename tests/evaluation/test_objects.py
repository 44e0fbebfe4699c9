from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from g3pt.evaluation.objects import (
    PROTOCOL,
    EvaluationSettings,
    data_hash,
    list_objects,
    load_truth,
    near_surface_labels,
    quick_settings,
    uniform_labels,
)
from g3pt.evaluation.sets.yardsticks import yardstick_objects
from g3pt.geometry.mesh import MeshError, is_closed, write_mesh
from g3pt.procedural import HELD_OUT_FAMILIES, HELD_OUT_SEEDS, TRAIN_FAMILIES


def ids(objects):
    return [ref.id for ref in objects.refs]


def test_only_the_full_sizes_carry_the_plain_name():
    assert EvaluationSettings(seed=4).protocol == PROTOCOL
    assert quick_settings(seed=4).protocol == f"{PROTOCOL}-quick"
    assert replace(quick_settings(), resolution=64).protocol == f"{PROTOCOL}-custom"


def test_procedural_objects_are_held_out_seeds():
    objects = list_objects("procedural")
    assert len(objects.slots) == len(objects.refs) == 200
    for slot in (0, 57, 199):
        shape = objects.load(slot)
        assert shape.family in TRAIN_FAMILIES
        assert shape.details["seed"] in HELD_OUT_SEEDS
    unseen = list_objects("procedural-held-out-families", limit=3)
    assert len(unseen.refs) == 3
    assert all(unseen.load(slot).family in HELD_OUT_FAMILIES for slot in unseen.slots)


def test_a_folder_gives_the_split_that_is_asked_for(mesh_set: Path):
    objects = list_objects(str(mesh_set))
    assert ids(objects) == ["cube", "slab"]
    assert len(list_objects(str(mesh_set), split="train").slots) == 1
    assert len(list_objects(str(mesh_set), limit=1).slots) == 1


def test_a_limit_spreads_over_a_folder(tmp_path: Path, box_mesh):
    from g3pt.geometry.mesh import write_mesh

    for number in range(5):
        write_mesh(tmp_path / f"box-{number}.glb", box_mesh())
    assert ids(list_objects(str(tmp_path), limit=3)) == ["box-0.glb", "box-2.glb", "box-4.glb"]
    assert len(list_objects(str(tmp_path), limit=9).refs) == 5


def test_shards_stand_for_the_shapes_that_they_were_built_from(training_shards: Path):
    objects = list_objects(str(training_shards), split="train", limit=4)
    assert list(objects.slots) == [0, 1, 2, 3]
    assert all(each.startswith("procedural-") for each in ids(objects))
    assert data_hash(objects) != data_hash(list_objects("procedural", limit=4))
    assert [objects.load(slot).id for slot in objects.slots] == ids(objects)
    with pytest.raises(ValueError, match=r"is of split val; there are train \(6\)"):
        list_objects(str(training_shards))


def test_every_split_is_taken_on_request(training_shards: Path, mesh_set: Path):
    assert len(list_objects(str(training_shards), split="all").refs) == 6
    assert ids(list_objects(str(mesh_set), split="all")) == ["cube", "pole", "slab", "point"]
    with pytest.raises(ValueError, match=r"split test; there are val \(2\), train \(1\)"):
        list_objects(str(mesh_set), split="test")


def test_a_manifest_that_names_no_split_is_taken_whole(tmp_path: Path, box_mesh):
    from g3pt.geometry.mesh import write_mesh

    for name in ("a", "b"):
        write_mesh(tmp_path / f"{name}.glb", box_mesh())
    lines = ['{"id": "a", "path": "a.glb"}', '{"id": "b", "path": "b.glb"}']
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    assert ids(list_objects(str(tmp_path))) == ["a", "b"]


def test_refused_objects_of_shards_are_no_objects(mesh_set: Path, tmp_path: Path):
    from g3pt.preparation.build import ShardsConfig, build_shards
    from g3pt.preparation.sources import FolderSourceConfig
    from g3pt.shapes.stored import PrepareConfig, ViewsConfig

    config = ShardsConfig(
        source=FolderSourceConfig(path=str(mesh_set)),
        prepare=PrepareConfig(
            num_points=64, num_volume_queries=64, num_near_queries=48, solid_resolution=32
        ),
        views=ViewsConfig(num_views=0, size=16, supersample=1),
    )
    build_shards(config, tmp_path / "set")
    assert ids(list_objects(str(tmp_path / "set"), split="")) == ["cube", "pole", "slab"]
    assert ids(list_objects(str(tmp_path / "set"))) == ["cube", "slab"]


def test_what_does_not_exist_is_refused():
    with pytest.raises(FileNotFoundError, match="nowhere: expected procedural"):
        list_objects("nowhere")
    with pytest.raises(ValueError, match="limit must be at least 1"):
        list_objects("procedural", limit=0)


def test_the_data_hash_changes_with_the_bytes_of_a_mesh(mesh_set: Path, tmp_path: Path):
    for file in mesh_set.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    before = data_hash(list_objects(str(tmp_path)))
    assert before == data_hash(list_objects(str(mesh_set)))
    (tmp_path / "slab.glb").write_bytes((mesh_set / "pole.glb").read_bytes())
    assert data_hash(list_objects(str(tmp_path))) != before
    assert data_hash(list_objects(str(mesh_set), limit=1)) != before


def test_a_folder_is_read_with_its_colours_as_they_are_meant(box_mesh, tmp_path: Path):
    box = box_mesh()
    colors = np.full((len(box.vertices), 4), 128, np.uint8)
    write_mesh(tmp_path / "box.glb", replace(box, colors=colors))
    linear, display = (
        list_objects(str(tmp_path), gltf_colors=meaning) for meaning in ("linear", "srgb")
    )
    assert np.array_equal(linear.load(0).mesh().colors, colors)
    assert np.unique(display.load(0).mesh().colors[:, :3]).tolist() == [55]
    assert data_hash(linear) != data_hash(display)
    (real,) = yardstick_objects(tmp_path, 1, gltf_colors="srgb")["real"].refs
    assert real == display.refs[0]


@pytest.mark.parametrize("data", ["procedural", "folder"])
def test_labels_are_fixed_per_object_and_true(data, mesh_set, tiny_settings):
    objects = list_objects(str(mesh_set) if data == "folder" else data, limit=2)
    shape = objects.load(1)
    truth = load_truth(shape, tiny_settings)
    near = near_surface_labels(truth, tiny_settings)
    again = near_surface_labels(load_truth(shape, tiny_settings), tiny_settings)
    np.testing.assert_array_equal(near.points, again.points)
    np.testing.assert_array_equal(near.inside, shape.contains(near.points))
    assert 0.1 < near.inside.mean() < 0.7
    everywhere = uniform_labels(truth, 500, tiny_settings)
    assert everywhere.inside.mean() < near.inside.mean()
    other = near_surface_labels(truth, replace(tiny_settings, seed=1))
    assert not np.array_equal(near.points, other.points)


def test_the_mesh_of_a_procedural_truth_lies_on_its_field(tiny_settings):
    objects = list_objects("procedural", limit=1)
    settings = replace(tiny_settings, truth_resolution=64)
    truth = load_truth(objects.load(0), settings)
    assert is_closed(truth.mesh)
    # A cell is 2/64 wide; points of the exact surface stay well within one of the mesh.
    from g3pt.geometry.metrics import distance_to_mesh

    assert distance_to_mesh(truth.samples.points, truth.mesh).mean() < 0.005


def test_a_mesh_without_extent_is_refused_by_name(mesh_set: Path):
    objects = list_objects(str(mesh_set), split="broken")
    with pytest.raises(MeshError, match="extent"):
        objects.load(0)
