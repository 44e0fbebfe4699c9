"""Every broken promise is noticed, and the doors of g3pt keep theirs."""

import json
from pathlib import Path

import pytest

import planted
from g3pt.torture.catalogue import DOORS
from g3pt.torture.trials import process_engine, torture
from g3pt.work.engines import InlineEngine


@pytest.mark.parametrize(
    ("door", "kind"),
    [
        (planted.Hungry(), "memory"),
        (planted.Unforeseen(), "foreign error"),
        (planted.Nameless(), "names no file"),
        (planted.Untidy(), "left behind"),
        (planted.Starting(), "ran something"),
        (planted.Silent(), "silent load"),
        (planted.Strict(), "refused a sound file"),
        (planted.Wrong(), "wrong result"),
    ],
)
def test_a_broken_promise_is_a_violation(door: planted.Planted, kind: str) -> None:
    (result,) = torture([door], 1, InlineEngine(), seed=3)

    assert [(one.kind, one.seed) for one in result.violations] == [(kind, 3)]


def test_refusals_and_successes_are_counted() -> None:
    (opened,) = torture([planted.Planted()], 2, InlineEngine())
    (refused,) = torture([planted.Refusing()], 2, InlineEngine())

    assert (opened.trials, opened.successes, opened.refusals, opened.violations) == (2, 2, 0, [])
    assert (refused.trials, refused.successes, refused.refusals, refused.violations) == (
        2,
        0,
        2,
        [],
    )


def test_crashes_and_hangs_cost_one_trial_each_and_all_doors_keep_their_promises(
    tmp_path: Path,
) -> None:
    crashing, hanging = torture(
        [planted.Crashing(), planted.Hanging()], 1, process_engine(1, seconds=2), keep=tmp_path
    )
    assert [one.kind for one in crashing.violations + hanging.violations] == ["crash", "hang"]

    # Generous: this is no place to measure a loaded machine.
    doors = [door for door in DOORS.values() if not door.missing()]
    results = torture(doors, 12, process_engine(1, seconds=60))
    assert [result.violations for result in results] == [[]] * len(doors)
    assert all(result.trials == 12 and result.refusals for result in results)


@pytest.mark.parametrize("name", DOORS)
def test_a_seed_gives_the_same_input(name: str, tmp_path: Path) -> None:
    import numpy as np

    written = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        for seed in range(6):
            (folder / str(seed)).mkdir()
            DOORS[name].write(folder / str(seed), np.random.default_rng(seed))
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        small = [path for path in files if path.stat().st_size < 2**26]
        written.append([(path.relative_to(folder), path.read_bytes()) for path in small])
    assert written[0] == written[1] and written[0]


def test_the_command_prints_a_row_a_promise_and_fails_where_one_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from g3pt.cli.torture import main

    monkeypatch.setattr("g3pt.torture.trials.process_engine", lambda workers: InlineEngine())
    assert main(["--door", "tokens", "--trials", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trials"] == 3 and found["doors"][0]["seed"] is None

    monkeypatch.setitem(DOORS, "tokens", planted.Nameless())
    assert main(["--door", "tokens", "--trials", "3", "--seed", "5"]) == 1
    assert "seed 5: names no file" in capsys.readouterr().out
    with pytest.raises(ValueError, match="there is no door 'windows'; there are: pictures"):
        main(["--door", "windows"])


def test_a_door_whose_extra_is_not_installed_is_left_out_and_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from g3pt.cli.torture import main

    monkeypatch.setattr("g3pt.torture.trials.process_engine", lambda workers: InlineEngine())
    monkeypatch.setattr("g3pt.torture.http_bodies.find_spec", lambda name: None)
    monkeypatch.setattr("g3pt.torture.catalogue.DOORS", {n: DOORS[n] for n in ("tokens", "bodies")})
    assert main(["--trials", "2"]) == 0
    printed = capsys.readouterr().out
    assert "bodies       not tried: pip install 'g3pt[app]'" in printed and "tokens " in printed
    with pytest.raises(ImportError, match=r"door bodies: pip install 'g3pt\[app\]'"):
        main(["--door", "bodies"])
