import pytest
import torch


def test_rows_come_back_to_half_a_step():
    from g3pt.models.weights.compact import expand_rows, round_rows

    torch.manual_seed(0)
    matrix = torch.randn(7, 5, 3) * torch.logspace(-3, 3, 7)[:, None, None]
    rounded, steps = round_rows(matrix)
    error = (expand_rows(rounded, steps) - matrix).flatten(1).abs().amax(dim=1)
    assert rounded.dtype == torch.int8 and rounded.shape == matrix.shape
    assert (error <= 0.5001 * steps.float()).all()
    largest = matrix.flatten(1).abs().amax(dim=1)
    assert (error < largest / 250).all()


@pytest.mark.parametrize("row", [torch.zeros(4), torch.tensor([0.0, 1e-9, -1e-9, 0.0])])
def test_rows_of_nothing_stay_nothing(row):
    from g3pt.models.weights.compact import expand_rows, round_rows

    back = expand_rows(*round_rows(row[None]))
    torch.testing.assert_close(back[0], row, atol=1e-6, rtol=0)


def test_only_large_matrices_of_the_named_parts_are_rounded():
    from g3pt.models.weights.compact import STEPS_SUFFIX, compact, expand

    tensors = {
        "car.large": torch.randn(64, 64),
        "car.small": torch.randn(8, 8),
        "car.vector": torch.randn(5000),
        "tokenizer.large": torch.randn(64, 64),
    }
    stored = compact(tensors, ("car.",))
    assert set(stored) == {*tensors, "car.large" + STEPS_SUFFIX}
    assert stored["car.large"].dtype == torch.int8
    back = expand(stored)
    assert set(back) == set(tensors)
    for name in ("car.small", "car.vector", "tokenizer.large"):
        assert torch.equal(back[name], tensors[name])


def test_nothing_named_changes_nothing():
    from g3pt.models.weights.compact import compact

    tensors = {"car.large": torch.randn(64, 64)}
    assert compact(tensors, ()) == tensors


MATRIX = torch.zeros(3, 2, dtype=torch.int8)


@pytest.mark.parametrize(
    "stored",
    [
        {"a:steps": torch.ones(3)},
        {"a": MATRIX.float(), "a:steps": torch.ones(3)},
        {"a": MATRIX[:, 0], "a:steps": torch.ones(3)},
        {"a": MATRIX, "a:steps": torch.ones(2)},
        {"a": MATRIX, "a:steps": torch.ones(3, dtype=torch.int64)},
    ],
)
def test_steps_are_a_number_for_each_row_of_a_matrix_of_bytes(stored):
    from g3pt.models.weights.compact import expand

    assert expand({"a": MATRIX, "a:steps": torch.ones(3)})["a"].dtype == torch.float32
    with pytest.raises(ValueError, match="a:steps are not the steps of the rows"):
        expand(stored)
