"""Transformer blocks."""

import torch

from g3pt.nn.blocks import CrossAttentionBlock, SelfAttentionBlock


def test_self_attention_block_is_equivariant_to_token_order():
    torch.manual_seed(0)
    block = SelfAttentionBlock(8, 2)
    x = torch.randn(1, 5, 8)
    order = torch.randperm(5)
    torch.testing.assert_close(block(x)[:, order], block(x[:, order]))


def test_cross_attention_block_ignores_the_order_of_its_context():
    torch.manual_seed(0)
    block = CrossAttentionBlock(8, 2, mlp_ratio=0.0)
    assert block.mlp is None
    x, context = torch.randn(1, 3, 8), torch.randn(1, 5, 8)
    torch.testing.assert_close(block(x, context), block(x, context.flip(1)))
