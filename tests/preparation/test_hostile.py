"""A thousand hostile files through the whole of preparation, in limited child processes."""

import json

import pytest

from g3pt.torture.mesh_files import make_hostile_tree, zip_bomb


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The tree and the folder that was made of it."""
    from g3pt.preparation.build import ShardsConfig, build_shards
    from g3pt.preparation.sources import FolderSourceConfig
    from g3pt.shapes.stored import PrepareConfig, ViewsConfig
    from g3pt.work.engines import Limits, ProcessEngine

    tree = make_hostile_tree(tmp_path_factory.mktemp("hostile"), seed=5)
    out = tmp_path_factory.mktemp("out") / "shards"
    config = ShardsConfig(
        source=FolderSourceConfig(path=str(tree.folder)),
        prepare=PrepareConfig(
            num_points=64, num_volume_queries=64, num_near_queries=96, solid_resolution=16
        ),
        views=ViewsConfig(num_views=0, size=16, supersample=1),
    )
    limits = Limits(seconds=20, cpu_seconds=15, memory_bytes=3 * 2**30)
    build_shards(config, out, engine=ProcessEngine(2, limits))
    return tree, out


def rows_of(out, name):
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


def test_every_good_file_is_produced(prepared):
    from g3pt.shapes.shards import ShardSet

    tree, out = prepared
    shards = ShardSet(out)
    there = {shape["id"] for shape in shards.shapes}
    assert len(tree.good) >= 100 and set(tree.good) <= there
    for row in range(len(shards)):
        assert shards[row].points.shape == (64, 3)


def test_every_bad_file_is_named_with_a_reason(prepared):
    tree, out = prepared
    refused = {row["id"]: row for row in rows_of(out, "quarantine.jsonl")}
    assert len(tree.bad) >= 400 and set(tree.bad) <= set(refused)
    for row in refused.values():
        assert row["path"] and row["stage"] and row["code"] and row["message"]
        # No parser died: every refusal is a decision, or a limit that a loaded machine met.
        assert row["code"] not in ("crash", "killed", "error"), row


def test_every_file_is_in_one_of_both_lists(prepared):
    from g3pt.shapes.shards import ShardSet

    tree, out = prepared
    there = {shape["id"] for shape in ShardSet(out).shapes}
    refused = {row["id"] for row in rows_of(out, "quarantine.jsonl")}
    assert there.isdisjoint(refused)
    assert there | refused == {*tree.good, *tree.bad, *tree.either}


def test_nothing_half_written_is_left(prepared):
    _, out = prepared
    names = {path.name for path in out.rglob("*") if path.is_file()}
    assert not [name for name in names if name.startswith(".") or name.endswith(".tmp")]
    assert not [path for path in (out / "work").iterdir() if path.is_dir()]


def test_a_zip_bomb_costs_one_member(tmp_path):
    from g3pt.geometry.mesh import MeshError
    from g3pt.preparation.inputs import ArchiveSourceConfig, list_meshes

    bomb = tmp_path / "bomb.zip"
    bomb.write_bytes(zip_bomb())
    refs = list_meshes(ArchiveSourceConfig(path=str(bomb)))
    assert refs
    codes = set()
    for ref in refs:
        try:
            ref.read()
        except MeshError as error:
            codes.add(error.code)
    assert "too_large" in codes
