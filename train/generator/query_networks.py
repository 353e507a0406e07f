"""MaskFormer, Mask2Former and EoMT in training, as transformers has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from stages.common import Precision, UserError
from stages.proposals import Proposer
from stages.proposals.queries import QueryModel, QueryProposer
from stages.proposals.words import WordHead, class_queries, last_queries, save_words
from train.generator.config import GeneratorManifest, QueryNetwork
from train.generator.query_init import PROPOSALS, first_model
from train.generator.query_loss import QueryInput, Wanted, shared_loss
from train.generator.samples import MaskBatch
from train.generator.words import WordObjective
from train.loop import Processes


class QueryModule(nn.Module):
    """A model, run with its loss in one pass, as DistributedDataParallel wants it.

    Args:
        model: one of transformers'.
        words: its head for words, if it has one.
        only: whether the head alone is trained.
    """

    def __init__(self, model: Any, words: WordHead | None = None, only: bool = False) -> None:  # noqa: ANN401
        super().__init__()
        self.model, self.words, self._only = model, words, only
        if only:
            model.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self._only:  # no drop-out, no new statistics of what stays as it is
            self.model.eval()
        return self

    def forward(self, wanted: Wanted) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The model's loss; and of the head, if there is one, vectors [N, Q, D] and that of 'no object'."""
        named: dict[str, Any] = {"mask_labels": wanted.masks, "class_labels": wanted.classes}
        config = self.model.config
        if not config.model_type.startswith("eomt"):
            named["pixel_mask"] = wanted.pixel_mask
        if config.model_type == "maskformer":  # its auxiliary loss needs it, and does not ask for it
            named["output_hidden_states"] = True
        with class_queries(self.model) as read:
            loss: Tensor = self.model(pixel_values=wanted.pixels, **named).loss
        if self.words is None:
            return loss, None, None
        # A parameter itself would count as one that the pass did not use.
        return loss, self.words(last_queries(read)), self.words.no_object.clone()


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
        words, settings = None, manifest.open_vocabulary
        self._words: WordObjective | None = None
        if settings is not None:
            self._words = WordObjective(settings, names, processes, manifest.data.names)
            width = model.class_predictor.in_features
            words = self._words.head(width, 4 * width)
            self.digests |= {f"clip/{name}": value for name, value in self._words.digests.items()}
        _check_sides(model, {*manifest.data.sides_px, manifest.data.last_side_px})
        self.module: nn.Module = QueryModule(model, words, settings is not None and settings.only).to(processes.device)
        self._input = QueryInput(self._processor, config.classes == "names", processes.device)

    def lr_share(self, name: str) -> float:
        of_model, *parts = name.split(".")
        # Of MaskFormer and Mask2Former, and the two parts of EoMT's encoder.
        is_backbone = parts[1:3] == ["pixel_level_module", "encoder"] or parts[0] in ("embeddings", "layers")
        return self._config.backbone_share if of_model == "model" and is_backbone else 1.0

    def loss(self, module: nn.Module, batch: MaskBatch) -> tuple[Tensor, dict[str, Tensor]]:
        wanted = self._input.of(batch)
        with shared_loss(self.module.model, wanted.classes, self._processes) as shared:
            loss, embeddings, no_object = module(wanted)
        if self._words is None:
            return loss, shared.last
        names = torch.full(embeddings.shape[:2], -1, device=embeddings.device)
        for row, ((queries, masks), each) in enumerate(zip(shared.matched, wanted.names, strict=True)):
            names[row, queries] = each[masks.to(each.device)]
        of_words = self._words.loss(embeddings.flatten(0, 1), no_object, names.flatten())
        told = {**shared.last, "words": self._processes.sum(of_words) / self._processes.world_size}
        weighed = self._words.config.weight * of_words
        return weighed if self._words.config.only else loss + weighed, told

    def proposer(self, module: nn.Module, precision: Precision) -> Proposer:
        assert isinstance(module, QueryModule)
        is_eomt = self._config.kind == "eomt"
        model = QueryModel(module.model, self._processor, precision, is_eomt, words=module.words)
        return QueryProposer(PROPOSALS[self._config.kind](model="in training"), model)

    def save(self, module: nn.Module, folder: Path) -> None:
        assert isinstance(module, QueryModule)
        module.model.save_pretrained(folder)
        self._processor.save_pretrained(folder)
        if module.words is not None:
            save_words(module.words, folder)


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
