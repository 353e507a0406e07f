"""The manifest of a CLIP from scratch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from stages.clip_config import Templates
from stages.common import DOES_NOT_COUNT, Config, Device, Location, Manifest
from stages.nouns import NounsConfig, SpacyNouns
from stages.shards import KeyEndsAt


class NounBank(Config):
    """The nouns that every picture is held against.

    Attributes:
        extractor: finds nouns in a sample of the captions.
        sample: captions to read for it.
        min_mentions: nouns with fewer mentions in the sample are left out.
        templates: prompts with one ``{}``; each step draws one.
        weight: of this loss beside the captions' loss.
    """

    extractor: NounsConfig = SpacyNouns()
    sample: int = Field(20_000, ge=1)
    min_mentions: int = Field(10, ge=1)
    templates: Templates = ("a photo of a {}", "a picture of a {}", "a {}", "{}")
    weight: float = Field(1.0, ge=0)


class PretrainManifest(Manifest):
    """A CLIP from scratch.

    Attributes:
        shards: captioned WebDataset shards: a folder of tars, or tars by name, in which ``{00000..00099}`` stands for
            a range and ``*`` for anything.
        key_ends_at: the dot of a member's name at which its sample's key ends: webdataset's rule, or the last one.
        model: open_clip's model configuration; the text tower's vocabulary is trained on the captions.
        crop_scale: least share of a picture's area that a random crop keeps.
        lr: peak learning rate; Muon for the matrices of the transformers (scaled to AdamW's step sizes), AdamW for
            all else.
        warmup_steps: linear warm-up; then a cosine that would reach zero at `cosine_steps`.
        cosine_steps: the same as `steps` unless given.
        cooldown_steps: before the last step, the rate falls linearly to zero besides: a run may end before its cosine
            does (Hägele et al., NeurIPS 2024).
        precision: autocast of both towers; `auto` is bf16 where the device has units for it, else fp32.
        device: `auto` takes a GPU where there is one.
        checkpoint_every: steps between checkpoints.
        log_every: steps between lines of the log.
    """

    kind: Literal["pretrain"]
    shards: tuple[Location, ...] = Field(min_length=1)
    key_ends_at: KeyEndsAt = "first_dot"
    model: dict[str, Any]
    nouns: NounBank = NounBank()
    batch_size: int = Field(256, ge=2)
    steps: int = Field(ge=1)
    crop_scale: float = Field(0.6, gt=0, le=1)
    lr: float = Field(1e-3, gt=0)
    warmup_steps: int = Field(200, ge=0)
    cosine_steps: int | None = Field(None, ge=1)
    cooldown_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.1, ge=0)
    optimizer: Literal["muon", "adamw"] = "muon"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: Annotated[Device, DOES_NOT_COUNT] = "auto"
    workers: Annotated[int, DOES_NOT_COUNT] = Field(1, ge=0)
    checkpoint_every: Annotated[int, DOES_NOT_COUNT] = Field(500, ge=1)
    log_every: Annotated[int, DOES_NOT_COUNT] = Field(20, ge=1)
    seed: int = 0

    @field_validator("model")
    @classmethod
    def _has_both_towers(cls, model: dict[str, Any]) -> dict[str, Any]:
        for tower, key in (("vision_cfg", "image_size"), ("text_cfg", "vocab_size")):
            if key not in (model.get(tower) or {}):
                raise ValueError(f"expected open_clip's model configuration; {tower} has no {key}")
        return model
