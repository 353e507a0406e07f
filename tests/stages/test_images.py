"""Photos of every sort come out upright, 8-bit, RGB; what cannot be decoded is refused with a stable reason."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from stages import images
from stages.common import SampleError
from stages.images import decode_image, files_of_kind
from tests.photos import jpeg

# Red top left, green top right, blue bottom left, white bottom right: 24 x 32, no two orientations look alike.
CORNERS = np.zeros((24, 32, 3), np.uint8)
CORNERS[:12, :16], CORNERS[:12, 16:], CORNERS[12:, :16], CORNERS[12:, 16:] = (
    (250, 10, 10),
    (10, 250, 10),
    (10, 10, 250),
    (240, 240, 240),
)

# EXIF: where the stored picture's first row and first column lie on the upright one.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: upright.transpose(1, 0, 2)[::-1],
    7: lambda upright: upright.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda upright: upright.transpose(1, 0, 2)[:, ::-1],
}


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401 - Pillow's options
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "a description"
    return exif


def reason_of(data: bytes, **options: int) -> str:
    with pytest.raises(SampleError) as caught:
        decode_image(data, **options)
    return caught.value.reason


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = np.array([[0, 128, 129, 257, 25700, 32768, 65535]], np.uint16)
    decoded = decode_image(encoded(Image.fromarray(values), "PNG"))
    assert decoded.dtype == np.uint8
    assert decoded[0].tolist() == [[v, v, v] for v in (0, 0, 1, 1, 100, 128, 255)]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_turned_upright(kind: str) -> None:
    values = np.array([[0, 25700, 65535]], np.uint16)
    decoded = decode_image(encoded(Image.fromarray(values), kind, exif=exif_of(6)))
    assert decoded[:, 0, 0].tolist() == [0, 100, 255]


def test_sixteen_bit_rgb_keeps_its_colours() -> None:
    cv2 = pytest.importorskip("cv2")
    wide = CORNERS.astype(np.uint16) * 257
    _, data = cv2.imencode(".png", np.ascontiguousarray(wide[..., ::-1]))
    np.testing.assert_array_equal(decode_image(data.tobytes()), CORNERS)


def test_cmyk_jpeg_gets_its_colours_back() -> None:
    cmyk = Image.fromarray(CORNERS).convert("CMYK")
    decoded = decode_image(encoded(cmyk, "JPEG", quality=98))
    assert np.abs(decoded[4:8, 4:8].astype(int) - CORNERS[4:8, 4:8]).max() <= 6
    assert np.abs(decoded[16:20, 4:8].astype(int) - CORNERS[16:20, 4:8]).max() <= 6


def test_transparent_palette_entry_shows_white() -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), mode="P")
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    assert decode_image(encoded(image, "PNG", transparency=1))[0].tolist() == [
        [200, 0, 0],
        [255, 255, 255],
        [0, 0, 200],
    ]


def test_alpha_is_laid_on_white() -> None:
    pixels = np.array([[[100, 50, 0, 255], [100, 50, 0, 0], [100, 50, 0, 128]]], np.uint8)
    decoded = decode_image(encoded(Image.fromarray(pixels), "PNG"))[0].astype(int)
    assert decoded[0].tolist() == [100, 50, 0]
    assert decoded[1].tolist() == [255, 255, 255]
    assert np.abs(decoded[2] - [177, 152, 127]).max() <= 1


def test_grey_becomes_three_equal_channels() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(grey), "PNG")), np.stack([grey] * 3, axis=-1))


@pytest.mark.parametrize("orientation", sorted(STORED))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_all_orientations_give_the_same_upright_photo(kind: str, orientation: int) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](CORNERS)))
    by_kind: dict[str, dict[str, int]] = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}
    options = by_kind.get(kind, {})
    decoded = decode_image(encoded(stored, kind, exif=exif_of(orientation), **options))
    assert decoded.shape == CORNERS.shape
    assert np.abs(decoded.astype(int) - CORNERS).max() <= (12 if kind == "JPEG" else 0)


def test_unknown_orientation_leaves_the_photo_as_stored() -> None:
    data = encoded(Image.fromarray(CORNERS), "PNG", exif=exif_of(9))
    np.testing.assert_array_equal(decode_image(data), CORNERS)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_damaged_exif_costs_no_photo(kind: str) -> None:
    data = encoded(Image.fromarray(CORNERS), kind, exif=b"Exif\x00\x00no TIFF header", lossless=True)
    np.testing.assert_array_equal(decode_image(data), CORNERS)


def test_a_damaged_tag_beside_the_orientation_costs_no_photo() -> None:
    # Orientation 6, and the resolution (0x011A) as text instead of a ratio: Pillow reads that, but cannot write it.
    entries = struct.pack(">HHII", 0x0112, 3, 1, 6 << 16) + struct.pack(">HHI4s", 0x011A, 2, 4, b"abc\x00")
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08" + struct.pack(">H", 2) + entries + bytes(4)
    stored = np.ascontiguousarray(STORED[6](CORNERS))
    decoded = decode_image(jpeg(stored, exif=exif))
    assert decoded.shape == CORNERS.shape
    assert decoded[4, 4, 0] > 200 > 60 > decoded[4, 4, 2]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_first_frame_of_several_is_taken(kind: str) -> None:
    other = Image.fromarray(np.full_like(CORNERS, 90))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(Image.fromarray(CORNERS), kind, save_all=True, append_images=[other], **options)
    assert np.abs(decode_image(data).astype(int) - CORNERS).max() <= 8


def test_no_bytes_are_an_empty_file() -> None:
    assert reason_of(b"") == "empty_file"


def test_a_web_page_is_no_image() -> None:
    assert reason_of(b"<!DOCTYPE html><html><body>404 Not Found</body></html>") == "undecodable_image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_a_truncated_photo_is_refused(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    assert reason_of(data[: len(data) // 2]) == "undecodable_image"


def test_pixels_without_a_range_are_refused() -> None:
    assert reason_of(encoded(Image.new("F", (4, 4)), "TIFF")) == "undecodable_image"


def test_postscript_is_refused_without_running_ghostscript(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.fromarray(CORNERS), "EPS")
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("ran Ghostscript"))
    with pytest.raises(SampleError, match="PostScript"):
        decode_image(data)


def test_max_pixels_is_the_largest_size_taken() -> None:
    data = encoded(Image.fromarray(CORNERS), "PNG")
    assert decode_image(data, max_pixels=24 * 32).shape == (24, 32, 3)
    assert reason_of(data, max_pixels=24 * 32 - 1) == "image_too_large"


def test_a_side_that_no_jpeg_can_have_is_refused() -> None:
    assert reason_of(encoded(Image.new("1", (65_501, 1)), "PNG")) == "image_too_large"
    longest = decode_image(encoded(Image.new("1", (65_500, 1)), "PNG"))
    assert Image.open(io.BytesIO(jpeg(longest))).size == (65_500, 1)


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    header = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    assert reason_of(header + _chunk(b"IDAT", b"")) == "image_too_large"


def _chunk(kind: bytes, content: bytes) -> bytes:
    import zlib

    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_messages_are_the_same_each_time_and_hold_no_addresses() -> None:
    noise: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    whole = encoded(Image.fromarray(noise), "PNG")
    for data in (b"no image at all", whole[:60], whole[: len(whole) // 2], jpeg(noise)[:300]):
        messages = set()
        for _ in range(3):
            with pytest.raises(SampleError) as caught:
                decode_image(bytes(bytearray(data)))
            messages.add(str(caught.value))
        assert len(messages) == 1
        assert "0x" not in messages.pop()


def test_any_damage_is_a_sample_error_or_a_photo() -> None:
    generator = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000"):
        whole = encoded(Image.fromarray(CORNERS), kind, exif=exif_of(6))
        for _ in range(40):
            data = bytearray(whole)
            for place in generator.integers(0, min(len(data), 120), 4):
                data[place] = generator.integers(256)
            try:
                decoded = decode_image(bytes(data), max_pixels=1_000_000)
            except SampleError:
                continue
            assert decoded.ndim == 3
            assert decoded.shape[2] == 3


def png(**texts: bytes) -> tuple[NDArray[np.uint8], bytes]:
    """Noise, and a PNG of it with chunks of these names behind the header."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    data = buffer.getvalue()
    header = 8 + 25
    chunks = b"".join(
        struct.pack(">I", len(content))
        + name.encode()
        + content
        + struct.pack(">I", zlib.crc32(name.encode() + content))
        for name, content in texts.items()
    )
    return pixels, data[:header] + chunks + data[header:]


LONG = b"x" * 3_000_000
TEXTS = {
    "zTXt": b"note\0\0" + zlib.compress(LONG),
    "iTXt": b"note\0\1\0\0\0" + zlib.compress(LONG),
    "iCCP": b"name\0\0" + zlib.compress(LONG),
    "tEXt": b"note\0" + LONG * 25,
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_png_is_as_good_without_a_long_text_or_profile(name: str) -> None:
    pixels, data = png(**{name: TEXTS[name]})
    np.testing.assert_array_equal(decode_image(data), pixels)


def test_a_damaged_text_does_not_cost_a_png() -> None:
    pixels, data = png(tEXt=b"note\0hello")
    np.testing.assert_array_equal(decode_image(data.replace(b"hello", b"jello")), pixels)


def test_a_png_that_is_damaged_beside_a_long_text_is_refused() -> None:
    _, data = png(zTXt=TEXTS["zTXt"])
    with pytest.raises(SampleError, match="undecodable_image"):
        decode_image(data[:-40])


def test_files_are_known_by_their_endings_in_any_case_and_hidden_ones_left_out() -> None:
    names = ["b.JPG", "a.jpg", "._a.jpg", "x/.b.png", "x/c.PNG", "a.json", "jpg", ".jpg"]
    assert files_of_kind(names) == (["a.jpg", "b.JPG", "x/c.PNG"], ["._a.jpg", ".jpg", "a.json", "jpg", "x/.b.png"])
    assert files_of_kind(names, (".json",))[0] == ["a.json"]


def by_pillow(data: bytes, monkeypatch: pytest.MonkeyPatch) -> NDArray[np.uint8] | str:
    with monkeypatch.context() as patch:
        patch.setattr("stages.images._plain_jpeg", lambda *given: None)
        return shown(data)


def shown(data: bytes) -> NDArray[np.uint8] | str:
    try:
        return decode_image(data)
    except SampleError as error:
        return error.reason


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True, "quality": 40}])
def test_a_plain_jpeg_is_the_same_by_both_decoders(
    subsampling: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (61, 83, 3)).astype(np.uint8).repeat(2, axis=0)
    data = encoded(Image.fromarray(pixels), "JPEG", subsampling=subsampling, **options)
    assert images._plain_jpeg(data, 100_000_000) is not None
    assert np.array_equal(shown(data), by_pillow(data, monkeypatch))


@pytest.mark.parametrize("kind", ["grey", "cmyk", "exif", "adobe", "cut", "large"])
def test_other_jpegs_are_left_to_pillow(kind: str) -> None:
    image = Image.fromarray(CORNERS)
    data = {
        "grey": lambda: encoded(image.convert("L"), "JPEG"),
        "cmyk": lambda: encoded(image.convert("CMYK"), "JPEG"),
        "exif": lambda: encoded(image, "JPEG", exif=exif_of(6)),
        "adobe": lambda: encoded(image, "JPEG", keep_rgb=True),
        "cut": lambda: encoded(image, "JPEG")[:-9],
        "large": lambda: encoded(image, "JPEG"),
    }[kind]()
    assert images._plain_jpeg(data, 24 * 32 - (kind == "large")) is None


def test_a_damaged_jpeg_is_the_same_by_both_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    pixels = np.kron(rng.integers(0, 256, (9, 11, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    whole = encoded(Image.fromarray(pixels), "JPEG")
    for _ in range(400):
        data = bytearray(whole)
        for place in rng.integers(2, len(whole) - 2, rng.integers(1, 4)):
            data[place] = rng.integers(256)
        found, expected = shown(bytes(data)), by_pillow(bytes(data), monkeypatch)
        assert np.array_equal(found, expected), bytes(data)[:40]
