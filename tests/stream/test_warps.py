"""Warps are one to one, keep inside inside, and turn normals with the surface."""

from dataclasses import replace

import pytest
import torch

from g3pt.stream.warps import WarpConfig, Warps, draw_warps, fit_to_unit
from stocks import no_warps

OFTEN = WarpConfig(
    shear_share=1.0,
    taper_share=1.0,
    bend_share=1.0,
    twist_share=1.0,
    any_turn_share=0.5,
)
"""Every kind of warp at once."""


def _warps(config: WarpConfig, num: int, longest: float = 0.05, seed: int = 0) -> Warps:
    generator = torch.Generator().manual_seed(seed)
    return draw_warps(config, num, generator, torch.full((num,), longest))


def _points(num: int, size: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(num, size, 3, generator=generator, dtype=torch.float64) * 2 - 1


def _double(warps: Warps) -> Warps:
    return Warps(**{name: value.double() for name, value in vars(warps).items()})


def _jacobians(warps: Warps, points: torch.Tensor) -> torch.Tensor:
    """By central differences; the slow twin of the normals."""
    step = 1e-5
    columns = [
        (warps.apply(points + step * axis) - warps.apply(points - step * axis)) / (2 * step)
        for axis in torch.eye(3, dtype=torch.float64)
    ]
    return torch.stack(columns, dim=-1)


def test_the_derivative_keeps_its_sign_all_over_the_cube() -> None:
    warps = _double(_warps(OFTEN, 200))
    jacobians = _jacobians(warps, _points(200, 100))
    signs = torch.linalg.det(jacobians).sign()
    assert (signs == warps.orientation_B[:, None]).all()
    assert (warps.orientation_B < 0).any()
    assert (warps.orientation_B > 0).any()


def test_normals_go_with_the_inverse_transpose_of_the_derivative() -> None:
    warps = _double(_warps(OFTEN, 100))
    points, normals = _points(100, 20), torch.nn.functional.normalize(_points(100, 20, 2), dim=-1)
    inverse = torch.linalg.inv(_jacobians(warps, points))
    expected = torch.nn.functional.normalize(
        torch.einsum("bnij,bni->bnj", inverse, normals), dim=-1
    )
    # Float32 angles and twist rates, differences of 1e-5: six digits are left.
    torch.testing.assert_close(warps.apply_normals(points, normals), expected, atol=2e-6, rtol=0)


def test_no_two_points_meet() -> None:
    """The strictly monotone maps are one to one: each point can be found again by Newton steps."""
    warps = _double(_warps(OFTEN, 50))
    points = _points(50, 20)
    target = warps.apply(points)
    found = torch.zeros_like(points)
    for _ in range(60):
        step = torch.linalg.solve(_jacobians(warps, found), target - warps.apply(found))
        found = found + step.clamp(-0.1, 0.1)
    torch.testing.assert_close(found, points, atol=1e-6, rtol=0)


def test_linear_maps_and_tapers_keep_triangles_flat() -> None:
    config = replace(OFTEN, bend_share=0.0, twist_share=0.0)
    warps = _double(_warps(config, 100))
    corners = _points(100, 3)
    inner = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]], dtype=torch.float64) @ corners
    moved, inner = warps.apply(corners), warps.apply(inner)
    normals = torch.linalg.cross(moved[:, 1] - moved[:, 0], moved[:, 2] - moved[:, 0])
    heights = ((inner - moved[:, :1]) * normals[:, None]).sum(dim=-1)
    assert (heights.abs() / normals.norm(dim=-1, keepdim=True)).max() < 1e-6


@pytest.mark.parametrize("longest", [0.05, 0.3, 1.0, 3.0])
def test_edges_stay_near_their_curves(longest: float) -> None:
    config = WarpConfig(stretch_share=0, shear_share=0, taper_share=0, bend_share=1, twist_share=0)
    for chosen in (config, replace(config, bend_share=0, twist_share=1)):
        warps = _double(_warps(chosen, 300, longest))
        start = _points(300, 8) * 0.9
        way = torch.nn.functional.normalize(_points(300, 8, 3), dim=-1) * longest
        end = (start + way).clamp(-0.95, 0.95)
        middle = warps.apply((start + end) / 2)
        sag = (middle - (warps.apply(start) + warps.apply(end)) / 2).norm(dim=-1)
        # A twist of .4 at the rim of the cube is a little more than the bound it is given.
        assert sag.max() < 1.3 * config.max_sag


def test_shapes_are_brought_back_into_the_unit_frame() -> None:
    warps = _warps(OFTEN, 40)
    points = _points(40, 200).float()
    moved = warps.apply(points)
    fitted = fit_to_unit(warps, moved.amin(dim=1), moved.amax(dim=1)).apply(points)
    low, high = fitted.amin(dim=1), fitted.amax(dim=1)
    torch.testing.assert_close((high - low).amax(dim=1), torch.full((40,), 1.9))
    torch.testing.assert_close(low + high, torch.zeros(40, 3), atol=1e-5, rtol=0)


def test_shares_are_kept() -> None:
    warps = _warps(WarpConfig(), 4000)
    for tensor, share in (
        (warps.taper_B3.abs().sum(dim=1), 0.25),
        (warps.bend_B33.abs().sum(dim=(1, 2)), 0.2),
        (warps.twist_B3.abs().sum(dim=1), 0.15),
        ((warps.orientation_B < 0).float(), 0.5),
    ):
        assert abs((tensor > 0).float().mean() - share) < 0.035  # over 4 sigma


def test_warps_are_drawn_alike_from_one_seed_and_taken_by_number() -> None:
    first, second = _warps(OFTEN, 6), _warps(OFTEN, 6)
    points = _points(6, 4).float()
    torch.testing.assert_close(first.apply(points), second.apply(points), rtol=0, atol=0)
    chosen = torch.tensor([4, 4, 1])
    torch.testing.assert_close(
        first.take(chosen).apply(points[chosen]), first.apply(points)[chosen], rtol=0, atol=1e-6
    )


def test_no_warp_moves_nothing() -> None:
    points = _points(3, 5).float()
    torch.testing.assert_close(no_warps(3).apply(points), points)


@pytest.mark.parametrize(
    "wrong",
    [{"taper": 0.9}, {"bend_share": 1.5}, {"any_turn_share": 0.8}, {"stretch_limits": (1.2, 1.8)}],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"warp\."):
        WarpConfig(**wrong)
