import pytest
import torch

from g3pt.training.muon import (
    Muon,
    iteration_dtype,
    orthogonalized,
    orthogonalized_together,
)


@pytest.mark.parametrize("shape", [(8, 8), (5, 12), (12, 5)])
def test_singular_values_come_near_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalized(torch.randn(shape)))
    assert 0.6 < values.min() and values.max() < 1.3


def test_directions_are_kept():
    torch.manual_seed(0)
    matrix = torch.randn(6, 9)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    ours = left.mT @ orthogonalized(matrix) @ right.mT
    # the iteration is a polynomial in the matrix: it mixes no singular directions
    torch.testing.assert_close(ours, torch.diag(ours.diagonal()), atol=1e-4, rtol=0)


def test_steps_are_those_of_torch():
    torch.manual_seed(0)
    start = torch.randn(16, 24)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    settings = dict(lr=0.02, momentum=0.95, weight_decay=0.1)
    mine = Muon([ours], **settings)
    twin = torch.optim.Muon([theirs], **settings, adjust_lr_fn="match_rms_adamw")
    for step in range(5):
        gradient = torch.randn(16, 24, generator=torch.Generator().manual_seed(step))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()
        twin.step()
    moved = (theirs - start).norm()
    # torch iterates in bfloat16, which keeps eight bits
    assert (ours - theirs).norm() < 0.02 * moved


def test_bfloat16_is_used_only_where_the_processor_has_it(monkeypatch):
    for supported, expected in ((True, torch.bfloat16), (False, torch.float32)):
        iteration_dtype.cache_clear()
        monkeypatch.setattr(
            torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda answer=supported: answer
        )
        assert iteration_dtype("cpu") == expected
    iteration_dtype.cache_clear()
    assert iteration_dtype("cuda") == torch.bfloat16


def test_a_kernel_is_treated_as_the_matrix_it_is():
    torch.manual_seed(0)
    kernel = torch.nn.Parameter(torch.randn(8, 4, 3, 3))
    matrix = torch.nn.Parameter(kernel.detach().flatten(1).clone())
    gradient = torch.randn_like(kernel)
    kernel.grad, matrix.grad = gradient, gradient.flatten(1)
    for parameter in (kernel, matrix):
        Muon([parameter], lr=0.1, weight_decay=0.1).step()
    torch.testing.assert_close(kernel.detach().flatten(1), matrix.detach())


def test_matrices_in_a_stack_come_out_as_alone():
    torch.manual_seed(0)
    matrices = [torch.randn(shape) for shape in ((6, 9), (4, 4), (6, 9), (9, 6))]
    together = orthogonalized_together(matrices)
    for matrix, result in zip(matrices, together, strict=True):
        torch.testing.assert_close(result, orthogonalized(matrix, dtype=iteration_dtype("cpu")))
