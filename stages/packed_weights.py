"""Matrix products of a frozen image tower on a CPU, with weights that oneDNN has laid out for its processor once.

torch's own product in float32 is MKL's, which leaves half of a processor with AVX-512 idle if it is not Intel's. What
is packed here is what torch's compiler packs, too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stages.clip_attention import SelfAttention
from stages.clip_tower import twin

_LEAST_WIDTH = 64


class PackedLinear(nn.Module):
    """A linear layer in float32 that cannot be trained.

    Args:
        weight: float32 [out, in], which is copied.
        bias: float32 [out], or none.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), None)
        self.register_buffer("weight", packed, persistent=False)
        self.register_buffer("bias", None if bias is None else bias.detach(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """The product, float32 [..., out], with features float32 [..., in]."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(features, self.weight, self.bias, "none", [], "")
        return product


class PackedAttention(SelfAttention):
    """A `SelfAttention` whose products are packed."""

    def __init__(self, attention: SelfAttention) -> None:
        nn.Module.__init__(self)
        self.num_heads, self.head_dim = attention.num_heads, attention.head_dim
        self.in_proj = PackedLinear(attention.in_proj_weight, attention.in_proj_bias)
        before: Any = attention.out_proj
        self.out_proj = PackedLinear(before.weight, before.bias)

    def joined(self, tokens: Tensor) -> Tensor:
        features: Tensor = self.in_proj(tokens)
        return features


def packed(clip: Any) -> Any:  # noqa: ANN401 - the model's own type
    """The CLIP with products of its image tower packed, for inference in float32; the CLIP itself where there are none.

    Args:
        clip: an open_clip model, or one that wraps it.
    """
    if next(clip.parameters()).device.type != "cpu" or not _can_pack():
        return clip
    replaced: dict[str, nn.Module] = {}
    for name, module in clip.named_modules():
        if ".visual." not in f".{name}":
            continue
        if type(module) is SelfAttention:
            replaced[name] = PackedAttention(module)
        elif _calls_its_layers(module):
            for child, layer in module.named_children():
                if type(layer) is nn.Linear and min(layer.weight.shape) >= _LEAST_WIDTH:
                    replaced[f"{name}.{child}"] = PackedLinear(layer.weight, layer.bias)
    return twin(clip, replaced) if replaced else clip


def _calls_its_layers(module: nn.Module) -> bool:
    """Whether a module is known to call its linear layers, and not to read their weights, as poolings and EVA do."""
    from timm.layers.attention import Attention
    from timm.layers.mlp import Mlp

    return type(module) in (nn.Sequential, Attention, Mlp)


def _can_pack() -> bool:
    """Whether this torch has oneDNN, and the two operators."""
    names = ("_reorder_linear_weight", "_linear_pointwise")
    is_there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return is_there and all(hasattr(torch.ops.mkldnn, name) for name in names)
