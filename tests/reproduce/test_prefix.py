"""Rows at equal bits: what is trained, what is measured, what is written."""

import json
from dataclasses import replace

import pytest

from g3pt.reproduce.prefix import (
    measure_prefixes,
    own_rows,
    prefix,
    prefix_sets,
    write_quality,
)
from g3pt.reproduce.series import run_series
from g3pt.reproduce.tables import table2, table4, tokenizer_run


def test_rows_are_those_of_the_tables_but_for_the_prefix_losses():
    known = {
        variant.name: variant.run for table in (table2, table4) for variant in table("toy").variants
    }
    names = [variant.name for variant in prefix("toy").variants]
    assert [name for name in names if name not in known] == [
        "cvq-85-10bit-prefixes",
        "pooling-85-prefixes",
    ]
    for variant in prefix("toy").variants:
        run, plain = tokenizer_run(variant), known[variant.name.removesuffix("-prefixes")]
        losses = plain.loss if variant.name in known else run.loss
        assert replace(run, loss=losses) == replace(plain, loss=losses)
        assert (run.loss.prefix_weight > 0) == (variant.name not in known)


def test_more_steps_are_other_rows_and_another_report():
    assert [prefix("toy", factor).name for factor in (1, 4)] == ["prefix", "prefix-x4"]
    longer = prefix("toy", 4).variants
    assert {tokenizer_run(variant).train.steps for variant in longer} == {2000}
    assert {variant.name for variant in longer}.isdisjoint(
        variant.name for variant in prefix("toy").variants
    )


def test_objects_are_held_out_and_half_of_them_of_families_never_trained_on():
    known, unseen = (one.objects() for one in prefix_sets("toy"))
    assert len(known.refs) == len(unseen.refs) == 96
    assert not {ref.family for ref in known.refs} & {ref.family for ref in unseen.refs}


def test_rows_are_measured_and_reported_to_the_end_at_smoke_size(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    whole = prefix("smoke")
    chosen = [v for v in whole.variants if v.name in ("cvq-13-6bit-prefixes", "vq-7", "kl-7")]
    chosen[1] = replace(chosen[1], seeds=(0, 1))
    experiment = replace(whole, variants=tuple(chosen))
    run_series(experiment, tmp_path / "runs")
    rows, sets = own_rows(experiment, tmp_path / "runs"), prefix_sets("smoke")
    quality = measure_prefixes(experiment, rows, sets, notes=("A note.",))
    files = write_quality(quality, tmp_path / "out", "COMMAND")
    assert [file.name for file in files] == [f"prefix-smoke.{end}" for end in ("md", "json", "png")]
    page, found = files[0].read_text(), json.loads(files[1].read_text())
    assert page.startswith("# Prefix quality at equal bits") and "- A note." in page
    assert [row["seeds"] for row in found["rows"]] == [[0], [0, 1], [0]]
    assert list(found["sets"]) == ["procedural", "unseen"]
    means = found["sets"]["unseen"]["means"]
    assert [entry["bits"] for entry in means["cvq-13-6bit-prefixes"].values()] == [
        6,
        30,
        78,
    ]
    assert [entry["bits"] for entry in means["vq-7"].values()] == [42]
    assert [entry["bits"] for entry in means["kl-7"].values()] == [28 * b for b in range(1, 9)]
    places = [(one["theirs"], one["bits"]) for one in found["sets"]["unseen"]["comparisons"]]
    assert places == [("vq-7", 42), ("kl-7", 30), ("kl-7", 78)]

    def refuse(*_args, **_kwargs):
        raise AssertionError("measured again")

    monkeypatch.setattr("g3pt.evaluation.codecs.field_rate.measure", refuse)
    again = measure_prefixes(experiment, rows, sets)
    assert again.to_json()["sets"] == quality.to_json()["sets"]


def test_nothing_trained_is_refused():
    with pytest.raises(ValueError, match="no row is trained"):
        measure_prefixes(prefix("smoke"), [], prefix_sets("smoke"))
