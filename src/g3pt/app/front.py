"""The page: its files, and three.js from the package that ships it, all from this server."""

from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "page"


def three_folder() -> Path:
    """Folder of `index.js`, which is three.js with its loader of GLB files and its controls.

    NiceGUI itself is not imported (docs/decisions/0014-page.md).

    Raises:
        ImportError: if NiceGUI is not installed, or has no such file.
    """
    found = find_spec("nicegui")
    if found is None or not found.submodule_search_locations:
        raise ImportError("No module named 'nicegui'")
    folder = Path(found.submodule_search_locations[0]) / "elements" / "scene" / "dist"
    if not (folder / "index.js").is_file():
        raise ImportError("this version of nicegui has no elements/scene/dist/index.js")
    return folder


def add_page(app: FastAPI) -> None:
    """Serve the page at `/` and what it needs under `/static/`.

    Raises:
        ImportError: if three.js is not there.
    """

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(FOLDER / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/static/three", StaticFiles(directory=three_folder()), name="three")
    app.mount("/static", StaticFiles(directory=FOLDER), name="static")
