"""Configs survive a trip through JSON, and nothing unknown slips in."""

import json
from dataclasses import dataclass
from typing import Literal

import pytest


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    kind: Literal["round"] = "round"
    radius: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Square:
    kind: Literal["square"] = "square"
    side: float = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    lengths: tuple[int, ...] = (1, 4)
    outline: Round | Square = Round()
    name: str | None = None

    def __post_init__(self) -> None:
        if list(self.lengths) != sorted(self.lengths):
            raise ValueError(f"lengths must increase, got {self.lengths}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    parts: tuple[Part, ...] = (Part(),)
    pair: tuple[float, float] = (0.9, 0.95)
    main: Part = Part()
    fast: bool = True


@pytest.fixture
def config():
    from g3pt import config

    return config


def test_a_config_comes_back_equal_through_json_text(config):
    whole = Whole(
        parts=(Part(lengths=(1, 2, 3)), Part(outline=Square(side=3.0), name="x")), pair=(0.1, 2)
    )
    text = json.dumps(config.to_json(whole))
    again = config.from_json(Whole, json.loads(text))
    assert again == whole
    assert isinstance(again.parts[0].lengths, tuple)
    assert isinstance(again.parts[1].outline, Square)


def test_missing_keys_take_defaults(config):
    assert config.from_json(Whole, {}) == Whole()
    assert config.from_json(Whole, {"main": {"name": "n"}}).main == Part(name="n")


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"main": {"lenghts": [1]}}, "main.lenghts"),
        ({"parts": [{}, {"nmae": "x"}]}, "parts[1].nmae"),
        ({"main": {"outline": {"kind": "round", "side": 1.0}}}, "main.outline.side"),
    ],
)
def test_an_unknown_key_is_named_with_its_origin(config, data, field):
    with pytest.raises(config.ConfigError) as caught:
        config.from_json(Whole, data, origin="run/config.json")
    assert str(caught.value).startswith(f"run/config.json: {field}: unknown field")


@pytest.mark.parametrize(
    "data", [{"fast": "yes"}, {"pair": [1.0]}, {"main": {"lengths": "12"}}, {"main": 3}]
)
def test_values_of_the_wrong_type_are_refused_not_coerced(config, data):
    with pytest.raises(config.ConfigError, match=next(iter(data))):
        config.from_json(Whole, data)


def test_post_init_speaks_when_reading(config):
    with pytest.raises(config.ConfigError, match="lengths must increase"):
        config.from_json(Whole, {"main": {"lengths": [3, 1]}})


def test_save_and_load_leave_one_file(config, tmp_path):
    path = tmp_path / "config.json"
    config.save_json(path, Whole(fast=False))
    assert config.load_json(path, Whole) == Whole(fast=False)
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def test_a_file_that_is_no_config_is_named(config, tmp_path):
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(config.ConfigError, match=r"config\.json: not JSON"):
        config.load_json(path, Whole)
    path.write_text("[]")
    with pytest.raises(config.ConfigError, match="expected a JSON object"):
        config.load_json(path, Whole)
    with pytest.raises(FileNotFoundError):
        config.load_json(tmp_path / "none.json", Whole)


def test_fields_that_are_gone_are_passed_over_where_they_say_what_is_done_anyway():
    from g3pt.config import without_retired

    retired = {("gone",): 1, ("parts", "old"): "x"}
    data = {"gone": 1, "parts": [{"old": "x", "new": 2}, {"old": "y"}], "kept": 1}

    current = without_retired(data, retired)

    assert current == {"parts": [{"new": 2}, {"old": "y"}], "kept": 1}
    assert data["gone"] == 1


def test_a_config_has_a_few_kilobytes_and_is_refused_unread_if_it_is_large(tmp_path):
    from g3pt.config import ConfigError, load_json
    from g3pt.files import MAX_CONFIG_BYTES
    from g3pt.training.optim import AdamWConfig

    path = tmp_path / "config.json"
    path.write_text("{" + " " * MAX_CONFIG_BYTES + "}")
    with pytest.raises(ConfigError, match=r"config\.json: has \d+ bytes, expected at most"):
        load_json(path, AdamWConfig)


def test_an_error_in_one_kind_of_a_union_is_that_of_the_kind_that_is_named():
    from g3pt.config import ConfigError, from_json
    from g3pt.training.kinds.car import CarRun

    with pytest.raises(ConfigError, match=r"optim\.MuonConfig: .*optim\.momentum must lie in"):
        from_json(CarRun, {"optim": {"kind": "muon", "momentum": 2.0}})
