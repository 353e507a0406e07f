"""Trains a CLIP from scratch: setup, one loop, cleanup. A stopped run goes on from its last checkpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as functional
from braceexpand import braceexpand
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader

from stages.common import Progress, autocast, digest, identity, resolve_precision, silent, slowness_warning
from stages.regions import normalise
from train.losses import shared_targets
from train.pretrain.config import PretrainManifest
from train.pretrain.nouns import NounFinder, find_nouns
from train.pretrain.objective import noun_loss, same_nouns
from train.pretrain.shards import Batches, Captioned, CaptionedPictures, read_captioned
from train.pretrain.tokens import write_tokenizer
from train.run_folder import load_state, open_log, save_state, write_line
from train.schedule import warmup_cosine

_MAX_SCALE = 100.0


def pretrain(
    manifest: PretrainManifest, out: Path, report: Callable[[dict[str, Any]], None], progress: Progress = silent
) -> Path:
    """Trains until the last step and writes a folder that open_clip loads as ``local-dir:``.

    Args:
        manifest: the recipe.
        out: folder of the run; holds log.jsonl, the checkpoint, and in the end the model.
        report: called with a line of the log now and then; the first one has ``step``, ``precision``, ``device`` and,
            where that precision is slow, ``warning``.
        progress: called with what is being done, and after each step.

    Returns:
        The folder, `out`/clip.

    Raises:
        UserError: the shards cannot be read, or `out` holds a run of another recipe.
    """
    warning = slowness_warning(manifest.precision, "cpu")
    manifest = manifest.model_copy(update={"precision": resolve_precision(manifest.precision, "cpu")})
    progress("reading shards")
    samples = read_captioned(_files(manifest))
    captions = [caption for sample in samples for caption in sample.captions]
    bank = manifest.nouns
    progress("finding nouns")
    finder = find_nouns(captions, bank.extractor, bank.sample, bank.min_mentions, manifest.seed)
    folder = out / "clip"
    write_tokenizer(captions, manifest.model["text_cfg"]["vocab_size"], folder)
    config = {"model_cfg": manifest.model, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n")
    run = _Run(manifest, out, samples, finder)
    run.resume()
    line = {"step": run.step, "precision": manifest.precision, "device": "cpu"}
    run.train(report, progress, line if warning is None else {**line, "warning": warning})
    state = {name: value.half().contiguous() for name, value in run.model.state_dict().items()}
    save_file(state, str(folder / "open_clip_model.safetensors"))
    return folder


class _Run:
    """Model, optimisers and data of a run."""

    def __init__(self, manifest: PretrainManifest, out: Path, samples: list[Captioned], finder: NounFinder) -> None:
        self.manifest, self.out, self.samples, self.finder = manifest, out, samples, finder
        torch.manual_seed(manifest.seed)
        self.model = open_clip.CLIP(**json.loads(json.dumps(manifest.model)))
        self.tokenize = open_clip.get_tokenizer(f"local-dir:{out / 'clip'}")
        # Tokens of all nouns, for each template.
        templates = manifest.nouns.templates
        self.prompts = [self.tokenize([template.format(noun) for noun in finder.nouns]) for template in templates]
        self.optimizers = _optimizers(self.model, manifest)
        self.step = 0
        self.recipe = digest([identity(manifest), finder.nouns])

    def resume(self) -> None:
        state = load_state(self.out, self.recipe, self.manifest.precision)
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]

    def save(self) -> None:
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        identity = {"recipe": self.recipe, "precision": self.manifest.precision, "step": self.step}
        save_state(self.out, {**identity, "model": self.model.state_dict(), "optimizers": optimizers})

    def train(self, report: Callable[[dict[str, Any]], None], progress: Progress, begin: dict[str, Any]) -> None:
        recipe = self.manifest
        size_px = self.model.visual.image_size[0]
        pictures = CaptionedPictures(self.samples, size_px, recipe.crop_scale, recipe.seed)
        batches = Batches(len(self.samples), recipe.batch_size, recipe.seed, self.step, recipe.steps)
        loader = DataLoader(pictures, batch_sampler=batches, num_workers=recipe.workers)
        self.model.train()
        start, first = time.monotonic(), self.step
        with open_log(self.out, self.step) as log:
            if self.step < recipe.steps:
                write_line(log, begin)
                report(begin)
            progress("training", self.step, recipe.steps)
            for images, numbers, chosen in loader:
                losses = self._step(images, list(zip(numbers.tolist(), chosen.tolist(), strict=True)))
                self.step += 1
                progress("training", self.step, recipe.steps)
                if self.step % recipe.log_every == 0 or self.step == recipe.steps:
                    seconds = (time.monotonic() - start) / (self.step - first)
                    speed = {"images_per_s": recipe.batch_size / seconds, "seconds_a_step": seconds}
                    line = {"step": self.step, **losses, **{name: round(value, 3) for name, value in speed.items()}}
                    write_line(log, line)
                    report(line)
                if self.step % recipe.checkpoint_every == 0 or self.step == recipe.steps:
                    self.save()

    def _step(self, pixels: Tensor, chosen: list[tuple[int, int]]) -> dict[str, float]:
        recipe, model = self.manifest, self.model
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * schedule(self.step, recipe)
        captions = [self.samples[number].captions[pick] for number, pick in chosen]
        images = normalise(pixels.float(), open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
        with autocast("cpu", resolve_precision(recipe.precision, "cpu")), sdpa_kernel(SDPBackend.MATH):
            image_features = model.encode_image(images)
            text_features = _encode_text(model, self.tokenize(captions))
            noun_features = _encode_text(model, self.prompts[self.step % len(self.prompts)])
        image_features, text_features, noun_features = (
            functional.normalize(features.float(), dim=-1)
            for features in (image_features, text_features, noun_features)
        )
        scale = model.logit_scale.exp().clamp(max=_MAX_SCALE)
        own = [self.finder.find(caption) for caption in captions]
        every = [frozenset().union(*map(self.finder.find, self.samples[number].captions)) for number, _ in chosen]
        of_captions = shared_targets(image_features, text_features, scale, same_nouns(own))
        of_nouns = noun_loss(image_features, noun_features, scale, every)
        torch.autograd.backward(of_captions + recipe.nouns.weight * of_nouns)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        logged = {"caption_loss": of_captions, "noun_loss": of_nouns, "scale": scale}
        return {name: round(value.item(), 4) for name, value in logged.items()}


def _encode_text(model: open_clip.CLIP, tokens: Tensor) -> Tensor:
    """encode_text without the columns that are padding in every row: attention is causal, so they change nothing."""
    length = int((tokens != 0).sum(dim=1).max())
    embedded = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    hidden = model.ln_final(model.transformer(embedded, attn_mask=model.attn_mask[:length, :length]))
    pooled: Tensor = hidden[torch.arange(len(tokens)), tokens.argmax(dim=1)] @ model.text_projection
    return pooled


def _files(manifest: PretrainManifest) -> list[str]:
    return [name for pattern in manifest.shards for name in braceexpand(pattern)]


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
    adamw_groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if recipe.optimizer == "adamw":
        adamw_groups[0]["params"] = matrices + hidden
        return [torch.optim.AdamW(adamw_groups, lr=recipe.lr, betas=(0.9, 0.98))]
    return [
        torch.optim.AdamW(adamw_groups, lr=recipe.lr, betas=(0.9, 0.98)),
        torch.optim.Muon(hidden, lr=recipe.lr, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"),
    ]


def schedule(step: int, recipe: PretrainManifest) -> float:
    """Share of the peak learning rate at a step."""
    share = warmup_cosine(step, recipe.warmup_steps, max(recipe.cosine_steps or 0, recipe.steps))
    left = (recipe.steps - step) / recipe.cooldown_steps if recipe.cooldown_steps else 1.0
    return share if step < recipe.warmup_steps else share * min(1.0, left)
