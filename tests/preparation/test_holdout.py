"""Splits of a user's own meshes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from g3pt.geometry.mesh import concatenate, write_mesh
from g3pt.preparation.holdout import hold_out
from g3pt.preparation.inputs import MeshRef
from stocks import box


def make(folder: Path, name: str, seed: int, turn: bool = False) -> MeshRef:
    rng = np.random.default_rng(seed)
    parts = [box((0.0, 0.0, 0.0), tuple(rng.uniform(0.4, 2.0, size=3))) for _ in range(2)]
    mesh = concatenate(parts)
    if turn:  # a quarter about +Y
        turned = np.stack([mesh.vertices[:, 2], mesh.vertices[:, 1], -mesh.vertices[:, 0]], axis=1)
        mesh = replace(mesh, vertices=turned)
    path = folder / f"{name}.ply"
    write_mesh(path, mesh)
    return MeshRef(id=name, location=str(path))


def test_near_duplicates_stay_on_one_side(tmp_path: Path) -> None:
    refs = [make(tmp_path, f"one-{seed}", seed) for seed in range(4)]
    refs += [make(tmp_path, f"two-{seed}", seed, turn=True) for seed in range(3)]
    split = hold_out(refs, 0.3)
    # one-3 alone has no twin: whatever else would be held out is trained on.
    assert split.held == ("one-3",)
    assert "near-duplicate" in split.how
    assert len(split.train) == 6


def test_the_split_of_a_table_is_taken(tmp_path: Path) -> None:
    refs = [make(tmp_path, f"mesh-{seed}", seed) for seed in range(4)]
    refs[2] = replace(refs[2], split="val")
    split = hold_out(refs, 0.5)
    assert split.held == ("mesh-2",)
    assert "split val of the table" in split.how


def test_unreadable_meshes_are_counted_and_named(tmp_path: Path) -> None:
    refs = [make(tmp_path, f"mesh-{seed}", seed) for seed in range(2)]
    (tmp_path / "broken.ply").write_bytes(b"no mesh")
    refs.append(MeshRef(id="broken", location=str(tmp_path / "broken.ply")))
    split = hold_out(refs, 0.5)
    assert set(split.refused) == {"broken"}
    with pytest.raises(ValueError, match=r"1 mesh of 2 can be used; at least 2 .*first broken"):
        hold_out(refs[1:], 0.5)


def test_meshes_that_are_all_alike_cannot_be_split(tmp_path: Path) -> None:
    refs = [make(tmp_path, "one", 0), make(tmp_path, "two", 0)]
    with pytest.raises(ValueError, match="no mesh can be held out"):
        hold_out(refs, 0.5)
    with pytest.raises(ValueError, match="must lie between 0 and 1, got 1"):
        hold_out(refs, 1.0)
