"""Open vocabulary in training: queries are told apart by the text features of the sets' names."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from stages.clip import encode_names
from stages.common import UserError
from stages.proposals.query_masks import PUBLISHED_SCALE
from stages.proposals.words import PROBES, TextSpace, WordHead
from train.clip.source import resolve
from train.generator.config import OpenVocabulary
from train.loop import Processes

_NO_OBJECT_WEIGHT = 0.1
"""Of queries without a region (DETR's eos_coef, arXiv 2005.12872)."""


class WordObjective:
    """Softmax cross-entropy over the names' text features, which are frozen, and the vector of 'no object'.

    Args:
        config: which CLIP, and which names.
        names: of the sets' categories.
        processes: that train together.
        taught: the categories whose masks are trained on; None for all.

    Attributes:
        digests: SHA-256 of CLIP's files by name.

    Raises:
        UserError: the CLIP cannot be used, or a name that is to be learned is no category.
    """

    def __init__(
        self,
        config: OpenVocabulary,
        names: tuple[str, ...],
        processes: Processes,
        taught: tuple[str, ...] | None = None,
    ) -> None:
        self.config, self._processes = config, processes
        learned = config.names or taught or names
        if unknown := [name for name in learned if name not in names]:
            raise UserError(f"open_vocabulary.names: {unknown[0]!r} is no category of data.sets; name some of theirs")
        clip = resolve(config.clip)
        model, tokenize = clip.load(processes.device)
        with torch.no_grad():
            self._text = encode_names(model, tokenize, learned, config.templates)
        self.digests = clip.digests()
        self._probes = tuple(learned[number % len(learned)] for number in range(PROBES))
        rows = [learned.index(name) if name in learned else -1 for name in names]
        self._row_of_name = torch.tensor(rows, device=processes.device)

    def head(self, query_width: int, hidden_width: int) -> WordHead:
        """A new head of these widths."""
        width = self._text.shape[1]
        space = TextSpace(
            width=width,
            query_width=query_width,
            hidden_width=hidden_width,
            clip=self.digests,
            templates=self.config.templates,
            probes=self._probes,
        )
        rows = [number % len(self._text) for number in range(PROBES)]
        return WordHead(space, self._text[rows])

    def loss(self, embeddings: Tensor, no_object: Tensor, names: Tensor) -> Tensor:
        """This process's share of the weighted mean over all processes' queries, to be averaged over them.

        Args:
            embeddings: [n, D], of any length.
            no_object: [D], of any length.
            names: int64 [n], numbers of the names of the queries' regions; -1 for a query without one.
        """
        with torch.autocast(self._processes.device.partition(":")[0], enabled=False):
            rows = torch.cat([self._text, functional.normalize(no_object.float(), dim=0)[None]])
            logits = PUBLISHED_SCALE * functional.normalize(embeddings.float(), dim=-1) @ rows.T
            nothing = names < 0
            target = torch.where(nothing, len(self._text), self._row_of_name[names.clamp(min=0)])
            weight = torch.where(nothing, _NO_OBJECT_WEIGHT, 1.0) * (target >= 0)
            each = functional.cross_entropy(logits, target.clamp(min=0), reduction="none")
            total = (each * weight).sum()
        of_all = self._processes.sum(weight.sum()).clamp(min=1e-6)
        return total * self._processes.world_size / of_all
