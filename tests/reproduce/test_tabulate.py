"""From rows to a table: what is compared with what, and what is made of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from g3pt.reproduce.budget import budget
from g3pt.reproduce.series import FinishedRow
from g3pt.reproduce.table_report import markdown, rounded_json, write_report
from g3pt.reproduce.tables import table2, table3a, table4, tokenizer_run
from g3pt.reproduce.tabulate import at_operations, tabulate
from g3pt.training.cost import estimate_cost

ENVIRONMENT = {
    "commit": "abc",
    "accelerator": "none",
    "machine": "x86_64",
    "versions": {"torch": "2.13.0"},
}


def row(variant, seed, iou, usage=0.9):
    scales = len(variant.run.model.cqt.scale_lengths) if variant.run.model.kind == "cvq" else 4
    health = {"iou": iou, "usage": usage}
    for scale in range(scales):
        health |= {f"usage/{scale}": usage, f"bit_entropy/{scale}": 0.99}
    objects = [
        {
            "id": str(number),
            "iou": iou + 0.001 * number,
            "chamfer_mean": 0.03,
            "fscore_001": 0.2,
            "near_accuracy": 0.8,
        }
        for number in range(20)
    ]
    summary = {
        "parameters": 1000,
        "flops_per_step": 10**9,
        "processor_seconds_per_step": 0.24,
        "steps": 500,
        "validation": health,
        "environment": ENVIRONMENT,
    }
    return FinishedRow(variant.name, seed, summary, {"procedural": objects})


def finished(experiment, ious):
    return [
        row(variant, seed, iou + 0.001 * seed, usage=0.9 - 0.1 * place)
        for place, (variant, iou) in enumerate(zip(experiment.variants, ious, strict=True))
        for seed in variant.seeds
    ]


def outcomes(table):
    return {
        entry.claim: entry.outcome for entry in (*table.comparisons, *table.at_equal_operations)
    }


def test_claims_are_judged_in_the_papers_direction():
    experiment = table4("toy")  # volume, triplane, pooling, CVQ
    table = tabulate(experiment, finished(experiment, (0.5, 0.6, 0.7, 0.65)))
    found = outcomes(table)
    assert found["triplane > volume in IoU"] == "reproduced"
    assert found["pooling > triplane in IoU"] == "reproduced"
    assert found["CVQ > pooling in IoU"] == "not reproduced"
    assert found["CVQ > pooling in accuracy"] == "within the interval"  # they are equal


def test_the_papers_difference_stands_beside_ours_in_our_units():
    experiment = table4("toy")
    table = tabulate(experiment, finished(experiment, (0.5, 0.6, 0.7, 0.65)))
    (entry,) = [one for one in table.comparisons if one.claim == "CVQ > pooling in IoU"]
    assert entry.paper == pytest.approx(0.9035 - 0.8951)
    assert entry.difference == pytest.approx(-0.05)
    assert entry.seeds == (2, 2)


def test_use_of_the_codebook_is_compared_seed_by_seed():
    experiment = table2("toy")
    table = tabulate(experiment, finished(experiment, (0.5,) * 6))
    claim = "CVQ uses more of the codebook than VQ-VAE at 85 tokens"
    assert outcomes(table)[claim] == "not reproduced"  # .4 against .6 in these rows


def test_continuous_latents_count_as_16_bit_numbers():
    experiment = table2("toy")
    table = tabulate(experiment, finished(experiment, (0.5,) * 6))
    vae, cvq = table.rows[1].facts, table.rows[5].facts
    assert (vae.tokens, vae.bits, vae.codebook, vae.usage) == (85, 85 * 8 * 16, 0, None)
    assert (cvq.tokens, cvq.bits, cvq.codebook) == (85, 850, 1024)
    assert table.rows[5].core_minutes == 2.0


def test_what_is_not_finished_is_counted_and_left_out():
    experiment = table4("toy")
    rows = [row for row in finished(experiment, (0.5, 0.6, 0.7, 0.65)) if row.variant != "volume"]
    table = tabulate(experiment, rows)
    assert table.missing == 2
    assert "triplane > volume in IoU" not in outcomes(table)
    assert "CVQ > pooling in IoU" in outcomes(table)
    assert "**Not complete:** 2 runs" in markdown(table, "table4-toy.png")
    with pytest.raises(ValueError, match="table4: no row is finished yet"):
        tabulate(experiment, [])


def test_the_report_names_commit_rows_and_outcomes(tmp_path: Path):
    pytest.importorskip("matplotlib", reason="plots need the extra `eval`")
    experiment = table3a("toy")
    table = tabulate(experiment, finished(experiment, (0.5, 0.6, 0.65, 0.64)))
    files = write_report(table, tmp_path)
    assert [path.name for path in files] == [
        "table3a-toy.md",
        "table3a-toy.csv",
        "table3a-toy.json",
        "table3a-toy.png",
    ]
    text = markdown(table, "table3a-toy.png")
    assert files[0].read_text() == text
    assert "commit abc" in text
    assert "| IoU rises from 256 entries to 1024 entries | -0.0095 " in text
    assert "| not reproduced |" in text
    assert "| 85.43 |" in text  # the paper's own
    assert len(files[1].read_text().splitlines()) == 5
    assert files[3].read_bytes().startswith(b"\x89PNG")


# --- over operations ---------------------------------------------------------------------------


def spent(found, flops, steps):
    """A row that took `steps` of `flops`, measured on the objects of `budget`."""
    summary = found.summary | {"flops_per_step": flops, "steps": steps}
    objects = {"budget-procedural": found.objects["procedural"]}
    return replace(found, summary=summary, objects=objects)


def budget_rows(experiment, ious, volume_flops):
    """IoU by kind and budget; a step of a volume takes `volume_flops`, of the others 1e9."""
    return [
        spent(
            row(variant, seed, ious[variant.curve][variant.run.train.steps]),
            volume_flops if variant.curve == "volume" else 10**9,
            variant.run.train.steps,
        )
        for variant in experiment.variants
        for seed in variant.seeds
    ]


def test_an_order_that_turns_with_the_steps_is_seen():
    experiment = budget("toy")
    flat = {500: 0.5, 2000: 0.5, 5000: 0.5}
    ious = dict.fromkeys(("VAE", "VQ-VAE", "pooling", "triplane"), flat)
    ious["CVQ"] = {500: 0.4, 2000: 0.5, 5000: 0.7, 10_000: 0.7}
    ious["volume"] = {500: 0.5, 2000: 0.6, 5000: 0.65}
    found = outcomes(tabulate(experiment, budget_rows(experiment, ious, 4 * 10**9)))
    assert found["CVQ > volume, both after 500 steps"] == "not reproduced"
    assert found["CVQ > volume, both after 5,000 steps"] == "reproduced"
    # 500 steps of a volume are 2,000 of CVQ, 2,000 are 8,000, 5,000 are more than CVQ took
    equal = {500: "within the interval", 2000: "reproduced"}
    for steps, outcome in equal.items():
        text = f"CVQ > volume, both after {steps // 250} TFLOP ({steps:,} steps of the latter)"
        assert found[text] == outcome
    assert not any("volume" in text and "5,000 steps of the latter" in text for text in found)


def test_cvq_is_trained_for_the_operations_of_every_other_kind():
    spent = dict[str, int]()
    for variant in budget("toy").variants:
        run = tokenizer_run(variant)
        operations = estimate_cost(run).flops_per_step * run.train.steps
        spent[variant.curve] = max(spent.get(variant.curve, 0), operations)
    assert max(spent.values()) < 1.04 * spent["CVQ"]


def test_a_curve_is_read_between_its_budgets_in_the_logarithm_of_operations():
    curve = [(100, np.array([[0.2, 0.4]])), (10_000, np.array([[0.4, 0.8], [0.0, 0.0]]))]
    np.testing.assert_allclose(at_operations(curve, 1000), [[0.3, 0.6]])
    np.testing.assert_allclose(at_operations(curve, 10_000), [[0.4, 0.8]])
    np.testing.assert_allclose(at_operations(curve, 96), curve[0][1])
    np.testing.assert_allclose(at_operations(curve, 10_400), curve[1][1])
    assert at_operations(curve, 90) is None
    assert at_operations(curve, 11_000) is None
    assert at_operations([], 100) is None


def test_a_curve_over_operations_is_drawn_for_every_kind(tmp_path: Path):
    pytest.importorskip("matplotlib", reason="plots need the extra `eval`")
    experiment = budget("toy")
    growing = {500: 0.4, 2000: 0.5, 5000: 0.6, 10_000: 0.6}
    ious = {variant.curve: growing for variant in experiment.variants}
    table = tabulate(experiment, budget_rows(experiment, ious, 2 * 10**9))
    files = write_report(table, tmp_path)
    assert [file.name for file in files][-1] == "budget-toy.png"
    text = files[0].read_text(encoding="utf-8")
    before, after = text.split("### budget-procedural, at equal operations")
    assert "CVQ > volume, both after 500 steps" in before
    assert "CVQ > volume, both after 1 TFLOP (500 steps of the latter)" in after
    assert files[-1].stat().st_size > 10_000


def test_a_table_over_operations_needs_curves_and_one_to_compare_with():
    experiment = budget("smoke")
    with pytest.raises(ValueError, match=r"budget: over operations .* got 'cube'"):
        replace(experiment, reference="cube")
    nameless = tuple(replace(variant, curve="") for variant in experiment.variants)
    with pytest.raises(ValueError, match="every variant needs a curve"):
        replace(experiment, variants=nameless)


def test_reports_have_fractions_of_four_digits_and_whole_counts():
    assert rounded_json({"a": [1 / 3, -2e-9 / 3], "b": 12_345_678}) == (
        '{"a":[0.3333,-6.667e-10],"b":12345678}\n'
    )
