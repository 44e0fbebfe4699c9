"""Nothing that a user hands over is ever run: no pickle, no code objects, no eval."""

import ast
import io
import marshal
import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from no_pickle import PickleError
from pages import ROOT

SOURCE = ROOT / "src" / "g3pt"
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_MODULES |= {"yaml", "ruamel"}  # a tag can name any function
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


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    """An array of objects, which numpy unpickles."""
    path = tmp_path / "objects.npy"
    np.save(path, np.array([Fraction(1, 2)], dtype=object), allow_pickle=True)
    return path


def opened(path: Path) -> str:
    """What becomes of it."""
    try:
        return str(np.load(path, allow_pickle=True))
    except PickleError as error:
        return f"refused: {error}"


def test_unpickling_in_a_thread_of_a_pool_raises(objects: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert "refused: " in pool.submit(opened, objects).result()


def test_unpickling_in_a_forked_process_raises(objects: Path) -> None:
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        assert "refused: " in pool.apply(opened, (objects,))
        # The message itself has classes: it comes from this process.
        assert pool.apply(str, (Fraction(1, 2),)) == "1/2"


@pytest.mark.parametrize(
    "read",
    [
        "import numpy; numpy.load(sys.argv[1], allow_pickle=True)",
        "import shelve, dbm.dumb; shelve.Shelf({b'a': open(sys.argv[1], 'rb').read()[128:]})['a']",
        "import marshal; marshal.loads(marshal.dumps(1))",
    ],
)
def test_unpickling_in_a_process_that_a_test_starts_raises(objects: Path, read: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {read}", str(objects)], capture_output=True, text=True
    )
    assert done.returncode == 1 and "PickleError" in done.stderr, done.stderr


def test_a_message_between_processes_may_have_tensors(tmp_path: Path) -> None:
    tensor = torch.tensor([1.5, 2.5])
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(torch.Tensor.tolist, (tensor,)) == [1.5, 2.5]
    assert torch.equal(pickle.loads(pickle.dumps(tensor)), tensor)
    torch.save(tensor.numpy().astype(object), tmp_path / "objects.pt")
    with pytest.raises(PickleError):
        torch.load(tmp_path / "objects.pt", weights_only=False)


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
        "import yaml",
        "from ruamel.yaml import YAML",
        "eval(text)",
        "exec(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_such_a_line_would_be_found(line: str) -> None:
    assert list(dangers(ast.parse(line))) == [1]


YAML = "kind: tokenizer\nname: !!python/object/apply:os.mkdir ['{folder}']\n"
"""A config that makes a folder where tags are followed, as `yaml.unsafe_load` does."""


@pytest.mark.parametrize("name", ["config.yaml", "config.yml", "CONFIG.YAML"])
def test_yaml_is_refused_unopened_with_advice(tmp_path: Path, name: str) -> None:
    from g3pt.config import ConfigError, load_json
    from g3pt.preparation.build import ShardsConfig
    from g3pt.training.runs import load_run, read_run

    path = tmp_path / name
    path.write_text(YAML.format(folder=tmp_path / "was-run"))
    for read in (read_run, lambda path: load_json(path, ShardsConfig)):
        with pytest.raises(ConfigError, match=rf"{name}: is YAML, .*--write-config"):
            read(path)
    if name.islower():  # a config in the place of the one that is read
        with pytest.raises(ConfigError, match=rf"{name}: is YAML, .*!!python/object"):
            load_run(tmp_path)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.mkdir ['{folder}']",
        "!!python/object/new:os.mkdir ['{folder}']",
        "!!python/name:os.mkdir",
        "&a [*a]",
    ],
)
def test_yaml_by_the_name_of_json_is_refused_as_what_it_is(tmp_path: Path, tag: str) -> None:
    from g3pt.config import ConfigError
    from g3pt.training.runs import load_run

    (tmp_path / "config.json").write_text(tag.format(folder=tmp_path / "was-run"))
    with pytest.raises(ConfigError, match=r"config\.json: not JSON"):
        load_run(tmp_path)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["{folder}/config.yaml"],
        ["tokenizer-tiny", "--run", "{folder}"],
        ["tokenizer-tiny", "--run", "{folder}", "--resume"],
    ],
)
def test_the_command_that_trains_says_what_to_write_in_place_of_yaml(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from g3pt.cli.train import main

    (tmp_path / "config.yaml").write_text(YAML.format(folder=tmp_path / "was-run"))
    given = [argument.format(folder=tmp_path) for argument in arguments]
    assert main([*given, "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}/config.yaml: is YAML" in said and "g3pt train RECIPE --fields" in said
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
