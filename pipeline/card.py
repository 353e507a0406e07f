"""The dataset card: README.md beside the shards."""

from __future__ import annotations

from pipeline.records import Lock


def dataset_card(lock: Lock) -> str:
    """Markdown that tells a stranger what the dataset is, what it was made of, and how to read it.

    Args:
        lock: the build's lock.
    """
    counts, config = lock.counts, lock.plan.config
    aside = sum(lock.plan.set_aside.values())
    pattern = f"{{{0:06d}..{len(lock.units) - 1:06d}}}"
    return f"""# Mask-noun pairs

{counts.pairs:,} pairs of (region, mask, noun), mined by maskmine from {counts.images:,} captioned images.

| images | |
|---|---:|
| with pairs | {counts.images_pairs:,} |
| without pairs (each with a reason, in images.parquet) | {counts.images_no_pairs:,} |
| quarantined (each with a reason, in quarantine.parquet) | {counts.images_quarantined:,} |

{aside:,} rows, annotations and parts of shards of the input could not be used (each with a reason, in
quarantine.parquet).

| made with | |
|---|---|
| source | {config["source"]["kind"]} |
| proposals | {config["proposals"]["proposer"]["kind"]} |
| nouns | {config["nouns"]["extractor"]["kind"]} |
| CLIP | {config["matching"]["clip"]["model"]} {config["matching"]["clip"]["pretrained"] or ""} |
| matching | {config["matching"]["rules"]["strategy"]} |
| seed | {config["seed"]} |
| plan | `{lock.plan_digest}` |
| device | {", ".join(lock.devices)} |

Pairs are mined, not checked by people: some nouns are bound to the wrong region. The photos' own licences go on
to hold for the crops; where the input states one, it is in each sample's JSON and in index.parquet.

## Files
| file | content |
|---|---|
| shards/{pattern}.tar | WebDataset: KEY.jpg (unmasked crop), KEY.mask.png (1 bit), KEY.txt (noun), KEY.json |
| index.parquet | one row per pair |
| images.parquet | one row per image: what became of it |
| quarantine.parquet | one row per bad image, caption, or row, annotation and part of a shard of the input |
| report.html | pictures of pairs, counts and histograms, for a browser |
| build.lock.json | all that is needed to build this again, and to prove it |

## Reading
```python
import webdataset as wds
samples = wds.WebDataset("shards/{pattern}.tar", shardshuffle=False).decode("pil").to_tuple("jpg", "mask.png", "txt")
```
```sql
SELECT noun_canonical, count(*) FROM 'index.parquet' GROUP BY ALL ORDER BY 2 DESC;
```
Check all of it with `maskmine verify .`, and build it again with `maskmine build MANIFEST --lock build.lock.json`.
"""
