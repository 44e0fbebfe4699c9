"""Saving loaded weights to a folder, and publishing them on the Hugging Face hub.

The folder is complete: the models as they were stored, the files that came with them, and a card.
"""

import re
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from g3pt.files import MAX_JSON_BYTES, read_plain, read_text
from g3pt.models.sampling import STANDARD, Sampling
from g3pt.models.weights.load import LoadedWeights, save_weights
from g3pt.models.weights.places import (
    ATTRIBUTION_FILE,
    CARD_FILE,
    EVALUATION_FILE,
    HUB_NAME,
    LICENCE_FILE,
    WeightsError,
)

KNOWN_FROM_HERE = "<!-- g3pt: what follows is the card that these weights had -->"
"""Separates the rewritten part of a card from the card that the weights had before."""

LICENCES = {
    "apache-2.0": r"Apache License\s+Version 2\.0",
    "mit": r"MIT License",
    "cc0-1.0": r"CC0 1\.0 Universal",
    "cc-by-4.0": r"Attribution 4\.0 International",
}
"""The hub's name of a licence -> pattern found near the start of the licence's text."""


def save_pretrained(
    weights: LoadedWeights,
    folder: str | Path,
    *,
    repository: str | None = None,
    licence: str | None = None,
) -> None:
    """Write a weights folder that `G3PT.from_pretrained` takes.

    Args:
        weights: models and settings; the models are stored in their stored format.
        folder: created if it does not exist; files in it are replaced.
        repository: OWNER/NAME that the weights will have on the hub, for the card.
        licence: the hub's name of their licence, such as `apache-2.0`; None recognises it from
            their LICENSE file.

    Raises:
        WeightsError: if the weights were loaded from this folder, or the models were rounded.
    """
    folder = Path(folder)
    if weights.folder is not None and folder.resolve() == weights.folder.resolve():
        raise WeightsError(f"{folder}: is the folder that these weights are from; name another")
    if weights.car is not None:
        check_whole_numbers(weights)
    save_weights(
        folder,
        weights.tokenizer,
        weights.car,
        flow=weights.flow,
        config=weights.config,
        card=model_card(weights, repository=repository, licence=licence),
        evaluation=_beside(weights, EVALUATION_FILE),
        attribution=_beside(weights, ATTRIBUTION_FILE),
        licence=_beside(weights, LICENCE_FILE),
    )


def check_whole_numbers(weights: LoadedWeights) -> None:
    """Refuse models that were rounded to fewer bits than their stored weights have.

    Raises:
        WeightsError: if they were; the message says what to do.
    """
    assert weights.car is not None
    dtypes = {p.dtype for p in weights.car.parameters() if p.is_floating_point()}
    if weights.rounded or dtypes != {torch.float32}:
        raise WeightsError(
            f"weights {weights.name} were rounded to bfloat16: load them with dtype='float32' to "
            "save them"
        )


def push_to_hub(
    weights: LoadedWeights,
    repository: str,
    *,
    private: bool = False,
    token: str | None = None,
    message: str = "Upload weights with g3pt",
    licence: str | None = None,
) -> str:
    """Upload weights to the Hugging Face hub, or to the hub that HF_ENDPOINT names.

    Args:
        weights: models and settings.
        repository: OWNER/NAME; created if it does not exist.
        private: whether a repository that is created is visible to its owner only.
        token: access token; None takes the one of `hf auth login` or HF_TOKEN.
        message: message of the commit.
        licence: as in `save_pretrained`.

    Returns:
        URL of the commit.

    Raises:
        ValueError: if `repository` does not have the form OWNER/NAME.
        WeightsError: if the weights cannot be saved, or the hub refuses them.
    """
    if HUB_NAME.fullmatch(repository) is None:
        raise ValueError(f"a repository of the hub is named OWNER/NAME, got {repository!r:.80}")
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with TemporaryDirectory() as folder:
        save_pretrained(weights, folder, repository=repository, licence=licence)
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repository, folder_path=folder, commit_message=message
            )
        except Exception as error:  # many kinds: no network, no rights, no such owner
            reason = " ".join(str(error).split())
            raise WeightsError(
                f"{repository}: the hub does not take these weights ({reason})"
            ) from error
    return str(commit.commit_url)


def model_card(
    weights: LoadedWeights, *, repository: str | None = None, licence: str | None = None
) -> str:
    """A model card in Markdown, as the hub reads it.

    It holds metadata, an example of use, the contents, and the card that the weights had before.
    Arguments as in `save_pretrained`.
    """
    from huggingface_hub import ModelCardData

    slots = () if weights.car is None else [c.slot for c in weights.car.config.conditions]
    task = next((f"{slot}-to-3d" for slot in ("image", "text") if slot in slots), None)
    text = _beside(weights, LICENCE_FILE)
    licence = licence or _licence_of(text)
    facts = ModelCardData(
        license=licence,
        license_name="see-file" if licence == "other" else None,
        license_link=LICENCE_FILE if licence == "other" else None,
        library_name="g3pt",
        pipeline_tag=task,
        tags=["g3pt", "3d", "mesh", *(() if weights.car is None else ("autoregressive",))],
    )
    name = repository or weights.name
    lines = ["---", facts.to_yaml().strip(), "---", "", f"# {name.split('/')[-1]}", ""]
    lines += ["## Use", "", "```python", "from g3pt import G3PT", ""]
    lines += [f'pipeline = G3PT.from_pretrained("{name}")', *_example(slots), "```", ""]
    lines += ["## What it is", "", *_contents(weights), "", "## Licence", ""]
    files = [file for file in (LICENCE_FILE, ATTRIBUTION_FILE) if _beside(weights, file)]
    if licence and licence != "other":
        lines += [f"`{licence}`.", ""]
    if files:
        lines += [f"In this folder: {', '.join(files)}.", ""]
    before = _beside(weights, CARD_FILE)
    if not licence:
        elsewhere = "No file names it; what the card below says holds."
        lines += [elsewhere if before else "Nobody has named the licence of these weights.", ""]
    if before is not None:
        said = read_text(before).split(KNOWN_FROM_HERE)[-1].strip()
        lines += [KNOWN_FROM_HERE, "", said, ""]
    return "\n".join(lines)


def _example(slots: tuple[str, ...] | list[str]) -> list[str]:
    if not slots:
        return ['pipeline.reconstruct("chair.glb").mesh.save("again.glb")']
    prompt = 'image="chair.png"' if "image" in slots else 'text="a tall vase"'
    given = prompt if {"image", "text"} & set(slots) else ""
    return [f'pipeline({given}).meshes[0].save("out.glb")']


def _contents(weights: LoadedWeights) -> list[str]:
    """Sizes and settings, one line each."""
    config, car = weights.config, weights.car
    parts = {"tokenizer": weights.tokenizer, "generator": car}
    lines = [
        f"- {name}: {sum(p.numel() for p in part.parameters()) / 1e6:.1f} million parameters"
        for name, part in parts.items()
        if part is not None
    ]
    lengths = getattr(weights.tokenizer, "scale_lengths", ())
    if lengths:
        lines.append(f"- tokens by scale, coarsest first: {', '.join(map(str, lengths))}")
    if car is not None:
        known = ", ".join(condition.slot for condition in car.config.conditions)
        lines.append(f"- conditions: {known or 'none'}")
        said = config.sampling.over(STANDARD)
        numbers = (f"{one.name} {getattr(said, one.name)}" for one in fields(Sampling))
        lines.append(f"- sampling by default: {', '.join(numbers)}")
    lines.append(f"- stored as {config.storage}, SHA-256 of the models {config.sha256}")
    return lines


def _beside(weights: LoadedWeights, name: str) -> Path | None:
    """A file of the folder that the weights were loaded from; None if there is none."""
    path = None if weights.folder is None else weights.folder / name
    return path if path is not None and path.is_file() else None


def _licence_of(text: Path | None) -> str | None:
    if text is None:
        return None
    head = read_plain(text, MAX_JSON_BYTES).decode("utf-8", errors="replace")[:500]
    return next((name for name, words in LICENCES.items() if re.search(words, head)), "other")
