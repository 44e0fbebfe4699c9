"""Addresses of a cluster that is there already: of its own node, and of its server for clients."""

from pathlib import Path

import pytest

SMALL = ("--views", 0, "--view-size", 32, "--points", 64, "--queries", 480)


@pytest.mark.distributed
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves sockets to the collector
def test_preparation_joins_a_cluster_by_auto_and_as_a_client(
    open_cluster, g3pt, tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("RAY_ADDRESS", open_cluster.address)  # as on every node of a job
    for name, address in {"auto": "auto", "client": open_cluster.client_address}.items():
        arguments = ("prepare", "procedural:3", tmp_path / name, *SMALL)
        code, _, said = g3pt(*arguments, "--engine", "ray", "--address", address, weights=None)
        assert code == 0, said
    assert g3pt("prepare", "procedural:3", tmp_path / "here", *SMALL, weights=None)[0] == 0
    auto, client, here = (
        {file.name: file.read_bytes() for file in (tmp_path / name).glob("shard-*")}
        for name in ("auto", "client", "here")
    )
    assert auto == client == here
    assert here


@pytest.mark.distributed
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_bulk_generation_and_evaluation_work_as_clients(open_cluster, g3pt, cube, tmp_path: Path):
    table = tmp_path / "rows.csv"
    table.write_text("id,text\nmug,a red mug\n")
    many = ("generate", "--manifest", table)
    scored = ("evaluate", "meshes", "--quick", "--prediction", cube.parent, "--truth", cube.parent)
    remote = ("--engine", "ray", "--address", open_cluster.client_address)
    for name, flags in {"here": (), "there": remote}.items():
        for what in (
            (*many, tmp_path / name / "many", "--resolution", 16),
            (*scored, "--out", tmp_path / name / "scored"),
        ):
            code, _, said = g3pt(*what, *flags)
            assert code == 0, said
    for result in ("many/shard-00000.tar", "many/index.jsonl", "scored/evaluation.json"):
        assert (tmp_path / "here" / result).read_bytes() == (
            tmp_path / "there" / result
        ).read_bytes()
