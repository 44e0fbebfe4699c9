"""A cluster of Ray on this machine that can lose a node."""

import pytest


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch):
    """Two nodes of one processor each, on this machine; the second can be killed."""
    from g3pt.work.ray_engine import LOCAL_SETTINGS, SETTINGS

    for name, value in (SETTINGS | LOCAL_SETTINGS).items():
        monkeypatch.setenv(name, value)
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "node_ip_address": "127.0.0.1"}
    quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 2}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={**node, "include_dashboard": False, "_system_config": quick},
    )
    try:
        cluster.second = cluster.add_node(**node)
        yield cluster
    finally:
        cluster.shutdown()
