"""Attention of open_clip's image towers without the detours of torch's own module."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as functional
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """`nn.MultiheadAttention` of tokens to themselves, batch first; the same parameters by the same names.

    Under autocast torch's module turns its input round, and the product of that with weights that do not train copies
    the weights once per image: in bfloat16 on a CPU a forward pass of ViT-B/16 takes six times as long.

    Args:
        attention: whose parameters are taken, not copied.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.num_heads, self.head_dim = attention.num_heads, attention.head_dim
        self.in_proj_weight, self.in_proj_bias = attention.in_proj_weight, attention.in_proj_bias
        self.out_proj: nn.Module = attention.out_proj

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """What tokens [N, tokens, width] take from each other; `query`, `key` and `value` must be the same tensor."""
        if need_weights or query is not key or key is not value:
            raise ValueError("this attention is of tokens to themselves, and gives no weights")
        # [N, tokens, 3 * width] -> 3 of [N, heads, tokens, width of a head]
        joined = self.joined(query).view(*query.shape[:2], 3, self.num_heads, self.head_dim)
        asked, keys, values = joined.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(asked, keys, values, attn_mask=attn_mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), None

    def joined(self, tokens: Tensor) -> Tensor:
        """Queries, keys and values of tokens [N, tokens, width] side by side, [N, tokens, 3 * width]."""
        return functional.linear(tokens, self.in_proj_weight, self.in_proj_bias)


def take_detours_away(clip: Any) -> None:  # noqa: ANN401 - any of open_clip's classes
    """Gives the blocks of an open_clip image tower `SelfAttention`, in place; other towers stay as they are."""
    transformer = getattr(getattr(clip, "visual", None), "transformer", None)
    for block in getattr(transformer, "resblocks", ()):
        attention = getattr(block, "attn", None)
        if type(attention) is nn.MultiheadAttention and attention.batch_first and attention.dropout == 0:
            block.attn = SelfAttention(attention).train(attention.training)
