import inspect
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from colored import BLUE, RED, WHITE, car, fine_box, painted
from g3pt.arguments import PromptError
from g3pt.generation.color_words import COLOR_WORDS
from g3pt.generation.coloring import (
    check_color,
    color_mesh,
)
from g3pt.generation.cutouts import Cutout
from g3pt.generation.pictures import PreparedPicture, prepare_picture
from g3pt.generation.pipeline import G3PT
from g3pt.generation.resemblance import needed_iou, picture_cameras, resemblance_of
from g3pt.geometry.cameras import canonical_camera, orbit_camera
from g3pt.geometry.mesh import NEUTRAL_GREY, TriangleMesh, concatenate
from g3pt.geometry.render import render
from g3pt.stream.cameras import ViewLaw

CAR = car()
PAINTED = painted(CAR, lambda x, y, z: RED if y > 0.19 else BLUE if z > 0.7 else WHITE)
NOTHING = TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))


def photograph(mesh=PAINTED, camera=None) -> PreparedPicture:
    picture = render(mesh, camera or canonical_camera(), size=384)
    return prepare_picture(Image.fromarray(picture), 64)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "fov"),
    [(30, 20, 30), (-5, 8, 30), (62, 41, 30), (38, 14, 55), (20, 50, 15)],
)
def test_the_camera_is_found_within_five_degrees(azimuth, elevation, fov) -> None:
    camera = orbit_camera(azimuth, elevation, fov_degrees=fov)
    color = color_mesh(CAR, photograph(camera=camera), None).color
    assert color.method == "picture"
    assert color.silhouette_iou > 0.94
    assert abs(color.azimuth - azimuth) < 5
    assert abs(color.elevation - elevation) < 5


def test_the_canonical_camera_is_kept_where_it_fits() -> None:
    color = color_mesh(CAR, photograph(), None).color
    assert (color.azimuth, color.elevation) == (30.0, 20.0)
    assert 0.2 < color.seen_share < 0.6


def test_the_search_covers_the_views_of_the_training() -> None:
    law, orbits = ViewLaw(), [one.orbit for one in picture_cameras()]
    assert orbits[0].camera() == canonical_camera()
    spaces = {
        "azimuth": (law.azimuths, 8),
        "elevation": (law.elevations, 15),
        "fov": (law.fields_of_view, 21),
    }
    for name, ((low, high), step) in spaces.items():
        values = [getattr(orbit, name) for orbit in orbits]
        for wanted in np.linspace(low, high, 20):
            assert min(abs(value - wanted) for value in values) <= step


def test_parts_get_their_colours() -> None:
    done = color_mesh(CAR, photograph(), None)
    assert done.mesh.colors is not None
    leads = done.mesh.colors[:, :3].astype(int)
    # The back of the bumper is hidden on both sides.
    cabin, bumper = CAR.vertices[:, 1] > 0.3, CAR.vertices[:, 2] > 0.93
    assert (leads[cabin, 0] - leads[cabin, 2] > 60).mean() > 0.97
    assert (leads[bumper, 2] - leads[bumper, 0] > 60).mean() > 0.9


def test_a_shape_that_the_picture_does_not_show_stays_without_colour() -> None:
    pole = photograph(painted(fine_box((0.2, 1.9, 0.2)), lambda *_: RED))
    done = color_mesh(CAR, pole, None)
    assert done.mesh is CAR
    assert done.color.method == "none"
    assert done.color.silhouette_iou < needed_iou(pole.cut_rgba)
    assert "silhouettes" in done.color.reason and "0.85 is needed" in done.color.reason


def test_another_shape_of_a_similar_outline_is_refused() -> None:
    crate = photograph(painted(fine_box((1.5, 1.3, 1.9)), lambda *_: RED))
    done = color_mesh(CAR, crate, None)
    assert done.color.silhouette_iou > 0.7  # most things fill most of a block
    assert done.color.method == "none"


def test_a_thin_shape_needs_less_agreement_than_a_block() -> None:
    def ring(width: int) -> np.ndarray:
        picture = np.zeros((96, 96, 4), dtype=np.uint8)
        picture[8:88, 8:88] = 255
        picture[8 + width : 88 - width, 8 + width : 88 - width] = 0
        return picture

    assert needed_iou(ring(40)) == pytest.approx(0.87, abs=1e-6)
    assert needed_iou(ring(6)) == pytest.approx(0.45 + 0.42 * (1 - 68**2 / 80**2), abs=0.02)


def test_a_picture_whose_object_was_not_cut_out_gives_no_colour() -> None:
    done = color_mesh(CAR, replace(photograph(), cutout=Cutout("whole", (0, 0, 1, 1), 1.0)), None)
    assert done.mesh is CAR
    assert done.color.method == "none" and "background" in done.color.reason


def test_words_take_the_place_of_a_picture_that_does_not_fit() -> None:
    pole = photograph(painted(fine_box((0.2, 1.9, 0.2)), lambda *_: RED))
    done = color_mesh(CAR, pole, "a blue car")
    assert (done.color.method, done.color.words) == ("text", "blue")
    assert done.mesh.colors is not None and len(np.unique(done.mesh.colors, axis=0)) == 1
    assert "silhouettes" in color_mesh(CAR, pole, "a car").color.reason
    assert color_mesh(CAR, pole, "a blue car", "picture").color.method == "none"


def test_a_picture_comes_before_words_unless_words_are_asked_for() -> None:
    assert color_mesh(CAR, photograph(), "a green car").color.method == "picture"
    assert color_mesh(CAR, photograph(), "a green car", "text").color.words == "green"


@pytest.mark.parametrize(
    ("mesh", "text", "color", "reason"),
    [
        (CAR, "a red car", "none", ""),
        (CAR, None, "auto", ""),
        (CAR, "a car", "auto", "names no colour"),
        (NOTHING, "a red car", "auto", "empty"),
    ],
)
def test_without_a_source_nothing_is_coloured(mesh, text, color, reason) -> None:
    done = color_mesh(mesh, None, text, color)
    assert done.mesh is mesh and done.color.method == "none"
    assert reason in done.color.reason and bool(reason) == bool(done.color.reason)


@pytest.fixture(scope="module")
def pipeline(tiny_weights) -> G3PT:
    return G3PT.from_pretrained(tiny_weights, "cpu")


def test_the_pipeline_colours_meshes_and_their_scales_and_moves_nothing(pipeline: G3PT) -> None:
    asked = {"text": "a red mug", "resolution": 16, "every_scale": True}
    plain, colored = (pipeline.generate(**asked, color=color) for color in ("none", "auto"))
    assert colored.shapes[0].color.words == "red" and "color" in colored.timings
    ours, theirs = ([*one.shapes[0].scales, one.meshes[0]] for one in (plain, colored))
    for bare, painted_one in zip(ours, theirs, strict=True):
        assert bare.colors is None
        assert (bare.vertices == painted_one.vertices).all()
        assert (bare.faces == painted_one.faces).all()
        assert painted_one.is_empty or painted_one.colors is not None


def test_an_unknown_source_is_refused(pipeline: G3PT) -> None:
    unchecked = inspect.unwrap(check_color)  # as without the type checker of the tests
    with pytest.raises(PromptError, match="one of auto, picture, text, none, got 'green'"):
        unchecked("green", pipeline.read_prompts())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"text": "a mug", "color": "picture"}, "from a picture, and there is none"),
        ({"color": "text"}, "from a sentence, and there is none"),
    ],
)
def test_colours_without_a_source_are_refused_before_any_work(pipeline, asked, message) -> None:
    heard = []
    with pytest.raises(PromptError, match=message):
        pipeline.generate(**asked, on_scale=heard.append)
    assert heard == []


def test_a_part_that_height_tells_has_its_own_colour() -> None:
    legs = [fine_box((0.1, 0.9, 0.1), (x, -0.45, z)) for x in (-0.4, 0.4) for z in (-0.4, 0.4)]
    table = concatenate([*legs, fine_box((1.0, 0.1, 1.0), (0.0, 0.05, 0.0))])
    done = color_mesh(table, None, "a red table with black legs")
    assert done.color.words == "red, black legs" and done.mesh.colors is not None
    height = table.vertices[:, 1]
    assert (done.mesh.colors[height > 0.02, :3] == COLOR_WORDS["red"]).all()
    assert (done.mesh.colors[height < -0.05, :3] == COLOR_WORDS["black"]).all()
    grey = color_mesh(table, None, "a table with black legs").mesh.colors
    assert grey is not None and (grey[height > 0.02] == NEUTRAL_GREY).all()


def test_a_part_that_is_not_there_colours_nothing() -> None:
    block = fine_box((1.0, 1.9, 1.0))
    assert color_mesh(block, None, "a red box with black legs").color.words == "red"
    done = color_mesh(block, None, "a box with black legs")
    assert done.mesh is block and "not found in the mesh" in done.color.reason


def test_colouring_by_a_picture_is_heard_and_can_be_cancelled(pipeline: G3PT) -> None:
    heard = []

    def listen(event) -> None:
        if event.stage == "color":
            heard.append((event.first, event.total))
            if event.first == 1:
                raise KeyboardInterrupt

    picture = Image.fromarray(render(PAINTED, canonical_camera(), size=64))
    with pytest.raises(KeyboardInterrupt):
        pipeline.generate(image=picture, num=3, resolution=16, on_scale=listen)
    assert heard == [(0, 3), (1, 3)]
    pipeline.generate(image=picture, num=1, resolution=16, on_scale=listen, color="none")
    assert len(heard) == 2


def test_a_mesh_resembles_a_picture_of_itself_alone() -> None:
    own = photograph()
    assert resemblance_of(PAINTED, own).agrees
    pole = TriangleMesh.from_arrays(CAR.vertices * (0.15, 2.5, 0.15), CAR.faces)
    assert not resemblance_of(pole, own).agrees


def test_a_thorough_search_goes_on_where_there_is_no_hope() -> None:
    pole = TriangleMesh.from_arrays(CAR.vertices * (0.15, 2.5, 0.15), CAR.faces)
    quick, thorough = (
        resemblance_of(pole, photograph(), thorough=thorough) for thorough in (False, True)
    )
    assert quick.found.iou < thorough.found.iou < quick.needed == thorough.needed


def test_what_is_known_of_the_camera_is_not_searched_for_again(monkeypatch) -> None:
    first = color_mesh(CAR, photograph(), None)
    assert first.resemblance is not None and first.resemblance.agrees
    monkeypatch.setattr("g3pt.generation.coloring.resemblance_of", None)
    again = color_mesh(CAR, photograph(), None, known=first.resemblance)
    assert again.color == first.color
    assert (again.mesh.colors == first.mesh.colors).all()
