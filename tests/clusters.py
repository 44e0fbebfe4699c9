"""Clusters of Ray on this machine: one that can lose a node, one that clients join."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.1"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch):
    """Two nodes of one processor each, on this machine; the second can be killed."""
    quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 2}
    with _started(monkeypatch, _system_config=quick) as cluster:
        cluster.second = cluster.add_node(**NODE)
        yield cluster


@pytest.fixture
def open_cluster(monkeypatch: pytest.MonkeyPatch):
    """One node with a server for clients, whose address is `client_address`."""
    pytest.importorskip("grpc", reason="ray:// needs the packages of ray[client]")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with _started(monkeypatch, ray_client_server_port=port) as cluster:
        cluster.client_address = f"ray://127.0.0.1:{port}"
        yield cluster


@contextmanager
def _started(monkeypatch: pytest.MonkeyPatch, **head: Any) -> Iterator[Any]:
    from g3pt.work.ray_engine import LOCAL_SETTINGS, SETTINGS

    for name, value in (SETTINGS | LOCAL_SETTINGS).items():
        monkeypatch.setenv(name, value)
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={**NODE, "include_dashboard": False, **head}
    )
    try:
        yield cluster
    finally:
        cluster.shutdown()
