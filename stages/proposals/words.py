"""The head by which a mask generator has an opinion on any word: its queries as vectors in CLIP's text space.

As published (OVSeg, arXiv 2210.04150): an MLP of two layers, and a learned vector that stands for 'no object'.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.common import Config, UserError, read_model_json
from stages.proposals.query_masks import WordEmbeddings

WEIGHTS, DESCRIPTION = "open_vocabulary.safetensors", "open_vocabulary.json"
PROBES = 8
"""Names whose text features are kept, so that another CLIP is told from the one of the training."""
_SAME = 0.7
"""Least mean cosine of the probes: other templates change it by a tenth or two; another CLIP's is anywhere."""


class TextSpace(Config):
    """Which CLIP's text features a head was trained against.

    Attributes:
        width: of the text features.
        query_width, hidden_width: of the head's input, and between its layers.
        clip: SHA-256 of its files by name, and its name where open_clip knows it.
        templates: prompts that the names were put in.
        probes: PROBES names, whose features are in the weights.
    """

    width: int
    query_width: int
    hidden_width: int
    clip: dict[str, str]
    templates: tuple[str, ...]
    probes: tuple[str, ...]


class WordHead(nn.Module):
    """Queries [..., query_width] to vectors [..., width].

    Args:
        space: which it is trained against.
        features: float32 [PROBES, width], the probes' unit vectors.

    Attributes:
        no_object: [width], the vector of 'no object'.
    """

    probes: Tensor

    def __init__(self, space: TextSpace, features: Tensor | None = None) -> None:
        super().__init__()
        self.space = space
        self.layers = nn.Sequential(
            nn.Linear(space.query_width, space.hidden_width), nn.ReLU(), nn.Linear(space.hidden_width, space.width)
        )
        self.no_object = nn.Parameter(torch.randn(space.width) * space.width**-0.5)
        given = torch.zeros(PROBES, space.width) if features is None else features.detach().cpu().clone()
        self.register_buffer("probes", given)

    def forward(self, queries: Tensor) -> Tensor:
        embeddings: Tensor = self.layers(queries)
        return embeddings

    def embeddings(self, queries: Tensor) -> WordEmbeddings:
        """What `QueryMasks.words` holds, of queries [Q, query_width]."""
        return WordEmbeddings(self(queries).float(), self.no_object.float())

    def check(self, features: Tensor, key: str = "clip") -> None:
        """Compares text features of the probes, unit vectors [PROBES, D], with those of the training.

        Raises:
            UserError: they are of another CLIP.
        """
        known = nn.functional.normalize(self.probes.cpu().float(), dim=-1)
        likeness = -1.0
        if features.shape[-1] == self.space.width:
            likeness = float((features.cpu().float() * known).sum(-1).mean())
        if likeness < _SAME:
            name = self.space.clip.get("model", ", ".join(self.space.clip))
            raise UserError(
                f"{key}: the mask generator knows words by the text features of another CLIP ({name}, vectors of "
                f"{self.space.width}); expected that CLIP, or one adapted from it with its text tower as it was"
            )


@contextmanager
def class_queries(model: Any) -> Iterator[list[Tensor]]:  # noqa: ANN401 - any of transformers' classes
    """Fills a list, while a model runs, with what its class predictor reads, layer by layer; the last is the output's.

    Yields:
        A list that gets [N, Q, C], or [layers, N, Q, C] of all layers at once.
    """
    read: list[Tensor] = []
    hook = model.class_predictor.register_forward_pre_hook(lambda module, given: read.append(given[0]))
    try:
        yield read
    finally:
        hook.remove()


def last_queries(read: list[Tensor]) -> Tensor:
    """[N, Q, C] of the last layer, from the list of `class_queries`."""
    return read[-1][-1] if read[-1].dim() == 4 else read[-1]


def save_words(head: WordHead, folder: Path) -> None:
    """Writes a head beside the model that it belongs to."""
    state = {name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()}
    save_file(state, str(folder / WEIGHTS))
    save_description(head.space, folder)


def save_description(space: TextSpace, folder: Path) -> None:
    """Writes which CLIP a head belongs to."""
    (folder / DESCRIPTION).write_text(json.dumps(space.model_dump(mode="json"), indent=1) + "\n")


def read_description(folder: Path, key: str) -> TextSpace | None:
    """Which CLIP the head in a folder belongs to; None where there is no head.

    Raises:
        UserError: the file is damaged.
    """
    if not (folder / DESCRIPTION).is_file():
        return None
    try:
        return TextSpace.model_validate(read_model_json(folder / DESCRIPTION, key))
    except ValidationError as error:
        raise UserError(f"{key}: {folder / DESCRIPTION}: expected what training writes: {error}") from error


def load_words(folder: Path, device: str, key: str = "proposer.model") -> WordHead | None:
    """The head that `save_words` wrote, in evaluation mode; None where there is none.

    Raises:
        UserError: a file is missing or damaged.
    """
    space = read_description(folder, key)
    if space is None:
        return None
    head = WordHead(space)
    try:
        head.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(
            f"{key}: {folder / WEIGHTS}: expected the head that {DESCRIPTION} describes: {error}; remove both files "
            "for a generator without words"
        ) from error
    return head.eval().to(device)
