def test_a_run_can_start_from_the_weights_of_another(tmp_path):
    import torch

    from g3pt.config import ConfigError
    from g3pt.recipes import recipe
    from g3pt.training.runs import load_tokenizer, open_task, start

    smoke = recipe("tokenizer-tiny-smoke")
    caches = tuple(replace(s, path=str(tmp_path / "train")) for s in smoke.shapes)
    held_out = tuple(replace(s, path=str(tmp_path / "val")) for s in smoke.held_out)
    smoke = replace(smoke, shapes=caches, held_out=held_out)
    start(smoke, tmp_path / "first")
    fine = replace(smoke, initial=str(tmp_path / "first"))
    ours = open_task(fine).module.state_dict()
    for name, tensor in load_tokenizer(tmp_path / "first").state_dict().items():
        assert torch.equal(ours[name], tensor), name
    wider = replace(fine, model=replace(fine.model, mlp_ratio=2.0))
    with pytest.raises(ConfigError, match="give the run the same model config"):
        open_task(wider)
