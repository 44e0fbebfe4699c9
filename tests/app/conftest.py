"""A server that all tests of a process share, and files to send to it."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra `app`")

from served import Running, running, tiny_settings


@pytest.fixture(scope="session")
def server(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for all tests that leave it as it was."""
    settings = tiny_settings(tiny_weights, tmp_path_factory.mktemp("served"))
    with running(settings) as found:
        yield found


@pytest.fixture(scope="session")
def picture() -> bytes:
    from PIL import Image

    image = Image.new("RGB", (80, 80), "white")
    image.paste((200, 30, 30), (20, 30, 60, 70))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
