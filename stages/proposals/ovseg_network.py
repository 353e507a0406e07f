"""The modules of OVSeg's mask generator: transformers' MaskFormer around a Swin or a ResNet, and the two heads.

They are built without values, as large as the file's tensors say, and take these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MaskFormerConfig, MaskFormerDetrConfig, MaskFormerModel, ResNetConfig, SwinConfig

from stages.common import UserError
from stages.proposals.ovseg_file import OvsegFile
from stages.proposals.ovseg_names import PIXEL_DECODER, PREDICTOR, is_swin, module_tensors
from stages.proposals.ovseg_resnet import STAGES, PublishedResNet

_STAGES = ["stage1", "stage2", "stage3", "stage4"]


class Mlp(nn.Module):
    """Linear layers with a ReLU between, as the published heads are.

    Args:
        shapes: (out, in) of each layer's weight.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(shape[1], shape[0]) for shape in shapes)

    def forward(self, values: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            values = layer(values if number == 0 else values.relu())
        return values


class OvsegNetwork(nn.Module):
    """Backbone, pixel decoder and predictor, with the published two heads.

    Args:
        model: transformers' MaskFormer.
        mask_embed: from a query to mask features.
        class_embed: from a query to CLIP's text space.
    """

    def __init__(self, model: MaskFormerModel, mask_embed: Mlp, class_embed: Mlp) -> None:
        super().__init__()
        self.maskformer, self.mask_embed, self.class_embed = model, mask_embed, class_embed

    @classmethod
    def of(cls, file: OvsegFile) -> OvsegNetwork:
        """That of a checkpoint, frozen and in evaluation mode, on the CPU; it shares the file's memory.

        Raises:
            UserError: tensors are missing, of another shape, or unknown.
        """
        network = _network(file)
        _fill(network, file)
        return network.eval().requires_grad_(False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mask logits [N, Q, h / 4, w / 4] and class embeddings [N, Q, D] of normalised input [N, 3, h, w]."""
        found = self.maskformer(pixel_values=pixels)
        queries, features = found.transformer_decoder_last_hidden_state, found.pixel_decoder_last_hidden_state
        return torch.einsum("nqc,nchw->nqhw", self.mask_embed(queries), features), self.class_embed(queries)


def _network(file: OvsegFile) -> OvsegNetwork:
    """The network without values, its sizes taken from the tensors."""
    with torch.device("meta"):
        heads = [Mlp(_layers(file, f"{PREDICTOR}{head}.layers.")) for head in ("mask_embed", "class_embed")]
    return OvsegNetwork(_maskformer(file), *heads)


def _layers(file: OvsegFile, prefix: str) -> list[tuple[int, ...]]:
    return [file.shape(f"{prefix}{number}.weight") for number in range(file.count(prefix))]


def _fill(network: OvsegNetwork, file: OvsegFile) -> None:
    """Gives the network its values.

    Raises:
        UserError: tensors are missing, of another shape, or unknown.
    """
    given, wanted = module_tensors(file.state), network.state_dict()
    missing = sorted(name for name in wanted if name not in given and not name.endswith("num_batches_tracked"))
    unknown = sorted(published for name, (published, _) in given.items() if name not in wanted)
    shapes = [
        f"{published} is {list(value.shape)}, expected {list(wanted[name].shape)}"
        for name, (published, value) in given.items()
        if name in wanted and value.shape != wanted[name].shape
    ]
    if missing or unknown or shapes:
        problems = [*shapes, *(f"nothing for {name}" for name in missing), *(f"{name} is unknown" for name in unknown)]
        raise UserError(f"{file.source}: {len(problems)} tensors do not fit an OVSeg, the first: {problems[0]}")
    values = {name: torch.zeros((), dtype=torch.int64) for name in wanted if name.endswith("num_batches_tracked")}
    values |= {name: value.contiguous() for name, (_, value) in given.items()}
    network.load_state_dict(values, assign=True)


def _maskformer(file: OvsegFile) -> MaskFormerModel:
    """Backbone, pixel decoder and transformer of a checkpoint, on the device ``meta``."""
    queries, hidden = file.shape(f"{PREDICTOR}query_embed.weight")
    decoder = MaskFormerDetrConfig(
        d_model=hidden,
        num_queries=queries,
        decoder_layers=file.count(f"{PREDICTOR}transformer.decoder.layers."),
        decoder_ffn_dim=file.shape(f"{PREDICTOR}transformer.decoder.layers.0.linear1.weight")[0],
        decoder_attention_heads=file.settings.mask_former.NHEADS,
        encoder_attention_heads=file.settings.mask_former.NHEADS,
    )
    swin = is_swin(file.state)
    mask_features, features = file.shape(f"{PIXEL_DECODER}mask_features.weight")[:2]
    config = MaskFormerConfig(
        backbone_config=_swin_config(file) if swin else _stand_in(file),
        decoder_config=decoder,
        fpn_feature_size=features,
        mask_feature_size=mask_features,
    )
    with torch.device("meta"):
        model = MaskFormerModel(config)
        if swin:
            model.pixel_level_module.encoder.model.layernorm = nn.Identity()  # of an output that nothing takes
        else:
            model.pixel_level_module.encoder = PublishedResNet(file)
        transformer = model.transformer_module
        if transformer.input_projection is None and f"{PREDICTOR}input_proj.weight" in file.state:
            transformer.input_projection = nn.Conv2d(hidden, hidden, kernel_size=1)  # ENFORCE_INPUT_PROJ
    return model


def _swin_config(file: OvsegFile) -> SwinConfig:
    layers = range(file.count("backbone.layers."))
    width, _, patch, _ = file.shape("backbone.patch_embed.proj.weight")
    blocks = [f"backbone.layers.{at}.blocks." for at in layers]
    table = "0.attn.relative_position_bias_table"
    make: Any = SwinConfig  # its signature hides the stages
    config: SwinConfig = make(
        patch_size=patch,
        embed_dim=width,
        depths=[file.count(prefix) for prefix in blocks],
        num_heads=[file.shape(f"{prefix}{table}")[1] for prefix in blocks],
        window_size=(math.isqrt(file.shape(f"{blocks[0]}{table}")[0]) + 1) // 2,
        mlp_ratio=file.shape(f"{blocks[0]}0.mlp.fc1.weight")[0] / width,
        qkv_bias=f"{blocks[0]}0.attn.qkv.bias" in file.state,
        out_features=_STAGES,
    )
    return config


def _stand_in(file: OvsegFile) -> ResNetConfig:
    """A ResNet of the same channels, whose place ours takes: transformers' has no such stem and no multi-grid."""
    channels = [file.shape(f"backbone.res{stage}.0.conv3.weight")[0] for stage in STAGES]
    make: Any = ResNetConfig
    config: ResNetConfig = make(hidden_sizes=channels, depths=[1, 1, 1, 1], out_features=_STAGES)
    return config
