import numpy as np
import pytest


@pytest.fixture
def order():
    from g3pt.shapes.order import MixedOrder

    return MixedOrder([50, 7], weights=[3.0, 1.0], seed=5)


def drawn(draws):
    return [(part, row) for part, row, _ in draws]


def test_each_epoch_of_a_part_shows_every_row_once(order):
    draws = order.draws(0, 4000)
    for part, size in enumerate(order.sizes):
        rows = draws.rows[draws.parts == part]
        epochs = len(rows) // size
        assert epochs >= 2
        for epoch in range(epochs):
            assert sorted(rows[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_epochs_of_a_part_are_shuffled_differently(order):
    draws = order.draws(0, 400)
    rows = draws.rows[draws.parts == 0]
    assert not np.array_equal(rows[:50], rows[50:100])


def test_shares_follow_the_weights(order):
    draws = order.draws(0, 2048)
    assert np.mean(draws.parts == 0) == pytest.approx(0.75, abs=0.002)


def test_the_order_does_not_depend_on_where_reading_begins(order):
    whole = drawn(order.draws(0, 3000))
    assert drawn(order.draws(1234, 500)) == whole[1234:1734]
    assert drawn(order.draws(17, 3)) == whole[17:20]


def test_processes_share_the_global_batch_of_a_single_one(order):
    alone = drawn(order.batch(9, 12))
    for world_size in (2, 3, 4):
        shares = [
            order.batch(9, 12, rank=rank, world_size=world_size) for rank in range(world_size)
        ]
        assert [pair for share in shares for pair in drawn(share)] == alone


def test_consecutive_batches_join_without_gap(order):
    joined = drawn(order.batch(0, 8)) + drawn(order.batch(1, 8))
    assert joined == drawn(order.draws(0, 16))


def test_another_seed_gives_another_order(order):
    from g3pt.shapes.order import MixedOrder

    other = MixedOrder([50, 7], weights=[3.0, 1.0], seed=6)
    assert drawn(other.draws(0, 100)) != drawn(order.draws(0, 100))


def test_without_weights_parts_are_drawn_in_proportion_to_their_size():
    from g3pt.shapes.order import MixedOrder

    draws = MixedOrder([300, 100]).draws(0, 1024)
    assert np.mean(draws.parts == 0) == pytest.approx(0.75, abs=0.005)


def test_a_tiny_share_is_still_drawn_from():
    from g3pt.shapes.order import MixedOrder

    draws = MixedOrder([10, 10], weights=[1e6, 1.0]).draws(0, 1024)
    assert (draws.parts == 1).sum() == 1


def test_a_batch_that_cannot_be_shared_equally_is_refused(order):
    with pytest.raises(ValueError, match="shared equally by 5"):
        order.batch(0, 12, world_size=5)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, float("nan")]])
def test_weights_that_do_not_fit_are_refused(weights):
    from g3pt.shapes.order import MixedOrder

    with pytest.raises(ValueError, match="positive numbers"):
        MixedOrder([5, 5], weights=weights)
