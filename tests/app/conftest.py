"""A server that all tests of a process share, and files to send to it."""

import pytest

pytest.importorskip("fastapi", reason="needs the extra `app`")

from served import picture, server

__all__ = ["picture", "server"]
