"""`g3pt generate --server URL`: the same flags, files and JSON, made by a server."""

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g3pt.cli.options import CommonOptions, WorkError, make_folder_for, say
from g3pt.cli.progress import steps
from g3pt.geometry.finishing import Finishing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from g3pt.app.client import Client, ServerEvent
    from g3pt.cli.generate import GenerateOptions

FORMATS = (".glb", ".obj", ".stl", ".ply", ".3mf")
"""Formats that servers write."""
MAX_PROMPTS = 8
"""Prompts of one job."""
PATIENCE = 600.0
"""Seconds to try again while a server is full."""


def check(options: "GenerateOptions", paths: Sequence[Path]) -> None:
    """Refuse flags that a server cannot follow.

    Raises:
        ValueError: if there are any; the message names the flag.
    """
    own = {"device": "auto", "dtype": "auto", "adapter": None}
    for name, default in own.items():
        if getattr(options, name) != default:
            raise ValueError(f"--{name} is chosen where the server starts: leave it out")
    unserved = {
        "lod": options.lod.lod,
        "preview": options.preview is not None,
    }
    for name, asked in unserved.items():
        if asked:
            raise ValueError(
                f"--{name} is not made by servers: leave it out, or leave out --server"
            )
    for path in paths:
        if path.suffix.lower() not in FORMATS:
            raise ValueError(
                f"{path}: servers write {', '.join(FORMATS)}; choose one of them, or leave out "
                "--server"
            )


@contextmanager
def told(client: "Client") -> "Iterator[None]":
    """Turn errors of a server into those of a command: wrong input, or failed work."""
    from g3pt.app.client import ServerError, UnreachableError

    try:
        yield
    except ServerError as error:
        if error.status in (413, 415, 422):
            fields_ = ", ".join(f"--{_flag(one['field'])}" for one in error.errors if one["field"])
            raise ValueError(f"{fields_ + ': ' if fields_ else ''}{error}") from None
        raise WorkError(f"{client.address}: {error}") from None
    except UnreachableError as error:
        raise WorkError(str(error)) from None


def _flag(field: str) -> str:
    """The flag of a field."""
    name = field.partition(".")[0]
    return {"num_scales": "scales"}.get(name, name).replace("_", "-")


def make(
    options: "GenerateOptions", images: Sequence[int], texts: Sequence[str], paths: Sequence[Path]
) -> dict[str, Any]:
    """Have all shapes made by the server, and write them.

    Args:
        options: the flags.
        images: numbers of the pictures that can be used.
        texts: the sentences that go with them, or stand alone.
        paths: a file for each shape.

    Returns:
        `outputs`, `seconds` and `weights`, as `g3pt generate` says them.

    Raises:
        ValueError: if the server refuses a field, or the address is none.
        WorkError: if there is no server, or a job fails.
    """
    from g3pt.app.client import Client

    assert options.server is not None
    client = Client(options.server)
    prompts = 1 if options.views else max(len(images), len(texts), len(options.points))
    outputs: list[dict[str, Any]] = []
    seconds: dict[str, float] = {}
    weights: dict[str, str] = {}
    with told(client):
        for first in range(0, prompts, MAX_PROMPTS):
            part = slice(None) if options.views else slice(first, first + MAX_PROMPTS)
            done = _job(client, options, images[part], texts[part], options.points[part], paths[0])
            for number in range(len(done["outputs"])):
                path = paths[len(outputs)]
                outputs.append(_fetch(client, done, number, path, options))
            for name, spent in done["timings"].items():
                seconds[name] = round(seconds.get(name, 0.0) + spent, 4)
            weights = done["weights"]
    return {"outputs": outputs, "seconds": seconds, "weights": weights}


def _job(
    client: "Client",
    options: "GenerateOptions",
    images: Sequence[int],
    texts: Sequence[str],
    points: Sequence[Path],
    path: Path,
) -> dict[str, Any]:
    """One job, from submission to its end; it is cancelled if this program ends first."""
    request: dict[str, Any] = {
        "image": [options.image[number] for number in images],
        "mask": [options.cutout.mask[number] for number in images] if options.cutout.mask else [],
        "whole_picture": options.cutout.whole_picture,
        "views": options.views,
        "text": list(texts),
        "points": list(points),
        "best_of": options.best_of,
        "every_scale": options.every_scale,
        "color": options.color.source([path]),
        "format": path.suffix.lower().lstrip("."),
        "previews": False,
        "seed": options.seed,
        "num": options.num,
        "resolution": options.resolution,
        "min_share": options.min_share,
    }
    if options.weights != CommonOptions().weights:
        request["model"] = options.weights
    sampling = options.sampling.told()
    request |= {one.name: getattr(sampling, one.name) for one in fields(sampling)}
    request |= {one.name: getattr(options.finish, one.name) for one in fields(Finishing)}
    job = client.submit("generation", patience=PATIENCE, **request)
    with steps() as shown:

        def show(event: "ServerEvent") -> None:
            match event.name:
                case "queue" if event.data["place"]:
                    say(f"{event.data['place']} jobs come first")
                case "scale":
                    shown.show("scales", event.data["scale"], event.data["scales"])
                case "mesh":
                    shown.show("meshes", event.data["percent"], 100)
                case _:
                    pass

        for event in client.events(job, cancel_on_disconnect=True):
            show(event)
    return client.done(job)


def _fetch(
    client: "Client", done: dict[str, Any], number: int, path: Path, options: "GenerateOptions"
) -> dict[str, Any]:
    """Write the files of one shape, and describe it with their names."""
    from g3pt.files import write_whole

    entry, job, form = dict(done["outputs"][number]), done["id"], path.suffix.lower().lstrip(".")
    make_folder_for(path)
    if entry["path"] is not None:
        write_whole(path, client.result(job, form, sample=number))
        entry["path"] = str(path)
    del entry["prompt"]
    del entry["tokens_path"]
    if options.tokens:
        tokens = path.with_suffix(".g3t")
        write_whole(tokens, client.result(job, "g3t", sample=number))
        entry["tokens_path"] = str(tokens)
    scales: list[dict[str, Any]] = []
    for one in entry.pop("scales"):
        coarse = path.with_name(f"{path.stem}-scale{one['scale']}{path.suffix}")
        if one["path"] is not None:
            write_whole(coarse, client.scale(job, one["scale"], form, sample=number))
        scales.append({**one, "path": None if one["path"] is None else str(coarse)})
    if scales:
        final = {key: entry[key] for key in ("path", "vertices", "faces", "closed", "components")}
        scales.append({"scale": done["scales"], **final})
    return {**entry, "scales": scales}
