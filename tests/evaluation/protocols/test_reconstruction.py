import json
from pathlib import Path

import numpy as np
import pytest
import torch

from g3pt.evaluation.objects import list_objects
from g3pt.evaluation.protocols.reconstruction import evaluate_reconstruction, token_report
from g3pt.evaluation.run import local_engine
from g3pt.geometry.metrics import EMPTY_CHAMFER


def test_tokens_that_never_change_have_no_entropy():
    tokens = np.tile([3, 1, 2, 2, 2], (6, 1))
    report = token_report(tokens, (1, 4), num_bits=2)
    assert report["num_shapes"] == 6
    assert [scale["bit_entropy"] for scale in report["scales"]] == [0.0, 0.0]
    assert report["scales"][0]["usage"] == 0.25
    assert report["all"]["usage"] == 0.75
    assert report["scales"][0]["perplexity"] == pytest.approx(1.0)


@pytest.fixture(scope="module")
def reconstruction(tiny_weights: Path, tiny_settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("reconstruction")
    objects = list_objects("procedural", limit=3)
    return evaluate_reconstruction(tiny_weights, objects, tiny_settings, out=out), out


def test_the_report_holds_what_the_protocol_asks_for(reconstruction, tiny_settings):
    report, out = reconstruction
    assert report["protocol"] == "g3pt-eval-v1-custom"
    assert report["counts"] == {"objects": 3, "empty_predictions": 0, "problems": 0}
    assert {"iou", "chamfer_mean", "fscore_001", "near_accuracy", "prefix_iou_3"} <= set(
        report["summary"]
    )
    assert all(
        entry["low"] <= entry["mean"] <= entry["high"] for entry in report["summary"].values()
    )
    assert len(report["tokens"]["scales"]) == 3
    assert set(report["differences"]) == {
        "prefix_iou_2-prefix_iou_1",
        "prefix_iou_3-prefix_iou_2",
    }
    assert set(report["hashes"]) == {"config", "data", "weights", "code"}
    assert json.loads((out / "evaluation.json").read_text()) == json.loads(json.dumps(report))
    assert "| 3 | 16 |" in (out / "report.md").read_text()


def test_a_rerun_gives_the_same_report_without_work(
    reconstruction, tiny_weights, tiny_settings, monkeypatch
):
    report, out = reconstruction
    monkeypatch.setattr("g3pt.evaluation.protocols.reconstruction.reconstruct", None)
    objects = list_objects("procedural", limit=3)
    again = evaluate_reconstruction(tiny_weights, objects, tiny_settings, out=out)
    assert again["summary"] == report["summary"]
    assert again["tokens"] == report["tokens"]


def test_other_data_do_not_go_into_the_same_folder(reconstruction, tiny_weights, tiny_settings):
    _, out = reconstruction
    with pytest.raises(ValueError, match="differs in data"):
        evaluate_reconstruction(
            tiny_weights, list_objects("procedural", limit=2), tiny_settings, out=out
        )


@pytest.mark.distributed
def test_numbers_do_not_depend_on_the_number_of_workers(
    reconstruction, tiny_weights, tiny_settings
):
    report, _ = reconstruction
    objects = list_objects("procedural", limit=3)
    shared = evaluate_reconstruction(tiny_weights, objects, tiny_settings, engine=local_engine(2))
    assert shared["objects"] == report["objects"]


def test_a_field_without_inside_is_counted_as_empty(
    tiny_weights: Path, tiny_settings, mesh_set, monkeypatch
):
    from g3pt.models.cvq import CvqTokenizer

    monkeypatch.setattr(
        CvqTokenizer, "occupancy", lambda self, memory, queries: torch.full(queries.shape[:2], -1.0)
    )
    objects = list_objects(str(mesh_set))
    report = evaluate_reconstruction(tiny_weights, objects, tiny_settings)
    assert report["counts"]["empty_predictions"] == 2
    assert report["summary"]["iou"]["mean"] == 0.0
    assert report["summary"]["chamfer_mean"]["mean"] == EMPTY_CHAMFER
    assert report["summary"]["prefix_iou_1"]["mean"] == 0.0


def test_objects_without_a_usable_truth_are_named_and_not_averaged(
    tiny_weights, tiny_settings, mesh_set
):
    objects = list_objects(str(mesh_set), split="broken")
    report = evaluate_reconstruction(tiny_weights, objects, tiny_settings)
    assert report["counts"] == {"objects": 0, "empty_predictions": 0, "problems": 1}
    assert report["problems"][0]["id"] == "point"
    assert report["summary"] == {}
