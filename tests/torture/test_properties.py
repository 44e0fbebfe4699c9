"""Property tests of the doors: no change of a file that hypothesis thinks of breaks a promise.

Files are changed byte by byte, and JSON value by value. What fails is made as small as it can be.
"""

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from g3pt.files import read_json
from g3pt.torture.catalogue import DOORS
from g3pt.torture.doors import Door, Hostile
from loaded_files import load_file

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz_doors.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="an installed package has no scripts")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=5,
)
NUMBERS = st.sampled_from([-1, 0, 1, 255, 2**16, 2**31, 2**63, -(2**63), 2**64, 10**18, 1e300])
CUTS = st.tuples(st.floats(0, 1), st.integers(0, 64), st.binary(max_size=64))
"""Place as a share of the file, bytes taken away there, bytes put in their place."""
JSON_FILE = re.compile(r"\.jsonl?$")
CHANGES = st.lists(CUTS, min_size=1, max_size=4)


@pytest.fixture(scope="module")
def fuzzing() -> ModuleType:
    return load_file(SCRIPT)


def without_bytes(content: bytes, cuts: list[tuple[float, int, bytes]]) -> bytes:
    for place, taken, put in cuts:
        start = round(place * len(content))
        content = content[:start] + put + content[start + taken :]
    return content


def with_value(content: bytes, number: int, value: Any) -> bytes:
    """JSON with one of its values, the whole included, replaced by another."""
    try:
        whole = [json.loads(content)]
    except ValueError:
        return content
    places: list[tuple[Any, Any]] = []

    def visit(inside: Any) -> None:
        items = inside.items() if isinstance(inside, dict) else enumerate(inside)
        for key, one in items:
            places.append((inside, key))
            if isinstance(one, dict | list):
                visit(one)

    visit(whole)
    inside, key = places[number % len(places)]
    inside[key] = value
    return json.dumps(whole[0]).encode()


def check_door(door: Door, fuzzing: ModuleType, trial: Path) -> None:
    """Let hypothesis change what the door writes, and enter it with that.

    Raises:
        BrokenPromiseError: with the smallest change that broke a promise.
    """
    templates, inputs = fuzzing.written_inputs(door, 40, 0)
    of_json = [one for one in inputs if JSON_FILE.search(templates[one[0]].changed)]

    @settings(
        max_examples=50,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(
        st.integers(0, 1000), st.none() | st.tuples(st.integers(0, 200), JSON | NUMBERS), CHANGES
    )
    def stands(index: int, value: tuple[int, Any] | None, cuts: list[Any]) -> None:
        chosen = (of_json or inputs) if value is not None else inputs
        template, content = chosen[index % len(chosen)][:1], chosen[index % len(chosen)][1:]
        if value is not None and of_json:
            content = with_value(content, *value)
        else:
            content = without_bytes(content, cuts)
        fuzzing.try_input(door, templates, template + content, trial)

    stands()


@pytest.mark.parametrize("name", DOORS)
def test_no_change_of_a_file_breaks_a_promise(
    name: str, fuzzing: ModuleType, tmp_path: Path
) -> None:
    if missing := DOORS[name].missing():
        pytest.skip(f"needs the extra `{missing}`")
    check_door(DOORS[name], fuzzing, tmp_path / "trial")


class Counted(Door):
    """Letters with their number in a JSON file; it is not checked for what it is."""

    name = "counted"
    promise = "as many letters as are told"
    errors = (ValueError,)

    def write(self, folder, rng):
        (folder / "set").mkdir()
        (folder / "set" / "letters.txt").write_text("abc")
        (folder / "set" / "told.json").write_text('{"letters": {"num": 3}}')
        return Hostile(folder / "set", "")

    def enter(self, path):
        told = read_json(path / "told.json")
        if not isinstance(told, dict) or not isinstance(told.get("letters"), dict):
            raise ValueError(f"{path}: told.json: letters: expected an object")
        ["a", "b", "c"][: told["letters"].get("num", 0)]


def test_a_value_of_another_type_is_found(fuzzing: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(fuzzing.BrokenPromiseError, match=r"foreign error: set/told\.json changed"):
        check_door(Counted(), fuzzing, tmp_path / "trial")
    told = json.loads((tmp_path / "trial/set/told.json").read_text())
    assert isinstance(told["letters"]["num"], str | list | dict | float)


class Marked(Door):
    """Bytes of which none may be zero."""

    name = "marked"
    promise = "bytes are read"
    errors = (ValueError,)

    def write(self, folder, rng):
        (folder / "bytes.bin").write_bytes(b"abcdefgh")
        return Hostile(folder / "bytes.bin", "")

    def enter(self, path):
        if 0 in path.read_bytes():
            raise KeyError("zero")


def test_a_byte_that_does_harm_is_found_and_the_change_is_small(
    fuzzing: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(fuzzing.BrokenPromiseError, match=r"foreign error: input\.bin changed"):
        check_door(Marked(), fuzzing, tmp_path / "trial")
    assert (tmp_path / "trial/input.bin").read_bytes().count(0) == 1
