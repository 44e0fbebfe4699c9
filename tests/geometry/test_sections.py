import numpy as np
import pytest

from colored import fine_box
from g3pt.geometry.mesh import concatenate
from g3pt.geometry.sections import NUM_SECTIONS, find_part, section_areas

LEGS = [fine_box((0.1, 0.9, 0.1), (x, -0.45, z)) for x in (-0.4, 0.4) for z in (-0.4, 0.4)]
TABLE = concatenate([*LEGS, fine_box((1.0, 0.1, 1.0), (0.0, 0.05, 0.0))])
BOTTLE = concatenate(
    [
        fine_box((0.6, 1.0, 0.6), (0.0, -0.45, 0.0)),
        fine_box((0.2, 0.6, 0.2), (0.0, 0.35, 0.0)),
        fine_box((0.32, 0.25, 0.32), (0.0, 0.775, 0.0)),
    ]
)


def test_sections_have_the_areas_of_the_solid() -> None:
    areas = section_areas(TABLE)
    assert len(areas) == NUM_SECTIONS
    assert np.median(areas[:60]) == pytest.approx(4 * 0.01, rel=1e-6)
    assert areas[-5] == pytest.approx(1.0 + 4 * 0.0, abs=0.05)  # legs end inside the top
    assert areas[-1] == pytest.approx(0.0, abs=1e-9)


def test_a_table_has_legs_and_a_top() -> None:
    legs, top = find_part(TABLE, "lower"), find_part(TABLE, "upper")
    assert legs is not None and top is not None
    height = TABLE.vertices[:, 1]
    assert legs[height < -0.05].all() and not legs[height > 0.02].any()
    assert (legs ^ top).all()


def test_a_small_cap_is_an_upper_part_but_its_bottle_no_lower_one() -> None:
    cap = find_part(BOTTLE, "upper")
    assert cap is not None
    height = BOTTLE.vertices[:, 1]
    assert cap[height > 0.68].all() and not cap[height < 0.6].any()
    assert find_part(BOTTLE, "lower") is None


@pytest.mark.parametrize("end", ["upper", "lower"])
def test_a_block_has_no_parts(end) -> None:
    assert find_part(fine_box((1.0, 1.9, 1.0)), end) is None


def test_a_rim_that_hardly_stands_out_is_no_part() -> None:
    block = fine_box((1.0, 1.0, 1.0), (0.0, -0.5, 0.0))
    rim = fine_box((1.03, 0.5, 1.03), (0.0, 0.25, 0.0))
    assert find_part(concatenate([block, rim]), "upper") is None
    wide = fine_box((1.3, 0.5, 1.3), (0.0, 0.25, 0.0))
    assert find_part(concatenate([block, wide]), "upper") is not None
