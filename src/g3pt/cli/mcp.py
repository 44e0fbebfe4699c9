"""`g3pt mcp`: tools for agents over the Model Context Protocol, on the jobs of a server."""

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from g3pt.cli.options import CommonOptions, WorkError, parse, say
from g3pt.cli.serve import TOKEN, listening, server_config


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

    if options.files is not None and not options.files.is_dir():
        raise ValueError(f"--files {options.files}: there is no such folder")
    token = options.token or os.environ.get(TOKEN)

    def agents(address: str) -> Agents:
        return Agents(client=Client(address, token), files=options.files)

    async def over_stdio() -> None:
        # The streams are taken first: the processes of a server of our own must not inherit them.
        async with stdio_server() as (read, write):
            with _server(options, token) as address:
                server = agent_server(agents(address))
                await server.run(read, write, server.create_initialization_options())

    if options.http is None:
        anyio.run(over_stdio)
        return 0
    with listening("127.0.0.1", options.http) as listener:
        with _server(options, token) as address:
            app = agent_server(agents(address)).streamable_http_app()
            say(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp  (Ctrl-C ends it)")
            uvicorn.Server(server_config(app)).run(sockets=[listener])
    return 0


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
