"""Derives the lexicon that ships in data/ from WordNet 3.0's files.

    apt-get install wordnet-base
    python -m stages.nouns.make_lexicon --wordnet /usr/share/wordnet --out stages/nouns/data/wordnet_nouns.txt.xz

The output is UTF-8 text, one synset per line in the order of WordNet's file, fields parted by tabs:
lexicographer file number; line numbers (from 0) of its hypernyms, parted by spaces, an 'i' before those that it is an
instance of, not a kind; its words, parted by '|', each as WORD:SENSE:COUNT (underscores for spaces; the word's sense
number from 1; how often WordNet's tagged texts have it in this sense). After an empty line come the irregular plurals,
one per line: PLURAL, tab, SINGULAR. After another one come single words that are no nouns alone: WORD, then how often
the tagged texts have it as a verb, an adjective and an adverb, parted by tabs, empty where WordNet does not list it.
The same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import lzma
from pathlib import Path

HYPERNYM_POINTERS = {"@": "", "@i": "i"}
OTHER_PARTS = {"verb": "2", "adj": "35", "adv": "4"}
"""WordNet's names of its other parts of speech -> the digits that stand for them in the keys of its counts."""


def noun_lines(path: Path) -> list[list[str]]:
    """Fields of a WordNet file's lines, without its licence header and the glosses."""
    text = path.read_text(encoding="utf-8")
    return [line.split(" | ", 1)[0].split() for line in text.splitlines() if not line.startswith("  ")]


def sense_numbers(wordnet: Path) -> dict[tuple[str, str], int]:
    """(word, synset offset) -> number of the word's sense, from 1, commonest first."""
    numbers: dict[tuple[str, str], int] = {}
    for fields in noun_lines(wordnet / "index.noun"):
        offsets = fields[-int(fields[2]) :]
        numbers.update({(fields[0], offset): number for number, offset in enumerate(offsets, start=1)})
    return numbers


def sense_counts(wordnet: Path, parts: str = "1") -> dict[tuple[str, int], int]:
    """(word, sense number) -> occurrences in WordNet's tagged texts, of the parts of speech with these digits."""
    counts: dict[tuple[str, int], int] = {}
    for line in (wordnet / "cntlist.rev").read_text(encoding="utf-8").splitlines():
        key, number, count = line.split()
        word, _, rest = key.partition("%")
        if rest[0] in parts:
            counts[word, int(number)] = int(count)
    return counts


def synset_lines(wordnet: Path) -> list[str]:
    """The lexicon's first part."""
    numbers, counts = sense_numbers(wordnet), sense_counts(wordnet)
    synsets = noun_lines(wordnet / "data.noun")
    line_of = {fields[0]: str(line) for line, fields in enumerate(synsets)}
    lines = []
    for fields in synsets:
        words_end = 4 + 2 * int(fields[3], 16)
        words = []
        for word in fields[4:words_end:2]:
            number = numbers[word.lower(), fields[0]]
            words.append(f"{word}:{number}:{counts.get((word.lower(), number), 0)}")
        pointers = fields[words_end + 1 :]
        parents = [
            HYPERNYM_POINTERS[pointers[i]] + line_of[pointers[i + 1]]
            for i in range(0, len(pointers), 4)
            if pointers[i] in HYPERNYM_POINTERS
        ]
        lines.append("\t".join([str(int(fields[1])), " ".join(parents), "|".join(words)]))
    return lines


def irregular_plurals(wordnet: Path) -> list[str]:
    """The lexicon's second part: WordNet's list of noun exceptions."""
    pairs = [line.split()[:2] for line in (wordnet / "noun.exc").read_text(encoding="utf-8").splitlines()]
    return [f"{plural}\t{singular}" for plural, singular in sorted(pairs)]


def other_uses(wordnet: Path) -> list[str]:
    """The lexicon's third part."""
    uses: dict[str, list[str]] = {}
    for column, (part, digits) in enumerate(OTHER_PARTS.items()):
        counts: dict[str, int] = {}
        for (word, _), count in sense_counts(wordnet, digits).items():
            counts[word] = counts.get(word, 0) + count
        for fields in noun_lines(wordnet / f"index.{part}"):
            if fields[0].isalpha():
                uses.setdefault(fields[0], [""] * len(OTHER_PARTS))[column] = str(counts.get(fields[0], 0))
    return ["\t".join([word, *columns]) for word, columns in sorted(uses.items())]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    wordnet = arguments.wordnet
    lines = [*synset_lines(wordnet), "", *irregular_plurals(wordnet), "", *other_uses(wordnet)]
    packed = lzma.compress("\n".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME)
    arguments.out.write_bytes(packed)
    print(f"{arguments.out}: {len(packed)} bytes, {len(lines)} lines")


if __name__ == "__main__":
    main()
