"""Compiled blocks: the same losses and names of weights, and a clear message without a compiler."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from compiled import CHECKS, train_toy

from g3pt.training import compilation
from g3pt.training.compilation import missing_compiler
from shared import made_once


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each check of the program complains of."""

    def run(folder):
        folder.mkdir(exist_ok=True)
        here = Path(__file__).parent
        path = os.pathsep.join([str(here.parent), *sys.path])
        command = [sys.executable, str(here / "compiled.py"), str(folder)]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=True, timeout=600)

    folder = made_once(tmp_path_factory, "compiled", run)
    return json.loads((folder / "found.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("check", [check.__name__ for check in CHECKS])
def test_compiled(found, check):
    assert found[check] == ""


def test_without_a_compiler_a_training_goes_on_and_says_why(tmp_path, monkeypatch, caplog):
    plain = train_toy(tmp_path / "plain")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with caplog.at_level(logging.WARNING):
        assert train_toy(tmp_path / "compiled", compile=True) == plain
    (message,) = [one.message for one in caplog.records if "train.compile" in one.message]
    assert "no-such-compiler" in message
    assert "leave train.compile off" in message


def test_a_device_without_compiler_is_named():
    assert "mps" in missing_compiler("mps")


def test_missing_headers_of_python_are_named(tmp_path, monkeypatch):
    compiler = tmp_path / "compiler"
    compiler.write_text("")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(compilation.sysconfig, "get_path", lambda name: str(tmp_path))
    assert "Python.h" in missing_compiler("cpu")
