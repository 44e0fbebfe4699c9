import numpy as np
import pytest

from g3pt.evaluation.report.sets import report_sets, set_lines, set_table
from g3pt.evaluation.sets.distribution import compare_sets
from g3pt.evaluation.sets.sketches import Sketch, pack_sketches, set_distances


def draw_sketch(rng: np.random.Generator) -> Sketch:
    points = rng.uniform(-1, 1, (30, 3)).astype(np.float32)
    return Sketch(points, rng.integers(0, 256, 64).astype(np.uint8))


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Sketch]]:
    rng = np.random.default_rng(0)
    names = ("truth", "image", "mean_shape", "text")
    found = [{name: draw_sketch(rng) for name in names} for _ in range(5)]
    del found[1]["text"]  # an object without a caption
    return found


@pytest.fixture(scope="module")
def report(objects) -> dict:
    return report_sets([pack_sketches(each) for each in objects])


def test_every_method_is_compared_with_the_truth_of_its_own_objects(objects, report):
    assert list(report) == ["image", "text"]
    kept = [objects[k] for k in (0, 2, 3, 4)]
    alone = set_distances([each["text"] for each in kept], [each["truth"] for each in kept])
    for kind, distances in alone.items():
        expected = {name: found.to_json() for name, found in compare_sets(distances).items()}
        assert report["text"][kind] == expected
        assert report["image"][kind]["mmd"]["num"] == 5


def test_a_single_object_is_no_set(objects):
    assert report_sets([pack_sketches(objects[0])]) == {}
    assert report_sets([]) == {}


def test_tables_name_every_method_and_distance(report):
    table = set_table(report)
    assert "| image, chamfer |" in table
    assert "| text, one_minus_iou |" in table
    assert set_lines(report)[0].startswith("image: coverage ")
