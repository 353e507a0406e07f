"""What both extractors promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from benchmarks.nouns_quality import load_captions
from stages.common import DroppedNoun, Noun, UserError
from stages.nouns import NltkNouns, NounExtractor, NounsConfig, SpacyNouns, build_extractor, is_spoken
from stages.nouns.reading import MODEL, load_model
from stages.nouns.tagger import _shipped_weights, load_tagger

AWKWARD = [
    "",
    " \n\t",
    "🐶🐱 emoji 👩‍👩‍👧 family",
    "&lt;b&gt;dog&lt;/b&gt; &amp; cat",
    "<img src='x.jpg' alt='dog'>",
    "hot  \n dogs",
    "#beach #catsofinstagram @user",
    "İSTANBUL'DA BİR KÖPEK İ",
    "e\u0301clair, dog\u200d\u200b, cat\u00a0house, \x00dog\x00, \ufffd",
    "a lone \ud800 surrogate",
    "''\"``'' \"dog\" '' ``",
    "犬と猫, собака",
    "&#0;&#xD800;&nosuch;&amp;amp;nbsp; dog&nbsp;bed &lt;i&gt;hot&lt;/i&gt; dog",
    "traffic-light_at_night.jpg",
    "team - mates in t - shirts 🎈🎈 1️⃣ ★ cat",
    "XL-500/B 12x7 SKU#88213",
    "https://www.example.com/cat_on-chair.png?size=2",
    "one hot dog.jpg",
    "A man, with a dog. " * 526,
    "." * 10_000,
    "a" * 10_000,
]


@pytest.fixture(params=["nltk_extractor", "spacy_extractor"])
def extractor(request: pytest.FixtureRequest) -> NounExtractor:
    found: NounExtractor = request.getfixturevalue(request.param)
    return found


def test_spans_give_the_surface_forms(extractor: NounExtractor) -> None:
    captions = AWKWARD + [caption.text for caption in load_captions()]
    results = extractor.extract(captions)
    assert len(results) == len(captions)
    for number, (caption, result) in enumerate(zip(captions, results, strict=True)):
        spans: list[Noun | DroppedNoun] = [*result.nouns, *result.dropped]
        for noun in spans:
            assert noun.caption_number == number
            assert is_spoken(noun.surface, caption[noun.start : noun.end])
        starts = [noun.start for noun in result.nouns]
        assert starts == sorted(starts)


def test_every_noun_has_letters_canonical_form_and_rule(extractor: NounExtractor) -> None:
    for result in extractor.extract(AWKWARD):
        for noun in result.nouns:
            assert any(map(str.isalpha, noun.surface))
            assert noun.canonical
            assert noun.rule


def test_a_caption_gives_the_same_alone_and_among_others(extractor: NounExtractor) -> None:
    captions = [caption.text for caption in load_captions()]
    together = extractor.extract(captions)
    for caption, result in list(zip(captions, together, strict=True))[::7]:
        alone = extractor.extract([caption])[0]
        assert [noun.surface for noun in alone.nouns] == [noun.surface for noun in result.nouns]
        assert [noun.reason for noun in alone.dropped] == [noun.reason for noun in result.dropped]


def test_no_captions_give_no_results(extractor: NounExtractor) -> None:
    assert extractor.extract([]) == []


def test_nltk_keeps_all_nouns_a_word_at_a_time(nltk_extractor: NounExtractor) -> None:
    nouns = nltk_extractor.extract(["A group of dogs near a fire hydrant."])[0].nouns
    assert [noun.surface for noun in nouns] == ["group", "dogs", "fire", "hydrant"]
    assert nouns[1].canonical == "dog"
    assert nouns[1].rule == "tag:NNS"


def test_nltk_strict_reading_loses_plurals() -> None:
    nouns = build_extractor(NltkNouns(tags=("NN",))).extract(["A dog chases two sheep and three cats."])[0].nouns
    assert "dog" in [noun.surface for noun in nouns]
    assert "cats" not in [noun.surface for noun in nouns]


@pytest.mark.parametrize(
    "opening",
    [
        *("An", "A", "Three", "This", "These", "The", "Some", "Several", "Two", "Many", "Another", "Old", "Young"),
        *("There is a", "This is an", "He has the", "With a", "On the", "Near an", "Four", "Five", "Large", "Several"),
    ],
)
def test_nltk_takes_no_first_word_for_a_name(nltk_extractor: NounExtractor, opening: str) -> None:
    for caption in (f"{opening} dog on grass.", f"A cat. {opening} dog on grass", f'"{opening} dog on grass"'):
        assert opening.lower() not in {noun.surface for noun in nltk_extractor.extract([caption])[0].nouns}


def test_nltk_knows_a_first_name_that_stands_inside_the_caption_too(nltk_extractor: NounExtractor) -> None:
    nouns = nltk_extractor.extract(["Blue is a dog. The dog Blue runs."])[0].nouns
    assert [(noun.surface, noun.rule) for noun in nouns if noun.surface == "blue"][:1] == [("blue", "tag:NNP")]
    assert "blue" not in [noun.surface for noun in nltk_extractor.extract(["Blue dogs run."])[0].nouns]


def test_nltk_takes_a_folder_of_nltk_weights(tmp_path: Path) -> None:
    for part, content in {"weights": '{"bias": {"NN": 1.0}}', "tagdict": "{}", "classes": '["NN"]'}.items():
        (tmp_path / f"averaged_perceptron_tagger_eng.{part}.json").write_text(content)
    extractor = build_extractor(NltkNouns(tagger=str(tmp_path)))
    assert [noun.surface for noun in extractor.extract(["the dog runs"])[0].nouns] == ["the", "dog", "runs"]


def test_a_missing_tagger_folder_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nouns\.extractor\.tagger: cannot read .*averaged_perceptron_tagger_eng"):
        build_extractor(NltkNouns(tagger=str(tmp_path)))


def test_a_broken_tagger_file_is_the_users_error(tmp_path: Path) -> None:
    for part in ("weights", "tagdict", "classes"):
        (tmp_path / f"averaged_perceptron_tagger_eng.{part}.json").write_text("{")
    with pytest.raises(UserError, match="no JSON"):
        build_extractor(NltkNouns(tagger=str(tmp_path)))


def test_the_kind_picks_the_configuration() -> None:
    adapter: TypeAdapter[NltkNouns | SpacyNouns] = TypeAdapter(NounsConfig)
    assert adapter.validate_python({"kind": "nltk", "tags": ["NN"]}) == NltkNouns(tags=("NN",))
    assert adapter.validate_python({"kind": "spacy"}) == SpacyNouns()
    with pytest.raises(ValidationError, match="extra"):
        adapter.validate_python({"kind": "nltk", "multiword": True})


def test_importing_loads_no_model_library() -> None:
    code = "import sys, stages.nouns; print(sorted({'spacy', 'nltk', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_tags_are_those_of_nltk() -> None:
    from nltk.tag.perceptron import PerceptronTagger

    nltk = PerceptronTagger(load=False)
    nltk.decode_json_params(_shipped_weights())
    tagger = load_tagger()
    sentences = [caption.text.split() for caption in load_captions()]
    assert len(sentences) > 300
    for words in [*sentences, [], [""], ["2024", "x-ray", "3rd"], ["wug"] * 30]:
        assert tagger.tag(words) == nltk.tag(words)


def test_another_multiplication_changes_no_tag() -> None:
    import spacy

    texts = [caption.text for caption in load_captions()]
    plain = spacy.load(MODEL, exclude=["ner", "lemmatizer", "attribute_ruler"])
    for ours, theirs in zip(load_model().pipe(texts), plain.pipe(texts), strict=True):
        assert [(token.tag_, token.dep_, token.head.i) for token in ours] == [
            (token.tag_, token.dep_, token.head.i) for token in theirs
        ]
