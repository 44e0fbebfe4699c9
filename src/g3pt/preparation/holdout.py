"""Holding out some of a user's own meshes, so that none has a near-duplicate among the others.

The split of a table is taken if it has one. Otherwise meshes are drawn in an order that follows
from their ids; one with a twin among those that are trained on (`leakage`) is trained on as
well.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from g3pt.geometry.mesh import MeshError
from g3pt.hashes import text_key
from g3pt.preparation.inputs import MeshRef
from g3pt.preparation.leakage import NUM_QUERIES, describe_shape, find_leaks
from g3pt.preparation.prepare import prepare_shape
from g3pt.preparation.sources import ShapeError, load_shape
from g3pt.processes import worker_pool
from g3pt.shapes.stored import PrepareConfig

COMPARED = PrepareConfig(
    num_points=2048, num_volume_queries=NUM_QUERIES, num_near_queries=1536, solid_resolution=96
)
"""What is computed of a mesh to compare it with the others."""
MIN_MESHES = 2
MAX_HELD = 100

OnProgress = Callable[[int, int, int], None]
"""Called with the numbers of meshes done, in total, and refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldOut:
    """Ids of the meshes on both sides of a split."""

    train: tuple[str, ...]
    held: tuple[str, ...]
    how: str
    """How the split was made, for a reader."""
    refused: Mapping[str, str]
    """Ids of the meshes that are of no use, and why."""


def hold_out(
    refs: Sequence[MeshRef],
    share: float,
    *,
    workers: int = 1,
    on_progress: OnProgress | None = None,
) -> HoldOut:
    """Split meshes into those that are trained on and those that are not.

    Args:
        refs: the meshes; those whose split is `val` are held out if there are any.
        share: of the meshes that are held out otherwise, at most `MAX_HELD`.
        workers: processes that read meshes.
        on_progress: called after every mesh.

    Raises:
        ValueError: if fewer than two meshes can be used, all are on one side, or each has a twin.
    """
    if not 0 < share < 1:
        raise ValueError(f"the share that is held out must lie between 0 and 1, got {share:g}")
    rows, refused = _described(refs, workers, on_progress)
    if len(rows) < MIN_MESHES:
        raise ValueError(
            f"{_count(len(rows), 'mesh', 'meshes')} of {len(refs)} can be used; at least "
            f"{MIN_MESHES} are needed, one to train on and one to hold out{_first(refused)}"
        )
    given = {ref.id for ref in refs if ref.split == "val"} & rows.keys()
    if given:
        held, how = _without_twins(rows, sorted(given), len(given))
        how = f"{len(given)} meshes of split val of the table" + how
    else:
        wanted = min(MAX_HELD, max(1, round(share * len(rows))), len(rows) - 1)
        order = sorted(rows, key=lambda one: text_key(f"hold out {one}"))
        held, how = _without_twins(rows, order, wanted)
        how = f"{wanted} of {len(rows)} meshes, in an order that follows from their names" + how
    train = tuple(one for one in rows if one not in held)
    if not held or not train:
        side = "held out" if not held else "left to train on"
        raise ValueError(
            f"no mesh can be {side}: {how}. Near-duplicates stay on one side; give meshes that "
            "differ"
        )
    return HoldOut(train=train, held=held, how=how, refused=refused)


def _without_twins(
    rows: Mapping[str, Mapping[str, Any]], order: Sequence[str], wanted: int
) -> tuple[tuple[str, ...], str]:
    """The first meshes of an order that have no twin on the other side."""
    kept: list[str] = []
    twins: set[str] = set()
    while True:
        free = [one for one in order if one not in twins and one not in kept]
        trial = [*kept, *free[: wanted - len(kept)]]
        others = [row for one, row in rows.items() if one not in trial]
        leaks = find_leaks(others, [rows[one] for one in trial])
        if not leaks:
            note = f"; {len(twins)} with a near-duplicate are trained on instead" if twins else ""
            return tuple(trial), note
        twins |= {leak.val_id for leak in leaks}
        kept = [one for one in trial if one not in twins]


def _described(
    refs: Sequence[MeshRef], workers: int, on_progress: OnProgress | None
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Rows with descriptors, and refusals, by id."""
    rows: dict[str, dict[str, str]] = {}
    refused: dict[str, str] = {}

    def take(tried: "Sequence[str] | Any") -> None:
        for done, (name, descriptor, reason) in enumerate(tried, start=1):
            if reason:
                refused[name] = reason
            else:
                rows[name] = {"id": name, "descriptor": descriptor}
            if on_progress is not None:
                on_progress(done, len(refs), len(refused))

    if workers > 1:
        with worker_pool(workers) as pool:
            take(pool.map(_describe, refs, chunksize=4))
    else:
        take(map(_describe, refs))
    return rows, refused


def _describe(ref: MeshRef) -> tuple[str, str, str]:
    """Id, descriptor, and the reason why there is none."""
    try:
        shape = load_shape(ref, solid_resolution=COMPARED.solid_resolution, on_note=_ignore)
        return ref.id, describe_shape(prepare_shape(shape, COMPARED), COMPARED), ""
    except (ShapeError, MeshError) as error:
        return ref.id, "", str(error)


def _ignore(note: str) -> None:
    """Missing textures do not matter here."""


def _count(num: int, one: str, many: str) -> str:
    return f"{num} {one if num == 1 else many}"


def _first(refused: Mapping[str, str]) -> str:
    if not refused:
        return ""
    name, reason = next(iter(refused.items()))
    return f" (refused: {len(refused)}, first {name}: {reason})"
