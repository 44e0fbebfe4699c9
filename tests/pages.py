"""Commands and code of the pages of the documentation, as they stand there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def fenced_blocks(page: str, language: str) -> list[str]:
    """The blocks of a language in a page, in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """The lines of its shell blocks, joined where they go on in the next line."""
    lines = "\n".join(fenced_blocks(page, "bash")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line]
