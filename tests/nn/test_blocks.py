import torch
import torch.nn.functional as F

from g3pt.nn.blocks import AdaLn, CrossAttentionBlock, SelfAttentionBlock, modulate


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


def test_modulation_starts_at_zero():
    parts = AdaLn(16, 3)(torch.randn(2, 16))
    assert parts.shape == (3, 6, 2, 1, 16)
    assert not parts.any()


def test_the_vector_reaches_the_blocks():
    torch.manual_seed(0)
    ada_ln = AdaLn(16, 3)
    for parameter in ada_ln.parameters():
        torch.nn.init.normal_(parameter)
    one, other = ada_ln(torch.randn(2, 16)), ada_ln(torch.randn(2, 16))
    assert not torch.equal(one, other)


def test_modulation_differs_between_blocks_by_an_offset_alone():
    torch.manual_seed(0)
    ada_ln = AdaLn(16, 3)
    for parameter in ada_ln.parameters():
        torch.nn.init.normal_(parameter)
    difference = (lambda parts: parts[0] - parts[2])(ada_ln(torch.randn(2, 16)))
    # float32 rounding of a sum and a difference
    torch.testing.assert_close(difference[:, 0], difference[:, 1], atol=1e-5, rtol=0)


def test_zero_modulation_is_layer_norm():
    x = torch.randn(2, 5, 16)
    zero = torch.zeros(2, 1, 16)
    assert torch.equal(modulate(x, zero, zero), F.layer_norm(x, (16,)))
