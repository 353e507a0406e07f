"""Batch normalisation over the batch of all processes, on any device."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class SharedBatchNorm(nn.BatchNorm2d):
    """As torch's, with mean and variance of all processes' pictures; torch's SyncBatchNorm wants GPUs."""

    def forward(self, features: Tensor) -> Tensor:
        if not self.training or dist.get_world_size() == 1:
            return super().forward(features)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        values = features.float()
        count = dist.get_world_size() * values.numel() // values.shape[1]
        mean = _sum(values.sum((0, 2, 3))) / count
        centered = values - mean[:, None, None]
        variance = _sum((centered**2).sum((0, 2, 3))) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
        scale = self.weight / (variance + self.eps).sqrt()
        normal: Tensor = centered * scale[:, None, None] + self.bias[:, None, None]
        return normal.to(features.dtype)


class _Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs, as each of them has a part in the loss."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:  # noqa: ANN401 - torch's
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _sum(value: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(value)
    return total


def share_norms(model: nn.Module) -> None:
    """Makes every batch norm of a model a shared one; its parameters stay the same tensors."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm
