"""A launcher's variables start a process group; without them there is one process."""

import pytest

from g3pt.training.launch import process_group, require_resumable


def test_without_a_launcher_there_is_one_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with process_group("cpu") as world:
        assert (world.rank, world.size, world.speaks) == (0, 1, True)


def test_an_exchange_that_is_never_let_go_of_does_not_hold_up_the_end(monkeypatch):
    from g3pt.training import distributed

    kept, ended = [], []
    monkeypatch.setattr(distributed.World, "sum_values", lambda self, values: kept.append(values))
    monkeypatch.setattr(distributed.dist, "destroy_process_group", lambda: ended.append(True))
    monkeypatch.setattr(distributed, "LET_GO_SECONDS", 0.01)
    distributed.World(0, 2).part_ways()
    assert ended == [True] and len(kept) == 1


def test_half_of_the_variables_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ValueError, match="MASTER_ADDR, MASTER_PORT is not set"):
        with process_group("cpu"):
            pass


def test_more_processes_than_gpus_are_refused(monkeypatch):
    from g3pt.training import launch

    monkeypatch.setattr(launch.torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="LOCAL_RANK is 2, but this machine has 2 GPUs"):
        launch._take_gpu(2)


def test_processes_train_on_cpu_or_cuda_only(monkeypatch):
    from g3pt.training import launch

    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setattr(launch, "resolve_device", launch.torch.device)
    with pytest.raises(ValueError, match="2 processes train on cpu or cuda, not on mps"):
        with process_group("mps"):
            pass


def test_restarts_that_could_not_go_on_are_refused(monkeypatch, capsys):
    from g3pt.cli import train

    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    assert train.main(["tokenizer-tiny-smoke"]) == 2
    assert "may restart this 3 times (--max-restarts)" in capsys.readouterr().err
    require_resumable(resume=True)
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "0")
    require_resumable(resume=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TORCHELASTIC_MAX_RESTARTS", "0"),
        ("GROUP_WORLD_SIZE", "1"),
        ("TORCHELASTIC_USE_AGENT_STORE", "False"),
        ("RANK", "1"),
    ],
)
def test_one_process_warns_if_a_lost_machine_could_not_join_again(monkeypatch, caplog, name, value):
    for each, usual in (
        ("TORCHELASTIC_MAX_RESTARTS", "3"),
        ("GROUP_WORLD_SIZE", "2"),
        ("TORCHELASTIC_USE_AGENT_STORE", "True"),
        ("RANK", "0"),
    ):
        monkeypatch.setenv(each, usual)
    require_resumable(resume=True)
    assert "set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun" in caplog.text
    caplog.clear()
    monkeypatch.setenv(name, value)
    require_resumable(resume=True)
    assert not caplog.text
