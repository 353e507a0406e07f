"""Tables of the kinds that people report to tools of this field, each through `plan` and a build on the plain loop."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet
import pytest

from pipeline.manifest import BuildManifest
from pipeline.plan import make_plan
from pipeline.verify import verify
from stages.common import UserError
from tests.pipeline.conftest import run_build
from tests.pipeline.sources.test_tables import Content, lines, write

Make = Callable[..., BuildManifest]
TEXTS = ("A dog on the grass.", "Two horses and a car.", "A cat on a sofa.", "A red bus on a street.")
ROWS = [{"image": f"p{number}.jpg", "caption": text} for number, text in enumerate(TEXTS)]
PAIRS = {row["image"]: [row["caption"]] for row in ROWS}
FIRST = {"p0.jpg": [TEXTS[0]]}
HEADER = "image,caption\n"


class Case(NamedTuple):
    """A table, and what is right: captions by image, and what is set aside, or why it is refused."""

    file: str
    content: Content | Callable[[Path], Content]
    captions: dict[str, list[str]] = {}  # noqa: RUF012 - never changed
    aside: tuple[tuple[str, str], ...] = ()
    refused: str = ""
    options: dict[str, Any] = {}  # noqa: RUF012


def hub_images(photos: Path) -> pa.Table:
    data = (photos / "p0.jpg").read_bytes()
    return pa.table({"image": [{"bytes": data, "path": "p0.jpg"}], "caption": [TEXTS[0]]})


DICTIONARY = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3, 4], pa.int32()), pa.array(TEXTS).dictionary_encode())
QUOTED = HEADER + 'p0.jpg,"A \\"happy\\" dog, on grass."\np1.jpg,A cat.\n'
INCHES = HEADER + 'p0.jpg,A 12" pan on a stove\np1.jpg,"5" pot with a plant\np2.jpg,A "happy" dog\n'
CP1252 = (HEADER + "p0.jpg,A dog at a café.\np1.jpg,A cat – asleep.\n").encode("cp1252")
UTF16 = (HEADER + "p0.jpg,A dog on the grass.\r\n").encode("utf-16")
CASES = {
    "other_column_mixed": Case(
        "t.jsonl", lines(*({**row, "score": 1 if at < 2 else "high"} for at, row in enumerate(ROWS))), PAIRS
    ),
    "id_mixed": Case(
        "t.jsonl",
        lines(*({**row, "id": at if at < 2 else f"x{at}"} for at, row in enumerate(ROWS))),
        {one: [text] for one, text in zip(("0", "1", "x2", "x3"), TEXTS, strict=True)},
        options={"columns": {"id": "id"}},
    ),
    "caption_text_then_list": Case(
        "t.jsonl",
        lines(ROWS[0], {**ROWS[1], "caption": [TEXTS[1], "A dog."]}),
        {**FIRST, "p1.jpg": [TEXTS[1], "A dog."]},
    ),
    "lone_surrogate": Case(
        "t.jsonl",
        lines(ROWS[0], {**ROWS[1], "caption": "A bus \ud83d"}),
        {**FIRST, "p1.jpg": []},
        (("caption", "bad_caption"),),
    ),
    "unclosed_quote": Case(
        "t.csv",
        HEADER + 'p0.jpg,A dog.\np1.jpg,"Two horses.\np2.jpg,A cat.\np3.jpg,A bus.\n',
        {"p0.jpg": ["A dog."], "p2.jpg": ["A cat."], "p3.jpg": ["A bus."]},
        (("row", "bad_quotes"),),
    ),
    "inch_marks": Case(
        "t.csv", INCHES, {"p0.jpg": ['A 12" pan on a stove'], "p2.jpg": ['A "happy" dog']}, (("row", "bad_quotes"),)
    ),
    "inch_marks, set": Case(
        "t.csv",
        INCHES,
        {"p0.jpg": ['A 12" pan on a stove'], "p1.jpg": ['"5" pot with a plant'], "p2.jpg": ['A "happy" dog']},
        options={"csv": {"quote": ""}},
    ),
    "backslash_quotes": Case("t.csv", QUOTED, {"p1.jpg": ["A cat."]}, (("row", "bad_quotes"),)),
    "backslash_quotes, set": Case(
        "t.csv",
        QUOTED,
        {"p0.jpg": ['A "happy" dog, on grass.'], "p1.jpg": ["A cat."]},
        options={"csv": {"escape": "\\"}},
    ),
    "comma_unquoted": Case(
        "t.csv", HEADER + "p0.jpg,A dog, on grass\np1.jpg,A cat\n", {"p1.jpg": ["A cat"]}, (("row", "bad_cells"),)
    ),
    "cp1252": Case(
        "t.csv", CP1252, refused=r"2 x bad_encoding: t\.csv: line 2: .* looks like cp1252 .*: set source\.encoding"
    ),
    "cp1252, set": Case(
        "t.csv", CP1252, {"p0.jpg": ["A dog at a café."], "p1.jpg": ["A cat – asleep."]}, options={"encoding": "cp1252"}
    ),
    "utf16": Case("t.csv", UTF16, refused=r"t\.csv: looks like utf-16, expected utf-8; set source\.encoding: utf-16"),
    "utf16, set": Case("t.csv", UTF16, FIRST, options={"encoding": "utf-16"}),
    "semicolons": Case("t.csv", "image;caption\np0.jpg;A dog.\n", refused="looks like ';': set source.csv.delimiter"),
    "semicolons, set": Case(
        "t.csv", "image;caption\np0.jpg;A dog.\n", {"p0.jpg": ["A dog."]}, options={"csv": {"delimiter": ";"}}
    ),
    "spaces_in_header": Case("t.csv", "image, caption\np0.jpg, A dog\n", {"p0.jpg": ["A dog"]}),
    "tsv": Case("t.tsv", "image\tcaption\np0.jpg\tA dog.\n", {"p0.jpg": ["A dog."]}),
    "tsv_without_header": Case(
        "t.tsv",
        "A dog.\tp0.jpg\nA cat.\tp1.jpg\n",
        refused=r"set source\.csv\.header: false and source\.columns\.image: 2",
    ),
    "tsv_without_header, set": Case(
        "t.tsv",
        "A dog.\tp0.jpg\nA cat.\tp1.jpg\n",
        {"p0.jpg": ["A dog."], "p1.jpg": ["A cat."]},
        options={"csv": {"header": False}, "columns": {"image": 2, "caption": 1}},
    ),
    "gzipped": Case("t.jsonl.gz", gzip.compress(lines(*ROWS).encode()), PAIRS),
    "name_too_long": Case(
        "t.jsonl",
        lines(ROWS[0], {**ROWS[1], "image": "A dog runs after a ball in the park, " * 8}),
        FIRST,
        (("row", "bad_name"),),
    ),
    "data_uri": Case(
        "t.jsonl",
        lines(ROWS[0], {**ROWS[1], "image": "data:image/jpeg;base64,/9j/" + "A" * 600}),
        FIRST,
        (("row", "data_uri"),),
    ),
    "same_photo_three_names": Case(
        "t.jsonl",
        lines(*({**ROWS[0], "image": name} for name in ("p0.jpg", "./p0.jpg", "sub/../p0.jpg"))),
        {"p0.jpg": [TEXTS[0]] * 3},
    ),
    "unknown_protocol": Case(
        "t.jsonl", lines(ROWS[0], {**ROWS[1], "image": "htp://x/p1.jpg"}), FIRST, (("row", "unknown_protocol"),)
    ),
    "hub_images": Case("t.parquet", hub_images, {"t/000000001": [TEXTS[0]]}),
    "list_of_dictionary": Case(
        "t.parquet", pa.table({"image": [row["image"] for row in ROWS], "caption": DICTIONARY}), PAIRS
    ),
    "binary_texts": Case(
        "t.parquet",
        pa.table({"image": [row["image"].encode() for row in ROWS], "caption": [text.encode() for text in TEXTS]}),
        PAIRS,
    ),
    "path_with_nul": Case("t.jsonl", lines(ROWS[0], {**ROWS[1], "image": "p\0.jpg"}), FIRST, (("row", "bad_name"),)),
    "null_first_then_dates": Case(
        "t.jsonl",
        lines({**ROWS[0], "caption": None}, {**ROWS[1], "caption": "2020-01-01"}),
        {"p0.jpg": [""], "p1.jpg": ["2020-01-01"]},
    ),
    "bad_line": Case(
        "t.jsonl",
        lines(ROWS[0], '{"image": "p1.jpg", "capt', ROWS[2]),
        {**FIRST, "p2.jpg": [TEXTS[2]]},
        (("row", "bad_json"),),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, manifest: Make, photos: Path, tmp_path: Path) -> None:
    case = CASES[name]
    for number, photo in enumerate(sorted((photos / "images").iterdir())[:4]):
        (tmp_path / f"p{number}.jpg").write_bytes(photo.read_bytes())
    write(tmp_path / case.file, case.content(tmp_path) if callable(case.content) else case.content)
    made = manifest(
        source={"kind": "table", "path": str(tmp_path / case.file), **case.options},
        proposals={"proposer": {"kind": "classical", "working_side_px": 32}},
        nouns={"extractor": {"kind": "nltk"}},
    )
    if case.refused:
        with pytest.raises(UserError, match=case.refused):
            make_plan(made)
        return
    plan = make_plan(made)
    assert {record.image_id: list(record.captions) for record in plan.records(range(len(plan.rows)))} == case.captions
    assert plan.missing == 0
    assert plan.aside.reasons() == Counter(case.aside)
    assert all(message.startswith(f"{case.file}: ") for message in plan.aside.examples().values())
    assert run_build(made, tmp_path / "out").lock is not None
    assert verify(str(tmp_path / "out"))[1] == []
    rows = pyarrow.parquet.read_table(tmp_path / "out/quarantine.parquet").to_pylist()
    assert tuple((row["item"], row["reason"]) for row in rows if row["stage"] == "plan") == case.aside
    assert {row["item"] for row in rows if row["stage"] != "plan"} <= {"caption"}
    assert json.loads((tmp_path / "out/build.lock.json").read_text())["counts"]["images_quarantined"] == 0
