"""Names of photos in a source: one spelling for one file, and no name that cannot be a file's."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from urllib.parse import unquote, urlsplit

from stages.common import SampleError, escaped, knows_protocol

MOST_BYTES_OF_PART = 255
_MOST_BYTES = 4095
_SHOWN_CHARS = 60
_LOCAL = ("file", "local")
NEEDS_A_LOOK = r"^\s*$|^\.\.?(/|$)|/\.{0,2}(/|$)|://|\x00|^[Dd][Aa][Tt][Aa]:"
"""Names without this, and not too long, are normal."""
_needs_a_look = re.compile(NEEDS_A_LOOK)


def normal_name(name: str, root: str = "") -> str:
    """A photo's path or URL, without detours; below the root it is relative to it.

    Args:
        name: as the source has it.
        root: folder or URL that names are relative to.

    Raises:
        SampleError: bad_name, unknown_protocol, data_uri: it cannot be that of a file.
    """
    if len(name) <= _SHOWN_CHARS and not name.startswith("/") and not _needs_a_look.search(name):
        return name
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
    name = _normal_url(name.strip()) if "://" in name else name
    name = name if "://" in name else _normal_path(name)
    base = base_of(root)
    return name[len(base) :].lstrip("/") if base and name.startswith(base) else name


def base_of(root: str) -> str:
    """What names below a root begin with if they are not relative; empty if there is no such thing."""
    plain = root if "://" in root else posixpath.normpath(root)
    return "" if plain.strip("/.") == "" or not ("://" in plain or plain.startswith("/")) else plain.rstrip("/") + "/"


def loosely(name: str) -> str:
    """What spellings of one name have in common: capitals, %-escapes, composed letters, backslashes, spaces around."""
    return unicodedata.normalize("NFC", unquote(name)).replace("\\", "/").strip().casefold()


def shown(name: str) -> str:
    """The beginning of a name, for a message."""
    text = escaped(name)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


def _normal_url(url: str) -> str:
    before, _, after = url.partition("://")
    chain, colons, protocol = before.rpartition("::")
    if not knows_protocol(protocol.lower()):
        raise SampleError("unknown_protocol", f"there is no protocol {shown(protocol)!r}: {shown(url)}")
    if not after.strip("/"):
        raise SampleError("bad_name", f"this is no address, but its beginning: {shown(url)}")
    if protocol.lower() in _LOCAL and not chain:
        return after
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
    if longest > MOST_BYTES_OF_PART or len(path.encode()) > _MOST_BYTES:
        raise SampleError(
            "bad_name",
            f"the photo's name is too long: {len(path.encode())} bytes, of {longest} in one part ({shown(path)}); a "
            f"file's has at most {_MOST_BYTES} and {MOST_BYTES_OF_PART}",
        )
    return path
