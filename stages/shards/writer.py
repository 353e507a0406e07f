"""Mask-noun pairs as a canonical WebDataset shard: the same pairs give the same bytes, everywhere."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from stages.boxes import add_margin
from stages.common import Config, ImageRecord, Match, Mention, Noun, Proposal, digest
from stages.shards.schema import Description, IndexRow

_BLOCK = tarfile.BLOCKSIZE
_BLANK_HEADER = bytearray(tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT))
"""Of a file with mode 0644, owner 0 and time 0, without name, size and checksum."""
_BLANK_HEADER[148:156] = bytes(8)
_DECIMALS = 6
"""Of scores and margins: float32 has no more, and the text stays short."""


class ShardRules(Config):
    """How shards are cut and encoded.

    Attributes:
        images_per_shard: one unit of work; a shard holds the pairs of so many images.
        context_margin: the crop reaches so much beyond the region's box on each side, in units of the box's
            longer side, clipped to the photo.
        jpeg_quality: of the crop; chroma is not subsampled.
        shuffle: images go to shards in an order drawn from the seed instead of the canonical order.
    """

    images_per_shard: int = Field(256, ge=1)
    context_margin: float = Field(0.25, ge=0, le=10)
    jpeg_quality: int = Field(95, ge=1, le=100)
    shuffle: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample, ready to be written.

    Attributes:
        key: no dot, no slash.
        members: contents by extension.
        row: a pair's row of the index, as yet without its place; shards of other samples have no index.
    """

    key: str
    members: dict[str, bytes]
    row: IndexRow | None = None


def build_sample(
    key: str,
    record: ImageRecord,
    image: NDArray[np.uint8],
    proposal: Proposal,
    noun: Noun,
    mentions: list[Mention],
    pair: Match,
    rules: ShardRules,
) -> Sample:
    """Encodes one mask-noun pair.

    Args:
        key: the sample's key: no dot, no slash.
        record: the photo's record.
        image: the photo, [H, W, 3] RGB, uint8.
        proposal: the matched mask, not empty.
        noun: the noun, by its first mention.
        mentions: all places in the photo's captions that mention it.
        pair: score and margins.
        rules: margin and JPEG quality.
    """
    box = proposal.rle.box_xyxy_px
    height, width = image.shape[:2]
    left, top, right, bottom = crop_box = add_margin(box, rules.context_margin, height, width)
    mask = proposal.rle.runs().inside(crop_box)
    row = IndexRow(
        key=key,
        image_id=record.image_id,
        file=record.file,
        caption=record.captions[noun.caption_number],
        caption_number=noun.caption_number,
        noun=noun.surface,
        noun_canonical=noun.canonical,
        noun_start=noun.start,
        noun_end=noun.end,
        noun_rule=noun.rule,
        noun_mentions=len(mentions),
        box_xyxy_px=list(box),
        crop_xyxy_px=list(crop_box),
        image_height_px=height,
        image_width_px=width,
        area_px=proposal.rle.area_px,
        score_cosine=round(pair.score_cosine, _DECIMALS),
        margin_noun=_rounded(pair.margin_noun),
        margin_mask=_rounded(pair.margin_mask),
        proposal_source=proposal.source,
        proposal_score=round(proposal.score, _DECIMALS),
        proposal_label=proposal.label,
        mask_id=digest(proposal.rle.to_coco())[:16],
        license=record.license,
    )
    members = {
        "jpg": _jpeg(image[top:bottom, left:right], rules.jpeg_quality),
        "json": Description(row, mentions, proposal.rle.to_coco()).to_json(),
        "mask.png": _png_1bit(mask),
        "txt": noun.surface.encode("utf-8", errors="replace"),
    }
    return Sample(key, members, row)


def write_shard(samples: Iterable[Sample], file: BinaryIO, name: str = "") -> list[IndexRow]:
    """Writes samples as a canonical tar: USTAR, fixed owner, mode and time, members in order of their names.

    Args:
        samples: in ascending order of their keys.
        file: open for binary writing, at its start.
        name: of the shard in the build's folder, for the index.

    Returns:
        One row of the index per pair, with `offset` (of the sample's first tar header) and `nbytes` (up to the next
        sample), both in bytes: a sample can be read by one ranged request.

    Raises:
        ValueError: keys are not in strictly ascending order.
    """
    rows: list[IndexRow] = []
    last, end = "", 0
    for sample in samples:
        if sample.key <= last:
            raise ValueError(f"sample {sample.key!r} comes after {last!r}: keys must ascend")
        last, start = sample.key, end
        for extension, data in sorted(sample.members.items()):
            member = _header(f"{sample.key}.{extension}", len(data)) + data + bytes(-len(data) % _BLOCK)
            file.write(member)
            end += len(member)
        if sample.row is not None:
            rows.append(replace(sample.row, shard=name, offset=start, nbytes=end - start))
    file.write(bytes(-(end + 2 * _BLOCK) % tarfile.RECORDSIZE + 2 * _BLOCK))
    return rows


def _header(name: str, nbytes: int) -> bytes:
    """A member's 512 bytes, which tarfile would make in twenty times the time.

    Raises:
        ValueError: USTAR has no room for the name or the size.
    """
    raw = name.encode("utf-8")
    if len(raw) > 100 or nbytes >= 8**11:
        member = tarfile.TarInfo(name)
        member.size, member.mode = nbytes, 0o644
        return member.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
    header = bytearray(_BLANK_HEADER)
    header[: len(raw)] = raw
    header[124:135] = b"%011o" % nbytes
    header[148:156] = b"%06o\0 " % (sum(header) + 8 * ord(" "))
    return bytes(header)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _png_1bit(mask: NDArray[np.bool_]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(mask)).save(buffer, format="PNG", optimize=False, compress_level=6)
    return buffer.getvalue()
