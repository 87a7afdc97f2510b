"""Back-translation of texts, cached in the folder of a run."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from hub.data.augment.translators import Translator
from hub.errors import BadPlugin
from hub.progress import Progress, silent

__all__ = ["TRANSLATIONS", "back_translated"]

TRANSLATIONS = "translations.sqlite"
BATCH = 64  # texts; a killed run loses at most one batch


def back_translated(
    texts: Iterable[str],
    translator: Translator,
    language: str,
    via: str,
    *,
    memory: Path | None = None,
    progress: Progress = silent,
) -> dict[str, str]:
    """Map each text to its back-translation through the language `via`; "" if the engine returns nothing.

    Translations in the SQLite file `memory`, keyed by hashes, are reused; the file is created if missing.
    """
    wanted = list(dict.fromkeys(texts))
    found: dict[str, str] = {}
    with closing(sqlite3.connect(memory or ":memory:")) as known:
        known.execute("CREATE TABLE IF NOT EXISTS back (key BLOB PRIMARY KEY, text TEXT NOT NULL)")
        where = f"{translator.name}\0{language}\0{via}"
        keys = {text: hashlib.sha256(f"{where}\0{text}".encode()).digest() for text in wanted}
        for text in wanted:
            row = known.execute("SELECT text FROM back WHERE key = ?", (keys[text],)).fetchone()
            if row:
                found[text] = row[0]
        missing = [text for text in wanted if text not in found]
        for start in range(0, len(missing), BATCH):
            progress("translate", len(found), len(wanted))
            batch = missing[start : start + BATCH]
            back = _translate(translator, _translate(translator, batch, language, via), via, language)
            with known:
                rows = ((keys[text], other) for text, other in zip(batch, back, strict=True))
                known.executemany("INSERT OR REPLACE INTO back VALUES (?, ?)", rows)
            found.update(zip(batch, back, strict=True))
        progress("translate", len(wanted), len(wanted))
    return found


def _translate(translator: Translator, texts: list[str], source: str, target: str) -> list[str]:
    full = [text for text in texts if text.strip()]
    made = translator.translate(full, source, target) if full else []
    if len(made) != len(full):
        raise BadPlugin(f"{translator.name} returned {len(made)} translations for {len(full)} texts.")
    translated = dict(zip(full, made, strict=True))
    return [translated.get(text, "") for text in texts]
