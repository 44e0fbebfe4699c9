"""The public names of g3pt, and that its commands and its Python side mean the same."""

import inspect
import pydoc
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest

import g3pt
from g3pt.generation.pipeline import G3PT
from g3pt.geometry.mesh import MeshError, TriangleMesh
from g3pt.models.sampling import Sampling

NAMES = ("G3PT", "Sampling", "TriangleMesh", "read_mesh", "write_mesh")


def test_the_public_names_can_be_imported_and_are_listed() -> None:
    for name in NAMES:
        assert getattr(g3pt, name).__name__ == name
        assert name in dir(g3pt)
    assert set(g3pt.__all__) == {*NAMES, "__version__"}


def test_help_shows_the_public_names() -> None:
    page = pydoc.plain(pydoc.render_doc(g3pt))

    for name in ("G3PT", "Sampling", "TriangleMesh"):
        assert f"class {name}(" in page
    for name in (
        "read_mesh(",
        "write_mesh(",
        "from_pretrained(",
        "save_pretrained(",
        "push_to_hub(",
    ):
        assert name in page
    for name in ("preview(", "to(self", "save(self"):
        assert name in page


def test_a_mesh_saves_itself(tmp_path: Path) -> None:
    mesh = TriangleMesh.from_arrays(
        [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]],
    )
    for suffix in (".glb", ".obj", ".ply"):
        mesh.save(tmp_path / f"x{suffix}")
        assert len(g3pt.read_mesh(tmp_path / f"x{suffix}").faces) == 4
    with pytest.raises(MeshError, match="unknown mesh format"):
        mesh.save(tmp_path / "x.step")


def defaults_of(function: Any) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def flags_of(module: str, options: str, *needed: Any) -> Any:
    """Options of a command as they are without any flag that is not needed."""
    import importlib

    from g3pt.cli.options import parse

    cls = getattr(importlib.import_module(f"g3pt.cli.{module}"), options)
    return parse(cls, module, [str(one) for one in needed])


PROMPTS = ("image", "text", "points")
COMMANDS = {
    "generate": ("GenerateOptions", ("-o", "x.glb"), G3PT.generate),
    "vary": ("VaryOptions", ("a.g3t", "--keep", 1, "-o", "x.glb"), G3PT.generate),
    "mix": ("MixOptions", ("a.g3t", "b.g3t", "--keep", 1, "-o", "x.glb"), G3PT.mix),
    "complete": ("CompleteOptions", ("a.ply", "-o", "x.glb"), G3PT.complete),
    "reconstruct": ("ReconstructOptions", ("a.glb", "-o", "x.glb"), G3PT.reconstruct),
    "detokenize": ("DetokenizeOptions", ("a.g3t", "-o", "x.glb"), G3PT.detokenize),
    "tokenize": ("TokenizeOptions", ("a.glb", "-o", "x.g3t"), G3PT.tokenize),
    "score": ("ScoreOptions", ("a.g3t",), G3PT.score),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_and_python_have_the_same_defaults(command: str) -> None:
    options, needed, method = COMMANDS[command]
    flags = flags_of(command, options, *needed)
    python = {**defaults_of(G3PT.from_pretrained), **defaults_of(method)}
    same = [name for name in python if hasattr(flags, name) and name not in PROMPTS]

    assert {"weights", "device"} <= set(same)
    for name in same:
        told = getattr(flags, name)
        if name == "sampling":
            assert told.told() == Sampling()
        elif is_dataclass(told):  # flags with a class of their own
            assert getattr(told, name) == python[name], name
        else:
            assert told == python[name], name


def test_the_search_of_complete_has_the_same_defaults() -> None:
    from g3pt.generation.completion import SearchConfig

    flags = flags_of("complete", *COMMANDS["complete"][:1], *COMMANDS["complete"][1])
    found = SearchConfig(keep=flags.keep, width=flags.width, survivors=flags.survivors)

    assert found == SearchConfig()
