"""Trains a CLIP from scratch: setup, one loop, cleanup. A stopped run goes on from its last checkpoint."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as functional
from safetensors.torch import save_file
from torch import Tensor, nn

from stages.common import (
    Progress,
    UserError,
    autocast,
    digest,
    identity,
    silent,
    slowness_warning,
)
from stages.regions import normalise
from train.data.loader import load_batches
from train.data.order import Batches
from train.loop import (
    Clock,
    Report,
    RunLog,
    attention_kernel,
    first_line,
    join_processes,
    load_state,
    save_state,
    set_rates,
    unscaled_precision,
    warmup_cosine,
)
from train.losses import noun_loss, same_nouns, shared_targets
from train.pretrain.config import PretrainManifest
from train.pretrain.nouns import NounFinder, find_nouns
from train.pretrain.shards import Captioned, CaptionedPictures, Pictures, read_captioned
from train.pretrain.tokens import write_tokenizer

_MAX_SCALE = 100.0


def pretrain(manifest: PretrainManifest, out: Path, report: Report, progress: Progress = silent) -> Path:
    """Trains until the last step and writes a folder that open_clip loads as ``local-dir:``.

    Args:
        manifest: the recipe.
        out: folder of the run; holds log.jsonl, the checkpoint, and in the end the model.
        report: called with a line of the log now and then; the first one has ``step``, ``precision``, ``device``;
            where that precision is slow, ``warning``; where something of the shards is not used, ``left_out``: how
            much, by reason.
        progress: called with what is being done, and after each step.

    Returns:
        The folder, `out`/clip.

    Raises:
        UserError: the shards cannot be read, `out` holds a run of another recipe, or torchrun began several processes.
    """
    with join_processes(manifest.device) as processes:
        if processes.world_size > 1:
            raise UserError("kind: pretrain trains in one process; start it without torchrun")
        device = processes.device
        run = _Run(manifest, out, device, progress)
        run.resume()
        line = first_line(run.step, run.precision, device, slowness_warning(manifest.precision, device))
        line |= {"left_out": run.left_out} if run.left_out else {}
        run.train(report, progress, line)
        return run.export()


class _Run:
    """Model, optimisers and data of a run."""

    def __init__(self, manifest: PretrainManifest, out: Path, device: str, progress: Progress) -> None:
        self.manifest, self.out, self.device = manifest, out, device
        self.precision = unscaled_precision(manifest.precision, device)
        progress("reading shards")
        self.left_out: dict[str, int] = {}
        self.samples = read_captioned(manifest.shards, manifest.key_ends_at, self.left_out)
        progress("finding nouns")
        self.finder = _finder(manifest, self.samples)
        _write_model_folder(manifest, self.samples, out / "clip")
        torch.manual_seed(manifest.seed)
        self.model = open_clip.CLIP(**json.loads(json.dumps(manifest.model))).to(device)
        size_px = self.model.visual.image_size[0]
        self.pictures = CaptionedPictures(self.samples, size_px, manifest.crop_scale, manifest.seed)
        self.tokenize = open_clip.get_tokenizer(f"local-dir:{out / 'clip'}")
        # Tokens of all nouns, for each template.
        templates = manifest.nouns.templates
        self.prompts = [self.tokenize([each.format(noun) for noun in self.finder.nouns]) for each in templates]
        self.optimizers = _optimizers(self.model, manifest)
        self.step = 0
        self.recipe = digest([{**identity(manifest), "precision": self.precision}, self.finder.nouns])

    def resume(self) -> None:
        state = load_state(self.out, self.recipe, self.precision)
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]

    def save(self) -> None:
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        identity = {"recipe": self.recipe, "precision": self.precision, "step": self.step}
        save_state(self.out, {**identity, "model": self.model.state_dict(), "optimizers": optimizers})

    def export(self) -> Path:
        """Writes the weights; gives the model's folder."""
        state = {name: value.half().cpu().contiguous() for name, value in self.model.state_dict().items()}
        save_file(state, str(self.out / "clip/open_clip_model.safetensors"))
        return self.out / "clip"

    def train(self, report: Report, progress: Progress, begin: dict[str, Any]) -> None:
        recipe = self.manifest
        once = np.ones(len(self.samples))
        batches = Batches(once, recipe.batch_size, recipe.seed, self.step, recipe.steps)
        pictures = load_batches(self.pictures, batches, recipe.workers, pin_memory=self.device != "cpu")
        self.model.train()
        with closing(RunLog(self.out, self.step, False, report)) as log:
            if self.step < recipe.steps:
                log.line(begin)
            progress("training", self.step, recipe.steps)
            clock = Clock(self.step)
            for drawn in pictures:
                losses = self._step(drawn)
                self.step += 1
                progress("training", self.step, recipe.steps)
                if self.step % recipe.log_every == 0 or self.step == recipe.steps:
                    log.line({"step": self.step, **_rounded(losses), **self._speed(clock)})
                if self.step % recipe.checkpoint_every == 0 or self.step == recipe.steps:
                    self.save()

    def _speed(self, clock: Clock) -> dict[str, float]:
        seconds = clock.seconds_per_step(self.step)
        return {"images_per_s": round(self.manifest.batch_size / seconds, 3), "seconds_per_step": round(seconds, 3)}

    def _step(self, drawn: Pictures) -> dict[str, Tensor]:
        """Takes a step; gives what of it is logged."""
        if drawn.problem:
            raise UserError(drawn.problem)
        recipe, model = self.manifest, self.model
        set_rates(self.optimizers, schedule(self.step, recipe))
        samples = [self.samples[number] for number in drawn.numbers]
        captions = [sample.captions[pick] for sample, pick in zip(samples, drawn.captions, strict=True)]
        # Around the backward pass, too, which must meet the same kernel.
        with attention_kernel(self.device, self.precision):
            images, texts, nouns = self._features(drawn.pixels, captions)
            scale = model.logit_scale.exp().clamp(max=_MAX_SCALE)
            own = [self.finder.find(caption) for caption in captions]
            every = [frozenset().union(*map(self.finder.find, sample.captions)) for sample in samples]
            of_captions = shared_targets(images, texts, scale, same_nouns(own).to(self.device))
            of_nouns = noun_loss(images, nouns, scale, every)
            torch.autograd.backward(of_captions + recipe.nouns.weight * of_nouns)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return {"caption_loss": of_captions, "noun_loss": of_nouns, "scale": scale}

    def _features(self, pixels: Tensor, captions: list[str]) -> list[Tensor]:
        """Unit vectors float32 [N, D], [N, D], [M, D] of pictures uint8 [N, 3, S, S], captions, and all M nouns."""
        model, device = self.model, self.device
        images = normalise(pixels.to(device).float(), open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
        prompts = self.prompts[self.step % len(self.prompts)]
        with autocast(device.partition(":")[0], self.precision):
            found = [model.encode_image(images)]
            found += [_encode_text(model, tokens.to(device)) for tokens in (self.tokenize(captions), prompts)]
        return [functional.normalize(features.float(), dim=-1) for features in found]


def _finder(manifest: PretrainManifest, samples: list[Captioned]) -> NounFinder:
    captions = [caption for sample in samples for caption in sample.captions]
    bank = manifest.nouns
    return find_nouns(captions, bank.extractor, bank.sample, bank.min_mentions, manifest.seed)


def _write_model_folder(manifest: PretrainManifest, samples: list[Captioned], folder: Path) -> None:
    """Writes the tokenizer and the configuration."""
    captions = [caption for sample in samples for caption in sample.captions]
    write_tokenizer(captions, manifest.model["text_cfg"]["vocab_size"], folder)
    config = {"model_cfg": manifest.model, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n")


def _rounded(values: dict[str, Tensor]) -> dict[str, float]:
    return {name: round(value.item(), 4) for name, value in values.items()}


def _encode_text(model: open_clip.CLIP, tokens: Tensor) -> Tensor:
    """encode_text without the columns that are padding in every row: attention is causal, so they change nothing."""
    length = int((tokens != 0).sum(dim=1).max())
    embedded = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    hidden = model.ln_final(model.transformer(embedded, attn_mask=model.attn_mask[:length, :length]))
    pooled: Tensor = hidden[torch.arange(len(tokens)), tokens.argmax(dim=1)] @ model.text_projection
    return pooled


def _optimizers(model: nn.Module, recipe: PretrainManifest) -> list[torch.optim.Optimizer]:
    """Muon for the transformers' matrices, AdamW for the rest; no weight decay on vectors and embeddings."""
    hidden, matrices, others = [], [], []
    for name, parameter in model.named_parameters():
        if "resblocks" in name and parameter.ndim == 2:
            hidden.append(parameter)
        elif parameter.ndim >= 2 and "embedding" not in name:
            matrices.append(parameter)
        else:
            others.append(parameter)
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizers: list[torch.optim.Optimizer] = []
    if recipe.optimizer == "adamw":
        groups[0]["params"] = matrices + hidden
    else:
        decay = recipe.weight_decay
        optimizers = [torch.optim.Muon(hidden, lr=recipe.lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw")]
    optimizers = [torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98)), *optimizers]
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["peak_lr"] = recipe.lr
    return optimizers


def schedule(step: int, recipe: PretrainManifest) -> float:
    """Share of the peak learning rate at a step."""
    share = warmup_cosine(step, recipe.warmup_steps, max(recipe.cosine_steps or 0, recipe.steps))
    left = (recipe.steps - step) / recipe.cooldown_steps if recipe.cooldown_steps else 1.0
    return share if step < recipe.warmup_steps else share * min(1.0, left)
