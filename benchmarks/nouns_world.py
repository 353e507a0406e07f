"""Precision and recall of the noun rules on captions of the rendered world, whose nouns are known by construction.

    python -m benchmarks.nouns_world [--images 600] [--seed 3]

A noun is right if its character span is that of a true noun (docs/world.md); prints the commonest errors, too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

from pipeline.world import write_world
from stages.nouns import NltkNouns, SpacyNouns, build_extractor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        write_world(Path(name) / "world", options.images, options.seed)
        truth = json.loads((Path(name) / "world/truth.json").read_text())["captions"]
        captions = json.loads((Path(name) / "world/captions.json").read_text())["annotations"]
    texts = {caption["id"]: caption["caption"] for caption in captions}
    asked = [texts[entry["caption_id"]] for entry in truth]
    wanted = [{(noun["start"], noun["end"]) for noun in entry["nouns"]} for entry in truth]
    for rule, config in (("nltk", NltkNouns()), ("spacy", SpacyNouns())):
        found = [
            {(noun.start, noun.end) for noun in caption.nouns} for caption in build_extractor(config).extract(asked)
        ]
        right = sum(len(have & want) for have, want in zip(found, wanted, strict=True))
        precision, recall = right / sum(map(len, found)), right / sum(map(len, wanted))
        print(f"{rule}: precision {precision:.3f}, recall {recall:.3f} on {len(asked)} captions")
        for what, left, other in (("missed", wanted, found), ("wrong", found, wanted)):
            errors: Counter[str] = Counter()
            for text, spans, others in zip(asked, left, other, strict=True):
                errors.update(text[start:end].lower() for start, end in spans - others)
            print(f"  {what}: " + ", ".join(f"{word} {count}" for word, count in errors.most_common(12)))


if __name__ == "__main__":
    main()
