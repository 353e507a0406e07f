"""Recall, variety, duplicates and the bounds of what is counted, on paper."""

from __future__ import annotations

from pathlib import Path

from pipeline.audit import audit
from tests.pipeline.audit.tiny import mask, pair, write_build, write_truth

LEFT, RIGHT, LOW, WHOLE = (
    mask((0, 0, 40, 40)),
    mask((60, 0, 100, 40)),
    mask((0, 60, 40, 100)),
    mask((0, 0, 100, 100)),
)


def test_recall_counts_instances_classes_and_classes_of_each_image(tmp_path: Path) -> None:
    """Two images, five instances of three classes; the second image's dog and the cat are not found."""
    build = write_build(
        tmp_path / "build",
        {"1": [pair("dog", LEFT), pair("hound dog", RIGHT), pair("animal", LOW)], "2": [pair("dog", LOW)]},
        nouns=4,
    )
    truth = write_truth(
        tmp_path / "truth.json",
        ["dog", "cat", "ball"],
        {"1": [("dog", LEFT), ("dog", RIGHT), ("cat", LOW)], "2": [("dog", LEFT), ("ball", RIGHT), ("cat", WHOLE, 1)]},
    )
    report = audit(str(build), [truth])
    recall = report["recall"]["0.5"]
    assert (recall["instances"], recall["crowds"], recall["classes"], recall["image_classes"]) == (5, 1, 3, 4)
    assert recall["exact"] == {"instances": 1 / 5, "classes": 1 / 3, "image_classes": 1 / 4}
    # "animal" finds the cat; "hound dog" is a kind of dog, and finds the second one
    assert recall["hypernym"] == {"instances": 2 / 5, "classes": 2 / 3, "image_classes": 2 / 4}
    assert recall["hyponym"] == {"instances": 3 / 5, "classes": 2 / 3, "image_classes": 2 / 4}
    assert report["grounded"] == {"images": 2, "nouns": 8, "pairs": 4, "share": 0.5}


def test_head_and_tail_are_the_commonest_tenth_and_the_rarer_half_of_the_nouns(tmp_path: Path) -> None:
    """Four nouns with 5, 2, 1 and 1 pairs; the head is one noun, the tail two."""
    words = [("dog", LEFT)] * 3 + [("dog", RIGHT)] * 2 + [("cat", RIGHT)] * 2 + [("ball", LEFT), ("mountain", LOW)]
    build = write_build(tmp_path / "build", {str(n): [pair(*word)] for n, word in enumerate(words)})
    regions = [("dog", LEFT), ("cat", RIGHT), ("ball", LOW)]
    truth = write_truth(tmp_path / "truth.json", ["dog", "cat", "ball"], {str(n): regions for n in range(len(words))})
    nouns = audit(str(build), [truth])["nouns"]
    assert (nouns["unique"], nouns["unique_canonical"], nouns["right_canonical"], nouns["once"]) == (4, 4, 2, 2)
    assert nouns["head"] == {"nouns": 1, "pairs": 5, "share": 5 / 9, "precision": 3 / 5}
    assert nouns["tail"] == {"nouns": 2, "pairs": 2, "share": 2 / 9, "precision": 0.0}
    assert nouns["most_wrong"] == [{"noun": "dog", "pairs": 2}, {"noun": "ball", "pairs": 1}]
    assert nouns["most_unknown"] == [{"noun": "mountain", "pairs": 1}]


def test_the_tail_of_three_nouns_is_one_and_the_head_is_one(tmp_path: Path) -> None:
    words = ["dog", "dog", "ball", "cat"]
    build = write_build(tmp_path / "build", {str(n): [pair(word, LEFT)] for n, word in enumerate(words)})
    truth = write_truth(tmp_path / "truth.json", ["cat"], {str(n): [("cat", LEFT)] for n in range(4)})
    nouns = audit(str(build), [truth])["nouns"]
    assert nouns["head"] == {"nouns": 1, "pairs": 2, "share": 2 / 4, "precision": None}
    assert nouns["tail"] == {"nouns": 1, "pairs": 1, "share": 1 / 4, "precision": 1.0}


def test_plurals_are_the_same_noun_but_another_text(tmp_path: Path) -> None:
    build = write_build(tmp_path / "build", {"1": [pair("dog", LEFT), pair("dogs", LEFT, canonical="dog")]})
    truth = write_truth(tmp_path / "truth.json", ["dog"], {"1": [("dog", LEFT)]})
    report = audit(str(build), [truth])
    assert (report["nouns"]["unique"], report["nouns"]["unique_canonical"]) == (2, 1)
    assert report["masks"]["several_nouns"] == 0


def test_nouns_on_one_mask_contradict_each_other_if_they_share_no_class(tmp_path: Path) -> None:
    build = write_build(
        tmp_path / "build",
        {
            "1": [pair("dog", LEFT), pair("cat", LEFT), pair("ball", RIGHT)],
            "2": [pair("dog", LEFT), pair("animal", LEFT)],  # the same mask in another image is another mask
            "3": [pair("dog", LEFT), pair("mountain", LEFT), pair("dogs", LEFT, canonical="dog")],
            "4": [pair("dog", LEFT), pair("mountain", LEFT), pair("cat", LEFT)],
        },
    )
    truth = write_truth(tmp_path / "truth.json", ["dog", "cat", "ball"], {str(n): [("dog", LEFT)] for n in range(1, 5)})
    assert audit(str(build), [truth])["masks"] == {
        "masks": 5,
        "several_nouns": 4,
        "contradictory": 2,
        "undecided": 1,
        "compatible": 1,
        "pairs_on_them": 10,
        "duplicate_rate": 4 / 5,
        "duplicate_pair_rate": 10 / 11,
        "contradictory_share": 2 / 4,
    }


def test_images_that_the_truth_lacks_are_left_out(tmp_path: Path) -> None:
    build = write_build(tmp_path / "build", {"1": [pair("dog", LEFT)], "2": [pair("dog", RIGHT)], "3": []}, nouns=2)
    truth = write_truth(tmp_path / "truth.json", ["dog"], {"1": [("dog", LEFT)], "3": [], "9": [("dog", LEFT)]})
    report = audit(str(build), [truth])
    assert report["build"] == {
        "plan_digest": "abc",
        "images": 3,
        "images_audited": 2,
        "images_audited_quarantined": 0,
        "pairs": 2,
    }
    assert report["pairs"] == 1
    assert report["grounded"]["nouns"] == 4
    assert report["recall"]["0.5"]["instances"] == 1


def test_quarantined_images_are_counted_and_not_to_be_found(tmp_path: Path) -> None:
    build = write_build(tmp_path / "build", {"1": [pair("dog", LEFT)]}, quarantined=["2"])
    truth = write_truth(tmp_path / "truth.json", ["dog"], {"1": [("dog", LEFT)], "2": [("dog", LEFT)]})
    report = audit(str(build), [truth])
    assert report["build"]["images_audited_quarantined"] == 1
    assert (report["grounded"]["images"], report["recall"]["0.5"]["instances"]) == (1, 1)


def test_images_are_matched_by_file_name_where_ids_differ(tmp_path: Path) -> None:
    files = {"a/7": "/photos/x/7.jpg"}
    build = write_build(tmp_path / "build", {"a/7": [pair("dog", LEFT)]}, files=files)
    truth = write_truth(tmp_path / "truth.json", ["dog"], {"7": [("dog", LEFT)], "8": [("dog", RIGHT)]})
    report = audit(str(build), [truth])
    assert report["build"]["images_audited"] == 1
    assert report["precision"]["0.5"]["exact"] == 1.0


def test_truths_are_taken_together(tmp_path: Path) -> None:
    """A class of the same name in both files is one class, whatever its numbers."""
    build = write_build(tmp_path / "build", {"1": [pair("dog", LEFT), pair("dog", RIGHT), pair("sky", LOW)]})
    things = write_truth(tmp_path / "things.json", ["cat", "dog"], {"1": [("dog", LEFT)]})
    more = write_truth(tmp_path / "stuff.json", ["dog", "sky"], {"1": [("dog", RIGHT), ("sky", LOW)]})
    report = audit(str(build), [things, more])
    assert report["truth"]["classes"] == 3
    assert report["precision"]["0.5"]["exact"] == 1.0
    assert report["recall"]["0.5"]["instances"] == 3
    alone = audit(str(build), [things])
    assert alone["outcomes"]["0.5"] == {
        "right": 1,
        "other_class": 0,
        "loose_mask": 0,
        "no_region": 1,
        "crowd": 0,
        "absent": 0,
        "unknown": 1,
    }


def test_polygons_and_uncompressed_runs_are_read(tmp_path: Path) -> None:
    square = [[0, 0, 40, 0, 40, 40, 0, 40]]
    runs = {"size": [100, 100], "counts": [60 * 100, *[40, 60] * 40]}
    build = write_build(tmp_path / "build", {"1": [pair("dog", LEFT), pair("cat", RIGHT)]})
    truth = write_truth(tmp_path / "truth.json", ["dog", "cat"], {"1": [("dog", square), ("cat", runs)]})
    assert audit(str(build), [truth])["precision"]["0.75"]["exact"] == 1.0


def test_a_build_without_pairs_gives_a_report(tmp_path: Path) -> None:
    build = write_build(tmp_path / "build", {"1": []}, nouns=3)
    truth = write_truth(tmp_path / "truth.json", ["dog"], {"1": [("dog", LEFT)]})
    report = audit(str(build), [truth])
    assert report["precision"]["0.5"]["exact"] is None
    assert report["grounded"]["share"] == 0.0
    assert report["recall"]["0.5"]["exact"]["instances"] == 0.0
    assert report["score"]["calibration"]["ece"] is None
    assert report["score"]["precision_coverage_area"] is None


def test_the_report_is_the_same_for_other_shards(tmp_path: Path) -> None:
    images = {str(n): [pair("dog", LEFT if n % 3 else RIGHT, score=n / 100)] for n in range(60)}
    truth = write_truth(tmp_path / "truth.json", ["dog"], {name: [("dog", LEFT)] for name in images})
    one, many = (
        audit(str(write_build(tmp_path / str(size), images, images_per_shard=size)), [truth]) for size in (60, 7)
    )
    assert one == many
    assert one["score"]["calibration"]["ece"] is not None
