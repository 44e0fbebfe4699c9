"""Cards and credits of weights that were trained here, in Markdown.

They end with the card and the credits of the weights that the training started from.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from g3pt.files import read_text
from g3pt.models.weights.config import RegressorWeightsConfig, WeightsConfig
from g3pt.models.weights.places import ATTRIBUTION_FILE, CARD_FILE
from g3pt.preparation.inputs import MeshRef
from g3pt.training.origins import Origin
from g3pt.versions import code_version


def exported_card(
    parts: Mapping[str, Origin],
    config: WeightsConfig | RegressorWeightsConfig,
    beside: Sequence[str],
) -> str:
    """Card of exported weights.

    Args:
        parts: origin of each model, by its name.
        config: config of the weights.
        beside: names of the files with licence and authors.
    """
    lines = [f"# {config.name}", "", f"Written by `g3pt export`, code {code_version()}.", ""]
    lines += ["| part | from |", "|---|---|"]
    lines += [f"| {part} | {origin.words} |" for part, origin in parts.items()]
    lines += ["", f"Stored as {config.storage}."]
    if isinstance(config, WeightsConfig):
        if config.compact:
            lines[-1] += f" Matrices of {', '.join(config.compact)} are 8-bit rows."
        if config.car is not None:
            said = (f"{name} {value}" for name, value in asdict(config.sampling).items())
            lines += ["", f"Sampling by default: {', '.join(said)}."]
    lines += ["", "## Licence", ""]
    if beside:
        lines.append(f"Beside this card: {', '.join(beside)}.")
    else:
        lines.append("Nobody has named the licence of these weights, or whose models they saw.")
    lines += _came_from([one.weights for one in parts.values()])
    return "\n".join(lines) + "\n"


def finetuned_card(
    summary: Mapping[str, Any],
    refs: Sequence[MeshRef],
    *,
    what: str,
    table: Sequence[str],
    picture: str,
    base: Path | None,
) -> str:
    """Card of what `g3pt finetune` writes.

    Args:
        summary: `name`, `base`, `meshes`, `new_words` and `steps`, as the command prints them.
        refs: all meshes.
        what: which weights were trained.
        table: lines of the table of what was measured before and after.
        picture: file of the sheet.
        base: folder of the weights that were finetuned.
    """
    meshes, words = summary["meshes"], ", ".join(summary["new_words"]) or "none"
    lines = [
        f"# {summary['name']}",
        "",
        f"Written by `g3pt finetune`, code {code_version()}: {summary['base']['name']} "
        f"(SHA-256 {summary['base']['sha256']}), {what} trained for {summary['steps']} steps.",
        "",
        f"{meshes['trained']} meshes were trained on and {meshes['held_out']} held out: "
        f"{meshes['split']}. Licences of the meshes: {licences_of(refs)}.",
        f"New words: {words}.",
        "",
        "## Before and after",
        "",
        "IoU of the field, canonical picture; paired differences with bootstrap intervals over",
        "objects. The held-out meshes (`own`) also chose when training ended.",
        "",
        f"![before and after]({picture})",
        "",
        *table,
        *_came_from([base]),
    ]
    return "\n".join(lines) + "\n"


def finetuned_credits(refs: Sequence[MeshRef], base: Path | None) -> str:
    """Credits of the meshes, followed by those of the weights in the folder `base`."""
    credits = Counter(
        (ref.licence, str(ref.details.get("attribution") or "not named")) for ref in refs
    )
    lines = ["# Whose meshes were finetuned on", ""]
    lines += [f"- {who}: {num}, {licence}" for (licence, who), num in credits.most_common()]
    if base is not None and (base / ATTRIBUTION_FILE).is_file():
        lines += ["", read_text(base / ATTRIBUTION_FILE).strip()]
    return "\n".join(lines) + "\n"


def licences_of(refs: Sequence[MeshRef]) -> str:
    """Licences of meshes and their counts, most common first."""
    counts = Counter(ref.licence for ref in refs)
    return ", ".join(f"{name} ({count})" for name, count in counts.most_common())


def _came_from(folders: Sequence[Path | None]) -> list[str]:
    """The cards of weights folders, with headings below those of the card that they end."""
    lines: list[str] = []
    for folder in dict.fromkeys(one for one in folders if one is not None):
        card = folder / CARD_FILE
        if card.is_file():
            lines += ["", "## What it came from", ""]
            lines += ["The card of those weights. Its figures are theirs.", ""]
            lines.append(re.sub(r"^#", "###", read_text(card).strip(), flags=re.MULTILINE))
    return lines
