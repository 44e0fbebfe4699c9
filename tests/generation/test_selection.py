import numpy as np
import pytest
import trimesh

from g3pt.generation.cutouts import Cutout
from g3pt.generation.pictures import PreparedPicture
from g3pt.generation.selection import (
    choose_candidate,
    silhouette,
    silhouette_agreement,
)
from g3pt.geometry.cameras import canonical_camera, orbit_camera
from g3pt.geometry.mesh import TriangleMesh
from g3pt.geometry.render import render

NOTHING = TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))


def box(*extents: float) -> TriangleMesh:
    body = trimesh.creation.box(extents=extents)
    return TriangleMesh.from_arrays(body.vertices, body.faces)


CANDIDATES = [box(1.9, 0.3, 0.3), box(0.6, 1.9, 0.6), box(1.9, 1.9, 0.4), NOTHING]


def photograph(mesh: TriangleMesh, camera=None, method="alpha") -> PreparedPicture:
    view = render(mesh, camera or canonical_camera(), size=128)
    return PreparedPicture(view, Cutout(method, (0, 0, 1, 1), 1.0), view)


@pytest.mark.parametrize("number", range(3))
def test_a_picture_finds_the_shape_that_it_was_taken_of(number: int):
    choice = choose_candidate(
        CANDIDATES, [0.0] * 4, photograph(CANDIDATES[number]), canonical_camera()
    )
    assert (choice.index, choice.criterion) == (number, "silhouette")
    # Two renderings of one mesh, one of them filtered down from another size.
    assert choice.scores[number] > 0.95
    assert choice.scores[3] == 0.0


def test_an_unknown_camera_is_searched_for():
    picture = photograph(CANDIDATES[2], orbit_camera(90.0, 20.0))  # the slab from its narrow side
    assert choose_candidate(CANDIDATES, [0.0] * 4, picture, canonical_camera()).index != 2
    found = choose_candidate(CANDIDATES, [0.0] * 4, picture)
    # A narrow silhouette: a row of pixels more or less is 2 % of it.
    assert found.scores[2] > 0.9


def test_neither_distance_nor_size_counts():
    small = TriangleMesh(CANDIDATES[1].vertices * 0.5, CANDIDATES[1].faces)
    mask = silhouette(photograph(CANDIDATES[1]).rgba)
    assert silhouette_agreement(small, mask, canonical_camera()) > 0.93


@pytest.mark.parametrize("picture", [None, photograph(CANDIDATES[0], method="whole")])
def test_without_a_silhouette_the_likeliest_is_taken(picture):
    choice = choose_candidate(CANDIDATES, [3.0, 1.0, 2.0, 0.5], picture)
    assert (choice.index, choice.criterion) == (1, "likelihood")
    assert choice.scores[:3] == (-3.0, -1.0, -2.0)


def test_one_of_nothing_is_still_chosen():
    assert choose_candidate([NOTHING, NOTHING], [2.0, 1.0]).index == 0


def test_a_transparent_picture_has_no_silhouette():
    assert not silhouette(np.zeros((40, 40, 4), dtype=np.uint8)).any()


def test_candidates_without_likelihoods_are_refused():
    with pytest.raises(ValueError, match="got 4 and 1"):
        choose_candidate(CANDIDATES, [0.0])
