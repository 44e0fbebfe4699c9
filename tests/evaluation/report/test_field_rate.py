import numpy as np
import pytest

from g3pt.evaluation.report.field_rate import (
    RateCurve,
    by_method,
    compare_at_equal_bits,
    plot_rates,
)


def rows(bits, scores, *, ids=("a", "b", "c")):
    """Objects differ by .1, and accuracy is IoU / 2."""
    return [
        {"id": name, "method": f"{rate} bits", "bits": rate, "iou": iou, "near_accuracy": iou / 2}
        for place, name in enumerate(ids)
        for rate, score in zip(bits, scores, strict=True)
        for iou in (score + 0.1 * place,)
    ]


def curve(name, bits, scores, **others):
    return RateCurve.from_rows(name, [rows(bits, scores, **others)])


def test_scores_at_a_setting_are_its_own_and_between_two_linear_in_the_logarithm():
    ours = curve("ours", (10, 40, 160), (0.1, 0.3, 0.4))
    np.testing.assert_allclose(ours.at("iou", 40), [[0.3, 0.4, 0.5]])
    np.testing.assert_allclose(ours.at("iou", 20), [[0.2, 0.3, 0.4]])
    np.testing.assert_allclose(ours.at("near_accuracy", 80), [[0.175, 0.225, 0.275]])


@pytest.mark.parametrize("bits", [9, 161])
def test_nothing_is_extrapolated(bits):
    with pytest.raises(ValueError, match=f"ours: {bits} bits are outside of its 10 to 160"):
        curve("ours", (10, 160), (0.1, 0.4)).at("iou", bits)


def test_codecs_are_compared_at_our_bits_where_theirs_reach():
    ours = curve("ours", (10, 40, 160), (0.1, 0.3, 0.4))
    found = compare_at_equal_bits(ours, curve("theirs", (20, 80, 320), (0.0, 0.2, 0.4)))
    assert [entry["bits"] for entry in found] == [40, 160]
    first = found[0]["iou"]
    assert first["ours"] == pytest.approx(0.4)  # the mean of three objects
    assert first["theirs"] == pytest.approx(0.2)
    assert first["difference"] == pytest.approx({"mean": 0.2, "low": 0.2, "high": 0.2, "num": 3})


def test_a_codec_of_one_setting_is_compared_at_its_own_bits():
    ours = curve("ours", (10, 40), (0.1, 0.3))
    (entry,) = compare_at_equal_bits(ours, curve("theirs", (20,), (0.25,)))
    assert entry["bits"] == 20
    assert entry["iou"]["difference"]["mean"] == pytest.approx(-0.05)
    assert compare_at_equal_bits(ours, curve("theirs", (50,), (0.25,))) == []


def test_other_objects_or_missing_settings_are_refused():
    ours = curve("ours", (10, 40), (0.1, 0.3))
    with pytest.raises(ValueError, match="ours and theirs were measured on different objects"):
        compare_at_equal_bits(ours, curve("theirs", (10, 40), (0.1, 0.3), ids=("a", "c", "b")))
    with pytest.raises(ValueError, match="ours: every object needs the same settings"):
        RateCurve.from_rows("ours", [rows((10, 40), (0.1, 0.3))[:-1]])
    with pytest.raises(ValueError, match="ours: its seeds were measured on different objects"):
        RateCurve.from_rows("ours", [rows((10,), (0.1,)), rows((10,), (0.1,), ids=("a", "b"))])


def test_means_and_differences_are_over_seeds_and_intervals_draw_them():
    seeds = RateCurve.from_rows("ours", [rows((10,), (0.1,)), rows((10,), (0.3,))])
    mean = seeds.means()["10 bits"]
    assert mean["bits"] == 10
    assert mean["iou"]["mean"] == pytest.approx(0.3)
    (alone,) = compare_at_equal_bits(curve("ours", (10,), (0.2,)), curve("theirs", (10,), (0.1,)))
    (both,) = compare_at_equal_bits(seeds, curve("theirs", (10,), (0.1,)))
    assert both["iou"]["difference"]["mean"] == pytest.approx(0.1)
    assert alone["iou"]["difference"]["low"] == pytest.approx(0.1)
    assert both["iou"]["difference"]["low"] == pytest.approx(0.0)
    assert both["iou"]["difference"]["high"] == pytest.approx(0.2)


def test_means_are_by_setting():
    found = by_method(rows((10, 40), (0.1, 0.3)))
    assert list(found) == ["10 bits", "40 bits"]
    assert found["40 bits"]["iou"]["mean"] == pytest.approx(0.4)
    assert found["40 bits"]["bits"]["mean"] == 40


def test_a_plot_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    curves = {"ours": curve("o", (10, 40), (0.1, 0.3)), "one": curve("t", (20,), (0.25,))}
    plot_rates(tmp_path / "rates.png", curves, dashed=("one",), title="rates")
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")
