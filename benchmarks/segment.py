"""Seconds a photo of the segmenter, split into its steps, beside a straightforward loop over regions as published.

    python -m benchmarks.segment [--photos 2] [--rounds 1] [--masks 100] [--classes 150] [--model ViT-B-16]
        [--precision fp32] [--keep K] [--data FOLDER_OF_COCO_MINI] [--large] [--world]

CLIP has random weights, which cost what trained ones do. Binary masks are classical ones; soft masks are smooth random
logits of 160 x 160, for 'proposals' then the cutting into regions alone counts, and no model runs. The loop does as the
public code of OVSeg does: masks at the photo's full size, and for each of them one fill of the whole photo, one crop,
one resize, one normalise; CLIP on all regions in one batch; scores of all classes at all pixels, and their argmax. Both
run in turns, on the same masks and the same threads. --large takes a photo of 12 megapixels and 847 classes, for the
segmenter alone, and says its peak memory. --world compares the assembly of soft masks alone, with the scores that a
trained CLIP gives: scenes of the rendered world enlarged to 640 px, its generator's masks, its 429 classes.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from PIL import Image

from benchmarks.report import ROOT, machine
from benchmarks.tiny_clip import save_tiny_clip
from pipeline.world import write_world
from stages.clip import ClipInput, in_batches
from stages.images import decode_image
from stages.proposals.query_masks import QueryMasks, Window
from train.segmenter import Segmenter, SegmenterConfig
from train.segmenter.masks import Masks
from train.segmenter.naming import ClassText

Seconds = dict[str, list[float]]
Photo = NDArray[np.uint8]


def soft_queries(count: int, seed: int = 0) -> QueryMasks:
    """Smooth blobs, a tenth of the photo each or so."""
    noise = torch.randn(1, count, 12, 12, generator=torch.Generator().manual_seed(seed))
    logits = 8 * (functional.interpolate(noise, (160, 160), mode="bicubic", align_corners=False)[0] - 0.9)
    return QueryMasks(logits, torch.full((count, 151), 1 / 151), (Window((640, 640), (640, 640), (640, 640)),))


def timed(seconds: Seconds, step: str, action: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the action gives
    start = time.perf_counter()
    result = action()
    seconds[step].append(time.perf_counter() - start)
    return result


def ours(segmenter: Segmenter, photo: Photo, text: ClassText, queries: QueryMasks | None, seconds: Seconds) -> Any:  # noqa: ANN401
    """The segmenter's own steps: label map and masks. A cascade's regions are cut in two goes, and count as CLIP's."""
    height, width = photo.shape[:2]
    namer = segmenter.namer
    if queries is None:
        masks = timed(seconds, "proposals", lambda: segmenter.propose(photo))
    else:
        masks = timed(seconds, "proposals", lambda: segmenter.masks.soft(queries, height, width))
    if segmenter.config.naming.kind == "cascade":
        seconds["regions"].append(0.0)
        p_clip = timed(seconds, "CLIP", lambda: namer.name(photo, masks, text))
        return timed(seconds, "assembly", lambda: segmenter.assemble(masks, p_clip, height, width)), masks
    p_clip = torch.ones(len(masks), text.columns)
    numbers = namer.numbers(masks)
    cut = timed(seconds, "regions", lambda: namer.encoder.cut((photo, masks.rles[number]) for number in numbers))

    def name() -> None:
        size = segmenter.config.batch_size
        for some, *regions in zip(in_batches(numbers, size), *(part.split(size) for part in cut), strict=True):
            p_clip[some] = namer.probabilities(namer.encoder.features(*regions), text)

    timed(seconds, "CLIP", name)
    return timed(seconds, "assembly", lambda: segmenter.assemble(masks, p_clip, height, width)), masks


@torch.inference_mode()
def loop(clip: Any, photo: Photo, text: ClassText, masks: Masks, seconds: Seconds) -> Any:  # noqa: ANN401
    """The same photo and masks by the straightforward loop, with open_clip's model as it is: label map."""
    height, width = photo.shape[:2]
    seconds["proposals"].append(0.0)
    wanted = ClipInput.of(clip)
    mean = torch.tensor(wanted.mean).view(3, 1, 1) * 255
    std = torch.tensor(wanted.std).view(3, 1, 1) * 255

    def full_size() -> torch.Tensor:
        if masks.queries is None:
            return torch.stack([torch.from_numpy(rle.decode()).float() for rle in masks.rles])
        logits = functional.interpolate(masks.queries.mask_logits[None], (height, width), mode="bilinear")[0]
        return logits[list(masks.chosen)].sigmoid()

    def regions(full: torch.Tensor) -> tuple[list[int], torch.Tensor]:
        image = torch.from_numpy(photo).permute(2, 0, 1).float()
        cut, numbers = [], []
        for number, mask in enumerate(full > 0.4):
            if not mask.any():
                continue
            rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
            region = image * mask + mean * ~mask
            region = region[:, int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
            size = (wanted.size_px, wanted.size_px)
            region = functional.interpolate(region[None], size, mode="bicubic", align_corners=False)
            cut.append((region - mean) / std)
            numbers.append(number)
        return numbers, torch.cat(cut)

    def name(numbers: list[int], pixels: torch.Tensor) -> torch.Tensor:
        features = functional.normalize(clip.encode_image(pixels), dim=-1)
        found = torch.ones(len(masks), text.columns)
        found[numbers] = (100 * features @ text.features.T).softmax(dim=-1)
        return found

    full = timed(seconds, "regions", full_size)
    numbers, pixels = timed(seconds, "regions", lambda: regions(full))
    seconds["regions"][-2:] = [sum(seconds["regions"][-2:])]
    p_clip = timed(seconds, "CLIP", lambda: name(numbers, pixels))
    return timed(seconds, "assembly", lambda: torch.einsum("nc,nhw->chw", p_clip, full).argmax(dim=0).numpy())


def with_random_clip(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Keys of a segmenter of `options.masks` classical masks, with a CLIP of random weights that is written here."""
    clip = save_tiny_clip(folder, model_cfg=open_clip.get_model_config(options.model))
    return {
        "proposer": {"kind": "classical"},
        "clip": {"model": f"local-dir:{clip}"},
        "templates": ["a photo of a {}."],
        "limit": options.masks,
        "device": "cpu",
        "precision": options.precision,
    }


def compare(
    segmenter: Segmenter,
    clip: Any,  # noqa: ANN401
    photos: list[Photo],
    text: ClassText,
    options: argparse.Namespace,
    soft: bool,
) -> None:
    queries = soft_queries(options.masks) if soft else None
    spent: dict[str, Seconds] = {"ours": defaultdict(list), "loop": defaultdict(list)}
    equal = []
    for _ in range(options.rounds):
        for photo in photos:
            labels, masks = ours(segmenter, photo, text, queries, spent["ours"])
            other = loop(clip, photo, text, masks, spent["loop"])
            equal.append(float((labels == other)[labels >= 0].mean()))
    kind = "soft" if soft else "binary"
    print(f"{kind} masks, {options.masks} of them, {options.classes} classes, seconds per photo (median):")
    for step in ("proposals", "regions", "CLIP", "assembly"):
        mine, theirs = (float(np.median(spent[who][step])) for who in ("ours", "loop"))
        ratio = f", {theirs / mine:.1f} times" if theirs and mine else ""
        print(f"  {step:<10} ours {mine:8.3f}   loop {theirs:8.3f}{ratio}")
    steps = ("regions", "CLIP", "assembly")
    mine, theirs = (sum(float(np.median(spent[who][step])) for step in steps) for who in ("ours", "loop"))
    print(f"  without proposals: ours {mine:.2f}, loop {theirs:.2f}, {theirs / mine:.2f} times")
    print(f"  same label at {100 * float(np.mean(equal)):.2f} % of the pixels that masks cover", flush=True)


def large(segmenter: Segmenter, photo: Photo, options: argparse.Namespace) -> None:
    """12 megapixels and 847 classes: seconds of each step, and peak memory."""
    enlarged = np.asarray(Image.fromarray(photo).resize((4000, 3000)))
    text = segmenter.text([f"class {number}" for number in range(847)])
    for soft in (False, True):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds: Seconds = defaultdict(list)
        ours(segmenter, enlarged, text, soft_queries(options.masks) if soft else None, seconds)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        steps = ", ".join(f"{step} {found[0]:.1f} s" for step, found in seconds.items())
        print(
            f"12 MP, 847 classes, {'soft' if soft else 'binary'} masks: {steps}; peak {before:.0f} -> {after:.0f} MiB"
        )


@torch.inference_mode()
def world(photos: int) -> None:
    """Assembly with real scores: ours over the dense sum."""
    with tempfile.TemporaryDirectory() as folder:
        write_world(Path(folder), photos, 900_000)
        names = [one["name"] for one in json.loads((Path(folder) / "classes.json").read_text())]
        segmenter = Segmenter.from_manifest(ROOT / "manifests/segment/world.yaml")
        text = segmenter.text(names)
        spent: tuple[list[float], list[float]] = ([], [])
        for file in sorted((Path(folder) / "images").iterdir()):
            photo = np.asarray(Image.open(file).convert("RGB").resize((640, 640)))
            masks = segmenter.propose(photo)
            scores = segmenter.combine(masks, segmenter.name(photo, masks, text), text)
            assert masks.queries is not None
            start = time.perf_counter()
            segmenter.assemble(masks, scores, 640, 640)
            middle = time.perf_counter()
            logits = masks.queries.mask_logits[list(masks.chosen)][None]
            full = functional.interpolate(logits, (640, 640), mode="bilinear")[0].sigmoid()
            torch.einsum("nc,nhw->chw", scores, full).argmax(dim=0)
            spent[0].append(middle - start)
            spent[1].append(time.perf_counter() - middle)
        mine, dense = (float(np.median(seconds)) for seconds in spent)
        print(
            f"soft masks, the world's scores: assembly {mine:.3f} s, dense sum {dense:.3f} s, {dense / mine:.1f} times"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--masks", type=int, default=100)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--model", default="ViT-B-16")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="of ours; the loop is in float32")
    parser.add_argument("--keep", type=int, help="a cascade that keeps so many masks, in place of exact naming")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--world", action="store_true")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data/coco-mini")
    options = parser.parse_args()
    if options.world:
        print(machine())
        world(options.photos)
        return
    files = sorted((options.data / "train2017").glob("*.jpg"))[: options.photos]
    photos = [decode_image(file.read_bytes()) for file in files]
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        naming = {"kind": "cascade", "keep": options.keep} if options.keep else {"kind": "exact"}
        config = SegmenterConfig.model_validate({**with_random_clip(Path(folder), options), "naming": naming})
        segmenter = Segmenter.load(config)
        if options.large:
            large(segmenter, photos[0], options)
            return
        clip = open_clip.create_model(f"local-dir:{folder}").eval().requires_grad_(False)
        text = segmenter.text([f"class {number}" for number in range(options.classes)])
        for soft in (False, True):
            compare(segmenter, clip, photos, text, options, soft)


if __name__ == "__main__":
    main()
