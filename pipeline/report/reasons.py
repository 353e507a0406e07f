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
    "empty_file": "0 bytes",
    "undecodable_image": "broken, cut off, or no image",
    "image_too_large": "too many pixels",
    "killed_process": "killed the process that worked on it",
    "empty_caption": "a caption of white space",
    "long_caption": "a caption that is too long",
    "not_english": "a caption in another language",
    "bad_segmentation": "a mask of the input that is damaged",
    "mask_size_mismatch": "a mask of the input with another size than the photo",
    "bad_score": "a mask of the input with an impossible score",
    "unreadable_mask_file": "a mask file that cannot be read",
    "bad_image": "an image of the file without an id or a usable name",
    "duplicate_id": "another image of the file has its id",
    "bad_annotation": "an annotation that lacks a key",
    "unknown_image": "an annotation of none of the file's images",
    "no_mask": "an annotation without a mask",
    "unusable_shape": "a sliver that the model refuses",
    # set aside by the plan, of tars
    "no_image": "a sample without a picture",
    "dotted_key": "a sample that a dot in its key merges with others",
    "duplicate_key": "a key that stands in its tar before, or whose members cannot be told apart",
    "bad_caption": "a caption that is no text",
    "damaged_shard": "bytes of a tar that cannot be read",
    "cut_shard": "a tar that was cut off",
    "unusable_member": "a link, or another member without content",
    "missing_shard": "a tar of a range that is not there",
    "unexpected_error": "any other error; the message names it",
}
