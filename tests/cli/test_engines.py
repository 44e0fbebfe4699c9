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
