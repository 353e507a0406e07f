"""MaskFormer, Mask2Former and EoMT in training, as transformers has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.common import Precision, UserError
from stages.proposals import Proposer
from stages.proposals.queries import QueryModel, QueryProposer
from train.generator.config import GeneratorManifest, QueryNetwork
from train.generator.query_init import PROPOSALS, first_model
from train.generator.query_loss import QueryInput, Wanted, shared_loss
from train.generator.samples import MaskBatch
from train.loop import Processes

_BACKBONE = ("model.model.pixel_level_module.encoder.", "model.embeddings.", "model.layers.")
"""Where a backbone's parameters begin: of MaskFormer and Mask2Former, and the two parts of EoMT's encoder."""


class QueryModule(nn.Module):
    """A model, run with its loss in one pass, as DistributedDataParallel wants it.

    Args:
        model: one of transformers'.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.model = model

    def forward(self, wanted: Wanted) -> Tensor:
        """The model's loss."""
        named: dict[str, Any] = {"mask_labels": wanted.masks, "class_labels": wanted.classes}
        config = self.model.config
        if not config.model_type.startswith("eomt"):
            named["pixel_mask"] = wanted.pixel_mask
        if config.model_type == "maskformer":  # its auxiliary loss needs it, and does not ask for it
            named["output_hidden_states"] = True
        loss: Tensor = self.model(pixel_values=wanted.pixels, **named).loss
        return loss


class TrainableQueries:
    """One of transformers' models in training.

    Args:
        config: which one.
        manifest: of the training.
        names: of the sets' categories.
        processes: that train together.

    Raises:
        UserError: what to begin with cannot be used, or the data's sides do not fit it.
    """

    has_idle_parameters = True

    def __init__(
        self, config: QueryNetwork, manifest: GeneratorManifest, names: tuple[str, ...], processes: Processes
    ) -> None:
        self._config, self._processes = config, processes
        torch.manual_seed(manifest.seed)
        classes = names if config.classes == "names" else ("object",)
        model, self._processor, self.digests = first_model(config, classes, manifest.data.last_side_px)
        _check_sides(model, {*manifest.data.sides_px, manifest.data.last_side_px})
        self.module: nn.Module = QueryModule(model.to(processes.device))
        self._input = QueryInput(self._processor, config.classes == "names", processes.device)

    def lr_share(self, name: str) -> float:
        return self._config.backbone_share if name.startswith(_BACKBONE) else 1.0

    def loss(self, module: nn.Module, batch: MaskBatch) -> tuple[Tensor, dict[str, Tensor]]:
        wanted = self._input.of(batch)
        with shared_loss(self.module.model, wanted.classes, self._processes) as shared:
            loss: Tensor = module(wanted)
        return loss, shared.last

    def proposer(self, module: nn.Module, precision: Precision) -> Proposer:
        assert isinstance(module, QueryModule)
        is_eomt = self._config.kind == "eomt"
        model = QueryModel(module.model, self._processor, precision, windowed=is_eomt)
        return QueryProposer(PROPOSALS[self._config.kind](model="in training"), model)

    def save(self, module: nn.Module, folder: Path) -> None:
        assert isinstance(module, QueryModule)
        module.model.save_pretrained(folder)
        self._processor.save_pretrained(folder)


def _check_sides(model: Any, sides_px: set[int]) -> None:  # noqa: ANN401
    """EoMT takes inputs of one size.

    Raises:
        UserError: the data's are of another.
    """
    if not model.config.model_type.startswith("eomt"):
        return
    side = model.config.image_size
    if sides_px != {side}:
        raise UserError(f"data.sides_px: got {sorted(sides_px)}, and this EoMT takes {side} px alone; set [{side}]")
