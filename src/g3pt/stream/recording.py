"""Examples of a stream, made once and kept in a folder.

Used for trainings on machines too slow to make them on the fly, and for trainings that are compared
on the same examples.

    recording.json       config of the recording
    part-00000/          a few hundred examples; the folder appears when it is complete
        indices_BT.npy  pictures_BVSS4.npy  ...    one file for each field of `Examples`
        told.json        captions, and the ids of the shapes that they were made from

A part depends only on its number. A stopped recording can be resumed, and a finished one extended.

Legend: B examples.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from g3pt.config import load_json, save_json
from g3pt.files import (
    TEMPORARY,
    read_json,
    staying,
    whole_folder,
    write_array_whole,
    write_whole,
)
from g3pt.procedural import ASSEMBLY, TRAIN_FAMILIES, AssemblyFamily, make_shape
from g3pt.shapes.cache.arrays import StoredArray, open_array
from g3pt.shapes.mesh_stock import MeshStock
from g3pt.stream.chunks import Chunk
from g3pt.stream.maker import ExampleMaker, MakerConfig, Tokenize
from g3pt.stream.pool import Examples, concatenate_examples, example_tensors
from g3pt.stream.warps import WarpConfig

CONFIG_FILE = "recording.json"
_TOLD_FILE = "told.json"
_ADVICE = "remove the folder of this part and record it again"
_NUMBERS: dict[str, type[np.generic]] = {
    "indices_BT": np.int16,
    "pictures_BVSS4": np.uint8,
    "shown_BV": np.bool_,
    "queries_BQ3": np.int16,
    "inside_BQ": np.bool_,
    "canonical_BZZ4": np.uint8,
    "margins_BTK": np.uint8,
    "features_BVGGP": np.float16,
}
"""Number format of each file of arrays; its name ends with the dimensions, one letter each."""
_AT_ONCE = 32
"""Examples made at a time: more take more memory and no less time."""

_MOST_ROUNDED = 0.02
"""Share of bits that may differ when a part is tokenized again."""

UNWARPED = WarpConfig(
    stretch_share=0.0,
    shear_share=0.0,
    taper_share=0.0,
    bend_share=0.0,
    twist_share=0.0,
    quarter_turn_share=0.0,
    any_turn_share=0.0,
    mirror_share=0.0,
)
"""Warps that change nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingConfig:
    """What is recorded; the number of examples is not part of it, since recordings can grow."""

    source: Literal["grammar", "families", "meshes"]
    families: tuple[str, ...] = TRAIN_FAMILIES
    """Families to alternate between, if families are the source."""
    assembly: AssemblyFamily = ASSEMBLY
    """Which assemblies, if the grammar is the source: "cut-assembly" adds bevels and
    intersections."""
    stock: str = ""
    """File of a stock of meshes, if meshes are the source; used in random permutations."""
    first_seed: int = 0
    part: int = 256
    """Examples per part: a multiple of 32, or less than 32."""
    tokenizer: str = "g3pt-small"
    """Name of the weights whose tokens are recorded, for the record only."""
    num_scales: int = 3
    """Number of scales of the tokens."""
    features: bool = False
    """Whether features of the pictures from a frozen network are recorded."""
    margins: bool = False
    """Whether margins of the tokens are recorded, which soft targets need."""
    maker: MakerConfig = field(default_factory=MakerConfig)

    def __post_init__(self) -> None:
        if self.source == "meshes" and not self.stock:
            raise ValueError("recording.stock must name a file of meshes where source is meshes")
        if self.part < 1 or (self.part > _AT_ONCE and self.part % _AT_ONCE):
            raise ValueError(
                f"recording.part must be a multiple of {_AT_ONCE}, or less, got {self.part}"
            )
        if unknown := set(self.families) - set(TRAIN_FAMILIES):
            raise ValueError(
                f"recording.families: no training families: {', '.join(sorted(unknown))}"
            )

    @property
    def warped(self) -> bool:
        """Whether meshes are warped."""
        return self.maker.warps != UNWARPED


def record(
    config: RecordingConfig,
    folder: str | Path,
    num: int,
    tokenize: Tokenize,
    see: Callable[[Tensor], Tensor] | None = None,
    *,
    device: str = "cpu",
    on_part: Callable[[int, int], None] | None = None,
) -> int:
    """Make missing parts until there are `num` examples.

    A recording without margins can be recorded again with them: then its parts are tokenized once
    more, and gain a file of margins.

    Args:
        config: what to record.
        folder: folder of the recording; made if missing.
        num: number of examples, rounded up to whole parts. Meshes that are not warped are recorded
            at most once each.
        tokenize: gives the tokens of `config.num_scales` scales, and their margins if
            `config.margins` is set.
        see: pictures -> features of the frozen network; used if `config.features` is set.
        device: device where examples are made.
        on_part: called with the number of parts done and their total.

    Returns:
        Number of examples in the folder.

    Raises:
        ValueError: if the folder holds another recording, or is to gain margins and another
            tokenizer made it.
        FileNotFoundError: if the stock is missing.
        RuntimeError: if someone removes the folder meanwhile.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lacks_margins = _check(config, folder)
    total = -(-num // config.part)
    last = total * config.part
    if config.source == "meshes" and not config.warped:
        last = sum(not one["flagged"] for one in MeshStock.read(config.stock).objects)
        total = min(total, -(-last // config.part))
    maker = ExampleMaker(
        config.maker,
        torch.device(device),
        tokenize,
        see if config.features else None,
        stock=config.stock if config.source == "meshes" else "",
    )
    if lacks_margins:
        for place in sorted(folder.glob("part-*")):
            _add_margins(config, maker, place)
        save_json(folder / CONFIG_FILE, config)
    for leftover in folder.glob(".part-*"):  # of a process that was killed
        shutil.rmtree(leftover)
    for number in range(total):
        place = folder / f"part-{number:05d}"
        if not place.exists():
            made = concatenate_examples(list(_made(config, maker, number)))
            with staying(folder):
                _write_part(place, made, min(len(made), last - number * config.part))
        if on_part is not None:
            on_part(number + 1, total)
    return min(last, total * config.part)


def _check(config: RecordingConfig, folder: Path) -> bool:
    """Whether there is such a recording in the folder, except that it has no margins yet."""
    path = folder / CONFIG_FILE
    if not path.exists():
        save_json(path, config)
        return False
    held = load_json(path, RecordingConfig)
    if config not in (held, replace(held, margins=True)):
        raise ValueError(f"{folder}: holds another recording; choose another folder, or remove it")
    return held != config


def _made(config: RecordingConfig, maker: ExampleMaker, number: int) -> Iterator[Examples]:
    """The examples of a part, `_AT_ONCE` at a time."""
    for turn, size in _turns(config, number):
        if config.source == "meshes":
            yield maker.make(None, size, turn)
        else:
            yield maker.make(_chunk(config, turn * size, size), 0, turn)


def _turns(config: RecordingConfig, number: int) -> list[tuple[int, int]]:
    """Numbers and sizes of what is made at once for a part."""
    size = min(_AT_ONCE, config.part)
    num = config.part // size
    return [(number * num + inner, size) for inner in range(num)]


def _add_margins(config: RecordingConfig, maker: ExampleMaker, place: Path) -> None:
    """Tokenize a part again and write the margins, unless they are there.

    Another machine rounds differently, which flips bits whose features are almost 0. The tokens
    stay as they are, and bits that come out differently get the margin 0.

    Raises:
        ValueError: if more bits differ than rounding explains.
    """
    file = place / "margins_BTK.npy"
    if file.exists():
        return
    known = np.array(_Part(place).column("indices_BT"))
    made: list[tuple[Tensor, Tensor]] = []
    for turn, size in _turns(config, int(place.name.removeprefix("part-"))):
        if config.source == "meshes":
            made.append(maker.retokenize(None, size, turn))
        else:
            made.append(maker.retokenize(_chunk(config, turn * size, size), 0, turn))
    indices, margins = (
        torch.cat(parts)[: len(known)].cpu().numpy() for parts in zip(*made, strict=True)
    )
    differs = (indices.astype(np.int64) ^ known)[..., None] >> np.arange(margins.shape[-1]) & 1
    if differs.mean() > _MOST_ROUNDED:
        raise ValueError(
            f"{place}: {differs.mean():.1%} of the bits of its tokens come out differently, so "
            "another tokenizer made them; record it anew in another folder"
        )
    margins[differs == 1] = 0
    for leftover in place.glob(f".*{TEMPORARY}"):  # of a process that was killed
        leftover.unlink()
    write_array_whole(file, margins)


def _chunk(config: RecordingConfig, first: int, size: int) -> Chunk:
    places = range(first, first + size)
    named = config.source == "families"
    shapes = [
        make_shape(
            config.first_seed + place,
            config.families[place % len(config.families)] if named else config.assembly,
        )
        for place in places
    ]
    captions = [shape.caption(shape.seed % 4) if named else "" for shape in shapes]
    return Chunk(tuple(shapes), tuple(captions))


def _write_part(place: Path, examples: Examples, num: int) -> None:
    """Write the first examples of a part."""
    with whole_folder(place) as unfinished:
        for name, values in example_tensors(examples).items():
            values = values[:num].cpu()
            narrow = values.half() if values.is_floating_point() else values  # features
            write_array_whole(unfinished / f"{name}.npy", narrow.numpy())
        told = {"captions": examples.captions[:num], "origins": examples.origins[:num]}
        write_whole(unfinished / _TOLD_FILE, json.dumps(told))


# --- reading -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """A selection of the examples of a recording."""

    folder: str
    num: int = 0
    """Number of examples, the first ones; 0 takes all."""
    families: tuple[str, ...] = ()
    """Only examples of these families; empty takes all."""
    optional: bool = False
    """Whether to train without it, with a message, if there is no such recording."""


class Recording:
    """Recorded examples, read from disk on demand."""

    def __init__(self, selection: Selection) -> None:
        """Open a selection of a recording.

        Raises:
            FileNotFoundError: if there is no recording, or a file of it is missing.
            ValueError: if it holds fewer examples than are selected, or what was told of them is
                damaged; the message names the file.
        """
        self.folder = Path(selection.folder)
        if not (self.folder / CONFIG_FILE).exists():
            raise FileNotFoundError(f"{self.folder}: holds no recording")
        self.config = load_json(self.folder / CONFIG_FILE, RecordingConfig)
        self._parts = [_Part(place) for place in sorted(self.folder.glob("part-*"))]
        self._ends = np.cumsum([len(part.origins) for part in self._parts])
        origins = [origin for part in self._parts for origin in part.origins]
        rows = np.arange(len(origins))
        if selection.families:
            prefixes = tuple(f"procedural-{family}-" for family in selection.families)
            rows = np.flatnonzero([origin.startswith(prefixes) for origin in origins])
        if selection.num > len(rows):
            raise ValueError(
                f"{self.folder}: {selection.num} examples are wanted and {len(rows)} are there; "
                "record more"
            )
        self.rows = rows[: selection.num or None]
        """Selected rows of the recording."""
        self.origins = np.array(origins, dtype=object)[self.rows]
        """Ids of the shapes that the selected examples were made from."""
        captions = [caption for part in self._parts for caption in part.captions]
        self.captions = np.array(captions, dtype=object)[self.rows]
        """Captions of the selected examples; may be empty."""

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str, place: int) -> np.ndarray:
        """One field of `Examples` for one selected example, without the dimension B.

        Raises:
            FileNotFoundError: if it was not recorded.
            ValueError: if its file is damaged; the message names it.
        """
        row = int(self.rows[place])
        part = int(np.searchsorted(self._ends, row, side="right"))
        return self._parts[part].row(name, row - int(self._ends[part]))  # from the end of the part


class _Part:
    """Files of a part, opened on demand."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.origins, self.captions = _read_told(place / _TOLD_FILE)
        self._columns: dict[str, np.ndarray] = {}

    def column(self, name: str) -> np.ndarray:
        """All rows of a file of arrays, left on disk until they are used."""
        if name not in self._columns:
            stored = StoredArray(name=name, dtype=_NUMBERS[name])
            num_dims = len(name.rpartition("_")[2])
            column = open_array(self.place, stored, num_dims, advice=_ADVICE)
            if len(column) != len(self.origins):
                raise ValueError(
                    f"{self.place / name}.npy: holds {len(column)} examples, {_TOLD_FILE} "
                    f"{len(self.origins)}; {_ADVICE}"
                )
            self._columns[name] = column
        return self._columns[name]

    def row(self, name: str, place: int) -> np.ndarray:
        """One row, whose numbers are finite."""
        row = self.column(name)[place]
        if row.dtype.kind == "f" and not np.isfinite(row).all():
            raise ValueError(
                f"{self.place / name}.npy: holds numbers that are not finite; {_ADVICE}"
            )
        return row


def _read_told(file: Path) -> tuple[list[str], list[str]]:
    """Origins and captions of the examples of a part.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged.
    """
    told: Any = read_json(file)
    if not isinstance(told, dict):
        raise ValueError(f"{file}: expected an object, got {type(told).__name__}; {_ADVICE}")
    lists: list[list[str]] = []
    for name in ("origins", "captions"):
        texts: Any = cast("dict[str, Any]", told).get(name)
        if not isinstance(texts, list) or not all(
            isinstance(text, str) for text in cast("list[Any]", texts)
        ):
            raise ValueError(
                f"{file}: {name}: expected a list of texts, got {str(texts)[:40]!r}; {_ADVICE}"
            )
        lists.append(cast("list[str]", texts))
    origins, captions = lists
    if len(origins) != len(captions):
        raise ValueError(
            f"{file}: names {len(origins)} origins and {len(captions)} captions; {_ADVICE}"
        )
    return origins, captions
