import numpy as np
import pytest
from scipy.special import beta

SPOKES = (0.5, 0.35, 0.4, 0.5, 0.45, 0.3, 0.4, 0.55, 0.5, 0.4)
OUTLINE = np.sin(np.pi / 5) / 2 * np.dot(SPOKES, np.roll(SPOKES, -1))
"""Area of the polygon with these corners."""
WAVES = (0.1, 1.0, 0.0, 0.3, 0.05, 2.0, 1.0, 1.0, 0.04, 1.0, 3.0, 2.0)
ARC_SECTION = 4 * 0.06 * 0.04 + 2 * 0.05 * (0.12 + 0.08) + np.pi * 0.05**2
ARC_ENDS = 8 * 0.05 * 0.06 * 0.04 + np.pi * 0.05**2 * (0.12 + 0.08) + 4 / 3 * np.pi * 0.05**3

KIND_VOLUMES = {
    "BOX": ((0.3, 0.2, 0.4, 0.0), 8 * 0.3 * 0.2 * 0.4),
    "CYLINDER": ((0.4, 0.4, 0.3, 0.0), np.pi * 0.16 * 0.6),
    "CONE": ((0.5, 0.2, 0.4, 0.0), np.pi * 0.8 / 3 * (0.25 + 0.1 + 0.04)),
    "ELLIPSOID": ((0.3, 0.5, 0.2), 4 / 3 * np.pi * 0.03),
    "TORUS": ((0.5, 0.2), 2 * np.pi**2 * 0.5 * 0.04),
    "FRUSTUM": (
        (0.5, 0.4, 0.25, 0.2, 0.4, 0.2, -0.1),
        0.8 / 3 * 4 * (0.5 * 0.4 + 0.25 * 0.2 + 0.5 * 0.2),
    ),
    "PRISM": ((0.5, 0.3, 6), 3 * 0.25 * np.sin(np.pi / 3) * 0.6),
    "DOME": ((0.5, 0.4, 0.3, 0.0), 2 / 3 * np.pi * 0.06),
    "SUPERQUADRIC": (
        (0.5, 0.3, 0.4, 4.0, 1.5),
        2 * 0.06 * 0.5 * beta(1.25, 0.5) * 4 / 3 * beta(2 / 3, 2 / 3),
    ),
    "LATHE": ((0.4, *np.linspace(0.5, 0.15, 8), 0.0), np.pi * 0.8 / 3 * (0.25 + 0.075 + 0.0225)),
    "PLATE": (
        (0.3, *SPOKES, 0.4, 0.5, 0.8, 0.0, 1.0),
        0.6 * OUTLINE * (1 - 0.16) * (1 + 0.5 + 0.25) / 3,
    ),
    "ARC": ((0.6, 0.06, 0.04, 1.9, 0.0, 0.05), 2 * 1.9 * 0.6 * ARC_SECTION + ARC_ENDS),
    "TERRAIN": ((0.6, 0.5, 0.3, *WAVES), 4 * 0.6 * 0.5 * 0.3),
}
ROUNDED = {
    "BOX": (0.2, 0.1, 0.3, 0.15),
    "CYLINDER": (0.2, 0.2, 0.2, 0.1),
    "CONE": (0.3, 0.0, 0.2, 0.1),
}
BENT = {
    "superquadric": ("SUPERQUADRIC", (0.6, 0.05, 0.3, 1.2, 9.0)),
    "lathe": ("LATHE", (0.5, 0.1, 0.3, 0.45, 0.2, 0.1, 0.15, 0.3, 0.35, 1.0)),
    "cornered lathe": ("LATHE", (0.5, 0.1, 0.3, 0.45, 0.2, 0.1, 0.15, 0.3, 0.35, 0.3)),
    "plate": ("PLATE", (0.2, *SPOKES, 0.0, -0.2, -1.0, 1.0, 2.0)),
    "star": ("PLATE", (0.1, *([0.6, 0.3] * 5), 0.5, 0.3, 0.0, 0.2, 1.0)),
    "bevelled plate": ("PLATE", (0.2, *SPOKES, 0.4, 0.3, 0.6, 0.5, 1.0, 0.06)),
    "bevelled star": ("PLATE", (0.15, *([0.6, 0.4] * 5), 0.0, -0.2, 0.0, 0.0, 1.0, 0.14)),
    "strap": ("ARC", (0.6, 0.02, 0.2, 2.6, 0.5, 0.0)),
    "horn": ("ARC", (0.5, 0.0, 0.0, 1.2, 0.9, 0.2)),
    "terrain": ("TERRAIN", (0.6, 0.5, 0.3, 0.15, 1.3, 0.4, 0.3, 0.05, 2.0, 1.0, 1.0, 0, 0, 0, 0)),
}
"""What bends or tapers in ways that have no simple volume."""
EXACT = ("BOX", "CYLINDER", "CONE", "TORUS", "PRISM")


def _random_rotation(rng):
    matrix, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return matrix * np.sign(np.linalg.det(matrix))


def _one(
    kind_name,
    parameters,
    *,
    carve=False,
    blend=0.0,
    rotation=None,
    at=(0.0, 0.0, 0.0),
    limited=False,
):
    from g3pt.procedural.primitives import NUM_PARAMETERS, Kind, ShapeArrays

    row = np.zeros((1, NUM_PARAMETERS), np.float32)
    row[0, : len(parameters)] = parameters
    rotation = np.eye(3) if rotation is None else rotation
    return ShapeArrays(
        kinds=np.array([int(Kind[kind_name])], np.int64),
        parameters=row,
        rotations=np.asarray(rotation, np.float32)[None],
        translations=np.array([at], np.float32),
        carves=np.array([carve]),
        colors=np.array([[10, 20, 30]], np.uint8),
        blends=np.array([blend], np.float32),
        limited=np.array([limited]),
    )


def _joined(*parts):
    from g3pt.procedural.primitives import ShapeArrays

    names = (
        "kinds",
        "parameters",
        "rotations",
        "translations",
        "carves",
        "colors",
        "blends",
        "limited",
    )
    return ShapeArrays(
        **{name: np.concatenate([getattr(p, name) for p in parts]) for name in names}
    )


@pytest.mark.parametrize("kind", KIND_VOLUMES)
def test_share_of_points_inside_gives_the_volume_of_the_solid(kind):
    from g3pt.procedural.primitives import signed_distance

    parameters, volume = KIND_VOLUMES[kind]
    rng = np.random.default_rng(0)
    arrays = _one(kind, parameters, rotation=_random_rotation(rng))
    points = rng.uniform(-1, 1, (100_000, 3))
    measured = 8 * np.mean(signed_distance(arrays, points) < 0)
    # Three standard errors of 100,000 draws in the cube of volume 8.
    assert measured == pytest.approx(volume, abs=3 * 8 * np.sqrt(volume / 8 / 100_000))


@pytest.mark.parametrize("kind", KIND_VOLUMES)
def test_area_times_mean_height_of_samples_gives_the_volume(kind):
    from g3pt.procedural.surfaces import sample_primitives, surface_areas

    parameters, volume = KIND_VOLUMES[kind]
    rng = np.random.default_rng(1)
    arrays = _one(kind, parameters, rotation=_random_rotation(rng), at=(0.1, -0.2, 0.05))
    points, normals = sample_primitives(arrays, np.zeros(60_000, np.int64), rng)
    # Divergence theorem: 3 V is the flux of the position field through the surface.
    heights = (points * normals).sum(axis=1) * surface_areas(arrays)[0] / 3
    # Three standard errors of the mean, and a hundredth for areas by quadrature.
    tolerance = 3 * heights.std() / np.sqrt(len(heights)) + 0.01 * volume
    assert heights.mean() == pytest.approx(volume, abs=tolerance)


@pytest.mark.parametrize("kind", ROUNDED)
def test_rounded_solids_have_the_flux_of_their_sampled_volume(kind):
    from g3pt.procedural.primitives import signed_distance
    from g3pt.procedural.surfaces import sample_primitives, surface_areas

    rng = np.random.default_rng(2)
    arrays = _one(kind, ROUNDED[kind])
    volume = 8 * np.mean(signed_distance(arrays, rng.uniform(-1, 1, (200_000, 3))) < 0)
    points, normals = sample_primitives(arrays, np.zeros(60_000, np.int64), rng)
    flux = surface_areas(arrays)[0] * np.mean((points * normals).sum(axis=1))
    assert flux / 3 == pytest.approx(volume, rel=0.04)


@pytest.mark.parametrize("kind", [*KIND_VOLUMES, *(f"rounded {name}" for name in ROUNDED)])
def test_surface_samples_lie_on_the_zero_set_with_outward_normals(kind):
    from g3pt.procedural.primitives import signed_distance
    from g3pt.procedural.surfaces import sample_primitives

    name = kind.removeprefix("rounded ")
    parameters = ROUNDED[name] if kind.startswith("rounded") else KIND_VOLUMES[name][0]
    rng = np.random.default_rng(3)
    arrays = _one(name, parameters, rotation=_random_rotation(rng), at=(0.2, 0.1, 0.0))
    points, normals = sample_primitives(arrays, np.zeros(3000, np.int64), rng)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    # float32 evaluation: a few units in the last place of lengths near one, more with powers.
    tolerance = 5e-6 if name == "SUPERQUADRIC" else 2e-6
    assert np.abs(signed_distance(arrays, points)).max() < tolerance
    assert np.all(signed_distance(arrays, points + 1e-3 * normals) > 0)
    # Next to an acute edge a step inwards may come out on the other side.
    assert np.mean(signed_distance(arrays, points - 1e-3 * normals) < 0) > 0.995


@pytest.mark.parametrize("name", BENT)
def test_bent_solids_have_the_flux_of_their_sampled_volume(name):
    from g3pt.procedural.primitives import signed_distance
    from g3pt.procedural.surfaces import sample_primitives, surface_areas

    rng = np.random.default_rng(12)
    arrays = _one(*BENT[name])
    share = np.mean(signed_distance(arrays, rng.uniform(-1, 1, (200_000, 3))) < 0)
    points, normals = sample_primitives(arrays, np.zeros(60_000, np.int64), rng)
    heights = (points * normals).sum(axis=1) * surface_areas(arrays)[0] / 3
    # Three standard errors of either estimate, and a hundredth for areas by quadrature.
    tolerance = 3 * (heights.std() / np.sqrt(len(heights)) + 8 * np.sqrt(share / 200_000))
    assert heights.mean() == pytest.approx(8 * share, abs=tolerance + 0.01 * 8 * share)


@pytest.mark.parametrize("name", BENT)
def test_samples_of_bent_solids_lie_on_them_with_normals_along_the_slope(name):
    from g3pt.procedural.primitives import signed_distance, slope
    from g3pt.procedural.surfaces import sample_primitives

    rng = np.random.default_rng(13)
    arrays = _one(*BENT[name], rotation=_random_rotation(rng), at=(0.1, 0.0, -0.1))
    points, normals = sample_primitives(arrays, np.zeros(3000, np.int64), rng)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert np.abs(signed_distance(arrays, points)).max() < 5e-6
    direction = slope(arrays, points, step=1e-4)
    length = np.linalg.norm(direction, axis=1)
    # Not at edges, where the differences straddle two faces.
    assert np.mean((direction * normals).sum(axis=1) > 0.99 * length) > 0.95
    assert np.mean(signed_distance(arrays, points + 1e-3 * normals) > 0) > 0.999
    assert np.mean(signed_distance(arrays, points - 1e-3 * normals) < 0) > 0.99


@pytest.mark.parametrize("name", BENT)
def test_fields_of_bent_solids_hardly_overstate_the_distance_from_outside(name):
    from scipy.spatial import cKDTree

    from g3pt.procedural.primitives import signed_distance
    from g3pt.procedural.surfaces import sample_primitives

    rng = np.random.default_rng(14)
    arrays = _one(*BENT[name])
    surface, _ = sample_primitives(arrays, np.zeros(50_000, np.int64), rng)
    queries = rng.uniform(-1, 1, (3000, 3))
    field = signed_distance(arrays, queries)
    nearest, _ = cKDTree(surface).query(queries[field > 0])
    # Off the thin ends of an arc its thick middle may be nearer than the field knows.
    excess = 1.4 if BENT[name][0] == "ARC" else 1.001
    assert np.all(field[field > 0] < nearest * excess + 1e-4)


@pytest.mark.parametrize("name", BENT)
def test_bounding_boxes_of_bent_solids_are_those_of_their_samples(name):
    from g3pt.procedural.bounds import bounding_box
    from g3pt.procedural.surfaces import sample_primitives

    rng = np.random.default_rng(15)
    arrays = _one(*BENT[name], rotation=_random_rotation(rng), at=(0.1, 0.0, -0.1))
    points, _ = sample_primitives(arrays, np.zeros(50_000, np.int64), rng)
    low, high = bounding_box(arrays)
    # Samples stop a little short of a corner, the box's candidates a little short of a summit.
    np.testing.assert_allclose(low, points.min(axis=0), atol=6e-3)
    np.testing.assert_allclose(high, points.max(axis=0), atol=6e-3)


def test_a_lathe_with_equal_radii_is_a_cylinder():
    from g3pt.procedural.primitives import signed_distance

    points = np.random.default_rng(16).uniform(-1, 1, (5000, 3))
    for smooth in (0.0, 1.0):
        lathe = _one("LATHE", (0.4, *([0.3] * 8), smooth))
        cylinder = _one("CYLINDER", (0.3, 0.3, 0.4, 0.0))
        np.testing.assert_allclose(
            signed_distance(lathe, points), signed_distance(cylinder, points), atol=1e-6
        )


def test_a_superquadric_with_exponents_of_two_is_an_ellipsoid():
    from g3pt.procedural.primitives import signed_distance

    points = np.random.default_rng(17).uniform(-1, 1, (5000, 3))
    found = signed_distance(_one("SUPERQUADRIC", (0.3, 0.5, 0.2, 2.0, 2.0)), points)
    expected = signed_distance(_one("ELLIPSOID", (0.3, 0.5, 0.2)), points)
    outside = expected > 0
    # In front of a face the distance to the bounding box may be the better estimate.
    assert np.all(found[outside] > expected[outside] - 1e-5)
    assert np.array_equal(found > 0, outside)


def test_a_blend_fills_the_corner_between_two_solids_and_leaves_the_rest():
    from g3pt.procedural.primitives import signed_distance

    first, second = _one("BOX", (0, 0, 0, 0.3), at=(-0.3, 0, 0)), (0, 0, 0, 0.3)
    sharp = _joined(first, _one("BOX", second, at=(0.3, 0, 0)))
    blended = _joined(first, _one("BOX", second, at=(0.3, 0, 0), blend=0.2))
    points = np.random.default_rng(18).uniform(-1, 1, (20_000, 3))
    before, after = signed_distance(sharp, points), signed_distance(blended, points)
    apart = np.abs(
        signed_distance(first, points)
        - signed_distance(_one("BOX", second, at=(0.3, 0, 0)), points)
    )
    np.testing.assert_array_equal(before[apart > 0.2], after[apart > 0.2])
    assert np.all(after <= before)
    # Half way between the balls, a quarter of the blend's radius; their distances are equal there.
    middle = np.array([[0.0, 0.04, 0.0]])
    change = signed_distance(sharp, middle) - signed_distance(blended, middle)
    assert change[0] == pytest.approx(0.05, abs=1e-6)


def test_a_blended_carving_takes_away_more_than_a_sharp_one():
    from g3pt.procedural.primitives import signed_distance

    block = _one("BOX", (0.5, 0.5, 0.5, 0.0))
    hole = (0.2, 0.2, 1.0, 0.0)
    points = np.random.default_rng(19).uniform(-1, 1, (20_000, 3))
    sharp = signed_distance(_joined(block, _one("CYLINDER", hole, carve=True)), points)
    soft = signed_distance(_joined(block, _one("CYLINDER", hole, carve=True, blend=0.1)), points)
    assert np.all(soft >= sharp)
    assert np.any((soft > 0) & (sharp < 0))


@pytest.mark.parametrize("kind", EXACT)
def test_exact_kinds_give_the_distance_to_the_nearest_surface_point(kind):
    from scipy.spatial import cKDTree

    from g3pt.procedural.primitives import signed_distance
    from g3pt.procedural.surfaces import sample_primitives

    rng = np.random.default_rng(4)
    arrays = _one(kind, ROUNDED.get(kind, KIND_VOLUMES[kind][0]), rotation=_random_rotation(rng))
    surface, _ = sample_primitives(arrays, np.zeros(100_000, np.int64), rng)
    queries = rng.uniform(-1, 1, (2000, 3))
    nearest, _ = cKDTree(surface).query(queries)
    distance = np.abs(signed_distance(arrays, queries))
    # No sample is nearer than the surface, and one lies within their spacing of any place on it.
    assert np.all(nearest > distance - 1e-5)
    assert np.all(nearest < distance + 0.02)
    assert np.mean(nearest - distance) < 2e-3


@pytest.mark.parametrize("kind", KIND_VOLUMES)
def test_field_grows_no_faster_than_distance(kind):
    from g3pt.procedural.primitives import signed_distance

    rng = np.random.default_rng(5)
    # Almost round: the bound for ellipsoids is only a distance near the surface.
    parameters = {
        "ELLIPSOID": (0.4, 0.45, 0.42),
        "DOME": (0.4, 0.45, 0.42, 0.1),
        "SUPERQUADRIC": (0.4, 0.45, 0.42, 2.2, 1.9),
    }.get(kind, KIND_VOLUMES[kind][0])
    arrays = _one(kind, parameters)
    first = rng.uniform(-1, 1, (5000, 3))
    second = first + rng.normal(0, 0.05, first.shape)
    change = np.abs(signed_distance(arrays, first) - signed_distance(arrays, second))
    slack = 1.1 if kind in ("ELLIPSOID", "DOME", "SUPERQUADRIC") else 1.0
    assert np.all(change <= slack * np.linalg.norm(first - second, axis=1) + 1e-5)


def test_carving_applies_only_to_what_came_before():
    from g3pt.procedural.primitives import signed_distance

    ball = _one("BOX", (0.0, 0.0, 0.0, 0.5))
    hole = _one("BOX", (0.0, 0.0, 0.0, 0.3), carve=True)
    core = _one("BOX", (0.0, 0.0, 0.0, 0.1))
    points = np.array([[0.0, 0, 0], [0.2, 0, 0], [0.4, 0, 0], [0.6, 0, 0]])
    np.testing.assert_allclose(
        signed_distance(_joined(ball, hole, core), points), [-0.1, 0.1, -0.1, 0.1], atol=1e-6
    )
    np.testing.assert_allclose(
        signed_distance(_joined(core, ball, hole), points), [0.3, 0.1, -0.1, 0.1], atol=1e-6
    )


def test_limited_primitives_take_part_by_what_they_have_in_common():
    from g3pt.procedural.primitives import signed_distance

    rng = np.random.default_rng(20)
    points = rng.uniform(-1, 1, (20_000, 3))
    block = _one("BOX", (0.6, 0.3, 0.5, 0.0))
    lens = [
        {"kind_name": "BOX", "parameters": (0, 0, 0, 0.5), "at": (-0.1, 0.1, 0.2)},
        {"kind_name": "CYLINDER", "parameters": (0.3, 0.3, 0.9, 0.0), "at": (0.1, 0.0, 0.0)},
        {"kind_name": "PRISM", "parameters": (0.7, 0.4, 3), "at": (0.1, 0.0, 0.1)},
    ]
    last = _one("TORUS", (0.6, 0.2))
    inside = [signed_distance(_one(**each), points) < 0 for each in lens]
    common = inside[0] & inside[1] & inside[2]
    assert 0.005 < common.mean() < min(one.mean() for one in inside)
    in_block, in_last = (signed_distance(one, points) < 0 for one in (block, last))
    for carve in (False, True):
        chain = [_one(**each, limited=number < 2, carve=carve) for number, each in enumerate(lens)]
        found = signed_distance(_joined(block, *chain, last), points) < 0
        expected = (in_block & ~common if carve else in_block | common) | in_last
        np.testing.assert_array_equal(found, expected)


def test_an_intersection_is_owned_by_the_primitive_whose_surface_is_there():
    from g3pt.procedural.primitives import surface_owner

    ball = _one("BOX", (0, 0, 0, 0.5), limited=True)
    slab = _one("BOX", (1.0, 0.2, 1.0, 0.0))
    other = _one("BOX", (0, 0, 0, 0.1), at=(0.9, 0.9, 0.9))
    at = np.array([[0.49, 0.0, 0.0], [0.1, 0.2, 0.1], [0.9, 0.9, 0.9]])
    assert surface_owner(_joined(ball, slab, other), at).tolist() == [0, 1, 2]


def test_the_blend_of_an_intersection_is_that_of_its_last_primitive():
    from g3pt.procedural.primitives import signed_distance

    base = _one("BOX", (0.5, 0.1, 0.5, 0.0))
    chain = _one("BOX", (0, 0, 0, 0.3), limited=True), _one("BOX", (0.5, 0.25, 0.5, 0.0))
    points = np.random.default_rng(21).uniform(-1, 1, (20_000, 3))
    sharp = signed_distance(_joined(base, *chain), points)
    blended = _joined(base, *chain)
    blended.blends[:] = (0, 0, 0.1)
    soft = signed_distance(blended, points)
    assert np.all(soft <= sharp) and np.any((soft < 0) & (sharp > 0))
    blended.blends[:] = (0, 0.1, 0)
    np.testing.assert_array_equal(signed_distance(blended, points), sharp)


def test_a_lens_of_two_balls_has_its_box_and_its_volume():
    from g3pt.procedural.bounds import EmptyShapeError, bounding_box
    from g3pt.procedural.primitives import signed_distance

    first = _one("BOX", (0, 0, 0, 0.5), at=(-0.3, 0, 0), limited=True)
    lens = _joined(first, _one("BOX", (0, 0, 0, 0.5), at=(0.3, 0, 0)))
    low, high = bounding_box(lens)
    # Its rim is a circle of radius .4; steps that end within a thousandth of it count as there.
    np.testing.assert_allclose(high, (0.2, 0.4, 0.4), atol=4e-3)
    np.testing.assert_allclose(low, -high, atol=4e-3)
    points = np.random.default_rng(22).uniform(-0.5, 0.5, (100_000, 3))
    cap = np.pi * 0.2**2 * (3 * 0.5 - 0.2) / 3
    assert np.mean(signed_distance(lens, points) < 0) == pytest.approx(2 * cap, abs=0.004)
    apart = _joined(first, _one("BOX", (0, 0, 0, 0.2), at=(0.9, 0, 0)))
    with pytest.raises(EmptyShapeError):
        bounding_box(apart)


def test_a_plate_without_a_bevel_is_what_it_was_and_a_bevel_cuts_its_rims_at_45_degrees():
    from g3pt.procedural.primitives import signed_distance

    rng = np.random.default_rng(23)
    points = rng.uniform(-1, 1, (20_000, 3))
    ring = (0.3, *([0.6] * 10), 0.5, 0.0, 0.0, 1.0, 1.0)
    plain = signed_distance(_one("PLATE", ring), points)
    bevelled = signed_distance(_one("PLATE", (*ring, 0.1)), points)
    radius, height = np.hypot(points[:, 0], points[:, 2]), np.abs(points[:, 1])
    cut = np.maximum(height - 0.2, 0)
    expected = (height < 0.3) & (radius < 0.6 - cut) & (radius > 0.3 + cut)
    near = (np.abs(radius - 0.6 + cut) < 1e-5) | (np.abs(radius - 0.3 - cut) < 1e-5)
    np.testing.assert_array_equal((bevelled < 0)[~near], expected[~near])
    np.testing.assert_array_equal(signed_distance(_one("PLATE", (*ring, 0.0)), points), plain)
    tube = np.maximum(np.abs(radius - 0.45) - 0.15, height - 0.3)
    np.testing.assert_array_equal((plain < 0)[np.abs(tube) > 1e-5], (tube < 0)[np.abs(tube) > 1e-5])


def test_owner_is_the_primitive_whose_surface_is_there():
    from g3pt.procedural.primitives import surface_owner

    ball, bump = _one("BOX", (0, 0, 0, 0.5)), _one("BOX", (0, 0, 0, 0.2), at=(0.5, 0, 0))
    hole = _one("CYLINDER", (0.1, 0.1, 1.0, 0.0), carve=True)
    owners = surface_owner(
        _joined(ball, bump, hole), np.array([[-0.5, 0, 0], [0.7, 0, 0], [0.1, 0.2, 0]])
    )
    assert owners.tolist() == [0, 1, 2]


def test_values_do_not_depend_on_the_other_points_of_a_call():
    from g3pt.procedural.primitives import signed_distance

    arrays = _joined(_one("CONE", ROUNDED["CONE"]), _one("PRISM", (0.5, 0.3, 5)))
    points = np.random.default_rng(6).uniform(-1, 1, (9000, 3))
    whole = signed_distance(arrays, points)
    single = np.concatenate(
        [signed_distance(arrays, points[i : i + 1]) for i in (0, 4095, 4096, 8999)]
    )
    # The matrix product may add in another order for another width.
    np.testing.assert_allclose(whole[[0, 4095, 4096, 8999]], single, atol=1e-6)
