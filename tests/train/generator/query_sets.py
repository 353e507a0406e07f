"""Tiny pictures with masks, and tiny networks to train on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from train.manifests import GeneratorManifest

SIDE = 64
SWIN = {
    "model_type": "swin",
    "image_size": SIDE,
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 2, 2],
    "window_size": 4,
    "drop_path_rate": 0.0,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
MASKFORMER = {
    "backbone_config": SWIN,
    "decoder_config": {
        "model_type": "detr",
        "d_model": 32,
        "decoder_layers": 2,
        "decoder_ffn_dim": 32,
        "decoder_attention_heads": 2,
        "num_queries": 6,
        "dropout": 0.0,
    },
    "fpn_feature_size": 32,
    "mask_feature_size": 32,
    "use_auxiliary_loss": True,
}
MASK2FORMER = {
    "backbone_config": SWIN,
    "feature_size": 32,
    "mask_feature_size": 32,
    "hidden_dim": 32,
    "encoder_feedforward_dim": 32,
    "dim_feedforward": 32,
    "encoder_layers": 1,
    "decoder_layers": 3,
    "num_attention_heads": 2,
    "num_queries": 6,
    "train_num_points": 256,
}
EOMT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "image_size": SIDE,
    "patch_size": 8,
    "num_blocks": 2,
    "num_upscale_blocks": 1,
    "num_register_tokens": 0,
    "num_queries": 6,
    "train_num_points": 256,
}
CONFIGS: dict[str, dict[str, Any]] = {"maskformer": MASKFORMER, "mask2former": MASK2FORMER, "eomt": EOMT}


def save_pictures(folder: Path, count: int = 8, side: int = SIDE) -> dict[str, Any]:
    """Red discs and blue boxes on grey, some cut off; a set for `data.sets`."""
    images, annotations = [], []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        picture = np.full((side, side, 3), 128, np.uint8)
        height = side if number % 4 else side // 2  # some are padded
        for category in (1, 2):
            at, reach = side // 4 * (2 * category - 1), int(rng.integers(side // 8, side // 5))
            x, y = at, int(rng.integers(reach, height - reach))
            mask = np.zeros((side, side), np.uint8)
            if category == 1:
                cv2.circle(mask, (x, y), reach, 1, -1)
            else:
                cv2.rectangle(mask, (x - reach, y - reach), (x + reach, y + reach), 1, -1)
            picture[mask > 0] = (40, 40, 220) if category == 1 else (220, 40, 40)  # BGR
            contours, _ = cv2.findContours(mask[:height], cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            polygon = contours[0].reshape(-1).astype(float).tolist()
            annotation = {"id": len(annotations) + 1, "image_id": number, "category_id": category, "iscrowd": 0}
            annotations.append({**annotation, "segmentation": [polygon], "area": float(mask.sum())})
        cv2.imwrite(str(folder / f"images/{number}.png"), picture[:height])
        images.append({"id": number, "file_name": f"{number}.png", "height": height, "width": side})
    categories = [{"id": 1, "name": "disc"}, {"id": 2, "name": "box"}]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(truth))
    return {"images": str(folder / "images"), "annotations": [str(folder / "instances.json")]}


def manifest(folder: Path, network: dict[str, Any], **changes: Any) -> GeneratorManifest:  # noqa: ANN401
    """A training of a few steps on the pictures of `folder`, which are made if it has none."""
    one = save_pictures(folder) if not (folder / "instances.json").is_file() else None
    one = one or {"images": str(folder / "images"), "annotations": [str(folder / "instances.json")]}
    values: dict[str, Any] = {
        "kind": "generator",
        "network": network,
        "data": {
            "sets": [one],
            "held_out": 0.0,
            "sides_px": [SIDE],
            "augment": {"flip": True, "color": 0.0},
            "workers": 0,
        },
        "batch_size": 4,
        "steps": 4,
        "lr": 1e-3,
        "warmup_steps": 1,
        "ema_decay": None,
        "precision": "fp32",
        "device": "cpu",
        "log_every": 1,
        "checkpoint_every": 100,
    }
    return GeneratorManifest.model_validate({**values, **changes})
