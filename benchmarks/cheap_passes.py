"""What could rank a photo's regions cheaply: ways of a first look, against exact crops, on the rendered world.

    python -m benchmarks.cheap_passes [--scenes 60] [--seed 0] [--out out/cascade]

All masks that the world's generator can find (nothing held back) and the world's CLIP as it is. For each way: how often
the best of all names is that of the exact crop; how often the mask that is best for a noun of the scene is among the
first 1, 3, 5 and 10 of the way; and what 100 masks cost in ViT-B/16, counted in exact crops by multiplications. All
ways share text features and weights, and none is trained: attention and pooling would gain by training most.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from benchmarks.ablation.worlds import WORLD_CLIP
from benchmarks.cascade import PROPOSERS, TRUTHS
from benchmarks.report import machine
from pipeline.terminal import Activity, terminal
from pipeline.world import load_vocabulary, write_world
from stages.clip import RegionEncoder, load_clip
from stages.clip_config import ClipConfig, RegionRules
from stages.clip_tower import at_grid
from stages.coarse_clip import CoarseClip
from stages.common import ImageRecord
from stages.images import decode_image
from stages.proposals import build_proposer
from stages.proposals.models import GridProposals

FIRST = (1, 3, 5, 10)
MASKS, LAYERS, WIDTH, GRID = 100, 12, 768, 14  # of ViT-B/16 at 224 px, for the costs
Scene = dict[str, Tensor]
"""``photo`` [1, 3, H, W] normalised, ``covers`` [N, H, W] the masks, ``pixels`` and ``keep`` their crops."""


def macs(tokens: float, layers: int = LAYERS) -> float:
    """Multiplications of some layers on so many tokens."""
    return layers * (12 * WIDTH**2 * tokens + 2 * WIDTH * tokens**2)


def cost(total: float) -> float:
    """In forward passes of one crop."""
    return total / macs(GRID**2 + 1)


class Attention:
    """One pass over the photo; in the last layers a class token per mask attends to the mask's patches alone."""

    def __init__(self, clip: Any, layers: int, scale: int) -> None:  # noqa: ANN401
        self._layers, self._side = layers, clip.visual.grid_size[0] * scale
        self._visual = at_grid(clip, self._side, self._side).visual
        patches = (GRID * scale) ** 2 + 1
        share = round(LAYERS * layers / len(self._visual.transformer.resblocks))
        self.cost = cost(macs(patches, LAYERS - share) + macs(patches + MASKS, share))
        self.name = f"attention in the last {share} of 12 layers, photo at {scale}x"

    def __call__(self, scene: Scene) -> Tensor:
        visual, blocks = self._visual, self._visual.transformer.resblocks
        tokens = visual._embeds(functional.interpolate(scene["photo"], visual.image_size, mode="area"))
        for block in blocks[: len(blocks) - self._layers]:
            tokens = block(tokens)
        share = functional.adaptive_avg_pool2d(scene["covers"][:, None], self._side).flatten(1)  # [N, patches]
        count, patches = share.shape
        size = 1 + patches + count
        bias = torch.full((size, size), -torch.inf)
        bias[: 1 + patches, : 1 + patches] = 0
        bias[1 + patches :, 1 : 1 + patches] = (share / share.amax(dim=1, keepdim=True)).log()
        bias[1 + patches :, 1 + patches :].fill_diagonal_(0)
        tokens = torch.cat([tokens, tokens[:, :1].expand(1, count, -1)], dim=1)
        for block in blocks[len(blocks) - self._layers :]:
            tokens = block(tokens, attn_mask=bias)
        features: Tensor = visual.ln_post(tokens[0, 1 + patches :]) @ visual.proj
        return features


class Pooling:
    """Dense features of one pass (the last layer's values, as MaskCLIP has them), averaged over the masks."""

    def __init__(self, clip: Any, scale: int) -> None:  # noqa: ANN401
        self._side = clip.visual.grid_size[0] * scale
        self._visual = at_grid(clip, self._side, self._side).visual
        self.cost = cost(macs((GRID * scale) ** 2 + 1))
        self.name = f"pooling of dense features, photo at {scale}x"

    def __call__(self, scene: Scene) -> Tensor:
        visual, blocks = self._visual, self._visual.transformer.resblocks
        tokens = visual._embeds(functional.interpolate(scene["photo"], visual.image_size, mode="area"))
        for block in blocks[:-1]:
            tokens = block(tokens)
        last = blocks[-1]
        weight, bias = last.attn.in_proj_weight, last.attn.in_proj_bias
        values = functional.linear(last.ln_1(tokens), *(part.chunk(3)[2] for part in (weight, bias)))
        tokens = tokens + last.attn.out_proj(values)
        tokens = tokens + last.mlp(last.ln_2(tokens))
        dense = functional.normalize(visual.ln_post(tokens[0, 1:]) @ visual.proj, dim=-1)
        share = functional.adaptive_avg_pool2d(scene["covers"][:, None], self._side).flatten(1)
        return share @ dense


class SmallCrops:
    """Every crop, at a share of its side: what `naming: cascade` does."""

    def __init__(self, clip: Any, side: float) -> None:  # noqa: ANN401
        self._clip = CoarseClip(clip, side)
        self.cost = MASKS * cost(macs(round(GRID * side) ** 2 + 1))
        self.name = f"crops at {side:g} of their side"

    def __call__(self, scene: Scene) -> Tensor:
        return self._clip.encode_image(scene["pixels"])


class FullPatches:
    """Every crop, without the patches that are blank everywhere."""

    name = "crops without their blank patches"

    def __init__(self, clip: Any) -> None:  # noqa: ANN401
        self._visual = clip.visual
        self._costs: list[float] = []

    @property
    def cost(self) -> float:
        return float(np.mean(self._costs))

    def __call__(self, scene: Scene) -> Tensor:
        visual, found = self._visual, []
        kept = functional.max_pool2d(scene["keep"], visual.patch_size).flatten(1) > 0
        for tokens, keep in zip(visual._embeds(scene["pixels"]), kept, strict=True):
            some = tokens[functional.pad(keep, (1, 0), value=True)][None]
            for block in visual.transformer.resblocks:
                some = block(some)
            found.append(visual.ln_post(some[0, 0]) @ visual.proj)
            self._costs.append(MASKS * cost(macs(GRID**2 * float(keep.float().mean()) + 1)))
        return torch.stack(found)


def names_of(world: Path) -> dict[str, set[str]]:
    """The names of what is in each scene, by its file."""
    found: dict[str, set[str]] = defaultdict(set)
    for truth in TRUTHS:
        values = json.loads((world / truth).read_text())
        files = {image["id"]: image["file_name"] for image in values["images"]}
        names = {category["id"]: category["name"] for category in values["categories"]}
        for annotation in values["annotations"]:
            found[files[annotation["image_id"]]].add(names[annotation["category_id"]])
    return found


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/cascade"))
    options = parser.parse_args()
    world = options.out / f"world{options.seed}-{options.scenes}"
    if not (world / "classes.json").is_file():
        write_world(world, options.scenes, 800_000 + options.seed)
    clip, tokenize = load_clip(ClipConfig(model=WORLD_CLIP), "cpu")
    encoder = RegionEncoder(clip, tokenize, RegionRules(antialias=True), ("a photo of a {}.",))
    wanted = encoder.input
    proposer = build_proposer(GridProposals.model_validate(PROPOSERS["the generator's, nothing held back"]))
    vocabulary = load_vocabulary()
    names = [one.name for one in (*vocabulary.things, *vocabulary.stuff)]
    text = encoder.encode_names(names).T
    ways: list[Any] = [Attention(clip, layers, scale) for scale in (1, 2) for layers in (1, 3, 6)]
    ways += [Pooling(clip, 1), Pooling(clip, 2)]
    ways += [*(SmallCrops(clip, side) for side in (0.25, 0.375, 0.5, 0.75)), FullPatches(clip)]
    same: dict[str, list[float]] = defaultdict(list)
    ranks: dict[str, list[float]] = defaultdict(list)
    scenes = sorted(names_of(world).items())
    count = 0
    with Activity(terminal(stderr=True)) as activity:
        for number, (file, there) in enumerate(scenes, start=1):
            image = decode_image((world / "images" / file).read_bytes())
            rles = [one.rle for one in proposer.propose(ImageRecord("", file, ()), image) if one.rle.area_px]
            count += len(rles)
            normal = (image.astype(np.float32) - wanted.mean_rgb) / wanted.std_rgb
            pixels, keep = encoder.cut((image, rle) for rle in rles)
            scene = {
                "photo": torch.from_numpy(normal.astype(np.float32)).permute(2, 0, 1)[None],
                "covers": torch.from_numpy(np.stack([rle.decode() for rle in rles]).astype(np.float32)),
                "pixels": pixels,
                "keep": keep,
            }
            nouns = [names.index(name) for name in sorted(there) if name in names]
            exact = encoder.features(pixels, keep) @ text
            for way in ways:
                scores = functional.normalize(way(scene), dim=-1) @ text
                same[way.name] += (scores.argmax(1) == exact.argmax(1)).tolist()
                order = scores[:, nouns].argsort(dim=0, descending=True)
                ranks[way.name] += (order == exact[:, nouns].argmax(0)).float().argmax(0).tolist()
            activity("looking", number, len(scenes))
    print(f"{machine()}; {len(scenes)} scenes, {count / len(scenes):.0f} masks per scene\n")
    print(f"| first look | cost, crops | same name % | {' | '.join(f'in first {first} %' for first in FIRST)} |")
    print(f"|{'---|' * (3 + len(FIRST))}")
    for way in ways:
        shares = [100 * np.mean(np.array(ranks[way.name]) < first) for first in FIRST]
        cells = [f"{way.cost:.1f}", f"{100 * np.mean(same[way.name]):.0f}", *(f"{share:.0f}" for share in shares)]
        print(f"| {way.name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
