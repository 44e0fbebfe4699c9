import numpy as np
import pytest

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
}
ROUNDED = {
    "BOX": (0.2, 0.1, 0.3, 0.15),
    "CYLINDER": (0.2, 0.2, 0.2, 0.1),
    "CONE": (0.3, 0.0, 0.2, 0.1),
}
EXACT = ("BOX", "CYLINDER", "CONE", "TORUS", "PRISM")


def _random_rotation(rng):
    matrix, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return matrix * np.sign(np.linalg.det(matrix))


def _one(kind_name, parameters, *, carve=False, rotation=None, at=(0.0, 0.0, 0.0)):
    from g3pt.data.procedural.primitives import NUM_PARAMETERS, Kind, ShapeArrays

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
    )


def _joined(*parts):
    from g3pt.data.procedural.primitives import ShapeArrays

    names = ("kinds", "parameters", "rotations", "translations", "carves", "colors")
    return ShapeArrays(
        **{name: np.concatenate([getattr(p, name) for p in parts]) for name in names}
    )


@pytest.mark.parametrize("kind", KIND_VOLUMES)
def test_share_of_points_inside_gives_the_volume_of_the_solid(kind):
    from g3pt.data.procedural.primitives import signed_distance

    parameters, volume = KIND_VOLUMES[kind]
    rng = np.random.default_rng(0)
    arrays = _one(kind, parameters, rotation=_random_rotation(rng))
    points = rng.uniform(-1, 1, (100_000, 3))
    measured = 8 * np.mean(signed_distance(arrays, points) < 0)
    # Three standard errors of 100,000 draws in the cube of volume 8.
    assert measured == pytest.approx(volume, abs=3 * 8 * np.sqrt(volume / 8 / 100_000))


@pytest.mark.parametrize("kind", KIND_VOLUMES)
def test_area_times_mean_height_of_samples_gives_the_volume(kind):
    from g3pt.data.procedural.surfaces import sample_primitives, surface_areas

    parameters, volume = KIND_VOLUMES[kind]
    rng = np.random.default_rng(1)
    arrays = _one(kind, parameters, rotation=_random_rotation(rng), at=(0.1, -0.2, 0.05))
    points, normals = sample_primitives(arrays, np.zeros(60_000, np.int64), rng)
    # Divergence theorem: 3 V is the flux of the position field through the surface.
    flux = surface_areas(arrays)[0] * np.mean((points * normals).sum(axis=1))
    assert flux / 3 == pytest.approx(volume, rel=0.02)


@pytest.mark.parametrize("kind", ROUNDED)
def test_rounded_solids_have_the_flux_of_their_sampled_volume(kind):
    from g3pt.data.procedural.primitives import signed_distance
    from g3pt.data.procedural.surfaces import sample_primitives, surface_areas

    rng = np.random.default_rng(2)
    arrays = _one(kind, ROUNDED[kind])
    volume = 8 * np.mean(signed_distance(arrays, rng.uniform(-1, 1, (200_000, 3))) < 0)
    points, normals = sample_primitives(arrays, np.zeros(60_000, np.int64), rng)
    flux = surface_areas(arrays)[0] * np.mean((points * normals).sum(axis=1))
    assert flux / 3 == pytest.approx(volume, rel=0.04)


@pytest.mark.parametrize("kind", [*KIND_VOLUMES, *(f"rounded {name}" for name in ROUNDED)])
def test_surface_samples_lie_on_the_zero_set_with_outward_normals(kind):
    from g3pt.data.procedural.primitives import signed_distance
    from g3pt.data.procedural.surfaces import sample_primitives

    name = kind.removeprefix("rounded ")
    parameters = ROUNDED[name] if kind.startswith("rounded") else KIND_VOLUMES[name][0]
    rng = np.random.default_rng(3)
    arrays = _one(name, parameters, rotation=_random_rotation(rng), at=(0.2, 0.1, 0.0))
    points, normals = sample_primitives(arrays, np.zeros(3000, np.int64), rng)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    # float32 evaluation: a few units in the last place of lengths near one.
    assert np.abs(signed_distance(arrays, points)).max() < 2e-6
    assert np.all(signed_distance(arrays, points + 1e-3 * normals) > 0)
    # Next to an acute edge a step inwards may come out on the other side.
    assert np.mean(signed_distance(arrays, points - 1e-3 * normals) < 0) > 0.995


@pytest.mark.parametrize("kind", EXACT)
def test_exact_kinds_give_the_distance_to_the_nearest_surface_point(kind):
    from scipy.spatial import cKDTree

    from g3pt.data.procedural.primitives import signed_distance
    from g3pt.data.procedural.surfaces import sample_primitives

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
    from g3pt.data.procedural.primitives import signed_distance

    rng = np.random.default_rng(5)
    # Almost round: the bound for ellipsoids is only a distance near the surface.
    parameters = {"ELLIPSOID": (0.4, 0.45, 0.42), "DOME": (0.4, 0.45, 0.42, 0.1)}.get(
        kind, KIND_VOLUMES[kind][0]
    )
    arrays = _one(kind, parameters)
    first = rng.uniform(-1, 1, (5000, 3))
    second = first + rng.normal(0, 0.05, first.shape)
    change = np.abs(signed_distance(arrays, first) - signed_distance(arrays, second))
    slack = 1.1 if kind in ("ELLIPSOID", "DOME") else 1.0
    assert np.all(change <= slack * np.linalg.norm(first - second, axis=1) + 1e-5)


def test_carving_applies_only_to_what_came_before():
    from g3pt.data.procedural.primitives import signed_distance

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


def test_owner_is_the_primitive_whose_surface_is_there():
    from g3pt.data.procedural.primitives import surface_owner

    ball, bump = _one("BOX", (0, 0, 0, 0.5)), _one("BOX", (0, 0, 0, 0.2), at=(0.5, 0, 0))
    hole = _one("CYLINDER", (0.1, 0.1, 1.0, 0.0), carve=True)
    owners = surface_owner(
        _joined(ball, bump, hole), np.array([[-0.5, 0, 0], [0.7, 0, 0], [0.1, 0.2, 0]])
    )
    assert owners.tolist() == [0, 1, 2]


def test_values_do_not_depend_on_the_other_points_of_a_call():
    from g3pt.data.procedural.primitives import signed_distance

    arrays = _joined(_one("CONE", ROUNDED["CONE"]), _one("PRISM", (0.5, 0.3, 5)))
    points = np.random.default_rng(6).uniform(-1, 1, (9000, 3))
    whole = signed_distance(arrays, points)
    single = np.concatenate(
        [signed_distance(arrays, points[i : i + 1]) for i in (0, 4095, 4096, 8999)]
    )
    # The matrix product may add in another order for another width.
    np.testing.assert_allclose(whole[[0, 4095, 4096, 8999]], single, atol=1e-6)
