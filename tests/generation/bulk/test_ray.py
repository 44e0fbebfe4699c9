import pytest

from g3pt.generation.bulk.build import generate_many
from g3pt.generation.bulk.manifest import BulkRow
from g3pt.work.engines import Limits
from g3pt.work.ray_engine import RayEngine


@pytest.mark.distributed
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves sockets to the collector
def test_a_cluster_that_loses_a_node_makes_the_same_bytes(
    cluster, table, settings, models, tmp_path, results_of
):
    rows = [BulkRow(f"said-{number}", text="a red mug") for number in range(11)]
    picture = str(table.parent / "red.png")
    rows.append(BulkRow("shown", "red.png", location=picture))
    lost = []

    def lose_a_node(progress):
        if progress.done >= 3 and not lost:
            lost.append(progress.done)
            cluster.remove_node(cluster.second, allow_graceful=False)

    generate_many(rows, tmp_path / "here", settings, models)
    limits = Limits(memory_bytes=None, written_bytes=2**30)
    with RayEngine(cluster.address, limits) as engine:
        report = generate_many(
            rows, tmp_path / "there", settings, models, engine=engine, on_progress=lose_a_node
        )
    assert lost
    assert (report.made, report.failed) == (12, 0)
    assert results_of(tmp_path / "there") == results_of(tmp_path / "here")
