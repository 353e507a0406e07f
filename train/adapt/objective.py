"""A step's gradient: features of this process's pairs, a loss over all processes' pairs, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from stages.clip import encode_names
from stages.common import UserError, autocast, resolve_precision
from train.adapt.config import AdaptManifest
from train.data.loader import Batch
from train.data.pair_index import PairIndex
from train.loop import Processes, attention_kernel
from train.losses import in_batch, multi_positive, noun_bank


class Objective:
    """The loss, with the embeddings of all nouns: the text tower is frozen, so they are computed once.

    Args:
        manifest: of the run.
        clip: encodes the nouns.
        tokenize: its tokenizer.
        pair_index: whose nouns they are.
        processes: that train together.

    Attributes:
        scale: factor of the cosines.
    """

    def __init__(
        self,
        manifest: AdaptManifest,
        clip: Any,  # noqa: ANN401 - any of open_clip's classes
        tokenize: Any,  # noqa: ANN401
        pair_index: PairIndex,
        processes: Processes,
    ) -> None:
        self._manifest, self._processes = manifest, processes
        self._precision = resolve_precision(manifest.precision, processes.device)
        kind = manifest.loss.kind
        names = pair_index.canonicals if kind == "noun_bank" else pair_index.nouns
        # A clone, as tensors of inference mode cannot take part in a backward pass.
        self._texts = encode_names(clip, tokenize, names, manifest.loss.templates).clone()
        self.scale = torch.tensor(manifest.loss.logit_scale or float(clip.logit_scale.exp()), device=self._texts.device)

    def backward(self, model: Any, batch: Batch, scaled: Callable[[Tensor], Tensor]) -> Tensor:  # noqa: ANN401
        """Adds the gradient of the loss over the global batch, and gives the loss.

        With several micro-batches the features are computed first, without their activations; the loss over the whole
        batch then says what gradient each feature has, and the micro-batches are run again, one by one, to pass it
        on (Gao et al., RepL4NLP 2021). The noun bank's loss is a sum over pairs, so that no second pass is needed.

        Args:
            model: MaskPromptCLIP, or the same in DistributedDataParallel, which averages over processes.
            batch: this process's pairs.
            scaled: of a GradScaler, or the identity.

        Returns:
            The loss, without gradient; this process's share of it, to be summed over all.
        """
        parts = list(_micro_batches(batch, self._manifest.micro_batch))
        # Around the backward pass, too: checkpointing runs the blocks there once more, and must meet the same kernel.
        with attention_kernel(self.scale.device.type, self._precision):
            return self._backward(model, batch, parts, scaled)

    def _backward(self, model: Any, batch: Batch, parts: list[Batch], scaled: Callable[[Tensor], Tensor]) -> Tensor:  # noqa: ANN401
        processes = self._processes.world_size  # DistributedDataParallel averages; the shares want a sum
        if len(parts) == 1 or self._manifest.loss.kind == "noun_bank":
            total = torch.zeros((), device=self.scale.device)
            for features, part in self._forward(model, parts):
                share = len(part) / len(batch)
                loss = self._loss(features, part) * (share if self._manifest.loss.kind == "noun_bank" else 1.0)
                torch.autograd.backward(scaled(loss * processes))
                total += loss.detach()
            return total
        with torch.no_grad():
            ready = torch.cat([self._encode(model, part) for part in parts])
        ready.requires_grad_(True)
        loss = self._loss(ready, batch)
        (gradient,) = torch.autograd.grad(scaled(loss * processes), ready)
        for (features, _), wanted in zip(
            self._forward(model, parts), torch.split(gradient, [len(part) for part in parts]), strict=True
        ):
            torch.autograd.backward(features, wanted)
        return loss.detach()

    def _forward(self, model: Any, parts: list[Batch]) -> Iterator[tuple[Tensor, Batch]]:  # noqa: ANN401
        """Features of each part; processes meet in the last one's backward pass alone."""
        for number, part in enumerate(parts):
            alone = number < len(parts) - 1 and hasattr(model, "no_sync")
            with model.no_sync() if alone else nullcontext():
                yield self._encode(model, part), part

    def _encode(self, model: Any, part: Batch) -> Tensor:  # noqa: ANN401
        """Unit vectors float32 [N, D]."""
        device = self.scale.device
        with autocast(device.type, self._precision):
            images = part.images.to(device, non_blocking=True)
            features = model(images, part.masks.to(device, non_blocking=True))
        return functional.normalize(features.float(), dim=-1)

    def _loss(self, features: Tensor, batch: Batch) -> Tensor:
        """This process's share: shares sum to the loss over the global batch, and so do their gradients."""
        processes, kind, scale = self._processes, self._manifest.loss.kind, self.scale
        canonical = batch.canonical_numbers.to(scale.device)
        if kind == "noun_bank":
            return noun_bank(features, self._texts, scale, canonical) / processes.world_size
        texts = self._texts[batch.noun_numbers.to(scale.device)]
        # Only this process's rows carry a gradient: the others' do in theirs.
        rows, start = processes.gather(features), processes.rank * len(features)
        rows = torch.cat([rows[:start], features, rows[start + len(features) :]])
        texts = processes.gather(texts)
        if kind == "in_batch":
            loss = in_batch(rows, texts, scale)
        else:
            loss = multi_positive(rows, texts, scale, processes.gather(canonical))
        # Each process has the whole loss, and its own part of the gradient.
        return loss - loss.detach() * (1 - 1 / processes.world_size)


def check_finite(loss: float, step: int) -> None:
    """Stops a training that has gone astray.

    Raises:
        UserError: the loss is NaN or infinite.
    """
    if not abs(loss) < float("inf"):
        raise UserError(f"step {step}: the loss is {loss}; lower the learning rate, or set max_grad_norm: 1")


def _micro_batches(batch: Batch, size: int | None) -> Iterator[Batch]:
    size = size or len(batch)
    for start in range(0, len(batch), size):
        part = slice(start, start + size)
        yield Batch(
            images=batch.images[part],
            masks=batch.masks[part],
            nouns=batch.nouns[part],
            canonical=batch.canonical[part],
            keys=batch.keys[part],
            noun_numbers=batch.noun_numbers[part],
            canonical_numbers=batch.canonical_numbers[part],
        )
