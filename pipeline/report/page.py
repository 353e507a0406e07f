"""The page: gathers what the build's folder tells, pictures of pairs among it, and fills the template."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
import pyarrow as pa
import yaml
from markupsafe import Markup

from pipeline.records import REPORT, Lock, read_lock
from pipeline.report import tables
from pipeline.report.histogram import HEIGHT, WIDTH, Chart, draw
from pipeline.report.nouns import noun_summary
from pipeline.report.pictures import PagePicture, pair_picture, sample_of
from pipeline.report.quarantined import Photos
from pipeline.report.reasons import MEANINGS
from pipeline.report.text import MINUS, MarkedText, clean, marked, percent, shorten
from pipeline.report.timing import read_timing
from pipeline.terminal import duration, file_size
from stages.common import Folder, SampleError, UserError, digest
from stages.shards import INDEX_FILE, IndexRow, read_index_rows

PICTURES = 12
"""Pairs a section, if nothing else is asked for."""

_QUARANTINE_ROWS = 40
_MANIFEST_CHARS = 20_000
_LISTED = 200  # rows of a list of models or inputs


def write_report(store: Folder, pictures: int = PICTURES) -> int:
    """Writes report.html into a finished build; the same folder and number give the same bytes.

    Args:
        store: the build's folder.
        pictures: pairs per section; the more there are, the smaller they are.

    Returns:
        Size of the file in bytes.

    Raises:
        UserError: there is no finished build, or its tables cannot be read.
    """
    lock = read_lock(store)
    try:
        page = render(store, lock, pictures).encode("utf-8", errors="replace")
    except FileNotFoundError as error:
        raise UserError(f"{store.url}: a file of the build is missing: {error}") from error
    except (ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise UserError(f"{store.url}: cannot be read (try maskmine verify): {error}") from error
    store.write(REPORT, page)
    return len(page)


def render(store: Folder, lock: Lock, pictures: int = PICTURES) -> str:
    """The page's HTML.

    Raises:
        FileNotFoundError, ValueError, pyarrow.ArrowException: the build's tables are not there, or spoilt.
    """
    pairs = tables.read_pairs(store)
    quarantine = tables.read_quarantine(store, _QUARANTINE_ROWS)
    images = tables.read_images(store, {row["image_id"] for row in quarantine.rows})
    photos = Photos(store, lock.manifest.get("source"), images.sha256)
    style = files("pipeline.report").joinpath("style.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"n": "{:,}".format, "size": file_size, "duration": duration, "clean": clean}
    sections = sections_of(store, pairs, lock.plan_digest, pictures)
    licenses = {card.license for section in sections for card in section.cards}
    return environment.get_template("report.html").render(
        style=Markup(style),
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        lock=lock,
        shard_bytes=sum(entry.shard_bytes for entry in lock.units),
        made_of=_made_of(lock),
        sections=sections,
        one_license=licenses.pop() if len(licenses) == 1 else "",
        strategy=lock.plan.config["matching"]["rules"]["strategy"],
        pairs=pairs,
        nouns=noun_summary(pairs.nouns),
        charts=_charts(pairs),
        chart_size=(WIDTH, HEIGHT),
        images=images,
        drops=_drops(images),
        meanings=MEANINGS,
        quarantine=quarantine,
        quarantined=[photos.show(row) for row in quarantine.rows],
        timing=read_timing(store, len(lock.units)),
    )


def _charts(pairs: tables.Pairs) -> list[Chart]:
    def plain(value: float) -> str:
        return f"{value:.4g}".replace("-", MINUS)

    def share(value_log10: float) -> str:
        return percent(10**value_log10)

    drawn = [
        draw("Match score", "cosine", pairs.score, plain),
        draw("Margin to the next noun on the mask", "difference of cosines", pairs.margin_noun, plain),
        draw("Margin to the next mask for the noun", "difference of cosines", pairs.margin_mask, plain),
        draw("Area of the mask", "share of the photo, logarithmic", pairs.area_log10, share, whole_ticks=True),
    ]
    return [chart for chart in drawn if chart]


def _drops(images: tables.Images) -> list[tuple[str, str, list[tuple[str, int]]]]:
    """Tables of reasons: title, what is counted, and (reason, times), the commonest first."""
    kinds = {
        "noun": ("Nouns left out when captions were read", "mentions"),
        "proposal": ("Mask proposals left out", "masks"),
        "match": ("Nouns that got no mask", "nouns"),
    }
    found = []
    for kind, (title, unit) in kinds.items():
        prefix = f"{kind}."
        reasons = {name.removeprefix(prefix): n for name, n in images.dropped.items() if name.startswith(prefix)}
        found.append((title, unit, _commonest(reasons)))
    return [*found, ("Images without pairs", "images", _commonest(images.no_pairs))]


def _commonest(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(((name, count) for name, count in counts.items() if count), key=lambda entry: (-entry[1], entry[0]))


def _made_of(lock: Lock) -> dict[str, Any]:
    """What the build was made from, as rows of tables."""
    plan, config = lock.plan, lock.plan.config
    rules, manifest = config["matching"]["rules"], lock.manifest  # which names a local model; the plan has no places
    clip = manifest["matching"]["clip"]
    thresholds = [f"{name} {value}" for name, value in rules.items() if name != "strategy" and value is not None]
    text = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=100)
    models = [(stage, name, value) for stage, named in plan.models.items() for name, value in named.items()]
    about = [
        ("Source", config["source"]["kind"]),
        ("Mask proposals", config["proposals"]["proposer"]["kind"]),
        ("Nouns", config["nouns"]["extractor"]["kind"]),
        ("CLIP", f"{clip['model']} {clip.get('pretrained') or ''}".strip()),
        ("Matching", rules["strategy"]),
        ("Thresholds", ", ".join(thresholds)),
        ("Seed", str(config["seed"])),
        ("Device", ", ".join(lock.devices)),
    ]
    return {
        "about": [(name, _short(value)) for name, value in about],
        "hashes": {
            "Plan": lock.plan_digest,
            "Images": lock.images_root,
            "Libraries": digest(lock.libraries),
        },
        "inputs": [(_short(role), _short(value)) for role, value in list(plan.inputs.items())[:_LISTED]],
        "models": [tuple(map(_short, row)) for row in models[:_LISTED]],
        "libraries": [(_short(name), _short(value)) for name, value in lock.libraries.items()],
        "manifest": "\n".join(clean(line) for line in shorten(text, _MANIFEST_CHARS).splitlines()),
    }


def _short(value: object) -> str:
    return clean(shorten(str(value), 160))


_PICTURE_BYTES = 3_600_000  # of all pictures together, as data URIs
_LARGEST_PICTURE_BYTES = 40_000


@dataclass(frozen=True, slots=True)
class Card:
    """One pair, ready to be shown; `no_picture` says why there is none."""

    noun: str
    caption: MarkedText
    score: str
    margin_noun: str
    margin_mask: str
    area_share: str
    file: str
    key: str
    source: str
    license: str
    picture: PagePicture | None
    no_picture: str


@dataclass(frozen=True, slots=True)
class Section:
    """Some pairs, and how they were chosen."""

    anchor: str
    title: str
    chosen: str
    cards: list[Card]


def sections_of(store: Folder, pairs: tables.Pairs, seed: str, most: int) -> list[Section]:
    """Chooses pairs and reads their samples; a small build's pairs are shown once, all of them.

    Args:
        store: the build's folder.
        pairs: what the index told.
        seed: of the random sample.
        most: pairs per section.
    """
    if pairs.count <= most:
        chosen = [("all", "All pairs", "In the order of the shards.", list(range(pairs.count)))]
    else:
        once = "Each noun once."
        surest = "Without the third of all pairs with the poorest masks, and that with the nearest rival nouns."
        lowest = f"Another noun fits the mask, or another mask the noun, nearly as well or better. {once}"
        drawn = tables.draw_rows(seed, pairs.count, most)
        chosen = [
            ("best", "Best: highest scores", f"{surest} {once}", pairs.best.rows(most)),
            ("worst", "Worst: lowest scores", once, pairs.worst.rows(most)),
            ("doubtful", "Doubtful: smallest margins", lowest, pairs.doubtful.rows(most)),
            ("sample", "Random sample", "Drawn by hash from all pairs: what the build is like as a whole.", drawn),
        ]
    with store.open(INDEX_FILE) as file:
        rows = read_index_rows(file, [row for _, _, _, numbers in chosen for row in numbers])
    shown = sum(len(numbers) for _, _, _, numbers in chosen)
    budget = min(_PICTURE_BYTES // max(shown, 1), _LARGEST_PICTURE_BYTES)
    cards = {number: _card(store, row, budget) for number, row in sorted(rows.items())}
    return [
        Section(anchor, title, how, [cards[number] for number in numbers])
        for anchor, title, how, numbers in chosen
        if numbers
    ]


def _card(store: Folder, row: IndexRow, budget_bytes: int) -> Card:
    picture, missing = None, ""
    try:
        picture = pair_picture(sample_of(store, row), budget_bytes)
    except SampleError as error:
        missing = f"no picture: {row.shard} cannot be read here ({error.reason})"
    except (OSError, ValueError, KeyError) as error:
        missing = f"no picture: {row.shard} cannot be read here ({type(error).__name__})"
    return Card(
        noun=clean(shorten(row.noun, 60)),
        caption=marked(row.caption, row.noun_start, row.noun_end),
        score=f"{row.score_cosine:.3f}".replace("-", MINUS),
        margin_noun=_signed(row.margin_noun),
        margin_mask=_signed(row.margin_mask),
        area_share=percent(row.area_share),
        file=clean(shorten(row.file, 80)),
        key=clean(shorten(row.key, 40)),
        source=clean(shorten(row.proposal_source, 40)),
        license=clean(shorten(row.license or "", 80)),
        picture=picture,
        no_picture=clean(missing),
    )


def _signed(margin: float | None) -> str:
    return "none" if margin is None else f"{margin:+.3f}".replace("-", MINUS)
