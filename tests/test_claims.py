"""Every claim in docs/claims.md names tests, commands and scripts that exist."""

import re
from pathlib import Path

import pytest

from g3pt.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
CITED = sorted(set(re.findall(r"`((?:tests|scripts)/[^`\s]+)`", TEXT)))
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
