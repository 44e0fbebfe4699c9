"""Film the page of `g3pt serve` while it makes a shape of a picture, and time it.

    python scripts/page_film.py examples/images/chair.png
    python scripts/page_film.py examples/images/chair.png --out docs/images/page.gif

Starts a server of its own with the bundled weights and drives an installed Chromium without a
window (group `dev`). Prints one JSON object with the seconds from the press of the button to the
first preview of a scale and to the mesh, and from the server's first word to the mesh. Pictures of
the window take time, too: the seconds are lower without a film.
"""

import argparse
import contextlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from g3pt.geometry.render import save_gif

VIEW: Any = {"width": 1100, "height": 680}
WIDTH = 640
"""Pixels of a frame of the film."""
FRAMES_PER_SECOND = 5.0
HOLD = 4
"""Frames that a new scale stays."""
TURNS = 12
COLORS = 48
SECONDS = 300.0
"""What takes longer is given up."""
ARGUMENTS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
ARGUMENTS += ["--no-sandbox", "--disable-background-networking"]


def main() -> None:
    """Film one picture."""
    arguments = parse()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("there is no chromium on the PATH")
    with tempfile.TemporaryDirectory() as folder, server(folder) as address:
        ready = time.perf_counter()
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            page = browser.new_page(viewport=VIEW, color_scheme="light")
            page.set_default_timeout(1000 * SECONDS)
            page.goto(address)
            camera = Camera(page) if arguments.out else None
            print(json.dumps(make(page, arguments.picture, ready, camera)))
            browser.close()
    if camera is not None:
        save_gif(arguments.out, camera.frames, frames_per_second=FRAMES_PER_SECOND)


@contextlib.contextmanager
def server(folder: str) -> Iterator[str]:
    """A server on a free port; yields its address."""
    command = [sys.executable, "-m", "g3pt.cli.main", "serve", "--json"]
    command += ["--port", "0", "--folder", folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            yield json.loads(program.stdout.readline())["address"]
        finally:
            program.terminate()


class Camera:
    """Takes pictures of the window, reduced."""

    def __init__(self, page: Page) -> None:
        """Point it at a page."""
        self.frames: list[np.ndarray] = []
        self._page = page

    def take(self, times: int = HOLD) -> None:
        """Take one picture, shown for some frames."""
        image = Image.open(io.BytesIO(self._page.screenshot())).convert("RGB")
        size = WIDTH, round(WIDTH * image.height / image.width)
        image = image.resize(size, Image.Resampling.BOX)
        few = image.quantize(COLORS, dither=Image.Dither.NONE).convert("RGB")
        self.frames += [np.asarray(few)] * times


def make(page: Page, picture: Path, ready: float, camera: Camera | None) -> dict[str, float]:
    """Make a shape in the page, and say what was timed, in seconds."""
    page.locator("body[data-started]").wait_for()
    if camera:
        camera.take()
    page.set_input_files("#file", picture)
    page.locator("#cut-said").filter(has_text=".").wait_for()
    if camera:
        camera.take()
    pressed = time.perf_counter()
    page.get_by_role("button", name="Make the shape").click()
    shown, timed = "", {}
    while shown != "mesh":
        if time.perf_counter() > pressed + SECONDS:
            raise SystemExit(f"there is no mesh after {SECONDS:.0f} s")
        if page.locator("#failed").is_visible():
            raise SystemExit(page.locator("#failed").inner_text())
        now = page.locator("#canvas").get_attribute("data-shown") or ""
        if now in ("", shown):
            time.sleep(0.02)
            continue
        seconds = round(time.perf_counter() - pressed, 2)
        timed.setdefault("first_preview_s", seconds)
        timed["mesh_s"], shown = seconds, now
        if camera:
            camera.take()
    timed["ready_to_mesh_s"] = round(time.perf_counter() - ready, 2)
    if camera:
        turn(page, camera)
    return timed


def turn(page: Page, camera: Camera) -> None:
    """Turn the shape with the pointer."""
    box: Any = page.locator("#canvas").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    for step in range(1, TURNS + 1):
        page.mouse.move(middle[0] + 20 * step, middle[1])
        camera.take(1)
    page.mouse.up()
    camera.take()


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Film the page, or only time it.")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--out", type=Path, help="film to write, a GIF; without it time only")
    return parser.parse_args()


if __name__ == "__main__":
    main()
