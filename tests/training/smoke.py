"""Smoke runs of both stages in one folder, whose prepared shapes tests share."""

from dataclasses import replace


def tokenizer_run(folder, **changes):
    """The smoke run of stage 1 with its shards under `folder`."""
    from g3pt.recipes import recipe

    return replace(_moved(recipe("tokenizer-tiny-smoke"), folder), **changes)


def car_run(folder, **changes):
    """The smoke run of stage 2 on the tokenizer that was trained in `folder`."""
    from g3pt.recipes import recipe

    run = _moved(recipe("car-tiny-smoke"), folder)
    return replace(run, tokenizer=str(folder / "tokenizer"), **changes)


def kl_run(folder, **changes):
    """The smoke run of the KL tokenizer."""
    from g3pt.recipes import recipe

    return replace(_moved(recipe("tokenizer-kl-tiny-smoke"), folder), **changes)


def flow_run(folder, **changes):
    """The smoke run of the flow on the tokenizer that was trained in `folder`."""
    from g3pt.recipes import recipe

    run = _moved(recipe("flow-tiny-smoke"), folder)
    return replace(run, tokenizer=str(folder / "tokenizer-kl"), **changes)


def regressor_run(folder, **changes):
    """The smoke run of the regressor."""
    from g3pt.recipes import recipe

    return replace(_moved(recipe("regressor-tiny-smoke"), folder), **changes)


def _moved(run, folder):
    return replace(
        run,
        shapes=tuple(replace(s, path=str(folder / s.path)) for s in run.shapes),
        held_out=tuple(replace(s, path=str(folder / s.path)) for s in run.held_out),
        train=replace(run.train, steps=4, eval_every=2, checkpoint_every=2),
    )
