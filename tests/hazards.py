"""Mesh files whose reading harms the process that does it. Child processes import this."""

import os
import threading
import time
from pathlib import Path

import numpy as np

from g3pt.geometry.mesh import MeshError, TriangleMesh
from g3pt.preparation.inputs import MeshRef


class Crashing(MeshRef):
    def read(self, on_note=None) -> TriangleMesh:
        os.abort()


class Hanging(MeshRef):
    def read(self, on_note=None) -> TriangleMesh:
        time.sleep(600)
        raise AssertionError


class Spinning(MeshRef):
    def read(self, on_note=None) -> TriangleMesh:
        while True:
            pass


class Hungry(MeshRef):
    def read(self, on_note=None) -> TriangleMesh:
        np.ones(2**33, np.uint8)
        raise AssertionError


class Writing(MeshRef):
    """Writes over its own file."""

    def read(self, on_note=None) -> TriangleMesh:
        with open(self.location, "r+b") as file:
            file.write(b"changed")
        raise AssertionError


class DyingLater(MeshRef):
    """Harmless, but its process dies a little after that, at work on nothing."""

    def read(self, on_note=None) -> TriangleMesh:
        threading.Timer(0.2, os._exit, [3]).start()
        raise MeshError("refused", "broken")


class Telling(MeshRef):
    """Writes the number of its process into its refusal."""

    def read(self, on_note=None) -> TriangleMesh:
        raise MeshError(str(os.getpid()), "told")


class Unsendable(MeshRef):
    """Fails with an error that no process can send."""

    def read(self, on_note=None) -> TriangleMesh:
        raise UnsendableError(Path("x"))


class UnsendableError(Exception):
    def __init__(self, path: Path) -> None:
        super().__init__("cannot be sent", threading.Lock())
        self.path = path
