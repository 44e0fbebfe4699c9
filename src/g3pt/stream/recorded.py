"""Batches of recorded examples (`stream.recording`), selected by the config of a training.

Legend: B batch, Q queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from g3pt.hashes import json_sha256
from g3pt.shapes.batch import CarBatch
from g3pt.shapes.queries import POSITION_STEPS
from g3pt.stream.recording import Recording, Selection


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedConfig:
    """Data of generator training that was recorded beforehand."""

    kind: Literal["recorded"] = "recorded"
    selections: tuple[Selection, ...]
    """Selections from recordings; all examples are seen equally often, in random permutations."""
    batch_size: int = 64
    """Examples in a global batch."""
    num_points: int = 2048
    """Surface points from which yardsticks are tokenized: as many as for the examples."""
    image_size: int = 128
    """Side of the pictures."""
    num_queries: int = 0
    """Labelled points per example, half of them near the surface; 0 gives none."""
    text_share: float = 0.0
    """Share of the steps that are conditioned on captions instead of pictures. An example without a
    caption has no condition in such a step."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.selections:
            raise ValueError("data.selections must name at least one recording, got none")
        if not 0 <= self.text_share <= 1:
            raise ValueError(f"data.text_share must lie in 0..1, got {self.text_share}")
        if self.batch_size < 1 or self.num_points < 1 or self.num_queries % 2:
            raise ValueError(
                "data needs batch_size >= 1, num_points >= 1 and an even num_queries, got "
                f"{self.batch_size}, {self.num_points} and {self.num_queries}"
            )


class RecordedDataset:
    """Batches of recorded examples; a batch depends only on the step."""

    def __init__(
        self,
        config: RecordedConfig,
        device: torch.device,
        *,
        with_features: bool,
        with_margins: bool = False,
        num_tokens: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Open the recordings.

        Args:
            config: the selections and sizes.
            device: device of the batches.
            with_features: whether the model reads features of a frozen network.
            with_margins: whether batches hold the margins of the tokens.
            num_tokens: number of tokens per example, the first ones; 0 takes all.
            rank: index of this process among `world_size`.
            world_size: number of processes that share a global batch.

        Raises:
            FileNotFoundError: if there is no such recording.
            ValueError: if one is too short, lacks features or margins, or has other sizes than the
                config.
        """
        self.config = config
        self._device, self._rank, self._world_size = device, rank, world_size
        self._with_features, self._num_tokens = with_features, num_tokens
        self._with_margins = with_margins
        self._recordings = [Recording(selection) for selection in config.selections]
        for recording in self._recordings:
            _check(config, recording, with_features, num_tokens)
            if with_margins and not recording.config.margins:
                raise ValueError(
                    f"{recording.folder}: was recorded without the margins of its tokens, which "
                    "soft targets need; record it again with `margins`, which adds them"
                )
        self._ends = np.cumsum([len(recording) for recording in self._recordings])
        self._turn, self._order = -1, np.zeros(0, np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def order_key(self) -> str:
        """Hash of what the order of samples follows from; the same for all processes of a run."""
        origins = [str(origin) for each in self._recordings for origin in each.origins]
        return json_sha256({"seed": self.config.seed, "origins": origins})

    def batch(self, step: int) -> CarBatch:
        """This process's share of global batch number `step`, on the device."""
        config = self.config
        size = config.batch_size // self._world_size
        first = step * config.batch_size + self._rank * size
        rows = [self._row(first + place) for place in range(size)]
        recordings = np.searchsorted(self._ends, rows, side="right")
        places = [
            (self._recordings[number], row - int(self._ends[number]))  # from the end
            for number, row in zip(recordings, rows, strict=True)
        ]
        column = partial(_column, places=places, device=self._device)
        rng = np.random.default_rng([config.seed, step, self._rank])
        queries = self._queries(rng)
        views = [int(rng.integers(each.config.maker.num_views)) for each, _ in places]
        of_view = partial(column, chosen=views)
        asked, half = config.num_queries > 0, config.num_queries // 2
        near_Q = torch.arange(2 * half, device=self._device) >= half
        of_query = partial(column, chosen=[queries[number] for number in recordings])
        reads = config.text_share > 0 and rng.random() < config.text_share
        first = self._num_tokens or None
        told = tuple(str(recording.captions[place]) for recording, place in places)
        return CarBatch(
            indices_BT=column("indices_BT", first=first).long(),
            margins_BTK=column("margins_BTK", first=first) if self._with_margins else None,
            pictures_BSS4=None if reads else of_view("pictures_BVSS4"),
            picture_features_BGGP=of_view("features_BVGGP").float()
            if self._with_features and not reads
            else None,
            has_image_B=of_view("shown_BV") & (not reads),
            view_B=torch.zeros(size, dtype=torch.int64, device=self._device),
            captions=told if reads else ("",) * size,
            labels_B=torch.full((size,), -1, device=self._device),
            ids=tuple(str(recording.origins[place]) for recording, place in places),
            queries_BQ3=of_query("queries_BQ3").float() / POSITION_STEPS if asked else None,
            inside_BQ=of_query("inside_BQ") if asked else None,
            near_BQ=near_Q.expand(size, -1) if asked else None,
        )

    def _row(self, place: int) -> int:
        """Index of the example at a place of the endless order."""
        turn, inner = divmod(place, len(self))
        if self._turn != turn:
            order = np.random.default_rng([self.config.seed, turn, 33])
            self._turn, self._order = turn, order.permutation(len(self))
        return int(self._order[inner])

    def _queries(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Random queries of every recording, those near the surface last."""
        half = self.config.num_queries // 2
        chosen: list[np.ndarray] = []
        for recording in self._recordings:
            counts = recording.config.maker.queries
            volume = rng.permutation(counts.num_volume)[:half]
            near = counts.num_volume + rng.permutation(counts.num_near)[:half]
            chosen.append(np.concatenate([volume, near]))
        return chosen


def _column(
    name: str,
    *,
    places: Sequence[tuple[Recording, int]],
    device: torch.device,
    chosen: Sequence[int] | Sequence[np.ndarray] | None = None,
    first: int | None = None,
) -> Tensor:
    """Stacked values of a field of examples: all, the first ones, or chosen ones of each."""
    values = [recording.column(name, place)[:first] for recording, place in places]
    if chosen is not None:
        values = [each[some] for each, some in zip(values, chosen, strict=True)]
    return torch.from_numpy(np.stack(values)).to(device)


def _check(
    config: RecordedConfig, recording: Recording, with_features: bool, num_tokens: int
) -> None:
    maker = recording.config.maker
    found = (maker.num_points, maker.image_size)
    if found != (config.num_points, config.image_size):
        raise ValueError(
            f"{recording.folder}: was recorded with num_points and image_size {found}, data wants "
            f"{(config.num_points, config.image_size)}"
        )
    if with_features and not recording.config.features:
        raise ValueError(
            f"{recording.folder}: was recorded without the features that the model reads"
        )
    counts, half = maker.queries, config.num_queries // 2
    if half > min(counts.num_volume, counts.num_near):
        raise ValueError(
            f"{recording.folder}: holds {counts.num_volume} queries of the volume and "
            f"{counts.num_near} near the surface, data.num_queries {config.num_queries} wants "
            f"{half} of each"
        )
    held = len(recording.column("indices_BT", 0))
    if num_tokens > held:
        raise ValueError(
            f"{recording.folder}: was recorded with {held} tokens a shape, the model learns "
            f"{num_tokens}"
        )
