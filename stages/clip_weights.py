"""Tensors of a file put into an open_clip model; what does not fit is told in a line, whatever the number of names."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stages.common import UserError, some

if TYPE_CHECKING:
    from torch import Tensor

_SIZES = re.compile(r"size mismatch for (\S+): .*?torch\.Size\((\[.*?\])\) .*?torch\.Size\((\[.*?\])\)")
_POSITIONS = "visual.positional_embedding"


def load_clip_weights(clip: Any, state: Mapping[str, Tensor], source: str) -> None:  # noqa: ANN401 - any of open_clip's
    """Loads a CLIP's tensors into an open_clip model: every tensor of the model, and no other.

    Positional embeddings of the image that come from another resolution are interpolated by open_clip's rule; half
    precision becomes the model's own. The model is unchanged if this raises.

    Args:
        clip: the model.
        state: tensors by open_clip's names.
        source: the file, for messages.

    Raises:
        UserError: names or shapes differ; the message has the first ones, and what was expected.
    """
    from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed

    tensors = dict(state)
    if hasattr(clip, "text"):
        tensors = convert_to_custom_text_state_dict(tensors)
    expected = clip.state_dict()
    if problems := _differences(tensors, expected, resizable={_POSITIONS}):
        raise UserError(
            f"{source}: does not fit the model it is loaded into: {'; '.join(problems)}. Check the model's name."
        )
    for name, value in tensors.items():  # OpenAI's temperature is a scalar, others' a vector of one
        tensors[name] = value.reshape(expected[name].shape) if value.numel() == 1 else value
    if _POSITIONS in tensors:
        tensors[_POSITIONS] = tensors[_POSITIONS].float()  # half precision cannot be interpolated everywhere
        resize_pos_embed(tensors, clip)
    clip.load_state_dict(tensors)


def shortly(error: Exception) -> str:
    """An error of a library in one line: of lists of tensors' names the first ones."""
    text = " ".join(str(error).split())
    text = re.sub(r'"[^"\s]+"(?:, "[^"\s]+")+', lambda found: some(re.findall(r'"([^"]+)"', found[0])), text)
    if sizes := _SIZES.findall(text):
        shapes = some(f"{name} (got {got}, expected {wanted})" for name, got, wanted in sizes)
        text = f"{text[: text.index('size mismatch')]}size mismatch: {shapes}"
    return text if len(text) <= 500 else f"{text[:497]}..."


def _differences(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], resizable: Collection[str]) -> list[str]:
    """What does not fit, a part for each kind; a positional embedding of another square grid fits."""
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    shapes = []
    for name in [name for name in expected if name in state]:
        got, wanted = list(state[name].shape), list(expected[name].shape)
        is_grid = name in resizable and got[1:] == wanted[1:] and round((got[0] - 1) ** 0.5) ** 2 == got[0] - 1
        if got != wanted and not is_grid and not state[name].numel() == expected[name].numel() == 1:
            shapes.append(f"{name}: got {got}, expected {wanted}")
    named = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    return [f"{len(names):,} {what}: {some(names)}" for what, names in named.items() if names]


@contextmanager
def no_factory_warnings() -> Iterator[None]:
    """open_clip warns of missing weights on the root logger; here they are missing on purpose."""
    root = logging.getLogger()

    def others(record: logging.LogRecord) -> bool:
        return record.module != "factory"

    root.addFilter(others)
    try:
        yield
    finally:
        root.removeFilter(others)
