"""Sources of captioned images: what to read, as one Arrow table, in an order that depends on the content alone."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from stages.common import WEB, Config, ImageRecord, Location, SourceMask, UserError
from stages.shards import KeyEndsAt

MASK = pa.struct(
    [("segmentation", pa.string()), ("label", pa.string()), ("score", pa.float32()), ("is_crowd", pa.bool_())]
)
ROWS = pa.schema(
    [
        ("image_id", pa.string()),
        ("file", pa.string()),
        ("captions", pa.list_(pa.string())),
        ("offset", pa.int64()),
        ("nbytes", pa.int64()),
        ("row", pa.int64()),
        ("masks", pa.list_(MASK)),
        ("mask_height", pa.int32()),
        ("mask_width", pa.int32()),
        ("license", pa.string()),
        ("listed", pa.int64()),
    ]
)
"""One row per image; `listed` is the file's size in bytes as the folder's listing has it, -1 if it is not there."""


class _Source(Config):
    """What every source has.

    Attributes:
        limit: take so many images, drawn by the manifest's seed; all if not given.
        exclude: image ids that are set aside in the quarantine table at once.
        scan: ``sizes`` lists the folders and pins every file's size when planning; ``names`` does not look.
    """

    limit: int | None = Field(None, ge=1)
    exclude: tuple[Annotated[str, Field(coerce_numbers_to_str=True)], ...] = ()
    scan: Literal["sizes", "names"] = "sizes"


class CocoSource(_Source):
    """COCO's layout: a folder of images and a captions JSON.

    Attributes:
        images: folder that file names of the JSON are relative to.
        captions: captions JSON.
        use_captions: ``first`` of each image, as in the paper, or ``all``.
        masks: instances, stuff or panoptic JSON files, for ``ground_truth`` proposals.
        panoptic_folder: folder of the PNGs that a panoptic JSON names.
    """

    kind: Literal["coco"] = "coco"
    images: Location
    captions: Location
    use_captions: Literal["first", "all"] = "all"
    masks: tuple[Location, ...] = ()
    panoptic_folder: Location | None = None


_Column = Annotated[str, Field(coerce_numbers_to_str=True)]


class Columns(Config):
    """Which column of a table holds what, by name or, without a header, by number from 1.

    `id` and `license` may be left out.
    """

    image: _Column = "image"
    caption: _Column = "caption"
    id: _Column | None = None
    license: _Column | None = None

    def named(self) -> dict[str, str]:
        """The columns that are asked for: image, caption, id, license -> name."""
        return {role: name for role, name in self.model_dump().items() if name is not None}


def _spelled_tab(value: Any) -> Any:  # noqa: ANN401 - any YAML value
    return "\t" if value == "\\t" else value


def _known_encoding(name: str) -> str:
    try:
        "".encode(codecs.lookup(name).name)
    except LookupError as error:
        raise ValueError(f"{error}; expected one such as utf-8, cp1252, utf-16, gb18030 or shift_jis") from error
    return name


_Sign = Annotated[str, Field(min_length=1, max_length=1, pattern=r"[^\r\n]")]


class CsvDialect(Config):
    """How a CSV or TSV is written.

    Attributes:
        delimiter: stands between cells; null is a comma, in a .tsv a tab.
        quote: stands around a cell that holds a delimiter; written twice inside. An empty text: no quotes at all. Null
            is ``"``; in a .tsv a cell then stands as it is, quote marks and all, unless the quotes must be there.
        escape: stands before a quote mark or delimiter that is part of a text; null: none.
        header: whether the first line has the columns' names.
    """

    delimiter: Annotated[_Sign, BeforeValidator(_spelled_tab)] | None = None
    quote: _Sign | Literal[""] | None = None
    escape: _Sign | None = None
    header: bool = True

    @model_validator(mode="after")
    def _signs_differ(self) -> Self:
        signs = [self.delimiter or ",", '"' if self.quote is None else self.quote, self.escape]
        given = [sign for sign in signs if sign]
        if len({*given}) < len(given):
            listed = ", ".join(map(repr, given))
            raise ValueError(f"delimiter, quote and escape are different signs; these are {listed}")
        return self


class TableSource(_Source):
    """A table of image paths and captions; rows of the same image are its captions.

    Attributes:
        path: a file that ends in .jsonl, .ndjson, .csv, .tsv (packed by gzip or not) or .parquet, or a pattern of such.
        root: folder or URL that image paths are relative to; default the table's own folder.
        columns: a caption may be a text or a list of texts; an image a path, or in Parquet also the picture itself.
        encoding: of a file of text; null is UTF-8.
        csv: how a .csv or .tsv is written.
    """

    kind: Literal["table"] = "table"
    path: Location
    root: Location | None = None
    columns: Columns = Columns()
    encoding: Annotated[str, AfterValidator(_known_encoding)] | None = None
    csv: CsvDialect = CsvDialect()


class WebdatasetSource(_Source):
    """Image-text shards as img2dataset writes them: KEY.jpg, KEY.txt and, if there is one, KEY.json.

    Attributes:
        path: one tar, or a pattern with * or {00000..00099}.
        key_ends_at: the dot of a member's name at which its sample's key ends: webdataset's rule, or the last one.
    """

    kind: Literal["webdataset"] = "webdataset"
    path: Location
    key_ends_at: KeyEndsAt = "first_dot"


SourceConfig = Annotated[CocoSource | TableSource | WebdatasetSource, Field(discriminator="kind")]
AnySource = CocoSource | TableSource | WebdatasetSource


def root_of(source: AnySource) -> str:
    """Folder or URL that the records' files are relative to."""
    if isinstance(source, CocoSource):
        return source.images
    if isinstance(source, TableSource) and source.root is not None:
        return source.root
    name = source.path.rpartition("/")[2]
    is_folder = isinstance(source, WebdatasetSource) and not name.endswith(".tar") and not set("*?[{") & set(name)
    return source.path if is_folder else folder_of(source.path)


def root_key(source: AnySource) -> str:
    """The manifest's key that names the root."""
    if isinstance(source, CocoSource):
        return "source.images"
    return "source.root" if isinstance(source, TableSource) and source.root else "source.path"


def folder_of(path: str) -> str:
    """The folder of a file, a path or URL."""
    path = path.partition("?")[0] if path.startswith(WEB) else path
    return path.rpartition("/")[0] or ("/" if path.startswith("/") else ".")


def to_record(row: dict[str, Any]) -> ImageRecord:
    """A row of a plan as a record."""
    masks = tuple(
        SourceMask(mask["segmentation"], mask["label"], mask["score"], mask["is_crowd"]) for mask in row["masks"] or ()
    )
    height, width = row["mask_height"], row["mask_width"]
    return ImageRecord(
        image_id=row["image_id"],
        file=row["file"],
        captions=tuple(row["captions"] or ()),
        offset=row["offset"],
        nbytes=row["nbytes"],
        row=row["row"],
        masks=masks,
        mask_size_hw_px=None if height is None or width is None else (height, width),
        license=row["license"],
    )


def valid_text(text: str) -> str:
    """The text with lone surrogates, which JSON can hold and no file can, as '?'."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def table_of(columns: dict[str, list[Any]]) -> pa.Table:
    """Rows with the given columns; all others null."""
    length = len(next(iter(columns.values())))
    fields = [field for field in ROWS if field.name != "listed"]
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(length, field.type)
        for field in fields
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def attach_masks(rows: pa.Table, masks: pa.Table) -> pa.Table:
    """Puts masks (image_id, segmentation, label, score, is_crowd) into the rows of their images, in their order.

    Masks of images that the source does not have are left out.
    """
    by_image: dict[str, list[int]] = {}
    for number, image_id in enumerate(masks["image_id"].to_pylist()):
        by_image.setdefault(image_id, []).append(number)
    order: list[int] = []
    offsets = [0]
    for image_id in rows["image_id"].to_pylist():
        order += by_image.get(image_id, ())
        offsets.append(len(order))
    taken = masks.take(pa.array(order, pa.int64())).combine_chunks()
    columns = []
    for field in MASK:
        column = taken[field.name].combine_chunks() if field.name in taken.column_names else None
        columns.append(pa.nulls(len(taken), field.type) if column is None else column.cast(field.type))
    structs = pa.StructArray.from_arrays(columns, fields=list(MASK))
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs)
    return rows.set_column(rows.schema.get_field_index("masks"), pa.field("masks", lists.type), lists).cast(rows.schema)


def attach_known_masks(rows: pa.Table, masks: pa.Table, key: str, say: Callable[[str], None]) -> pa.Table:
    """As `attach_masks`; says how many masks are of images that the source does not have.

    Raises:
        UserError: all of them are.
    """
    known = pc.is_in(masks["image_id"], value_set=rows["image_id"].combine_chunks())
    others = len(masks) - (pc.sum(known).as_py() or 0)
    if others and others == len(masks) and len(rows):
        raise UserError(
            f"{key}: none of the {others:,} masks is of an image of the source: their image ids look like "
            f"{masks['image_id'][0].as_py()!r}, the source's like {rows['image_id'][0].as_py()!r}"
        )
    if others:
        say(f"{key}: {others:,} of {len(masks):,} masks are of images that the source does not list")
    return attach_masks(rows, masks)
