"""The server and the picture that the tests of `app` have too."""

import pytest

pytest.importorskip("fastapi", reason="needs the extra `app`")

from served import picture, server

__all__ = ["picture", "server"]
