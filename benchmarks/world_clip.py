"""How well the world's CLIP names objects: whole single-object scenes, tight crops, masked crops.

python -m benchmarks.world_clip [--clip local-dir:FOLDER] [--objects 2400] [--out out/world_clip]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pipeline.world import WorldConfig, write_world
from stages.clip_config import RegionRules
from train.clip.source import ClipSource
from train.evaluate.classify import ClassifyManifest, classify
from train.evaluate.classify.run import CocoRegions, RegionInput

WORLD_CLIP = "local-dir:pipeline/world/clip"
TEMPLATES = ("a photo of a {}", "a picture of a {}", "a {}", "{}")
_WORLDS = {  # seeds that no training data has
    "single": (2000, WorldConfig(single_object=1.0), 1.0),
    "cluttered": (3000, WorldConfig(single_object=0.0), 0.4),
}
_ROWS: tuple[tuple[str, str, RegionInput], ...] = (
    ("whole scenes with a single object (the ceiling)", "single", "picture"),
    ("tight crops of them", "single", "crop"),
    ("masked crops of them", "single", "masked"),
    ("tight crops of objects in cluttered scenes", "cluttered", "crop"),
    ("masked crops of objects in cluttered scenes", "cluttered", "masked"),
)


def measure(clip: str, objects: int, out: Path) -> list[tuple[str, dict[str, float]]]:
    """Scores of each row; worlds are rendered into `out` unless they are there."""
    for name, (seed, config, scenes_an_object) in _WORLDS.items():
        if not (out / name / "instances.json").is_file():
            write_world(out / name, max(1, round(objects * scenes_an_object)), seed, config, workers=2)
    rows = []
    for title, world, region_input in _ROWS:
        manifest = ClassifyManifest(
            kind="mask_classification",
            clip=ClipSource(model=clip),
            regions=CocoRegions(images=str(out / world / "images"), annotations=(str(out / world / "instances.json"),)),
            region_input=region_input,
            rules=RegionRules(antialias=True),
            templates=TEMPLATES,
            limit=objects,
        )
        rows.append((title, classify(manifest)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clip", default=WORLD_CLIP)
    parser.add_argument("--objects", type=int, default=2400)
    parser.add_argument("--out", type=Path, default=Path("out/world_clip"))
    arguments = parser.parse_args()
    rows = measure(arguments.clip, arguments.objects, arguments.out / str(arguments.objects))
    print("| pictures | objects | top-1 % | top-5 % | mean class % |\n|---|---|---|---|---|")
    for title, scores in rows:
        values = (f"{scores[key]:.1f}" for key in ("top1", "top5", "mean_class"))
        print(f"| {title} | {scores['regions']:,} |", " | ".join(values), "|")
    (arguments.out / "scores.json").write_text(json.dumps(dict(rows), indent=1))


if __name__ == "__main__":
    main()
