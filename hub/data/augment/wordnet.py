"""Synonyms from WordNet's database files (format: wndb(5WN))."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hub.errors import BadData, NotFound

__all__ = ["WordNet"]

_PARTS = ("noun", "verb", "adj", "adv")


@dataclass(frozen=True, slots=True)
class WordNet:
    """The most frequent sense of each word in each of its parts of speech.

    A sense is the number of senses that occur in tagged texts, and the synset's file and offset.
    """

    folder: Path
    senses: dict[str, list[tuple[int, str, int]]]

    @classmethod
    def open(cls, folder: Path) -> WordNet:
        """Read the index files of a folder.

        Raises:
            NotFound: they are missing; the message says how to get them.
            BadData: they cannot be parsed.
        """
        senses: dict[str, list[tuple[int, str, int]]] = {}
        for part in _PARTS:
            if not all((folder / f"{kind}.{part}").is_file() for kind in ("index", "data")):
                raise NotFound(
                    f"There is no WordNet in {folder}: index.{part} and data.{part} are needed. Run "
                    "`apt install wordnet-base`, or name a folder with WordNet's files in augment.wordnet."
                )
            try:
                _read_index(folder, part, senses)
            except (ValueError, IndexError):
                raise BadData(f"{folder / f'index.{part}'} is not a WordNet index file.") from None
        return cls(folder, senses)

    def synonyms(self, word: str) -> list[str]:
        """Return single-word synonyms of the most frequent sense of `word`, a lower-case lemma.

        A word that occurs as several parts of speech has none: its part of speech is unknown.
        """
        senses = self.senses.get(word, [])
        known = [sense for sense in senses if sense[0]] or senses
        if len(known) != 1:
            return []
        [(_, part, offset)] = known
        with (self.folder / f"data.{part}").open("rb") as file:
            file.seek(offset)
            cells = file.readline().decode("ascii", "replace").split()
        # offset file type count(hex) word id [word id]
        words = cells[4 : 4 + 2 * int(cells[3], 16) : 2]
        plain = [each.partition("(")[0] for each in words]
        return [each for each in plain if each.isalpha() and each.lower() != word]


def _read_index(folder: Path, part: str, senses: dict[str, list[tuple[int, str, int]]]) -> None:
    with (folder / f"index.{part}").open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            if line.startswith(" "):  # the licence
                continue
            cells = line.split()
            # lemma part synsets pointers [symbol] senses used offset [offset]
            pointers = int(cells[3])
            used, offset = int(cells[5 + pointers]), int(cells[6 + pointers])
            senses.setdefault(cells[0], []).append((used, part, offset))
