"""`g3pt mcp`: tools for agents over the Model Context Protocol, on the jobs of a server."""

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from g3pt.cli.options import CommonOptions, WorkError, parse, say
from g3pt.cli.serve import TOKEN, listening, server_config
from g3pt.cli.streams import OUTPUT
from g3pt.training.signals import Stopped, StopSignals


@dataclass(frozen=True, kw_only=True, slots=True)
class McpOptions(CommonOptions):
    """Give agents tools that make shapes; they talk over stdin and stdout, or over HTTP.

    `docs/integrations.md` lists the tools and how agents are set up.
    """

    server: str | None = None
    """Address of a `g3pt serve`, such as http://127.0.0.1:8000. Without it one is started here,
    which ends with this command."""

    token: str | None = None
    """Secret of that server (default: that of G3PT_TOKEN)."""

    files: Path | None = None
    """Folder whose pictures agents may read, and where they may write results to new files."""

    http: int | None = None
    """Port of loopback on which agents talk over streamable HTTP, at /mcp."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(McpOptions, "mcp", arguments)
    try:
        import anyio
        import uvicorn
        from mcp.server.stdio import stdio_server

        from g3pt.app.agents import Agents, agent_server
    except ImportError as error:
        raise ValueError(
            f"serving agents needs the extra `mcp` ({error}): pip install 'g3pt[mcp]'"
        ) from None
    from g3pt.app.client import Client
    from g3pt.models.weights.places import check_weights

    if options.files is not None and not options.files.is_dir():
        raise ValueError(f"--files {options.files}: there is no such folder")
    if options.server is None:  # ours will load them
        check_weights(options.weights)
    token = options.token or os.environ.get(TOKEN)

    def agents(address: str) -> Agents:
        return Agents(client=Client(address, token), files=options.files)

    async def over_stdio(end_input: Callable[[], None]) -> None:
        # The streams are taken first: the processes of a server of our own must not inherit them.
        async with stdio_server() as (read, write):
            try:
                with _server(options, token) as address:
                    server = agent_server(agents(address))
                    await server.run(read, write, server.create_initialization_options())
            finally:
                end_input()

    if options.http is None:
        with _input_that_ends() as end_input, StopSignals(end_input), _errors_of_output():
            anyio.run(over_stdio, end_input)
        return 0
    with listening("127.0.0.1", options.http) as listener:
        with _server(options, token) as address:
            app = agent_server(agents(address)).streamable_http_app()
            say(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp  (Ctrl-C ends it)")
            with suppress(Stopped):  # the usual way to end a server
                uvicorn.Server(server_config(app)).run(sockets=[listener])
    return 0


@contextmanager
def _input_that_ends() -> Iterator[Callable[[], None]]:
    """Put a stream in the place of stdin, and give what ends it.

    What waits for the next line of an agent cannot be interrupted: a signal would be heard only
    when that line has come.
    """
    given = os.dup(0)
    ours, theirs = socket.socketpair()
    os.dup2(theirs.fileno(), 0)
    theirs.close()

    def end() -> None:
        with suppress(OSError):
            ours.shutdown(socket.SHUT_WR)

    def pass_on() -> None:
        with suppress(OSError):  # nobody listens any more
            while data := os.read(given, 2**16):
                ours.sendall(data)
        end()

    threading.Thread(target=pass_on, daemon=True).start()
    try:
        yield end
    finally:
        end()
        os.dup2(given, 0)


@contextmanager
def _errors_of_output() -> Iterator[None]:
    """Take errors of tasks out of the groups that they come in.

    Raises:
        OSError: with `OUTPUT` as the name of the file, if an agent cannot be answered.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, error.strerror, OUTPUT) from None
        raise error from None


@contextmanager
def _server(options: McpOptions, token: str | None) -> Iterator[str]:
    """The address of the server that was named, or of one in this process.

    Its models live in processes of their own, and its jobs in a folder that is deleted.
    """
    if options.server is not None:
        yield options.server
        return
    try:
        import uvicorn

        from g3pt.app.server import create_app
    except ImportError as error:
        raise ValueError(
            f"a server of one's own needs the extra `app` ({error}): pip install 'g3pt[app,mcp]', "
            "or name a server with --server"
        ) from None
    from g3pt.app.settings import ModelSource, ServeSettings

    source = ModelSource(name=options.weights, weights=options.weights, device=options.device)
    with (
        tempfile.TemporaryDirectory(prefix="g3pt-mcp-") as folder,
        listening("127.0.0.1", 0) as listener,
    ):
        port = listener.getsockname()[1]
        settings = ServeSettings(models=(source,), folder=Path(folder), port=port, token=token)
        server = uvicorn.Server(server_config(create_app(settings)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                thread.join(0.02)
                if not thread.is_alive():
                    raise WorkError("the server did not start")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()
