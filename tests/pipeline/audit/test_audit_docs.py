"""docs/audit.md has every key of the report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.audit import audit
from tests.pipeline.audit.tiny import mask, pair, write_build, write_truth
from tests.pipeline.test_docs import named


def keys(value: Any) -> Iterator[str]:  # noqa: ANN401 - JSON values
    if isinstance(value, dict):
        for key, inside in value.items():
            yield key
            yield from keys(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from keys(inside)


def test_every_key_of_the_report_is_documented(tmp_path: Path) -> None:
    region = mask((0, 0, 40, 40))
    images = {
        str(n): [pair("dog" if n % 2 else "puppy", region, n / 100), pair("mountain", region)] for n in range(100)
    }
    truth = write_truth(tmp_path / "truth.json", ["dog", "cat"], {name: [("dog", region)] for name in images})
    report = audit(str(write_build(tmp_path / "build", images)), [truth])
    found = set(keys(report))
    assert {"confidence_mean", "score_mean", "min_score"} <= found
    words = {part for word in named("audit.md") for part in (word, *word.split("."))}
    assert found <= words, found - words
