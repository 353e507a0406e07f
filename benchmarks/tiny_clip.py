"""A small open_clip model with random weights from a fixed seed, as a folder: a CLIP's mechanics, quickly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODEL_CFG: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": 3, "width": 96, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


def save_tiny_clip(folder: Path, seed: int = 0, model_cfg: dict[str, Any] = MODEL_CFG) -> Path:
    """Writes open_clip_config.json and open_clip_model.safetensors; the same seed gives the same weights.

    Args:
        folder: made if need be.
        seed: of the weights.
        model_cfg: open_clip's model configuration.

    Returns:
        The folder, to be named ``local-dir:FOLDER`` in a manifest.
    """
    import open_clip
    import torch
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(**json.loads(json.dumps(model_cfg)))
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": model_cfg, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1))
    state = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    save_file(state, str(folder / "open_clip_model.safetensors"))
    return folder


if __name__ == "__main__":
    import sys

    print(save_tiny_clip(Path(sys.argv[1])))
