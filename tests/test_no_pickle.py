"""Nothing that a user hands over is ever run: no pickle, no code objects, no eval."""

import ast
import io
import marshal
import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from no_pickle import PickleError
from pages import ROOT

SOURCE = ROOT / "src" / "g3pt"
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}


def test_unpickling_by_a_library_raises_in_every_test(tmp_path: Path) -> None:
    path = tmp_path / "objects.npy"
    np.save(path, np.array([Fraction(1, 2)], dtype=object), allow_pickle=True)
    with pytest.raises(PickleError, match=r"numpy|fractions"):
        np.load(path, allow_pickle=True)
    torch.save({"a": Fraction(1, 2)}, tmp_path / "weights.pt")
    with pytest.raises(PickleError):
        torch.load(tmp_path / "weights.pt", weights_only=False)
    with pytest.raises(PickleError):
        marshal.loads(marshal.dumps(1))


def test_a_test_may_unpickle_what_it_has_pickled() -> None:
    assert pickle.loads(pickle.dumps(Fraction(1, 2))) == Fraction(1, 2)
    assert pickle.load(io.BytesIO(pickle.dumps(Fraction(1, 2)))) == Fraction(1, 2)


def test_no_module_can_run_what_it_reads() -> None:
    modules = {path: ast.parse(path.read_text()) for path in SOURCE.rglob("*.py")}
    assert modules
    found = {path: list(dangers(tree)) for path, tree in modules.items()}
    assert {path: lines for path, lines in found.items() if lines} == {}


def dangers(tree: ast.AST):
    """Lines of a module that could run data."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            named = {(node.module or "").partition(".")[0]}
        else:
            named = set()
        if named & FORBIDDEN_MODULES:
            yield node.lineno
        if isinstance(node, ast.Call):
            options = {one.arg: getattr(one.value, "value", None) for one in node.keywords}
            match node.func:
                case ast.Name(id=name) if name in FORBIDDEN_CALLS:
                    yield node.lineno
                case ast.Attribute(value=ast.Name(id="torch"), attr="load"):
                    if options.get("weights_only") is not True:
                        yield node.lineno
                case ast.Attribute(value=ast.Name(id="np"), attr="load"):
                    if options.get("allow_pickle", False) is not False:
                        yield node.lineno


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib.numpy_pickle",
        "eval(text)",
        "exec(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_such_a_line_would_be_found(line: str) -> None:
    assert list(dangers(ast.parse(line))) == [1]
