"""Generators measured by small yardsticks, and what the reports make of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from g3pt.evaluation.objects import list_objects
from g3pt.evaluation.report.yardsticks import (
    compare_reports,
    comparison_lines,
    read_report,
    yardstick_lines,
    yardstick_report,
)
from g3pt.evaluation.sets.yardsticks import (
    YardstickConfig,
    build_yardstick,
    nearest_pictures,
    yardstick_objects,
)
from g3pt.generation.answers import ConsensusAnswer, SampleAnswer, answer_features, answer_of
from g3pt.generation.field import ShapeField
from g3pt.generation.likelihood import token_likelihood
from g3pt.generation.prompts import read_prompts
from g3pt.geometry.metrics import occupancy_iou
from g3pt.models.conditioning.pixels import read_pixels, shrink_pictures
from g3pt.models.tokenizer import require_tokens
from g3pt.models.weights.load import load_weights
from g3pt.shapes.yardstick import Yardstick, load_yardstick, query_positions, save_yardstick
from g3pt.training.yardsticks import (
    TEMPERATURES,
    field_iou,
    measure_yardstick,
    measure_yardsticks,
    object_seed,
    picture_condition,
    ready_yardstick,
)

CONFIG = YardstickConfig(
    num_points=512, num_queries=256, picture_size=48, render_size=64, solid_resolution=32
)
ANSWERS = (SampleAnswer(), ConsensusAnswer(num_samples=3))


@pytest.fixture(scope="module")
def models(tiny_weights: Path):
    """Tokenizer, generator and sampling of untrained weights."""
    weights = load_weights(tiny_weights, "cpu")
    assert weights.car is not None
    return require_tokens(weights.tokenizer, "tiny"), weights.car, weights.config.sampling


@pytest.fixture(scope="module")
def known() -> Yardstick:
    return build_yardstick("known", list_objects("procedural", limit=5), CONFIG).yardstick


@pytest.fixture(scope="module")
def measure(models, known: Yardstick):
    tokenizer, car, sampling = models
    return measure_yardsticks(tokenizer, car, [known], ANSWERS, sampling, batch_size=2)[0]


# --- making --------------------------------------------------------------------------------


def test_labels_and_points_are_those_of_the_object(known: Yardstick) -> None:
    from g3pt.preparation.sources import load_shape

    for row, ref in enumerate(list_objects("procedural", limit=5).refs):
        shape = load_shape(ref)
        assert known.ids[row] == shape.id
        assert known.captions[row] == shape.captions[0]
        assert np.array_equal(known.inside_BQ[row], shape.contains(query_positions(256)))
        points, normals = (each[row].astype(np.float64) for each in known.surface)
        # Just below the surface is inside, just above it is not, but for edges.
        below, above = (shape.contains(points + step * normals) for step in (-2e-3, 2e-3))
        assert below.mean() > 0.9
        assert above.mean() < 0.1


def test_pictures_are_framed_as_those_of_users_are(known: Yardstick) -> None:
    visible = known.pictures_BSS4[..., 3] >= 24
    longest = np.maximum(visible.any(axis=1).sum(axis=1), visible.any(axis=2).sum(axis=1))
    assert np.all(np.abs(longest / 48 - 0.85) < 0.06)


def test_meshes_are_flagged_as_preparation_flags_them(mesh_set: Path) -> None:
    objects = yardstick_objects(mesh_set, 2)
    assert list(objects) == ["known", "unseen", "real"]
    built = build_yardstick("real", objects["real"], CONFIG)
    assert built.yardstick.flagged_B.shape == (len(built.yardstick),)
    assert len(built.yardstick) + len(built.refused) == 2
    assert list(yardstick_objects(None, 2)) == ["known", "unseen"]


def test_the_first_objects_are_of_all_families() -> None:
    from g3pt.preparation.sources import ProceduralRef
    from g3pt.procedural import HELD_OUT_FAMILIES

    refs = yardstick_objects(None, 12)["unseen"].refs
    families = [ref.family for ref in refs if isinstance(ref, ProceduralRef)]
    assert set(families[:6]) == set(families[6:]) == set(HELD_OUT_FAMILIES)


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="num_points must be at least 8, got 0"):
        YardstickConfig(num_points=0)
    with pytest.raises(ValueError, match="multiple of 8, got 12"):
        YardstickConfig(num_queries=12)


# --- measuring -----------------------------------------------------------------------------


def test_cross_entropy_is_that_of_the_tokens_given_the_picture(models, known, measure) -> None:
    tokenizer, car, _ = models
    ready = ready_yardstick(tokenizer, known)
    condition = picture_condition(ready.pictures_BSS4, car.config)
    found = token_likelihood(tokenizer, car, ready.indices_BT, condition)
    np.testing.assert_allclose(measure.ce, found.scale_nats_per_token.numpy(), rtol=1e-4)
    assert measure.chance == pytest.approx(5 * np.log(2))


def test_calibration_never_makes_it_worse(measure) -> None:
    assert np.all(measure.calibrated.mean(axis=0) <= measure.ce.mean(axis=0))
    assert set(measure.temperature) <= set(TEMPERATURES)


def test_too_sure_a_generator_is_told_by_its_temperature(models, known) -> None:
    tokenizer, car, sampling = models
    sure = type(car)(car.config).eval()
    sure.load_state_dict(car.state_dict())
    with torch.no_grad():
        for head in sure.heads.modules():
            if isinstance(head, torch.nn.Linear):
                head.weight.normal_(std=1.0)
    found = measure_yardsticks(tokenizer, sure, [known], (), sampling)[0]
    assert np.all(found.temperature > 1)
    assert np.all(found.calibrated.mean(axis=0) < found.ce.mean(axis=0))


def test_right_bits_are_counted_by_the_likelier_value(models, known, measure) -> None:
    tokenizer, car, _ = models
    ready = ready_yardstick(tokenizer, known)
    condition = picture_condition(ready.pictures_BSS4, car.config)
    from g3pt.models.teacher import teacher_inputs

    teacher = teacher_inputs(tokenizer, ready.indices_BT, car.config.input_kind)
    with torch.no_grad():
        logits_BTV = car(teacher.inputs_BTC, condition)[2]
    shares_BTV = logits_BTV.softmax(dim=-1)
    targets_BT = ready.indices_BT[:, 5:]
    right = torch.zeros(len(known))
    for bit in range(5):  # slow: entry by entry
        has_bit_V = torch.tensor([bool(entry >> bit & 1) for entry in range(32)])
        likely_BT = shares_BTV[..., has_bit_V].sum(dim=-1) > 0.5
        right += (likely_BT == (targets_BT >> bit & 1).bool()).float().mean(dim=1) / 5
    np.testing.assert_allclose(measure.bit_accuracy_BS[:, 2], right, atol=1e-6)


def test_the_iou_of_tokens_is_that_of_the_decoded_shape(models, known, measure) -> None:
    tokenizer, _, _ = models
    ready = ready_yardstick(tokenizer, known)
    for row in range(len(known)):
        field = ShapeField.from_tokens(tokenizer, ready.indices_BT[row])
        expected = occupancy_iou(field(known.queries) > 0, known.inside_BQ[row])
        assert measure.iou["tokens"][row] == pytest.approx(expected, abs=0.02)


def test_a_field_agrees_with_its_own_labels(models) -> None:
    tokenizer, _, _ = models
    summed_BLC = torch.randn(3, 16, 32, generator=torch.Generator().manual_seed(0))
    queries_Q3 = torch.from_numpy(query_positions(256))
    with torch.no_grad():
        memory = tokenizer.shape_memory(summed_BLC, 3)
        logits_BQ = tokenizer.occupancy(memory, queries_Q3.expand(3, -1, -1))
    own_B = field_iou(tokenizer, summed_BLC, 3, queries_Q3, logits_BQ > 0)
    assert own_B.tolist() == [1, 1, 1]
    other_B = field_iou(tokenizer, summed_BLC, 3, queries_Q3, ~(logits_BQ > 0))
    assert other_B.tolist() == [0, 0, 0]


def test_fewer_points_and_queries_are_the_first_of_them(models, known) -> None:
    tokenizer, _, _ = models
    few = ready_yardstick(tokenizer, known, num_scales=2, num_points=100, num_queries=64)
    points_BN3, normals_BN3 = (torch.from_numpy(each[:, :100]) for each in known.surface)
    assert torch.equal(few.indices_BT, tokenizer.tokenize(points_BN3, normals_BN3, 2))
    assert np.array_equal(few.inside_BQ, known.inside_BQ[:, :64])
    assert np.array_equal(few.queries_Q3, known.queries[:64])


def test_what_is_measured_depends_neither_on_the_batch_nor_on_the_others(
    models, known, measure
) -> None:
    tokenizer, car, sampling = models
    alone = measure_yardsticks(tokenizer, car, [known.take([3])], ANSWERS, sampling)[0]
    for answer, values in measure.iou.items():
        assert alone.iou[answer][0] == pytest.approx(values[3], abs=0.02)
    np.testing.assert_allclose(alone.ce[0], measure.ce[3], rtol=1e-4)
    assert object_seed("a") != object_seed("b") != object_seed("b", 1)


def test_modules_in_training_are_measured_without_dropout_and_go_on(models, known) -> None:
    tokenizer, car, sampling = models
    ready = ready_yardstick(tokenizer, known)
    car.train()
    try:
        found = measure_yardstick(tokenizer, car, ready, (SampleAnswer(),), sampling)
        assert car.training
    finally:
        car.eval()
    again = measure_yardstick(tokenizer, car, ready, (SampleAnswer(),), sampling)
    assert np.array_equal(found.iou["sample"], again.iou["sample"])


def test_a_generator_without_pictures_is_refused(models, known) -> None:
    _, car, _ = models
    conditions = tuple(each for each in car.config.conditions if each.slot == "text")
    text = replace(car.config, conditions=conditions)
    with pytest.raises(ValueError, match="this generator is told text"):
        picture_condition(torch.from_numpy(known.pictures_BSS4), text)


def test_pictures_reach_the_encoder_as_those_of_users_do(models, known) -> None:
    _, car, _ = models
    ours_BSS4 = picture_condition(torch.from_numpy(known.pictures_BSS4), car.config).pictures_BSS4
    theirs_BSS4 = read_prompts(car, image=list(known.pictures_BSS4)).condition.pictures_BSS4
    assert ours_BSS4 is not None and theirs_BSS4 is not None
    assert ours_BSS4.shape == theirs_BSS4.shape
    ours, theirs = (read_pixels(each, alpha=True) for each in (ours_BSS4, theirs_BSS4))
    # Averaged in one step here, framed and filtered again there: edges differ by a part of a pixel.
    assert (ours - theirs).abs().mean() < 0.03


def test_pictures_are_averaged_without_the_colours_that_nobody_sees() -> None:
    pictures_BSS4 = torch.zeros(1, 4, 4, 4, dtype=torch.uint8)
    pictures_BSS4[0, :, 0] = torch.tensor([200, 100, 50, 255])  # a column; the rest is hidden
    pictures_BSS4[0, :, 1:, :3] = 255
    small_BSS4 = shrink_pictures(pictures_BSS4, 2)
    assert small_BSS4[0, 0, 0].tolist() == [200, 100, 50, 128]
    assert small_BSS4[0, 0, 1, 3] == 0


# --- answers -------------------------------------------------------------------------------


def test_a_consensus_is_the_mean_of_the_samples_of_its_seeds(models, known) -> None:
    tokenizer, car, sampling = models
    condition = picture_condition(torch.from_numpy(known.pictures_BSS4), car.config)
    asked = {"sampling": sampling}
    agreed_BLC = answer_features(
        tokenizer, car, condition, ANSWERS[1], seeds=[10, 20, 30, 40, 50], **asked
    ).summed_BLC
    samples = [
        answer_features(
            tokenizer,
            car,
            condition,
            SampleAnswer(),
            seeds=[first + k for first in (10, 20, 30, 40, 50)],
            **asked,
        ).summed_BLC
        for k in range(3)
    ]
    torch.testing.assert_close(agreed_BLC, torch.stack(samples).mean(dim=0))
    assert answer_of(1) == SampleAnswer()
    assert answer_of(4).name == "consensus_of_4"
    with pytest.raises(ValueError, match="consensus must be at least 1, got 0"):
        answer_of(0)
    with pytest.raises(ValueError, match="at least 2 samples"):
        ConsensusAnswer(num_samples=1)


def test_the_nearest_picture_is_that_of_the_object_itself(known) -> None:
    bank_MSS4 = known.pictures_BSS4[[4, 2, 0]]
    assert nearest_pictures(known.pictures_BSS4[[0, 2, 4]], bank_MSS4).tolist() == [2, 1, 0]
    small_MSS4 = shrink_pictures(torch.from_numpy(bank_MSS4), 24).numpy()
    assert nearest_pictures(known.pictures_BSS4[[0, 2, 4]], small_MSS4).tolist() == [2, 1, 0]


# --- reports -------------------------------------------------------------------------------


def test_memory_is_what_unseen_kinds_lack(measure) -> None:
    worse = {name: values - 0.25 for name, values in measure.iou.items()}
    report = yardstick_report([measure, replace(measure, name="unseen", iou=worse)], seed=0)
    assert [row["set"] for row in report["rows"]] == ["known", "unseen"]
    for name in ("sample", "consensus_of_3"):
        assert report["memory"][name]["mean"] == pytest.approx(0.25)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    lines = yardstick_lines(report)
    assert any(line.startswith("memory (known - unseen), sample: +0.250") for line in lines)
    assert yardstick_report([measure])["memory"] == {}


def test_flagged_objects_are_in_a_row_of_their_own(measure) -> None:
    flagged_B = np.array([False, True, False, True, False])
    report = yardstick_report([replace(measure, name="real", flagged_B=flagged_B)])
    rows = {row["set"]: row for row in report["rows"]}
    assert {name: row["num"] for name, row in rows.items()} == {"real": 3, "real_flagged": 2}
    expected = measure.iou["sample"][~flagged_B].mean()
    assert rows["real"]["iou"]["sample"]["mean"] == pytest.approx(expected)


def test_two_reports_are_compared_object_by_object(measure) -> None:
    before = yardstick_report([measure])
    better = {name: values + 0.125 for name, values in measure.iou.items()}
    some = replace(measure, iou=better).take(np.array([True, False, True, True, False]), "known")
    now = yardstick_report([some])
    rows = {row["what"]: row for row in compare_reports(now, before)}
    assert rows["iou/sample"]["mean"] == pytest.approx(0.125)
    assert rows["iou/sample"]["num"] == 3
    assert rows["ce_2"]["mean"] == pytest.approx(0)
    lines = comparison_lines(list(rows.values()))
    assert any("iou/sample" in line and line.endswith("*") for line in lines)
    with pytest.raises(ValueError, match="expected a report of protocol"):
        compare_reports(now, {"protocol": "other"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected a report of yardsticks"),
        ('{"protocol": "other", "rows": []}', "expected a report of yardsticks"),
        ('{"protocol": "g3pt-yardsticks-v1", "rows": {}}', "rows: expected objects with set, num"),
        ('{"protocol": "g3pt-yardsticks-v1", "rows": [{"set": "own"}]}', "rows: expected objects"),
    ],
)
def test_a_file_that_holds_no_report_is_refused_by_name(tmp_path, content, message) -> None:
    file = tmp_path / "before.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=f"before.json: {message}"):
        read_report(file)


def test_a_report_comes_back_from_its_file(measure, tmp_path) -> None:
    report = yardstick_report([measure])
    (tmp_path / "before.json").write_text(json.dumps(report))
    assert read_report(tmp_path / "before.json") == report


def test_what_is_read_from_a_file_measures_the_same(models, known, measure, tmp_path) -> None:
    tokenizer, car, sampling = models
    save_yardstick(tmp_path / "known.safetensors", known)
    read = load_yardstick(tmp_path / "known.safetensors")
    found = measure_yardsticks(tokenizer, car, [read], (), sampling)[0]
    # The pictures went through WebP, the points are the same in another order.
    np.testing.assert_allclose(found.ce, measure.ce, rtol=0.02)
    assert set(found.iou) == {"tokens"}
