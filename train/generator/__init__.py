"""Mask generators: trained on COCO-style masks, from scratch or from a published one."""

from __future__ import annotations

from train.generator.trainer import train_generator

__all__ = ["train_generator"]
