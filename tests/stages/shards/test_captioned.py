"""Samples of tars by the one rule of keys, and the captions and pictures that they hold."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from stages.shards import CaptionedPicture, KeyEndsAt, Trouble, read_captioned_pictures
from stages.shards.reader import key_and_extension
from tests.stages.shards.tars import tar_of

Files = list[tuple[str, bytes]]


def read(files: Files, ends_at: KeyEndsAt = "first_dot") -> tuple[dict[str, CaptionedPicture], list[Trouble]]:
    """Pictures by key, each with the content that its key has in `files`; and what is told."""
    troubles: list[Trouble] = []
    data = tar_of(files)
    found = list(read_captioned_pictures(io.BytesIO(data), ends_at, troubles.append))
    for one in found:
        assert data[one.offset : one.offset + one.nbytes] in [content for _, content in files]
    assert len({one.key for one in found}) == len(found)
    return {one.key: one for one in found}, troubles


def captions(files: Files, ends_at: KeyEndsAt = "first_dot") -> dict[str, tuple[str, ...]]:
    """Captions by key, of files of which nothing is told."""
    found, troubles = read(files, ends_at)
    assert troubles == []
    return {key: one.captions for key, one in found.items()}


def told(troubles: list[Trouble]) -> list[tuple[str | None, str, str]]:
    return [(trouble.item, trouble.reason, trouble.key) for trouble in troubles]


def sample(key: str, text: str = "a dog", **values: Any) -> Files:  # noqa: ANN401 - JSON values
    """Picture, JSON and text, as img2dataset writes them."""
    return [
        (f"{key}.jpg", f"picture of {key}".encode(errors="replace")),
        (f"{key}.json", json.dumps({"caption": text, "key": key, **values}).encode()),
        (f"{key}.txt", text.encode()),
    ]


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("a.jpg", ("a", "jpg"), ("a", "jpg")),
        ("a.MASK.PNG", ("a", "mask.png"), ("a", "mask.png")),
        ("v1.0/a.seg.png", ("v1.0/a", "seg.png"), ("v1.0/a.seg", "png")),
        ("./a.JPG", ("./a", "jpg"), ("./a", "jpg")),
        ("photo.3.mask.png", ("photo", "3.mask.png"), ("photo.3", "mask.png")),
        ("Take 2.0 (final).txt", ("Take 2", "0 (final).txt"), ("Take 2.0 (final)", "txt")),
        ("./._a.jpg", None, None),
        (".DS_Store", None, None),
        (".mask.png", None, None),
        ("README", None, None),
        ("v1.0/README", None, None),
        ("a.", None, None),
    ],
)
def test_a_key_ends_at_the_first_dot_behind_the_folders_or_at_the_last_one(
    name: str, first: tuple[str, str] | None, last: tuple[str, str] | None
) -> None:
    assert key_and_extension(name) == first
    assert key_and_extension(name, "last_dot") == last


class TestKeys:
    def test_dotted_keys_are_told_each_by_its_key_with_members_and_the_remedy(self) -> None:
        files = [*sample("photo.0"), *sample("photo.1"), *sample("other")]
        found, troubles = read(files)
        assert list(found) == ["other"]
        assert told(troubles) == [("image", "dotted_key", "photo.0"), ("image", "dotted_key", "photo.1")]
        assert troubles[0].message == (
            "a key ends at the first dot of a name, and so these belong to the key photo: photo.0.jpg, photo.0.json, "
            "photo.0.txt; if photo.0 is a sample of its own, set key_ends_at: last_dot"
        )

    def test_they_are_samples_where_keys_end_at_the_last_dot(self) -> None:
        files = [file for key in ("photo.0", "photo.1", "11 Take 2.0 (final)", "v1.0/22.05") for file in sample(key)]
        assert list(captions(files, "last_dot")) == ["photo.0", "photo.1", "11 Take 2.0 (final)", "v1.0/22.05"]

    def test_a_sample_of_its_own_beside_a_dotted_one_is_read(self) -> None:
        found, troubles = read([*sample("a"), *sample("a.b"), ("a.seg.png", b"labels")])
        assert list(found) == ["a"]
        assert told(troubles) == [("image", "dotted_key", "a.b")]

    def test_members_with_extensions_of_two_parts_are_no_samples(self) -> None:
        assert list(captions([*sample("a"), ("a.mask.png", b"mask"), ("a.seg.png", b"labels")])) == ["a"]

    def test_names_of_input_and_output_are_told_by_key_and_members(self) -> None:
        found, (trouble,) = read([("s0.input.jpg", b"1"), ("s0.output.jpg", b"2"), ("s0.txt", b"a dog")])
        assert found == {}
        assert told([trouble]) == [("image", "no_image", "s0")]
        assert "s0: s0.input.jpg, s0.output.jpg, s0.txt hold no picture; expected KEY.jpg" in trouble.message
        assert "a key ends at the first dot" in trouble.message

    def test_a_key_that_comes_again_is_set_aside_and_never_mixed(self) -> None:
        again = [("0.jpg", b"other picture"), ("0.txt", b"other caption")]
        for files in ([*sample("0"), *sample("1"), *again], [*sample("0"), *again, *sample("1")]):
            found, (trouble,) = read(files)
            assert found.keys() == {"0", "1"} or (trouble.reason, found.keys()) == ("duplicate_key", {"1"})
            if one := found.get("0"):
                assert (one.captions, one.nbytes) == (("a dog",), len(b"picture of 0"))
            assert (trouble.reason, trouble.key) == ("duplicate_key", "0")

    def test_two_whole_samples_of_a_key_side_by_side_are_told_apart(self) -> None:
        found, (trouble,) = read([*sample("0", "a dog"), *sample("0", "a cat")])
        assert found["0"].captions == ("a dog",)
        assert told([trouble]) == [("image", "duplicate_key", "0")]
        assert trouble.message.startswith("0: 0.jpg, 0.json, 0.txt come again at byte 3072, after byte 0")

    def test_a_text_that_came_to_a_neighbour_s_key_is_not_its_caption(self) -> None:
        (jpg, _, text), other = sample("0"), sample("1", "a cat")
        found, troubles = read([jpg, ("1.txt", text[1]), *other])
        assert found["0"].captions == ()
        assert "1" not in found
        assert told(troubles) == [("image", "duplicate_key", "1")]
        assert "more than one of txt" in troubles[0].message

    def test_members_of_a_sample_may_stand_apart(self) -> None:
        files = [*sample("0", "a dog"), *sample("1", "a cat")]
        files.sort(key=lambda file: file[0].rpartition(".")[2])
        assert captions(files) == {"0": ("a dog",), "1": ("a cat",)}

    def test_endings_have_any_case(self) -> None:
        files = [(name.upper(), data) for name, data in sample("a")]
        assert captions(files) == {"A": ("a dog",)}

    def test_files_of_other_programs_are_no_samples_and_counted(self) -> None:
        files = [file for name, data in sample("0") for file in ((f"./._{name}", b"mac"), (f"./{name}", data))]
        found, troubles = read([*files, (".DS_Store", b"mac"), ("README", b"text")])
        assert {key: one.captions for key, one in found.items()} == {"./0": ("a dog",)}
        assert told(troubles) == [(None, "stray_member", "")] * 5
        assert troubles[0].message == "./._0.jpg is no part of a sample"

    def test_of_several_pictures_the_first_kind_is_taken_and_it_is_told(self) -> None:
        found, (trouble,) = read([("0.png", b"labels"), ("0.jpg", b"photo"), ("0.txt", b"a dog")])
        assert found["0"].nbytes == len(b"photo")
        assert told([trouble]) == [(None, "several_pictures", "0")]
        assert "0: 0.png, 0.jpg, 0.txt hold several pictures" in trouble.message

    def test_keys_that_are_no_utf8_are_escaped(self) -> None:
        assert captions(sample("caf\udce9", "a dog")) == {"caf\\xe9": ("a dog",)}


class TestCaptions:
    def one(self, **members: bytes) -> tuple[tuple[str, ...], list[Trouble]]:
        found, troubles = read([("0.jpg", b"picture"), *((f"0.{name}", data) for name, data in members.items())])
        return found["0"].captions, troubles

    @pytest.mark.parametrize(
        ("members", "expected"),
        [
            ({"txt": b"a dog"}, ("a dog",)),
            ({"txt": b"\xef\xbb\xbfa dog"}, ("a dog",)),
            ({"json": b'\xef\xbb\xbf{"caption": "a cat"}'}, ("a cat",)),
            ({"txt": b"a dog", "json": b'{"caption": "a cat"}'}, ("a dog",)),
            ({"txt": b"", "json": b'{"caption": "a cat"}'}, ("a cat",)),
            ({"txt": b" \n", "json": b'{"caption": "a cat"}'}, ("a cat",)),
            ({"txt": b"", "json": b'{"width": 3}'}, ("",)),
            ({"json": b'{"caption": ["a cat", "two cats"]}'}, ("a cat", "two cats")),
            ({"txt": b"['a cat', 'two cats']", "json": b'{"caption": ["a cat", "two cats"]}'}, ("a cat", "two cats")),
            ({"txt": b"a cat", "json": b'{"captions": ["a cat", "two cats"]}'}, ("a cat", "two cats")),
            ({"txt": b"a cat", "json": b'{"caption": []}'}, ("a cat",)),
            ({"json": b'{"caption": null}'}, ()),
            ({}, ()),
        ],
    )
    def test_lists_come_before_the_text_and_the_text_before_the_json_s(
        self, members: dict[str, bytes], expected: tuple[str, ...]
    ) -> None:
        assert self.one(**members) == (expected, [])

    @pytest.mark.parametrize(
        ("members", "expected", "reason", "text"),
        [
            (
                {"txt": b"caf\xe9"},
                (),
                "bad_caption",
                "0.txt at byte 1536 is no UTF-8 text: unexpected end of data, byte 3",
            ),
            ({"txt": "a dog".encode("utf-16")}, (), "bad_caption", "looks like UTF-16"),
            ({"txt": b"\xff", "json": b'{"caption": "a cat"}'}, ("a cat",), "bad_caption", "0.txt at byte 1536"),
            ({"json": b'{"caption": ["a cat", 5, {}]}'}, ("a cat",), "bad_caption", "0.json: a caption is '5'"),
            ({"json": b'{"caption": 5}'}, (), "bad_caption", "expected a text"),
            ({"json": rb'{"caption": ["a \ud83d dog", "a cat"]}'}, ("a cat",), "bad_caption", r"a \\ud83d dog"),
            ({"json": b"{broken"}, (), "bad_caption", "0.json at byte 1536 cannot be read"),
            ({"json": b"[" * 100_000}, (), "bad_caption", "expected a JSON object"),
            ({"json": b'["a cat"]'}, (), "bad_caption", "0.json at byte 1536 is a list"),
        ],
    )
    def test_a_bad_caption_is_told_alone(
        self, members: dict[str, bytes], expected: tuple[str, ...], reason: str, text: str
    ) -> None:
        found, troubles = self.one(**members)
        assert found == expected
        assert {trouble.reason for trouble in troubles} == {reason}
        assert {trouble.item for trouble in troubles} == {"caption"}
        assert text in troubles[0].message

    def test_a_damaged_json_beside_a_text_loses_no_caption(self) -> None:
        found, (trouble,) = self.one(txt=b"a dog", json=b"{broken")
        assert found == ("a dog",)
        assert told([trouble]) == [(None, "bad_json", "0")]

    def test_what_no_file_can_hold_is_escaped_in_a_licence(self) -> None:
        found, _ = read(sample("0", license="\ud800 free"))
        assert found["0"].license == "\\ud800 free"


class TestOddCaptions:
    @pytest.mark.parametrize(
        ("values", "wanted"),
        [
            ({"captions": "a text"}, ("a text",)),
            ({"captions": "a text", "caption": ""}, ("a text",)),
            ({"captions": [], "caption": "b"}, ("b",)),
            ({"caption": None, "captions": None}, ()),
        ],
    )
    def test_a_text_among_captions_is_one(self, values: dict[str, Any], wanted: tuple[str, ...]) -> None:
        assert captions([("0.jpg", b"1"), ("0.json", json.dumps(values).encode())]) == {"0": wanted}

    @pytest.mark.parametrize("value", [0, False, {}, 1.5])
    def test_what_is_no_text_is_told_also_if_it_counts_as_nothing(self, value: object) -> None:
        found, troubles = read([("0.jpg", b"1"), ("0.json", json.dumps({"caption": value}).encode())])
        assert found["0"].captions == ()
        assert told(troubles) == [("caption", "bad_caption", "0")]

    @pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32"])
    def test_a_text_in_a_wide_encoding_is_told_as_that(self, encoding: str) -> None:
        found, troubles = read([("0.jpg", b"1"), ("0.txt", "A dog".encode(encoding))])
        assert found["0"].captions == ()
        assert told(troubles) == [("caption", "bad_caption", "0")]
        assert f"(it looks like {encoding.upper()})" in troubles[0].message

    def test_a_zero_in_a_text_is_no_encoding(self) -> None:
        texts = [b"A\0dog", b"A \0\0 dog", b"a", b""]
        files = [file for key, text in enumerate(texts) for file in ((f"{key}.jpg", b"1"), (f"{key}.txt", text))]
        assert list(captions(files).values()) == [(text.decode(),) for text in texts]
