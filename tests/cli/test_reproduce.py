"""`g3pt reproduce`."""

import json

import pytest

from g3pt.cli.main import main

pytest.importorskip("matplotlib", reason="plots need the extra `eval`")


def test_a_table_is_trained_written_and_printed_as_json(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "table3b", "--scale", "smoke", "--out", "results", "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert [row["variant"] for row in result["rows"]] == ["cvq-7-6bit", "cvq-13-6bit"]
    first, *said = captured.err.splitlines()
    assert first == "g3pt reproduce: loading table3b"
    assert any("cache/smoke-train: shapes 0 of 8" in line for line in said)
    assert [entry["claim"] for entry in result["comparisons"]] == [
        "IoU rises from 7 tokens to 13 tokens"
    ]
    assert result["comparisons"][0]["outcome"] in (
        "reproduced",
        "not reproduced",
        "within the interval",
    )
    for file in result["files"]:
        assert (tmp_path / file).stat().st_size > 0
    # and again for a reader, from the rows that are there
    assert main(["reproduce", "table3b", "--scale", "smoke", "--out", "results"]) == 0
    assert "IoU rises from 7 tokens to 13 tokens" in capsys.readouterr().out


def test_a_gallery_is_drawn_and_printed_with_the_keys_of_a_table(tmp_path, capsys):
    out = tmp_path / "results"
    assert main(["reproduce", "figure5", "--scale", "smoke", "--out", str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {"rows", "comparisons", "files", "weights", "machine", "recipe"} <= set(result)
    assert [row["seed"] for row in result["rows"]] == [0, 1, 0, 1]
    assert all(row["closed"] and row["vertices"] for row in result["rows"])
    names = [f"figure5-smoke.{suffix}" for suffix in ("md", "json", "png")]
    assert result["files"] == [str(out / name) for name in names]
    assert all((out / name).stat().st_size for name in names)


def test_a_dry_run_counts_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "table4", "--scale", "smoke", "--dry-run", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["variant"] for row in rows] == ["volume", "triplane", "pooling-13", "cvq-13-6bit"]
    assert all(row["flops_per_step"] > 0 and row["memory_bytes"] > 0 for row in rows)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table9"], "nothing of that name; there are table2, table3a"),
        (["table2", "--scale", "huge"], "--scale: choose one of smoke, toy"),
        (["figure5", "--scale", "huge"], "--scale: choose one of smoke, toy"),
        (["figure5", "--dry-run"], "figure5 trains nothing"),
        (["table2", "--workers", "0"], "--workers must be at least 1"),
        (["table2", "--try-steps", "-1"], "--try-steps must not be negative"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, capsys):
    assert main(["reproduce", *arguments]) == 2
    assert message in capsys.readouterr().err
