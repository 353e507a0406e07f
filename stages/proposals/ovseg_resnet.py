"""detectron2's ResNet as OVSeg has it: bottlenecks, a plain or a DeepLab stem, dilated stages, fixed batch norms.

Its modules have the published names, and are as large as the file's tensors say.
"""

from __future__ import annotations

from torch import Tensor, nn
from transformers.modeling_outputs import BackboneOutput

from stages.proposals.ovseg_file import OvsegFile

STAGES = (2, 3, 4, 5)
"""Numbers of the stages whose feature maps the pixel decoder takes."""


class Conv(nn.Conv2d):
    """A convolution without bias that keeps its input's size, but for its stride, and a batch norm.

    Args:
        shape: of the weight, [out, in / groups, side, side].
        stride: in pixels.
        dilation: in pixels.
        groups: of channels.
    """

    def __init__(self, shape: tuple[int, ...], stride: int = 1, dilation: int = 1, groups: int = 1) -> None:
        out, into, side = shape[:3]
        padding = dilation * (side // 2)
        super().__init__(into * groups, out, side, stride, padding, dilation, groups, bias=False)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, input: Tensor) -> Tensor:
        """[N, in, h, w] to [N, out, h / stride, w / stride]."""
        normed: Tensor = self.norm(super().forward(input))
        return normed


class Bottleneck(nn.Module):
    """Three convolutions, and a shortcut round them.

    Args:
        file: the checkpoint.
        prefix: of its tensors' names, such as ``backbone.res2.0.``.
        stride: of the block.
        dilation: of the 3x3 convolution.
        stride_in_1x1: whether the first convolution has the stride; else the 3x3.
    """

    def __init__(self, file: OvsegFile, prefix: str, stride: int, dilation: int, stride_in_1x1: bool) -> None:
        super().__init__()
        first, middle = (file.shape(f"{prefix}conv{number}.weight") for number in (1, 2))
        groups = max(1, first[0] // middle[1])
        self.conv1 = Conv(first, stride if stride_in_1x1 else 1)
        self.conv2 = Conv(middle, 1 if stride_in_1x1 else stride, dilation, groups)
        self.conv3 = Conv(file.shape(f"{prefix}conv3.weight"))
        shortcut = f"{prefix}shortcut.weight"
        self.shortcut = Conv(file.shape(shortcut), stride) if shortcut in file.state else None

    def forward(self, values: Tensor) -> Tensor:
        """[N, in, h, w] to [N, out, h / stride, w / stride]."""
        inner: Tensor = self.conv3(self.conv2(self.conv1(values).relu()).relu())
        return (inner + (values if self.shortcut is None else self.shortcut(values))).relu()


class PublishedResNet(nn.Module):
    """The backbone of a checkpoint.

    Args:
        file: whose tensors say how large it is, and whose settings how it is dilated.

    Raises:
        UserError: tensors are missing.
    """

    def __init__(self, file: OvsegFile) -> None:
        super().__init__()
        stem = "backbone.stem."
        convs = range(1, file.count(stem) + 1)  # one of 7x7, or DeepLab's three of 3x3; the first has the stride
        shapes = [file.shape(f"{stem}conv{number}.weight") for number in convs]
        self.stem = nn.ModuleDict(
            {f"conv{number}": Conv(shape, 2 if number == 1 else 1) for number, shape in zip(convs, shapes, strict=True)}
        )
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        for stage in STAGES:
            setattr(self, f"res{stage}", _stage(file, stage))

    def forward(self, pixel_values: Tensor) -> BackboneOutput:
        """Feature maps of strides 4, 8, 16 and 32 (less where a stage is dilated), from [N, 3, h, w]."""
        values = pixel_values
        for conv in self.stem.values():
            values = conv(values).relu()
        values, maps = self.pool(values), []
        for stage in STAGES:
            values = getattr(self, f"res{stage}")(values)
            maps.append(values)
        return BackboneOutput(feature_maps=tuple(maps))


def _stage(file: OvsegFile, number: int) -> nn.Sequential:
    """One stage: the first block halves the sides, but in the first stage, and where it is dilated instead."""
    rules, prefix = file.settings.resnets, f"backbone.res{number}."
    dilation = {4: rules.RES4_DILATION, 5: rules.RES5_DILATION}.get(number, 1)
    has_grid = number == STAGES[-1] and "deeplab" in file.settings.backbone
    grid = rules.RES5_MULTI_GRID if has_grid else (1,)
    first_stride = 1 if number == STAGES[0] or dilation > 1 else 2
    return nn.Sequential(
        *(
            Bottleneck(
                file,
                f"{prefix}{block}.",
                1 if block else first_stride,
                dilation * grid[block % len(grid)],
                rules.STRIDE_IN_1X1,
            )
            for block in range(file.count(prefix))
        )
    )
