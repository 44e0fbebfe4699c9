"""Shapes that remember their answers: the plain shape is the twin of the one that remembers."""

from dataclasses import replace

import numpy as np
import pytest

from g3pt.evaluation.objects import ObjectList, list_objects, load_truth, near_surface_labels
from g3pt.evaluation.protocols.reconstruction import evaluate_reconstruction
from g3pt.evaluation.remembered import load_remembered
from g3pt.geometry.mesh import TriangleMesh, write_mesh
from g3pt.geometry.solid import Solid
from g3pt.preparation.sources import load_shape


@pytest.fixture
def box_file(tmp_path, box_mesh):
    file = tmp_path / "meshes" / "box.glb"
    file.parent.mkdir()
    write_mesh(file, box_mesh())
    return file


@pytest.fixture(params=["procedural", "mesh"])
def ref(request):
    if request.param == "procedural":
        return list_objects("procedural", limit=1).refs[0]
    return list_objects(str(request.getfixturevalue("box_file").parent)).refs[0]


def asked(shape):
    """What an evaluation asks, from one generator; the answers and its next number."""
    rng = np.random.default_rng(5)
    samples = shape.sample_surface(200, rng)
    points = rng.uniform(-1, 1, (300, 3))
    mesh = shape.true_mesh(24)
    return (
        samples.points,
        samples.normals,
        samples.faces,
        shape.contains(points),
        shape.contains(points.astype(np.float32)),
        mesh.vertices,
        mesh.faces,
        rng.random(3),
    )


def same(first, second):
    return all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(first, second, strict=True)
    )


def test_answers_are_those_of_the_shape_the_first_and_the_second_time(ref):
    expected = asked(load_shape(ref))
    assert same(asked(load_remembered(ref)), expected)
    assert same(asked(load_remembered(ref)), expected)


def test_other_questions_get_other_answers(ref):
    first, second = np.random.default_rng(1), np.random.default_rng(2)
    shape = load_remembered(ref)
    assert not same(
        [shape.sample_surface(50, first).points], [shape.sample_surface(50, second).points]
    )
    assert len(shape.sample_surface(60, np.random.default_rng(1)).points) == 60


def test_a_solid_is_built_once(box_file, monkeypatch, tiny_settings):
    objects = replace(list_objects(str(box_file.parent)), remembered=True)
    first = load_truth(objects.load(0), tiny_settings)
    labels = near_surface_labels(first, tiny_settings)

    def refuse(*_args, **_named):
        raise AssertionError("the solid was built again")

    monkeypatch.setattr(Solid, "from_mesh", refuse)
    again = load_truth(objects.load(0), tiny_settings)
    assert np.array_equal(again.samples.points, first.samples.points)
    assert np.array_equal(near_surface_labels(again, tiny_settings).inside, labels.inside)
    with pytest.raises(AssertionError, match="built again"):
        load_truth(replace(objects, remembered=False).load(0), tiny_settings)


def test_a_file_that_has_changed_is_asked_anew(box_file, box_mesh):
    ref = list_objects(str(box_file.parent)).refs[0]
    before = asked(load_remembered(ref))
    mesh = box_mesh()
    write_mesh(box_file, TriangleMesh(mesh.vertices * [1.0, 0.4, 1.0], mesh.faces))
    after = asked(load_remembered(ref))
    assert same(after, asked(load_shape(ref)))
    assert not same(after, before)


def test_rows_do_not_depend_on_memory(ref, tiny_weights, tiny_settings):
    objects = ObjectList(name="one", refs=(ref,))
    reports = [
        evaluate_reconstruction(tiny_weights, replace(objects, remembered=kept), tiny_settings)
        for kept in (False, True, True)
    ]
    assert len({report["hashes"]["data"] for report in reports}) == 1
    timeless = [
        [{k: v for k, v in row.items() if "seconds" not in k} for row in report["objects"]]
        for report in reports
    ]
    assert timeless[0] == timeless[1] == timeless[2]
