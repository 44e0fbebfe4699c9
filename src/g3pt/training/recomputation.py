"""Gradient checkpointing: transformer blocks run a second time and keep nothing in between."""

from collections.abc import Iterator
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from g3pt.nn.blocks import CrossAttentionBlock, GatedBlock, SelfAttentionBlock

BLOCKS = (GatedBlock, SelfAttentionBlock, CrossAttentionBlock)


def recomputed(module: nn.Module) -> Iterator[nn.Module]:
    """The blocks in `module` that `recompute_blocks` is about."""
    return (block for block in module.modules() if isinstance(block, BLOCKS))


def recompute_blocks(module: nn.Module) -> None:
    """Let every transformer block in `module` keep its input alone for the backward pass.

    Gradients stay what they are: a block that draws at random draws the same again. Names of
    weights do not change, nor does anything where no gradients are wanted.
    """
    for block in recomputed(module):
        if "forward" not in vars(block):
            # On the instance, so that the module stays the same to whoever saves or loads it.
            vars(block)["forward"] = partial(
                checkpoint,
                block.forward,
                use_reentrant=False,
                preserve_rng_state=isinstance(block, GatedBlock) and block.draws,
            )
