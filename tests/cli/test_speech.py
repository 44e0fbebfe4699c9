"""Commands say what g3pt has to say; no library speaks unasked."""

import os
import subprocess
import sys
from pathlib import Path

SPEAK = """
import logging, os, subprocess, sys, warnings
import g3pt.cli.main as command
from g3pt.cli import {command} as spoken

def main(arguments):
    logging.getLogger("trimesh.util").warning("a library's log")
    logging.getLogger("PIL.Image").error("another library's log")
    warnings.warn("a library's warning")
    logging.getLogger("g3pt.geometry").warning("our log")
    logging.getLogger("g3pt.geometry").info("our chatter")
    child = "import warnings; warnings.warn('a warning of a child')"
    return subprocess.run([sys.executable, "-c", child]).returncode

spoken.main = main
sys.argv = ["g3pt", "{command}"]
sys.exit(command.main())
"""
LIBRARIES = ("a library's log", "another library's log", "a library's warning", "of a child")
PLY = (
    "ply\nformat ascii 1.0\ncomment TextureFile {}\nelement vertex 4\nproperty float x\n"
    "property float y\nproperty float z\nproperty float s\nproperty float t\nelement face 4\n"
    "property list uchar int vertex_indices\nend_header\n0 0 0 0 0\n1 0 0 1 0\n0 1 0 0 1\n"
    "0 0 1 0 1\n3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n"
)


def stderr_of(*command: str, cwd: Path | None = None, **environment: str) -> str:
    without = ("PYTHONWARNINGS", "G3PT_TRACEBACK")
    base = {key: value for key, value in os.environ.items() if key not in without}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**base, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_only_g3pt_speaks() -> None:
    assert stderr_of("-c", SPEAK.format(command="render")) == "our log\n"


def test_libraries_are_heard_by_who_asks() -> None:
    said = stderr_of("-c", SPEAK.format(command="render"), G3PT_TRACEBACK="1")
    assert all(words in said for words in (*LIBRARIES, "our log"))
    said = stderr_of("-W", "default", "-c", SPEAK.format(command="render"))
    assert "a library's warning" in said and "our log" in said and "library's log" not in said


def test_a_missing_texture_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "gone.ply").write_text(PLY.format("wood.png"))
    drawing = ("render", "gone.ply", "-o", "out.png", "--size", "16", "--views", "1")
    said = stderr_of("-m", "g3pt.cli.main", *drawing, cwd=tmp_path).splitlines()
    assert said == ["gone.ply: texture 'wood.png' is missing; read without", "meshes 1/1"]
