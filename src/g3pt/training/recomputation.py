"""Gradient checkpointing: transformer blocks run a second time and keep nothing in between."""

from collections.abc import Iterator
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from g3pt.nn.blocks import CrossAttentionBlock, GatedBlock, SelfAttentionBlock

BLOCKS = (GatedBlock, SelfAttentionBlock, CrossAttentionBlock)


def transformer_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The transformer blocks in `module`, of all kinds."""
    return (block for block in module.modules() if isinstance(block, BLOCKS))


def recompute_blocks(module: nn.Module) -> None:
    """Let every transformer block in `module` keep only its input for the backward pass.

    Gradients do not change: a block with dropout draws the same numbers again. Names of weights do
    not change, either. Without gradients, blocks run as before.
    """
    for block in transformer_blocks(module):
        if not isinstance(vars(block).get("forward"), partial):
            # Set on the instance, so that saving and loading the module see no difference.
            vars(block)["forward"] = partial(
                checkpoint,
                block.forward,
                use_reentrant=False,
                preserve_rng_state=isinstance(block, GatedBlock) and block.draws,
            )
