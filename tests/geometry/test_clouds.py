import io

import numpy as np
import pytest

from g3pt.geometry.clouds import (
    CloudError,
    cloud_of,
    estimate_normals,
    read_cloud,
    to_own_frame,
)
from g3pt.geometry.mesh import TriangleMesh, write_mesh


def sphere(num=400):
    points = np.random.default_rng(0).standard_normal((num, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def ply_bytes(kind, points, normals):
    rows = np.concatenate([points, normals], axis=1)
    names = ["x", "y", "z", "nx", "ny", "nz"]
    head = ["ply", f"format {kind} 1.0", f"element vertex {len(rows)}"]
    head += [f"property {'double' if name in 'xyz' else 'float'} {name}" for name in names]
    head += ["property uchar red", "element face 0", "property list uchar int vertex_indices"]
    start = "\n".join([*head, "end_header"]).encode() + b"\n"
    if kind == "ascii":
        return start + "\n".join(" ".join(map(str, [*row, 7])) for row in rows).encode()
    order = "<" if "little" in kind else ">"
    layout = np.dtype([(n, order + ("f8" if n in "xyz" else "f4")) for n in names] + [("r", "u1")])
    table = np.zeros(len(rows), layout)
    for column, name in enumerate(names):
        table[name] = rows[:, column]
    return start + table.tobytes()


def header(*lines, kind="binary_little_endian"):
    return "\n".join(["ply", f"format {kind} 1.0", *lines, "end_header\n"]).encode()


XYZ = tuple(f"property float {axis}" for axis in "xyz")


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_points_and_normals_of_a_ply_are_read(kind, tmp_path):
    points = sphere() * 0.5
    (tmp_path / "scan.ply").write_bytes(ply_bytes(kind, points, sphere()))
    cloud = read_cloud(tmp_path / "scan.ply")
    assert np.allclose(cloud.points, points)
    assert np.allclose(cloud.normals, sphere(), atol=1e-6)


def test_arrays_and_text_are_read_with_and_without_normals(tmp_path):
    points = sphere()
    np.save(tmp_path / "scan.npy", points.astype(np.float32))
    np.savetxt(tmp_path / "scan.xyz", points)
    np.savetxt(tmp_path / "scan.csv", np.concatenate([points, 2 * points], axis=1), delimiter=",")
    for name in ("scan.npy", "scan.xyz", "scan.csv"):
        assert np.allclose(read_cloud(tmp_path / name).points, points, atol=1e-6)
    assert read_cloud(tmp_path / "scan.xyz").normals is None
    assert np.allclose(read_cloud(tmp_path / "scan.csv").normals, points)


def test_the_surface_of_a_mesh_is_sampled(tmp_path):
    corners = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0)], float)
    write_mesh(tmp_path / "part.ply", TriangleMesh(corners, np.array([(0, 1, 2)]), None))
    cloud = read_cloud(tmp_path / "part.ply")
    assert np.allclose(cloud.normals, [0, 0, 1]) and np.allclose(cloud.points[:, 2], 0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"nothing", "not a readable point cloud"),
        ("a.xyz", b"1 2 x", "not a readable point cloud"),
        ("a.xyz", b"1 2 3\n4 5 6\n", "2 points, expected at least 16"),
        ("a.xyz", b"", "0 points, expected at least 16"),
        ("a.xyz", b"# x y\n\n1 2\n" * 20, "line 3: expected 3 or 6 numbers, got 2"),
        ("a.xyz", b"1 2 3\n" * 20 + b"1 2 3 4 5 6\n", "line 21: expected 3 numbers, got 6"),
        ("a.xyz", b"1 2 3\n" * 20 + b"\n1 2 x", "lines 1-22: could not convert string 'x'"),
        ("a.xyz", b"1 2 3" * 2500, "line 1: more than 10000 characters"),
        ("a.xyz", b"\xff\xfe" * 20, "not a readable point cloud .'utf-8' codec"),
        ("a.xyz", b"1 2 3\n" * 20, "all points are in one place"),
        ("a.xyz", b"1 2 3\n" * 20 + b"1 2 1e101\n", r"numbers beyond 1e\+100"),
        ("a.xyz", b"1 2 nan\n" * 20, "not finite"),
        ("a.xyz", b"1 2 3 0 0 0\n4 5 6 0 0 0\n" * 20, "length zero"),
        ("a.ply", b"plyx", "no PLY header"),
        ("a.ply", header("element vertex 3", "property what x"), "gives x the type 'what'"),
        ("a.ply", header("element vertex"), "the PLY header has 'element vertex'"),
        ("a.ply", header("element vertex x"), "invalid literal"),
        ("a.ply", header("element vertex -1", *XYZ) + bytes(600), "-1 points, expected at least"),
        ("a.ply", header("element vertex 99999999", *XYZ), "99999999 points, expected at least 16"),
        ("a.ply", header("element vertex 50", *XYZ[:2]), "no property z of vertex"),
        ("a.ply", header("element vertex 50", *XYZ, "property list uchar int n"), "uchar int n'"),
        ("a.ply", header("element vertex 50", *XYZ, XYZ[0]), "has 'property float x'"),
        (
            "a.ply",
            header("element vertex 50", *XYZ, kind="ascii") + b"1 2 3\n" * 49,
            "49 are there",
        ),
        ("a.ply", header("element vertex 50", *XYZ) + bytes(599), "need 600 bytes, 599 are there"),
        ("a.ply", header("element vertex 50", *XYZ, kind="any") + bytes(600), "the format 'any'"),
        ("a.ply", b"ply\n" + bytes(2**17) + b"end_header\n", "no PLY header"),
        ("a.las", b"", "expected .npy"),
    ],
)
def test_what_is_no_point_cloud_is_refused(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CloudError, match=message) as refusal:
        read_cloud(tmp_path / name)
    assert str(refusal.value).startswith(str(tmp_path / name))


def claiming(num):
    """An `.npy` file whose header claims so many points, and which has none."""
    made = io.BytesIO()
    layout = {"descr": "<f4", "fortran_order": False, "shape": (num, 3)}
    np.lib.format.write_array_header_1_0(made, layout)
    return made.getvalue() + bytes(100)


def archive():
    made = io.BytesIO()
    np.savez(made, a=sphere())
    return made.getvalue()


@pytest.mark.parametrize("content", [bytes(4096), archive(), claiming(10**11), claiming(-3)])
def test_what_is_no_whole_array_is_refused_without_advice_of_numpy(content, tmp_path):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(CloudError, match=r"a whole array as numpy\.save writes it") as refusal:
        read_cloud(tmp_path / "a.npy")
    assert str(tmp_path) in str(refusal.value) and "pickle" not in str(refusal.value)


def test_no_pickle_is_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"x": 1}] * 20, dtype=object), allow_pickle=True)
    with pytest.raises(CloudError, match="not a readable point cloud"):
        read_cloud(tmp_path / "a.npy")


@pytest.mark.parametrize("dtype", ["complex64", "M8[s]", "S8", "U8", "bool", "f4,f4,f4"])
def test_only_numbers_are_positions(dtype, tmp_path):
    np.save(tmp_path / "a.npy", np.arange(60).reshape(20, 3).astype(dtype))
    with pytest.raises(CloudError, match=r"a\.npy: an array of .*, expected floats or integers"):
        read_cloud(tmp_path / "a.npy")


def test_clouds_of_too_many_points_are_refused_before_all_are_read(tmp_path, monkeypatch):
    import g3pt.geometry.clouds as clouds

    monkeypatch.setattr(clouds, "MAX_POINTS", 300)
    np.save(tmp_path / "a.npy", sphere())
    np.savetxt(tmp_path / "a.xyz", sphere())
    (tmp_path / "a.ply").write_bytes(ply_bytes("ascii", sphere(), sphere()))
    for name, num in (("a.npy", 400), ("a.xyz", 301), ("a.ply", 400)):
        with pytest.raises(CloudError, match=f"{name}: {num} points, .* at most 300"):
            read_cloud(tmp_path / name)


def test_text_is_read_in_blocks(tmp_path, monkeypatch):
    import g3pt.geometry.clouds as clouds

    monkeypatch.setattr(clouds, "_BLOCK_LINES", 7)
    lines = [f"{x}, {y};{z} # seen\n".replace(";", "\t") for x, y, z in sphere(20)]
    (tmp_path / "a.txt").write_text("# x y z\n\n" + "\n".join(lines))
    assert np.array_equal(read_cloud(tmp_path / "a.txt").points, sphere(20))


def test_an_empty_element_of_a_ply_gives_its_vertices_no_properties(tmp_path):
    lines = ("element edge 0", "property int a", "element vertex 400", *XYZ)
    data = header(*lines, "element range 0", "property int b") + sphere().astype("<f4").tobytes()
    (tmp_path / "a.ply").write_bytes(data)
    assert np.allclose(read_cloud(tmp_path / "a.ply").points, sphere(), atol=1e-6)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such point cloud"):
        read_cloud(tmp_path / "none.ply")


def test_a_file_may_not_be_too_large(tmp_path, monkeypatch):
    import g3pt.geometry.clouds as clouds

    np.save(tmp_path / "a.npy", sphere())
    monkeypatch.setattr(clouds, "MAX_FILE_BYTES", 100)
    with pytest.raises(CloudError, match="expected at most 100"):
        read_cloud(tmp_path / "a.npy")


def test_estimated_normals_of_a_sphere_point_outwards():
    points = sphere(2000) * 0.7 + 3.0
    cosines = (estimate_normals(points) * (points - 3.0)).sum(axis=1) / 0.7
    # planes through 16 of 2000 points: a few degrees
    assert cosines.min() > 0.95
    assert np.allclose(np.linalg.norm(estimate_normals(points), axis=1), 1)


def slow_normals(points):
    """Planes of 16 neighbours, found by comparing each point with all."""
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    normals = []
    for point in points:
        near = points[np.argsort(((points - point) ** 2).sum(axis=1))[:16]]
        normal = np.linalg.svd(near - near.mean(axis=0))[2][2]
        normals.append(normal if (point - centre) @ normal >= 0 else -normal)
    return np.array(normals)


def test_normals_are_estimated_in_blocks(monkeypatch):
    import g3pt.geometry.clouds as clouds

    monkeypatch.setattr(clouds, "_BLOCK_POINTS", 70)
    points = sphere() * [1, 2, 3]
    assert np.allclose(estimate_normals(points), slow_normals(points))


def test_points_in_one_place_count_as_one():
    """A search tree compares each of them with all: 200 000 took seven minutes."""
    points = np.repeat(sphere(50), 20, axis=0)[np.random.default_rng(1).permutation(1000)]
    expected = dict(zip(map(tuple, sphere(50)), estimate_normals(sphere(50)), strict=True))
    assert np.allclose(estimate_normals(points), [expected[tuple(p)] for p in points])
    rows = np.zeros((200_000, 3), np.float32)
    rows[-1] = 1
    with pytest.raises(CloudError, match=r"a\.npy: 200000 points have 2 places"):
        estimate_normals(cloud_of(rows, "a.npy").points, "a.npy")


def test_many_points_in_few_places_are_quick():
    points = np.zeros((200_000, 3))
    points[:, 0] = np.linspace(0, 1e-170, len(points))  # their distances have squares of zero
    points[-50:] = sphere(50)
    assert np.isfinite(estimate_normals(points)).all()  # else it takes minutes


def test_the_own_frame_is_the_unit_frame_of_the_cloud():
    moved = to_own_frame(sphere() * [10, 20, 5] + 7)
    lowest, highest = moved.min(axis=0), moved.max(axis=0)
    assert np.allclose(lowest + highest, 0) and np.isclose((highest - lowest).max(), 1.9)
    with pytest.raises(CloudError, match="one place"):
        to_own_frame(np.ones((20, 3)))


def test_normals_have_length_one():
    rows = np.concatenate([sphere(), 3 * sphere()], axis=1)
    assert np.allclose(cloud_of(rows).normals, sphere())
