"""A launcher's variables start a process group; without them there is one process."""

import pytest

from g3pt.training.launch import is_restart, process_group


def test_without_a_launcher_there_is_one_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with process_group("cpu") as world:
        assert (world.rank, world.size, world.speaks) == (0, 1, True)
    assert not is_restart()


def test_half_of_the_variables_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ValueError, match="MASTER_ADDR, MASTER_PORT is not set"):
        with process_group("cpu"):
            pass


def test_a_restart_of_torchrun_is_seen(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert is_restart()
