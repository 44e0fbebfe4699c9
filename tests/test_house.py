"""What must hold of the repository as a whole: layers, pins, documents, cost of imports, size."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "g3pt"


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the import contracts of `folder`, which holds pyproject.toml and the package."""
    command = "from importlinter.cli import lint_imports_command as check\n"
    command += "check(['--no-cache', '--config', 'pyproject.toml'])"
    return subprocess.run(
        [sys.executable, "-c", command], cwd=folder, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def copied_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    ignore = shutil.ignore_patterns("__pycache__", "pretrained")
    shutil.copytree(SOURCE, folder / "g3pt", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_imports_keep_to_the_layers(copied_package: Path) -> None:
    result = lint_imports(copied_package)

    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("nn", "import g3pt.models"),
        ("models", "import g3pt.geometry"),
        ("geometry", "import torch"),
        ("stream", "import g3pt.nn"),
        ("shapes", "import igl"),
    ],
)
def test_an_import_against_the_layers_is_found(
    copied_package: Path, module: str, line: str
) -> None:
    intruder = copied_package / "g3pt" / module / "intruder.py"
    intruder.write_text(line + "\n")
    try:
        result = lint_imports(copied_package)
    finally:
        intruder.unlink()

    assert result.returncode != 0
    assert "intruder" in result.stdout


def pinned_versions() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}


def test_every_direct_dependency_is_pinned_to_a_version_that_it_allows() -> None:
    table = project()
    groups = [table["project"]["dependencies"], *table["dependency-groups"].values()]
    groups += table["project"]["optional-dependencies"].values()
    pins = pinned_versions()

    for requirement in (Requirement(line) for group in groups for line in group):
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is missing from constraints.txt"
        assert requirement.specifier.contains(version), f"{requirement} does not allow {version}"


def test_every_extra_has_code_that_imports_it_and_a_use_that_doctor_tells() -> None:
    from g3pt.cli.doctor import USES

    code = "\n".join(path.read_text() for path in SOURCE.rglob("*.py"))
    extras = project()["project"]["optional-dependencies"]
    names = [Requirement(line).name for lines in extras.values() for line in lines]

    assert set(USES) == set(extras)
    for name in names:
        module = {"usd-core": "pxr"}.get(name, name.replace("-", "_"))
        imported = rf"^ *(import|from) {module}\b|(import_module|find_spec)\(f?\"{module}"
        assert re.search(imported, code, re.MULTILINE), name


@pytest.mark.parametrize("module", ["g3pt", "g3pt.geometry.mesh", "g3pt.geometry.isosurface"])
def test_importing_it_does_not_load_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_loading_models_does_not_load_the_compiler_of_torch() -> None:
    code = "import sys, g3pt.recipes; sys.exit('torch._dynamo' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_the_tests_run_on_two_processes_with_a_thread_each() -> None:
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    # What a make around this test was told is not meant.
    told = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "WORKERS", "PYTEST_ARGS")
    environment = {name: value for name, value in os.environ.items() if name not in told}
    command = ["make", "--dry-run", "test"]
    make = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    (line,) = [line for line in make.stdout.splitlines() if "-m pytest" in line]

    assert line.startswith("OMP_NUM_THREADS=1 ")
    assert "--numprocesses 2 --dist loadfile" in line


def markdown_files() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", markdown_files(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    local = [target for target in targets if not target.startswith(("http:", "https:"))]

    assert [target for target in local if not (page.parent / target).exists()] == []


def test_bundled_weights_take_at_most_40_mebibytes() -> None:
    sizes = {
        str(path.relative_to(SOURCE)): path.stat().st_size
        for path in (SOURCE / "pretrained").rglob("*.safetensors")
    }

    assert sizes, "this checkout has no weights"
    assert sum(sizes.values()) <= 40 * 2**20, sizes


def tracked_files() -> list[Path]:
    """What git tracks of this checkout and is there; a test that asks is skipped elsewhere."""
    # A checkout may lie inside somebody else's repository, whose files are not meant.
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout: nothing says which files are tracked")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, timeout=60)
    if listed.returncode != 0:
        pytest.skip(f"git does not list this checkout: {os.fsdecode(listed.stderr).strip()}")
    names = {os.fsdecode(name) for name in listed.stdout.split(b"\0") if name}
    return [ROOT / name for name in sorted(names) if (ROOT / name).is_file()]


def test_tracked_files_stay_below_48_mebibytes() -> None:
    sizes = {path: path.stat().st_size for path in tracked_files()}

    assert Path(__file__).resolve() in sizes
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:5]
    assert sum(sizes.values()) < 48 * 2**20, largest


def test_weights_that_are_taken_by_default_are_bundled() -> None:
    from g3pt.benchmarks.rows import BenchmarkSettings
    from g3pt.models.weights.places import bundled_weights
    from g3pt.training.kinds.car import CarRun
    from g3pt.training.kinds.stream import StreamRun

    defaults = {CarRun().tokenizer, StreamRun().tokenizer, BenchmarkSettings().weights}

    assert defaults <= set(bundled_weights())


def paper_map_rows(title: str) -> list[list[str]]:
    """Cells of every row of the table under a title of the paper map, the head aside."""
    page = (ROOT / "docs" / "paper_map.md").read_text()
    section = page.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def definitions(file: str) -> set[str]:
    """What a file defines: classes, functions, arguments, variables; members as `Class.member`.

    Members that a class inherits count where the base is in the same file.
    """
    found: set[str] = set()
    tree = ast.parse((SOURCE / file).read_text())
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    found |= names_in(tree)
    bases = {
        node.name: [ast.unparse(base).split("[")[0] for base in node.bases] for node in classes
    }
    members = {node.name: names_in(node) for node in classes}
    for name in members:
        line = [name]
        for ancestor in line:
            line += bases.get(ancestor, [])
            found |= {f"{name}.{member}" for member in members.get(ancestor, ())}
    return found


def names_in(tree: ast.AST) -> set[str]:
    """Names that are bound somewhere in a piece of code."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.arg(arg=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                found.add(name)
            case _:
                pass
    return found


def in_quotes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("row", paper_map_rows("Symbols"), ids=lambda row: row[0])
def test_a_symbol_of_the_paper_is_defined_where_the_map_says(row: list[str]) -> None:
    assert len(row) == 4
    names, files = in_quotes(row[2]), in_quotes(row[3])
    assert names and files
    defined = {file: definitions(file) for file in files}

    assert [name for name in names if not any(name in each for each in defined.values())] == []
    assert [file for file, each in defined.items() if not each & set(names)] == []


@pytest.mark.parametrize("row", paper_map_rows("Equations and sections"), ids=lambda row: row[0])
def test_an_equation_is_named_in_its_file_and_has_tests(row: list[str]) -> None:
    assert len(row) == 3 and row[2]
    files = in_quotes(row[1])
    assert files
    text = "".join((SOURCE / file).read_text() for file in files)
    for number in re.findall(r"[\d.]*\d", row[0]):
        kind = "Sec" if row[0].startswith("Sec") else "Eq"
        assert re.search(rf"{kind}\. {re.escape(number)}\b", text), f"{kind}. {number}"
    for file in files:
        path = ROOT / "tests" / Path(file).parent / f"test_{Path(file).name}"
        assert path.is_file(), path
