"""Power laws: known ones are found again, and their intervals hold them."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from g3pt.evaluation.scaling import fit_power_law, fit_scaling

SIZES = np.array([1e5, 4e5, 1e6, 4e6, 1e7])


def losses(*, offset=0.0, exponent=0.2, scale=1e8):
    return offset + (scale / SIZES) ** exponent


def objects(law, *, num=60, seeds=1, noise=0.05, seed=0):
    """Losses (seeds, objects) whose expectation is the law; objects are hard or easy for all."""
    rng = np.random.default_rng(seed)
    hardness = 1 + 0.3 * rng.standard_normal(num)
    return [
        loss * hardness * (1 + noise * rng.standard_normal((seeds, num)) / seeds**0.5)
        for loss in law
    ]


def test_a_law_without_offset_is_found_again():
    law = fit_power_law(SIZES, losses())
    assert law.exponent == pytest.approx(0.2, rel=1e-9)
    assert np.exp(law.log_scale) == pytest.approx(1e8, rel=1e-6)
    assert law.r_squared == pytest.approx(1.0)
    assert law(SIZES) == pytest.approx(losses())


@pytest.mark.parametrize(("offset", "exponent"), [(1.5, 0.3), (4.0, 0.15), (0.0, 0.25)])
def test_a_law_with_an_offset_is_found_again(offset, exponent):
    wanted = losses(offset=offset, exponent=exponent)
    law = fit_power_law(SIZES, wanted, with_offset=True)
    assert law(SIZES) == pytest.approx(wanted, rel=1e-5)
    assert law.offset == pytest.approx(offset, abs=0.02)
    assert law.exponent == pytest.approx(exponent, rel=0.02)


def test_an_offset_never_explains_less():
    rng = np.random.default_rng(0)
    noisy = losses(offset=1.0) * (1 + 0.02 * rng.standard_normal(len(SIZES)))
    plain = fit_power_law(SIZES, noisy)
    offset = fit_power_law(SIZES, noisy, with_offset=True)
    assert offset.r_squared >= plain.r_squared - 1e-3  # relative errors are not quite those of logs
    assert 0 <= offset.offset <= noisy.min()


@pytest.mark.parametrize("with_offset", [False, True])
def test_the_interval_holds_the_true_exponent(with_offset):
    values = objects(losses(offset=1.0 if with_offset else 0.0))
    fit = fit_scaling(SIZES, values, with_offset=with_offset, num_resamples=100)
    assert fit.low < 0.2 < fit.high
    assert fit.low < fit.law.exponent < fit.high


def test_the_interval_covers_about_as_often_as_it_says():
    held = 0
    for number in range(30):
        fit = fit_scaling(SIZES, objects(losses(), seed=number), num_resamples=60)
        held += fit.low < 0.2 < fit.high
    assert held >= 23  # 28.5 expected, with a deviation of 1.2


def test_seeds_that_disagree_widen_the_interval():
    values = objects(losses(), noise=0.01, seeds=2)
    apart = [one * np.array([[0.97], [1.03]]) for one in values]
    sure = fit_scaling(SIZES, values, num_resamples=60)
    unsure = fit_scaling(SIZES, apart, num_resamples=60)
    assert unsure.high - unsure.low > 2 * (sure.high - sure.low)


def test_the_search_for_an_offset_finds_what_a_general_optimiser_finds():
    """The slow twin: scipy's least squares over all three parameters from many starts."""
    rng = np.random.default_rng(1)
    noisy = losses(offset=1.0, exponent=0.3) * (1 + 0.01 * rng.standard_normal(len(SIZES)))
    law = fit_power_law(SIZES, noisy, with_offset=True)
    x = np.log(SIZES) - np.log(SIZES).mean()

    def relative_errors(free):
        return (free[0] + free[1] * np.exp(-free[2] * x)) / noisy - 1

    found = [
        least_squares(relative_errors, (share, 1.0, 0.3), bounds=([0, 0, 1e-3], [9, 9, 4]))
        for share in (0.1, 1.0, 2.0)
    ]
    best = min(found, key=lambda one: one.cost)
    assert (law.offset, law.height, law.exponent) == pytest.approx(best.x, rel=1e-3)


def test_losses_that_rise_have_no_law_with_an_offset():
    rising = losses()[::-1].copy()
    law = fit_power_law(SIZES, rising, with_offset=True)
    assert law.height == 0 or law.exponent < 0.01
    assert fit_power_law(SIZES, rising).exponent < 0


def test_too_few_sizes_other_objects_and_losses_below_zero_are_refused():
    with pytest.raises(ValueError, match="at least 4 different sizes, got 3 losses of 3"):
        fit_power_law(SIZES[:3], losses()[:3])
    with pytest.raises(ValueError, match="losses must be positive"):
        fit_power_law(SIZES, losses() - 3)
    values = objects(losses())
    with pytest.raises(ValueError, match=r"the same objects, got \[59, 60\]"):
        fit_scaling(SIZES, [*values[:4], values[4][:, 1:]])
