"""Names of photos in a table: one spelling for one file, and no name that cannot be a file's."""

from __future__ import annotations

import posixpath
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.tables.rows import Problems, shown
from stages.common import SampleError, knows_protocol

_MOST_BYTES_OF_PART = 255
_MOST_BYTES = 4095
_WEB = r"^https?://[A-Za-z0-9.-]+(:\d{1,4})?([/?#]|$)"
_NEEDS_A_LOOK = r"^\s*$|^\.\.?(/|$)|/\.{0,2}(/|$)|://|\x00|^[Dd][Aa][Tt][Aa]:"


def with_names(rows: pa.Table, problems: Problems) -> pa.Table:
    """Rows whose photo has a name that a file can have, spelled in one way, and whose id is there if it is asked for.

    Args:
        rows: of a table (schema ROW).
        problems: gets the other rows.
    """
    names = rows["image"].fill_null("")
    is_odd = pc.and_not(pc.match_substring_regex(names, _NEEDS_A_LOOK), pc.match_substring_regex(names, _WEB))
    is_odd = pc.or_(is_odd, pc.greater(pc.binary_length(names), _MOST_BYTES_OF_PART))
    is_odd = pc.and_(pc.or_(is_odd, pc.match_substring(names, "\0")), rows["row"].is_null())
    if pc.any(is_odd).as_py():
        rows = _looked_at(rows, is_odd.combine_chunks(), problems)
    if "id" in problems.columns:
        is_empty = pc.equal(rows["id"].fill_null(""), "")
        for line in rows["line"].filter(is_empty).to_pylist():
            problems.row(line, "no_id", f"column {problems.columns['id']!r} is empty")
        rows = rows.filter(pc.invert(is_empty))
    return rows


def _looked_at(rows: pa.Table, is_odd: pa.BooleanArray, problems: Problems) -> pa.Table:
    """Rows with the odd ones of their names made plain, or left out."""
    odd = rows.filter(is_odd)
    names: list[str | None] = []
    for line, name in zip(odd["line"].to_pylist(), odd["image"].to_pylist(), strict=True):
        try:
            if not name or name.isspace():
                raise SampleError("no_image", f"column {problems.columns['image']!r} is empty")
            names.append(normal_name(name))
        except SampleError as error:
            names.append(None)
            problems.row(line, error.reason, error.message)
    image = pc.replace_with_mask(rows["image"].combine_chunks(), is_odd, pa.array(names, pa.string()))
    rows = rows.set_column(rows.schema.get_field_index("image"), rows.schema.field("image"), image)
    return rows.filter(pc.or_(rows["row"].is_valid(), image.is_valid()))


def normal_name(name: str) -> str:
    """A photo's path or URL, without detours.

    Raises:
        SampleError: bad_name, unknown_protocol, data_uri: it cannot be that of a file.
    """
    if "\0" in name:
        raise SampleError(
            "bad_name", f"the photo's name holds a NUL character: {shown(name.replace(chr(0), chr(92) + '0'))}"
        )
    if name[:5].lower() == "data:":
        raise SampleError(
            "data_uri",
            f"the photo itself, {len(name)} characters, stands where its name should ({shown(name)}); "
            "write pictures to files, or as bytes into Parquet",
        )
    return _normal_url(name.strip()) if "://" in name else _normal_path(name)


def _normal_url(url: str) -> str:
    before, _, after = url.partition("://")
    chain, colons, protocol = before.rpartition("::")
    if not knows_protocol(protocol.lower()):
        raise SampleError("unknown_protocol", f"there is no protocol {shown(protocol)!r}: {shown(url)}")
    url = f"{chain}{colons}{protocol.lower()}://{after}"
    try:
        parts = urlsplit(url)
        is_address = bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:
        is_address = False
    if protocol.lower() in ("http", "https") and not is_address:
        raise SampleError("bad_name", f"this is no address of a web server: {shown(url)}")
    return url


def _normal_path(path: str) -> str:
    path = posixpath.normpath(path)
    longest = max(len(part.encode()) for part in path.split("/"))
    if longest > _MOST_BYTES_OF_PART or len(path.encode()) > _MOST_BYTES:
        raise SampleError(
            "bad_name",
            f"the photo's name is too long: {len(path.encode())} bytes, of {longest} in one part ({shown(path)}); a "
            f"file's has at most {_MOST_BYTES} and {_MOST_BYTES_OF_PART}",
        )
    return path
