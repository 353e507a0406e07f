"""Time of mining with photos prepared ahead, over that of one after the other, with a stand-in model that sleeps.

    python -m benchmarks.overlap [--photos 96] [--regions 16]

The stand-in of a model takes as long as the preparation of its input: all that overlap can save is half. Masks: each
photo is decoded, then the model sleeps. Matching: regions are decoded and cut, then CLIP sleeps. "One after the other"
is the same code with its thread taken away. Results are compared, too.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.report import machine
from pipeline.steps import adapter
from pipeline.unit import CachedStep, ImageWork, Task, UnitWork
from stages import clip
from stages.clip_config import RegionRules
from stages.common import ImageRecord, Proposal, Rle


@contextmanager
def one_after_the_other(items: Iterator[Any], depth: int = 2) -> Iterator[Iterator[Any]]:
    yield items


class Masks(CachedStep[ImageWork, str]):
    """Decodes a photo, and then waits as a model would keep it waiting."""

    stage, kind, statistics, identity = "proposals", "masks", ("computed", "found"), []
    seconds = 0.0

    def __init__(self, spec: object) -> None:
        pass

    def tasks(self, unit: UnitWork) -> Iterator[Task[ImageWork]]:
        return (Task(image, 1, image) for image in unit.images)

    def key(self, content: ImageWork) -> list[Any]:
        return [content.record.image_id]

    def prepare(self, content: ImageWork) -> NDArray[np.uint8]:
        return content.pixels()

    def compute(self, content: ImageWork, prepared: NDArray[np.uint8]) -> str:
        time.sleep(self.seconds)
        return f"{prepared[::16, ::16].sum()}"

    def encode(self, result: str) -> bytes:
        return result.encode()

    def decode(self, entry: bytes) -> str:
        return entry.decode()

    def apply(self, content: ImageWork, result: str) -> None:
        content.sha256 = result


class SleepingClip(torch.nn.Module):
    """An image tower that takes its time, and gives a mean per region."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = type("Visual", (), {"image_size": 224, "image_mean": (0.5,) * 3, "image_std": (0.3,) * 3})()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.seconds = 0.0

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds * len(pixels))
        return pixels[:, :, ::32, ::32].mean(dim=(2, 3)) + 1


def photos(count: int, regions: int) -> list[ImageWork]:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:480, :640]
    found = []
    for number in range(count):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (60, 80, 3)).astype(np.uint8)).resize((640, 480)).save(buffer, "JPEG")
        work = ImageWork(ImageRecord(str(number), "", ()), number, buffer.getvalue())
        for _ in range(regions):
            place, reach = rng.integers(60, 420, 2), rng.integers(20, 60, 2)
            mask = ((rows - place[0]) / reach[0]) ** 2 + ((columns - place[1]) / reach[1]) ** 2 < 1
            work.proposals.append(Proposal(Rle.encode(mask), 1.0, "drawn"))
        found.append(work)
    return found


def seconds_of(action: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def ratio(what: str, action: Callable[[], Any], where: ModuleType, slept: Callable[[float], None]) -> None:
    """Prints what is saved; the sleep is as long as the preparation takes alone."""
    slept(0.0)
    with patch.object(where, "ahead", one_after_the_other):
        action()
        alone, _ = seconds_of(action)
        slept(alone)
        serial, expected = seconds_of(action)
    overlapped, found = seconds_of(action)
    same = "the same results" if found == expected else "OTHER RESULTS"
    print(f"{what}: {overlapped / serial:.2f} of the time ({serial:.2f} s, {overlapped:.2f} s), {same}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=int, default=96)
    parser.add_argument("--regions", type=int, default=16, help="of each photo")
    options = parser.parse_args()
    print(machine())
    works = photos(options.photos, options.regions)
    step = Masks(None)
    runner = object.__new__(adapter.StepAdapter)
    runner._spec, runner._cache, runner._put = type("Spec", (), {"fingerprint": ""}), adapter.Cache(None), set()
    runner._steps, runner._identities = [step], {"proposals": []}

    def propose() -> list[str]:
        runner.run(UnitWork(0, "", works))
        return [work.sha256 for work in works]

    ratio("masks", propose, adapter, lambda alone: setattr(Masks, "seconds", alone / len(works)))
    model = SleepingClip()
    encoder = clip.RegionEncoder(model, None, RegionRules(), ["{}"])  # type: ignore[arg-type]

    def encode() -> list[Any]:
        pairs = ((pixels, proposal.rle) for work in works for pixels in [work.pixels()] for proposal in work.proposals)
        return encoder.encode_regions(pairs).tolist()

    regions = options.photos * options.regions
    ratio("matching", encode, clip, lambda alone: setattr(model, "seconds", alone / regions))


if __name__ == "__main__":
    main()
