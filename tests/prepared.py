"""Small folders of meshes and small shards that the data tests share."""

import json
import shutil
from functools import partial

import numpy as np
import pytest

from shared import made_once


def box(size, *, center=(0.0, 0.0, 0.0), color=(200, 40, 40, 255)):
    """A closed box with outward faces."""
    from g3pt.geometry.mesh import TriangleMesh

    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))], np.int64)
    vertices = corners * np.asarray(size) / 2 + np.asarray(center)
    return TriangleMesh(vertices, faces, np.tile(np.array(color, np.uint8), (8, 1)))


def manifest_row(name, **changes):
    row = {"id": name, "path": f"{name}.glb", "split": "train", "licence": "CC0-1.0"}
    return {**row, "caption": f"a {name}", "category": "box", **changes}


@pytest.fixture(scope="session")
def mesh_folder(tmp_path_factory):
    """Three good boxes, a sheet without interior and a file that is no mesh."""
    return made_once(tmp_path_factory, "boxes", fill_with_boxes)


def fill_with_boxes(folder):
    from g3pt.geometry.mesh import TriangleMesh, write_mesh

    write_mesh(folder / "cube.glb", box((1, 1, 1)))
    write_mesh(folder / "slab.glb", box((4, 1, 2), center=(5, 0, 0)))
    write_mesh(folder / "pole.glb", box((1, 6, 1)))
    sheet = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], float)
    write_mesh(folder / "sheet.glb", TriangleMesh(sheet, np.array([(0, 1, 2), (0, 2, 3)]), None))
    (folder / "broken.glb").write_bytes(b"not a mesh at all")
    rows = [
        manifest_row("cube"),
        manifest_row("slab", licence="MIT-0"),
        manifest_row("broken"),
        manifest_row("pole"),
        manifest_row("sheet"),
        manifest_row("cube", id="kept-for-validation", split="val"),
        manifest_row("cube", id="named-author", licence="CC-BY-4.0"),
    ]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="session")
def small_prepare():
    from g3pt.shapes.stored import PrepareConfig

    return PrepareConfig(
        num_points=256, num_volume_queries=512, num_near_queries=384, solid_resolution=48
    )


@pytest.fixture(scope="session")
def small_views():
    from g3pt.shapes.stored import ViewsConfig

    return ViewsConfig(num_views=2, size=48, supersample=1)


@pytest.fixture(scope="session")
def folder_source(mesh_folder):
    """Of the folder: cube, slab and pole, the broken file and the sheet."""
    from g3pt.preparation.sources import FolderSourceConfig

    return FolderSourceConfig(path=str(mesh_folder), split="train", licences=("CC0-1.0", "MIT-0"))


@pytest.fixture(scope="session")
def folder_config(folder_source, small_prepare, small_views):
    from g3pt.preparation.build import ShardsConfig

    return ShardsConfig(
        source=folder_source, prepare=small_prepare, views=small_views, samples_per_shard=2
    )


@pytest.fixture(scope="session")
def folder_shards(folder_config, tmp_path_factory):
    """Ids in order: broken, cube | pole, sheet | slab."""
    from g3pt.preparation.build import build_shards
    from g3pt.shapes.shards import ShardSet

    make = partial(build_shards, folder_config)
    return ShardSet(made_once(tmp_path_factory, "shards-of-boxes", make))


@pytest.fixture(scope="session")
def deliverables():
    """The files of a set that its config and inputs settle to the byte."""

    def read(path):
        files = [file for file in path.iterdir() if file.is_file()]
        kept = [f for f in files if f.suffix in (".tar", ".jsonl") or f.name == "index.json"]
        kept += (path / "plan").glob("*.jsonl")
        return {str(file.relative_to(path)): file.read_bytes() for file in sorted(kept)}

    return read


@pytest.fixture
def copied(folder_shards, tmp_path):
    """The folder of a finished set that may be changed: cube in shard 0, pole in 1, slab in 2."""
    out = tmp_path / "boxes"
    shutil.copytree(folder_shards.path, out)
    return out
