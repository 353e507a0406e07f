"""The modules of OVSeg's mask generator: transformers' MaskFormer around a Swin or timm's ResNet, and the two heads.

They are built without values, as large as the file's tensors say, and take these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MaskFormerConfig, MaskFormerDetrConfig, MaskFormerModel, ResNetConfig, SwinConfig
from transformers.modeling_outputs import BackboneOutput

from stages.common import UserError
from stages.proposals.ovseg_file import OvsegFile
from stages.proposals.ovseg_names import PIXEL_DECODER, PREDICTOR, is_swin, module_tensors

_STAGES = ["stage1", "stage2", "stage3", "stage4"]
_RES = (2, 3, 4, 5)


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


class DeepLabResNet(nn.Module):
    """timm's ResNet as detectron2 builds it, with the four feature maps that the pixel decoder takes.

    Args:
        net: timm's.
    """

    def __init__(self, net: Any) -> None:  # noqa: ANN401 - timm's ResNet
        super().__init__()
        self.net = net

    def forward(self, pixel_values: Tensor) -> BackboneOutput:
        """Feature maps of strides 4, 8, 16 and 32 (less where a stage is dilated), from [N, 3, h, w]."""
        net = self.net
        values = net.maxpool(net.act1(net.bn1(net.conv1(pixel_values))))
        maps = []
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            values = stage(values)
            maps.append(values)
        return BackboneOutput(feature_maps=tuple(maps))


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
            model.pixel_level_module.encoder = DeepLabResNet(_resnet(file))
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
    """A ResNet of the same channels, whose place timm's takes: transformers' has no such stem and no multi-grid."""
    channels = [file.shape(f"backbone.res{stage}.0.conv3.weight")[0] for stage in _RES]
    make: Any = ResNetConfig
    config: ResNetConfig = make(hidden_sizes=channels, depths=[1, 1, 1, 1], out_features=_STAGES)
    return config


def _resnet(file: OvsegFile) -> Any:  # noqa: ANN401 - timm's ResNet
    from timm.models.resnet import Bottleneck, ResNet

    stem = "backbone.stem.conv2.weight" in file.state
    outs = [file.shape(f"backbone.res{stage}.0.conv3.weight")[0] for stage in _RES]
    width, channels_of_group = file.shape("backbone.res2.0.conv2.weight")[:2]
    groups, planes = width // channels_of_group, outs[0] // Bottleneck.expansion
    make: Any = ResNet
    net = make(
        Bottleneck,
        [file.count(f"backbone.res{stage}.") for stage in _RES],
        num_classes=0,
        cardinality=groups,
        base_width=width * 64 // (planes * groups),
        stem_width=file.shape("backbone.stem.conv1.weight")[0],
        stem_type="deep" if stem else "",
        channels=tuple(out // Bottleneck.expansion for out in outs),
    )
    rules = file.settings.resnets
    grid = rules.RES5_MULTI_GRID if "deeplab" in file.settings.backbone else (1,)
    _dilate(net.layer3, (1,), rules.RES4_DILATION)
    _dilate(net.layer4, grid, rules.RES5_DILATION)
    if rules.STRIDE_IN_1X1:
        for stage in (net.layer2, net.layer3, net.layer4):
            first = stage[0]
            first.conv1.stride, first.conv2.stride = first.conv2.stride, (1, 1)
    return net


def _dilate(stage: Any, grid: tuple[int, ...], dilation: int) -> None:  # noqa: ANN401 - timm's blocks
    """Dilates the 3x3 convolutions of a stage, by the grid's number of each block; a dilated stage has no stride."""
    for number, block in enumerate(stage):
        side = dilation * grid[number % len(grid)]
        block.conv2.dilation = block.conv2.padding = (side, side)
    if dilation > 1:
        stage[0].conv2.stride = stage[0].downsample[0].stride = (1, 1)
