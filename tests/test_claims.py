"""Every claim in docs/claims.md names tests, commands, scripts and commits that exist."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from g3pt.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
CITED = sorted(set(re.findall(r"`((?:tests|scripts)/[^`\s]+)`", TEXT)))
MEASURED = re.compile(r"\d{4}-\d\d-\d\d, (?:[0-9a-f]{7}|\[[^]]+\]\(([^)]+)\))")
"""A date with a commit, or with the page of the results."""
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and " refuted if " not in line]


@pytest.mark.parametrize("cited", CITED)
def test_what_would_refute_a_claim_exists(cited):
    file, _, name = cited.partition("::")
    assert (ROOT / file).is_file()
    if name:
        assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8")


def test_commands_exist_and_every_claim_has_one():
    commands = re.findall(r"`g3pt ([a-z]+)", TEXT)
    assert commands
    assert set(commands) <= set(COMMANDS)
    assert len(ROWS) > 40
    for row in ROWS:
        assert re.search(r"`(g3pt |tests/|scripts/)|the (same|first one)", row), row


def cells(row):
    return [cell.strip() for cell in row.strip().strip("|").split(" | ")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: cells(row)[0][:40])
def test_every_claim_has_a_result_and_its_date(row):
    claim, refuted_if, command, result, when = cells(row)
    assert claim and refuted_if and command
    assert re.search(r"\*\*[a-z]", result), result
    if when == "with every commit":
        assert "`tests/" in command
        return
    for one in when.split("; "):
        measured = MEASURED.fullmatch(one)
        assert measured is not None, one
        assert measured[1] is None or (ROOT / "docs" / measured[1]).is_file()


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_every_commit_that_is_named_exists():
    if shutil.which("git") is None or git("rev-parse", "--show-toplevel").stdout.strip() != str(
        ROOT
    ):
        pytest.skip("this is no clone of the repository")
    if git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        pytest.skip("a shallow clone has no history")
    named = {each for row in ROWS for each in re.findall(r"\b[0-9a-f]{7}\b", cells(row)[-1])}
    assert len(named) > 10
    absent = [
        each for each in sorted(named) if git("cat-file", "-e", f"{each}^{{commit}}").returncode
    ]
    assert absent == []
