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
        ("a.xyz", b"1 2\n" * 20, r"of shape \(20, 2\)"),
        ("a.xyz", b"1 2 nan\n" * 20, "not finite"),
        ("a.xyz", b"1 2 3 0 0 0\n" * 20, "length zero"),
        ("a.ply", b"plyx", "no PLY header"),
        (
            "a.ply",
            b"ply\nformat ascii 1.0\nelement vertex 3\nproperty what x\nend_header\n",
            "what",
        ),
        ("a.las", b"", "expected .npy"),
    ],
)
def test_what_is_no_point_cloud_is_refused(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CloudError, match=message):
        read_cloud(tmp_path / name)


def test_no_pickle_is_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"x": 1}] * 20, dtype=object), allow_pickle=True)
    with pytest.raises(CloudError, match="not a readable point cloud"):
        read_cloud(tmp_path / "a.npy")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such point cloud"):
        read_cloud(tmp_path / "none.ply")


def test_a_file_may_not_be_too_large(tmp_path, monkeypatch):
    import g3pt.geometry.clouds as clouds

    np.save(tmp_path / "a.npy", sphere())
    monkeypatch.setattr(clouds, "MAX_FILE_BYTES", 100)
    with pytest.raises(CloudError, match="larger than 100 bytes"):
        read_cloud(tmp_path / "a.npy")


def test_estimated_normals_of_a_sphere_point_outwards():
    points = sphere(2000) * 0.7 + 3.0
    cosines = (estimate_normals(points) * (points - 3.0)).sum(axis=1) / 0.7
    # planes through 16 of 2000 points: a few degrees
    assert cosines.min() > 0.95
    assert np.allclose(np.linalg.norm(estimate_normals(points), axis=1), 1)


def test_the_own_frame_is_the_unit_frame_of_the_cloud():
    moved = to_own_frame(sphere() * [10, 20, 5] + 7)
    lowest, highest = moved.min(axis=0), moved.max(axis=0)
    assert np.allclose(lowest + highest, 0) and np.isclose((highest - lowest).max(), 1.9)
    with pytest.raises(CloudError, match="one place"):
        to_own_frame(np.ones((20, 3)))


def test_normals_have_length_one():
    rows = np.concatenate([sphere(), 3 * sphere()], axis=1)
    assert np.allclose(cloud_of(rows).normals, sphere())
