import pytest
import torch

from g3pt.stream.pool import Examples, Pool, concatenate_examples


def examples(first, num, caption=""):
    numbers = torch.arange(first, first + num)
    return Examples(
        indices_BT=numbers[:, None].short().expand(num, 3).clone(),
        pictures_BVSS4=torch.zeros(num, 2, 4, 4, 4, dtype=torch.uint8),
        shown_BV=torch.ones(num, 2, dtype=torch.bool),
        queries_BQ3=torch.zeros(num, 5, 3, dtype=torch.int16),
        inside_BQ=torch.zeros(num, 5, dtype=torch.bool),
        captions=(caption,) * num,
        origins=tuple(f"shape-{number}" for number in range(first, first + num)),
    )


def held(pool):
    return sorted(pool.rows(range(len(pool))).indices_BT[:, 0].tolist())


def test_new_examples_take_the_places_of_the_oldest():
    pool = Pool(5)
    pool.put(examples(0, 3))
    assert held(pool) == [0, 1, 2]
    pool.put(examples(3, 4))
    assert held(pool) == [2, 3, 4, 5, 6]
    assert pool.num_made == 7


def test_a_pool_that_takes_over_gives_the_same_rows():
    whole, later = Pool(5), Pool(5, num_made=2)
    whole.put(examples(0, 2))
    for pool in (whole, later):
        pool.put(examples(2, 5))
    assert torch.equal(whole.rows(range(5)).indices_BT, later.rows(range(5)).indices_BT)


def test_examples_that_are_told_about_are_found():
    pool = Pool(6)
    pool.put(concatenate_examples([examples(0, 2), examples(2, 2, "a mug"), examples(4, 1)]))
    assert pool.told().tolist() == [2, 3]
    found = pool.rows([3, 0])
    assert found.captions == ("a mug", "")
    assert found.origins == ("shape-3", "shape-0")


def test_features_stay_with_their_pictures():
    pool = Pool(2)
    features = torch.arange(2.0)[:, None, None, None, None].expand(2, 2, 1, 1, 3)
    one = examples(0, 2)
    pool.put(Examples(**{**vars(one), "features_BVGGP": features}))
    found = pool.rows([1]).features_BVGGP
    assert found is not None
    assert (found == 1).all()


def test_more_examples_than_fit_are_refused():
    with pytest.raises(ValueError, match="a pool of 2 cannot take 3"):
        Pool(2).put(examples(0, 3))
