"""`g3pt serve`: a server on this machine that makes shapes for pages, programs and agents."""

import json
import os
import secrets
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from g3pt.cli.options import CommonOptions, parse, say
from g3pt.training.signals import Stopped

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

    from g3pt.app.settings import RaySettings

TOKEN = "G3PT_TOKEN"
"""Environment variable of the secret."""
BACKLOG = 2048
"""Connections that wait to be taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeOptions(CommonOptions):
    """Serve a web page and jobs over HTTP on this machine; `docs/app.md` lists the addresses.

    Models live in processes of their own, so that nothing that happens in them ends the server.
    """

    host: str = "127.0.0.1"
    """Address to listen on. Others than loopback ask for a token, which is printed."""

    port: int = 8000
    """Port to listen on; 0 takes a free one."""

    also: tuple[str, ...] = ()
    """More weights, which requests name by `model`; they are loaded when they are asked for first.
    """

    adapter: Path | None = None
    """Folder of an adapter for the weights, as `g3pt finetune` writes it."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the generator; auto is bfloat16 on GPUs that support it, else float32."""

    workers: int = 1
    """Processes or replicas that hold the models; each runs one job at a time."""

    engine: Literal["local", "ray"] = "local"
    """What runs the jobs: processes of this machine, or replicas on a Ray cluster (extra
    `ray-serve`)."""

    cluster: str = "local"
    """With --engine ray: `local` starts Ray on this machine; `auto`, IP:PORT or ray://IP:PORT join
    a cluster."""

    max_replicas: int | None = None
    """With --engine ray: replicas are added up to so many while jobs wait, and removed when they
    are idle (default: there are always --workers of them)."""

    replica_cpus: float = 1.0
    """With --engine ray: processors that a replica takes of the cluster."""

    replica_gpus: float = 0.0
    """With --engine ray: GPUs that a replica takes of the cluster."""

    up_seconds: float = 5.0
    """With --engine ray: jobs wait so long before a replica is added."""

    down_seconds: float = 300.0
    """With --engine ray: a replica is idle so long before it is removed."""

    folder: Path | None = None
    """Folder of jobs and results (default: g3pt/serve where programs of this user keep such). A
    server that starts there again knows them."""

    token: str | None = None
    """Secret that requests must carry (default: that of G3PT_TOKEN; off loopback, a new one)."""

    allow_host: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Another name by which the server is called, such as that of a proxy; may be given several
    times."""

    max_queued: int = 64
    """Jobs that may wait."""

    max_per_client: int = 4
    """Jobs of one client that may wait or run."""

    deadline: float = 300.0
    """Seconds that a job may run."""

    keep_hours: float = 1.0
    """Hours that results are kept."""

    keep_gb: float = 2.0
    """Gigabytes (10^9 bytes) of results that are kept; the oldest go first."""

    open: bool = False
    """Open the page in a browser."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(ServeOptions, "serve", arguments)
    try:
        import uvicorn

        from g3pt.app.front import three_folder
        from g3pt.app.server import create_app

        three_folder()
    except ImportError as error:
        raise ValueError(
            f"serving needs the extra `app` ({error}): pip install 'g3pt[app]'"
        ) from None
    from g3pt.app.settings import LOOPBACK, ModelSource, ServeSettings
    from g3pt.models.weights.places import check_weights

    folder = options.folder or _state_folder() / "g3pt" / "serve"
    token = options.token or os.environ.get(TOKEN)
    if token is None and options.host not in LOOPBACK:
        token = secrets.token_urlsafe(24)
    sources = [
        ModelSource(
            name=name,
            weights=name,
            device=options.device,
            dtype=options.dtype,
            adapter=None if options.adapter is None else str(options.adapter),
        )
        for name in (options.weights, *options.also)
    ]
    if options.engine == "local" or options.cluster == "local":  # others look for themselves
        for source in sources:
            check_weights(source.weights, source.adapter)
    with listening(options.host, options.port) as listener:
        port = listener.getsockname()[1]
        try:
            settings = ServeSettings(
                models=sources,
                folder=folder,
                host=options.host,
                port=port,
                token=token,
                allowed_hosts=options.allow_host,
                workers=options.workers,
                ray=_replicas(options),
                max_queued=options.max_queued,
                max_per_client=options.max_per_client,
                deadline=options.deadline,
                keep_seconds=options.keep_hours * 3600,
                keep_bytes=int(options.keep_gb * 1e9),
            )
        except ValueError as error:
            name, _, rule = str(error).partition(" ")
            flag = {"keep_seconds": "keep-hours", "keep_bytes": "keep-gb"}.get(name, name)
            raise ValueError(f"--{flag.replace('_', '-')} {rule}") from None
        try:
            app = create_app(settings)
        except ImportError as error:
            raise ValueError(f"--engine {options.engine}: {error}") from None
        name = f"[{options.host}]" if ":" in options.host else options.host
        address = f"http://{name}:{port}/"
        shown = address if token is None else f"{address}?token={token}"
        if options.json:
            print(json.dumps({"address": address, "token": token, "pid": os.getpid()}), flush=True)
        else:
            print(f"{shown}  (Ctrl-C ends it)", flush=True)
        server = uvicorn.Server(server_config(app, settings.header_seconds))
        if options.open:
            threading.Thread(target=_show, args=(server, shown), daemon=True).start()
        try:
            server.run(sockets=[listener])
        except Stopped:  # the usual way to end a server
            return 0
    if not server.started:
        say("the server did not start")
        return 1
    return 0


def _replicas(options: ServeOptions) -> "RaySettings | None":
    """Where replicas are to be; None asks for processes of this machine.

    Raises:
        ValueError: if a number is out of range, or a flag is about replicas and there are none.
    """
    from g3pt.app.settings import RaySettings

    told = {one.name: getattr(options, one.name) for one in fields(RaySettings)}
    if options.engine == "ray":
        return RaySettings(**told)
    for one in fields(RaySettings):
        if told[one.name] != one.default:
            raise ValueError(f"{one.name} is about replicas: give --engine ray")
    return None


def server_config(app: "Starlette", header_seconds: float = 10.0) -> "uvicorn.Config":
    """How an app is served: plain HTTP/1.1 with limits, and nothing said of single requests.

    Args:
        app: the app.
        header_seconds: limit of the time until the headers of a request are complete.
    """
    import uvicorn

    from g3pt.app.connections import connection_class

    return uvicorn.Config(
        app,
        log_level="warning",
        http=connection_class(header_seconds),
        loop="asyncio",
        ws="none",
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=64 * 1024,
    )


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ValueError: if the address is taken, or not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)  # whoever was told the address may come before the app is there
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"--host {host} --port {port}: {reason}") from None
    return listener


def _show(server: "uvicorn.Server", address: str) -> None:
    """Open an address in a browser once it is served."""
    while not server.started:
        time.sleep(0.05)
    webbrowser.open(address)


def _state_folder() -> Path:
    """Where programs of this user keep what outlives them.

    Raises:
        ValueError: if this user has no home folder.
    """
    for name in ("LOCALAPPDATA", "XDG_STATE_HOME"):
        if given := os.environ.get(name):
            return Path(given)
    try:
        home = Path.home()
    except RuntimeError:  # no HOME, and the system does not know this user
        raise ValueError(
            "there is no home folder here; name a place with --folder or XDG_STATE_HOME"
        ) from None
    if sys.platform == "darwin":
        return home / "Library" / "Application Support"
    return home / ".local" / "state"
