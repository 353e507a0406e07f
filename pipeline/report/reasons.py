"""What the short reason codes mean, in a few words; docs/formats.md has them in full."""

from __future__ import annotations

MEANINGS: dict[str, str] = {
    # images without pairs
    "no_captions": "the image has no caption",
    "no_nouns": "no usable noun in its captions",
    "no_proposals": "no mask was proposed or kept",
    # nouns
    "not_a_word": "no word of the lexicon",
    "negated": "the caption says that it is not there",
    "modifier": "describes another noun",
    "junk": "a word such as photo, side or group",
    "name": "a name",
    "abstract": "nothing that can be seen",
    "repeated": "said before in the same caption",
    # proposals
    "empty_mask": "no pixel",
    "below_min_score": "score under the threshold",
    "below_min_area": "too small",
    "duplicate_mask": "nearly the same as a better mask",
    "over_max_count": "more masks than are kept for an image",
    # matching
    "not_mutual": "its best mask prefers another noun",
    "unassigned": "no mask left for it in the assignment",
    "below_margin_noun": "another noun fits the mask nearly as well",
    "below_margin_mask": "another mask fits the noun nearly as well",
    "over_max_pairs_per_mask": "the mask has enough better nouns",
    # quarantine
    "excluded": "the manifest excludes it",
    "missing_file": "no such file",
    "unreadable_file": "no permission, or a folder",
    "unreachable": "its web server fails, or does not answer",
    "empty_file": "0 bytes",
    "undecodable_image": "broken, cut off, or no image",
    "image_too_large": "too many pixels",
    "killed_process": "killed the process that worked on it",
    "empty_caption": "a caption of white space",
    "long_caption": "a caption that is too long",
    "bad_segmentation": "a mask of the input that is damaged",
    "mask_size_mismatch": "a mask of the input with another size than the photo",
    "bad_score": "a mask of the input with an impossible score",
    "unreadable_mask_file": "a mask file that cannot be read",
    "unusable_shape": "a sliver that the model refuses",
    # set aside by the plan, of tars
    "no_image": "a sample without a picture, or a row without a photo's name",
    "dotted_key": "a sample that a dot in its key merges with others",
    "duplicate_key": "a key that stands in its tar before, or whose members cannot be told apart",
    "bad_caption": "a caption that is no text",
    "damaged_shard": "bytes of a tar that cannot be read",
    "cut_shard": "a tar that was cut off",
    "unusable_member": "a link, or another member without content",
    "missing_shard": "a tar of a range that is not there",
    # and of tables
    "no_id": "a row without an id",
    "id_of_two_files": "an id that stands for another file before",
    "bad_name": "a name that no file can have",
    "unknown_protocol": "a URL of a protocol that does not exist",
    "data_uri": "a photo in the place of its name",
    "bad_quotes": "a quote mark that is not closed",
    "bad_cells": "another number of cells than the header",
    "bad_json": "no JSON object",
    "bad_encoding": "bytes of another encoding",
    "damaged_row": "in a damaged part of a Parquet file",
    "unexpected_error": "any other error; the message names it",
}
