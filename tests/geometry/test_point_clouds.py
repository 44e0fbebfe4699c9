from pathlib import Path

import numpy as np
import pytest
import trimesh

from g3pt.geometry.mesh import MeshError
from g3pt.geometry.point_clouds import guess_normals, read_points


def ball(num: int = 500) -> np.ndarray:
    points = np.random.default_rng(0).standard_normal((num, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def test_guessed_normals_of_a_ball_point_outward() -> None:
    normals = guess_normals(2 * ball() + 5)
    cosines = np.einsum("ni,ni->n", normals, ball())
    assert cosines.min() > 0.9  # neighbours of 500 points span some 20 degrees


@pytest.mark.parametrize("name", ["ball.xyz", "ball.npy", "ball.ply"])
def test_points_and_normals_come_back(name: str, tmp_path: Path) -> None:
    path, normals = tmp_path / name, 3 * ball()
    rows = np.concatenate([ball(), normals], axis=1)
    if name.endswith("xyz"):
        np.savetxt(path, rows)
    elif name.endswith("npy"):
        np.save(path, rows)
    else:
        head = "ply\nformat ascii 1.0\nelement vertex 500\n"
        head += "".join(f"property float {n}\n" for n in ("x", "y", "z", "nx", "ny", "nz"))
        body = "\n".join(" ".join(f"{value:.7f}" for value in row) for row in rows)
        path.write_text(f"{head}end_header\n{body}\n")
    cloud = read_points(path)
    np.testing.assert_allclose(cloud.points, ball(), atol=1e-6)
    np.testing.assert_allclose(cloud.normals, ball(), atol=1e-6)


def test_ply_without_normals_gets_guesses(tmp_path: Path) -> None:
    trimesh.PointCloud(ball()).export(tmp_path / "ball.ply")
    cloud = read_points(tmp_path / "ball.ply")
    np.testing.assert_allclose(cloud.normals, guess_normals(cloud.points))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("x.xyz", b"these are words", "cannot be read as points"),
        ("x.npy", b"these are words", "cannot be read as points"),
        ("x.ply", b"these are words", "cannot be read as points"),
        ("x.xyz", b"1 2\n" * 50, "expected 3 or 6 numbers"),
        ("x.xyz", b"1 2 3\n" * 5, "5 points, at least 32"),
        ("x.xyz", b"1 2 nan\n" * 50, "not finite"),
        ("x.xyz", b"1 2 3 0 0 0\n" * 50, "normals of length zero"),
        ("x.pcd", b"1 2 3\n" * 50, "unknown point cloud format"),
    ],
)
def test_bad_clouds_are_refused_by_name(
    name: str, content: bytes, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MeshError, match=sentence) as error:
        read_points(path)
    assert name in str(error.value)


def test_pickled_arrays_are_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}] * 50, dtype=object), allow_pickle=True)
    with pytest.raises(MeshError, match="cannot be read as points"):
        read_points(tmp_path / "x.npy")
